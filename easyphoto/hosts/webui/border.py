"""The border: everything of the WebUI that we touch, fetched in one place.

What lies beyond has no types that we could check, so it is ``Any`` here and nowhere further in. What differs between
WebUIs is found by looking whether a thing is there, never by trying and catching.
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

Result = TypeVar("Result")


def _module(name: str) -> Any:
    return importlib.import_module(name)


def loaded(*names: str) -> ModuleType | None:
    """The first of these modules that the host has imported already."""
    return next((sys.modules[name] for name in names if name in sys.modules), None)


@dataclass(frozen=True)
class WebUI:
    """The WebUI's modules. What it replaces while it runs (options, script runners) is read at use, not kept."""

    shared: Any
    processing: Any
    scripts: Any
    sd_models: Any
    sd_samplers: Any
    call_queue: Any
    paths: Any

    @classmethod
    def load(cls) -> WebUI:
        """Import what a running WebUI has imported anyway."""
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
    def main_thread(self) -> Any | None:
        """Forge's loop on the main thread, through which its models must move."""
        return loaded("modules_forge.main_thread")

    @property
    def name(self) -> str:
        if loaded("modules_forge") is None:
            return "AUTOMATIC1111"
        return "Forge" if hasattr(self.sd_models, "forge_model_reload") else "reForge"

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
        """Where a kind of models lies: what the host's ``argument`` says, else ``name`` below its models folder."""
        return folder(getattr(self.shared.cmd_opts, argument, None) or folder(self.paths.models_path) / name)

    def run(self, work: Callable[[], Result]) -> Result:
        """Do ``work`` where the host does its own generating: on the main thread if it has a loop there.

        That loop swallows exceptions, so they are carried back by hand.
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
        """The script runner of a tab. The host makes new ones when its UI is reloaded."""
        return self.scripts.scripts_img2img if img2img else self.scripts.scripts_txt2img


def installed_version(package: str) -> str | None:
    """The version of an installed package, None when it isn't."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def folder(value: Any) -> Path:
    """A folder of the host as an absolute path; it may be given relative to where the host was started."""
    return Path(str(value)).absolute()
