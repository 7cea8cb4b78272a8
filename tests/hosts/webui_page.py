"""The tabs inside a WebUI's page, used in a headless Chromium as a person does."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from tests.ui.browser import Found, Page

COLOURS = 200
PATIENCE = 900
"""Seconds: a WebUI's page has thousands of parts, and the machine may be busy."""
LOOK = 0.5
"""Seconds between two looks at the page."""
UPDATE = 0.5
"""Seconds that a component of the WebUI's gradio may take to tell the server of a change."""


class WebUIPage(Page):
    """A WebUI's page with EasyPhoto's tab open."""

    def open(self) -> None:
        self.driver.get(self.address)
        self.top_tab("EasyPhoto")
        self.wait_for("#easyphoto_train_start")
        self.wait(lambda: "easyphoto-words" in self.driver.page_source)

    def top_tab(self, name: str) -> None:
        """One of the WebUI's own tabs. They are there before they work: pressed until it shows."""
        code = """const found = [...document.querySelectorAll('#tabs > .tab-nav > button, #tabs > div [role=tab]')]
                      .filter(b => b.textContent.trim() === arguments[0] && b.offsetParent);
                  if (!found.length) return false;
                  found[0].click();
                  return true"""
        inside = {"EasyPhoto": "#easyphoto_tabs", "Settings": "#tab_settings"}[name]
        self.wait(lambda: self.script(code, name) and self.one(inside).is_displayed())

    def wait(self, ready: Callable[[], Found], seconds: float = PATIENCE) -> Found:
        def seldom() -> Found:
            time.sleep(LOOK)  # looking costs a browser more than the WebUI's work costs a small machine
            return ready()

        return super().wait(seldom, max(seconds, PATIENCE))

    def wait_for(self, selector: str, count: int = 1, seconds: float = PATIENCE) -> list[Any]:
        return super().wait_for(selector, count, max(seconds, PATIENCE))

    def tab(self, number: int) -> None:
        """Gradio 3's tabs are plain buttons."""
        tabs = "#easyphoto_tabs > .tab-nav > button, #easyphoto_tabs [role=tab]"
        self.script("arguments[0].click()", self.wait_for(tabs, 2)[number])

    def settings_section(self, name: str) -> None:
        """A section of the settings page, picked on its left."""
        code = """const found = [...document.querySelectorAll('#settings button')]
                      .filter(b => b.textContent.trim() === arguments[0] && b.offsetParent);
                  if (found.length) found[0].click();
                  return found.length"""
        self.wait(lambda: self.script(code, name) and self.one("#setting_easyphoto_faces").is_displayed())

    def press(self, selector: str) -> None:
        """Click a button, wherever it has scrolled to."""
        button = self.wait_for(selector)[0]
        self.script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def unfold(self) -> None:
        """Open every folded part that is in sight, one inside another too."""
        folded = "#easyphoto .label-wrap:not(.open)"
        while shut := [part for part in self.all(folded) if part.is_displayed()]:
            self.script("arguments[0].click()", shut[0])
            time.sleep(UPDATE)

    def start(self, tab: str, values: Mapping[str, object]) -> None:
        """Set parameters of a tab by their names, wherever they are folded away, and press its start button."""
        self.unfold()
        for name, value in values.items():
            self.give(f"#easyphoto_{tab}_{name}", value)
        self.press(f"#easyphoto_{tab}_start")

    def give(self, selector: str, value: object) -> None:
        """Type into a number, a slider or a text field, and leave it, as gradio wants to hear of it."""
        self.script("arguments[0].scrollIntoView({block: 'center'})", self.one(selector))
        self.wait(lambda: self.one(selector).is_displayed())
        self.script(
            """const box = arguments[0].querySelector('textarea, input[type=number], input');
               const kind = box.tagName === 'TEXTAREA' ? HTMLTextAreaElement : HTMLInputElement;
               Object.getOwnPropertyDescriptor(kind.prototype, 'value').set.call(box, arguments[1]);
               for (const event of ['input', 'change', 'blur']) box.dispatchEvent(new Event(event, {bubbles: true}))""",
            self.one(selector),
            str(value),
        )
        time.sleep(UPDATE)

    def choose(self, selector: str, option: str) -> None:
        """Pick an entry of a dropdown, whatever it says in brackets behind the name."""

        def meant() -> list[Any]:
            texts = [(o, o.text.strip().removeprefix("✓").strip()) for o in self.all(options)]
            return [o for o, text in texts if text == option or text.startswith(f"{option} (")]

        box = self.one(f"{selector} input")
        self.script("arguments[0].scrollIntoView({block: 'center'})", box)
        box.click()
        options = f"{selector} ul li, ul.options li"
        found = self.wait(meant)[0]
        self.script("arguments[0].dispatchEvent(new MouseEvent('mousedown', {bubbles: true}))", found)
        time.sleep(UPDATE)

    def tick(self, selector: str, on: bool) -> None:
        """Set a checkbox."""
        box = self.one(f"{selector} input[type=checkbox]")
        if box.is_selected() != on:
            self.script("arguments[0].click()", box)
            time.sleep(UPDATE)

    def value(self, selector: str) -> str:
        return str(self.one(f"{selector} textarea, {selector} input").get_attribute("value"))

    def picture(self, path: Path) -> None:
        """A screenshot from the page's top, with few colours, which is a fifth of the size and looks the same."""
        self.script("window.scrollTo(0, 0)")
        time.sleep(2)
        shot = Pillow.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")
        path.parent.mkdir(parents=True, exist_ok=True)
        shot.quantize(COLOURS, dither=Pillow.Dither.FLOYDSTEINBERG).save(path, optimize=True)
