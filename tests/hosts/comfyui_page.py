"""ComfyUI's own page, used in a headless Chromium as a person does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.ui.browser import Page

PATIENCE = 300
"""Seconds: a machine without a graphics card draws slowly."""
TEMPLATES = "[data-testid=template-workflows-content]"
NODES = "return window.app.graph.nodes.length"


class ComfyUIPage(Page):
    """The page with the graph. At its first visit it offers the templates."""

    def open(self) -> None:
        self.driver.get(self.address)
        self.wait_for("[data-testid=queue-button]", seconds=PATIENCE)
        self.wait_for(TEMPLATES, seconds=PATIENCE)

    def template(self, name: str) -> None:
        """Click a template in the list that the page has opened."""
        self.wait_for(f"[data-testid=template-workflow-{name}]", seconds=PATIENCE)[0].click()
        self.wait(lambda: not self.all(TEMPLATES), PATIENCE)
        self._drawn()

    def workflow(self, file: Path, nodes: int) -> None:
        """Open a workflow's file, of so many nodes."""
        self.one("#comfy-file-input").send_keys(str(file))
        self.wait(lambda: self.script(NODES) == nodes, PATIENCE)
        self._drawn()

    def run(self) -> None:
        """Press Run and wait until nothing is left to do."""
        done = self._done()
        self.one("[data-testid=queue-button] button").click()
        self.wait(lambda: self._done() > done, PATIENCE)

    def _done(self) -> int:
        found: Any = self.script(
            "return fetch('/history').then(answer => answer.json()).then(all => Object.keys(all).length)"
        )
        return int(found)

    def _drawn(self) -> None:
        time.sleep(1)
