"""The border to the WebUI: everything of it that the program touches is fetched in this place.

What lies beyond has no types that could be checked, so it is ``Any`` here, and nowhere further in. Where WebUIs differ,
the program looks whether a thing is there; it never tries the thing and catches what that raises.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from easyphoto.errors import HostFailed
from easyphoto.hosts.webui.dialects import DIALECTS, Dialect

Result = TypeVar("Result")


def _module(name: str) -> Any:
    return importlib.import_module(name)


def loaded(*names: str) -> ModuleType | None:
    """The first of these modules that the host has imported already; None when it has imported none of them."""
    return next((sys.modules[name] for name in names if name in sys.modules), None)


@dataclass(frozen=True)
class WebUI:
    """The modules of the WebUI. What the WebUI replaces while it runs, such as options and script runners, is read anew
    at each use."""

    shared: Any
    processing: Any
    scripts: Any
    sd_models: Any
    sd_samplers: Any
    call_queue: Any
    paths: Any

    @classmethod
    def load(cls) -> WebUI:
        """Import the modules, which a running WebUI has imported anyway."""
        return cls(
            shared=_module("modules.shared"),
            processing=_module("modules.processing"),
            scripts=_module("modules.scripts"),
            sd_models=_module("modules.sd_models"),
            sd_samplers=_module("modules.sd_samplers"),
            call_queue=_module("modules.call_queue"),
            paths=_module("modules.paths"),
        )

    @property
    def dialect(self) -> Dialect:
        """What this WebUI calls things by."""
        return next(row for row in DIALECTS if self._speaks(row))

    def _speaks(self, row: Dialect) -> bool:
        has = not row.function or hasattr(self.sd_models, row.function)
        return has and all(map(loaded, row.modules)) and (not row.version or self.version.startswith(row.version))

    @property
    def main_thread(self) -> Any | None:
        """The module of the host's loop on the main thread; None where it has none."""
        loop = self.dialect.main_loop
        return None if loop is None else loaded(loop)

    @property
    def name(self) -> str:
        return self.dialect.name

    @property
    def version(self) -> str:
        launch = loaded("modules.launch_utils", "launch")
        return str(launch.git_tag()) if launch is not None and hasattr(launch, "git_tag") else "unknown"

    @property
    def on_cpu(self) -> bool:
        return str(getattr(_module("modules.devices"), "device", "cpu")).startswith("cpu")

    def option(self, key: str, default: Any = None) -> Any:
        return self.shared.opts.data.get(key, default)

    def folder_of(self, argument: str, name: str) -> Path:
        """The folder of a kind of models: the one that the host's ``argument`` gives, else the folder ``name`` in its
        models folder."""
        return folder(getattr(self.shared.cmd_opts, argument, None) or folder(self.paths.models_path) / name)

    @property
    def tokenizer(self) -> Path | None:
        """The folder in which the host has CLIP's tokenizer, or None when it has none of its own."""
        place, root = self.dialect.tokenizer, getattr(self.paths, "script_path", None)
        return None if place is None or root is None else folder(root) / place

    def run(self, work: Callable[[], Result]) -> Result:
        """Do ``work`` where the host makes its own pictures, which is the main thread if the host has a loop there.

        That loop swallows exceptions, so this method carries them back to the caller.
        """
        if self.main_thread is None or threading.current_thread() is threading.main_thread():
            return work()
        outcome: list[Result] = []
        problem: list[BaseException] = []

        def carry() -> None:
            try:
                outcome.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
                problem.append(error)

        self.main_thread.run_and_wait_result(carry)
        if problem:
            raise problem[0]
        if not outcome:
            raise HostFailed("The WebUI dropped the job: it is shutting down or its main loop has ended.")
        return outcome[0]

    def runner(self, img2img: bool) -> Any:
        """The script runner of the img2img tab or of the txt2img tab. The host makes new ones when its page is
        reloaded."""
        return self.scripts.scripts_img2img if img2img else self.scripts.scripts_txt2img


def installed_version(package: str) -> str | None:
    """The version of a package, or None when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def folder(value: Any) -> Path:
    """The absolute path of a folder of the host. The host may have been given it relative to where it was started."""
    return Path(str(value)).absolute()
