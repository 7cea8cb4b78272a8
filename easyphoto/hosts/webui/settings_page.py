"""EasyPhoto's section on the settings page of the WebUI, and what the user has chosen there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easyphoto import program
from easyphoto.catalog import Folders
from easyphoto.config import PRECISIONS, Paths
from easyphoto.hosts.webui.border import WebUI, folder, loaded
from easyphoto.messages import LANGUAGES, named_in
from easyphoto.service.setting_fields import FIELDS
from easyphoto.vision import registry
from easyphoto.vision.backend import ROLES

SECTION = ("easyphoto", "EasyPhoto")

FACES, LANGUAGE, OUTPUTS = "easyphoto_faces", "easyphoto_language", "easyphoto_outputs"
KEEP_VISION, COMMERCIAL, BACKENDS = "easyphoto_keep_vision", "easyphoto_commercial_only", "easyphoto_backends"
PRECISION, ALLOWED = "easyphoto_precision", "easyphoto_allow_hosts"

DEFAULTS: Mapping[str, tuple[Any, str, str]] = {
    f"easyphoto_{key}": (field.default, field.label, field.in_webui) for key, field in FIELDS.items()
}
"""The default, the label and the explanation of each setting, by its key."""

BROWSER = "that of the browser"
CHOICES: Mapping[str, tuple[str, ...]] = {LANGUAGE: (BROWSER, *LANGUAGES), PRECISION: PRECISIONS}
"""The settings that are one of few values; the first stands for one that is empty."""

MOVED: Mapping[str, str] = {
    "checkpoint": "ckpt_dir",
    "vae": "vae_dir",
    "controlnet": "controlnet_dir",
    "esrgan": "esrgan_models_path",
}
"""The argument by which the WebUI keeps a kind of weights elsewhere, by kind."""
ALSO_ARGUMENTS = ("controlnet_annotator_models_path", "controlnet_preprocessor_models_dir")
ALSO_LISTS = ("ckpt_dirs", "vae_dirs", "lora_dirs", "controlnet_dirs")
"""Arguments that may be given again and again, each time with one more folder."""
SHARED = {"share": (".gradio.live",), "ngrok": (".ngrok.io", ".ngrok.app", ".ngrok.dev", ".ngrok-free.app")}
"""How public names end that the WebUI gets, by the argument that gives it one."""
ALSO_OPTIONS = ("control_net_models_path",)
CONTROLNET = ("models", "annotator/downloads")
"""The folders in which sd-webui-controlnet keeps its models and annotators, inside its own folder."""


@dataclass(frozen=True)
class WebUISettings:
    """What the user has chosen. It is read anew at each use, because the settings page changes it while the WebUI
    runs."""

    webui: WebUI

    def register(self) -> None:
        """Add the section to the settings page."""
        shared = self.webui.shared
        for key, (default, label, explanation) in DEFAULTS.items():
            info = shared.OptionInfo(default, label, section=SECTION).info(explanation)
            self._offer(key, info)
            shared.opts.add_option(key, info)

    def _offer(self, key: str, info: Any) -> None:
        """Let the user choose where there are few values, and carry over what was written into a text box before."""
        gradio, data = loaded("gradio"), self.webui.shared.opts.data
        # The WebUI's own list of several: its settings page hands ``component_args`` to the update of a component too,
        # and with gradio 3.41 that one doesn't take ``multiselect``.
        several = getattr(loaded("modules.ui_components"), "DropdownMulti", None)
        if key in CHOICES and gradio is not None:
            info.component, info.component_args = gradio.Radio, {"choices": list(CHOICES[key])}
            info.default = CHOICES[key][0]
            if key in data and data[key] not in CHOICES[key]:
                data[key] = info.default
        elif key == BACKENDS and several is not None:
            pairs = [f"{role}={row.name}" for role in ROLES for row in registry.BY_ROLE[role]]
            info.component, info.component_args = several, {"choices": pairs}
            info.default = []
            if key in data:
                data[key] = [pair for pair in self._backends() if pair in pairs]

    def faces(self) -> int:
        value = self._value(FACES)
        return max(1, int(value)) if isinstance(value, int | float) else 1

    def language(self) -> str:
        value = str(self._value(LANGUAGE))
        if value in LANGUAGES:
            return value
        return named_in(str(self.webui.option("localization", "")))

    def vision_idle(self) -> float | None:
        """After how many seconds without use the vision worker ends; None means never."""
        minutes = self._value(KEEP_VISION)
        return float(minutes) * 60 if isinstance(minutes, int | float) and minutes > 0 else None

    def precision(self) -> str:
        """The precision of trainings that leave it open. A value that isn't known counts as ``auto``."""
        value = str(self._value(PRECISION)).strip().lower()
        return value if value in PRECISIONS else PRECISIONS[0]

    def vision(self, paths: Paths) -> dict[str, Any]:
        """How the vision worker is to make its vision: the models folder, the chosen backends, and whether they must
        allow commercial use."""
        backends = dict(pair.split("=", 1) for pair in self._backends())
        return {
            "models": str(paths.models),
            "backends": {role: name for role, name in backends.items() if role in ROLES},
            "commercial_only": bool(self._value(COMMERCIAL)),
        }

    def _backends(self) -> list[str]:
        """The chosen backends as ``role=name``: a list, or in older settings a text with commas."""
        value = self._value(BACKENDS)
        parts = value if isinstance(value, list) else str(value).split(",")
        pairs = [str(part).split("=", 1) for part in parts if "=" in str(part)]
        return [f"{role.strip()}={name.strip()}" for role, name in pairs]

    def paths(self) -> Paths:
        """The WebUI's folders, as ``--data-dir``, ``--models-dir`` and ``--lora-dir`` say."""
        data, models = folder(self.webui.paths.data_path), folder(self.webui.paths.models_path)
        chosen = str(self._value(OUTPUTS)).strip()
        return Paths(
            outputs=folder(chosen) if chosen else data / "outputs",
            models=models,
            loras=self.webui.folder_of("lora_dir", "Lora"),
            templates=program.FILES / "templates",
            bench=program.FILES / "models" / "bench",
        )

    def folders(self, paths: Paths) -> Folders:
        """The folders that weights go to, and all folders in which this WebUI and its ControlNet may have them
        already."""
        arguments = self.webui.shared.cmd_opts
        given = {kind: getattr(arguments, name, None) for kind, name in MOVED.items()}
        if self.webui.tokenizer is not None and self.webui.tokenizer.is_dir():
            given["tokenizer"] = self.webui.tokenizer
        also = [getattr(arguments, name, None) for name in ALSO_ARGUMENTS]
        also += [one for name in ALSO_LISTS for one in getattr(arguments, name, None) or ()]
        also += [self.webui.option(name) for name in ALSO_OPTIONS]
        also += [found / inside for found in self._extensions("*controlnet*") for inside in CONTROLNET]
        return Folders.of(
            paths,
            also=[folder(value) for value in also if value],
            moved={kind: folder(value) for kind, value in given.items() if value},
        )

    def _extensions(self, pattern: str) -> list[Path]:
        return sorted((folder(self.webui.paths.data_path) / "extensions").glob(pattern))

    def credentials(self) -> dict[str, str]:
        """The passwords of ``--api-auth`` and ``--gradio-auth`` by user; empty when the WebUI asks for none."""
        options = self.webui.shared.cmd_opts
        pairs = [str(getattr(options, name, None) or "") for name in ("api_auth", "gradio_auth")]
        file = getattr(options, "gradio_auth_path", None)
        if file:
            pairs += Path(file).read_text(encoding="utf-8").splitlines()
        entries = (entry.strip().strip('"') for line in pairs for entry in line.split(","))
        return dict(entry.split(":", 1) for entry in entries if ":" in entry)

    def api(self) -> bool:
        """Whether the WebUI was told to have an HTTP API."""
        options = self.webui.shared.cmd_opts
        return any(bool(getattr(options, name, False)) for name in ("api", "nowebui"))

    def names(self) -> tuple[str, ...]:
        """The host names by which this WebUI may be called, beside localhost and the names of the machine."""
        options = self.webui.shared.cmd_opts
        bound = str(getattr(options, "server_name", None) or "")
        public = [end for name, ends in SHARED.items() if getattr(options, name, None) for end in ends]
        return (*public, *(name.strip() for name in (bound, *str(self._value(ALLOWED)).split(",")) if name.strip()))

    def origins(self) -> frozenset[str]:
        """The other sites whose pages may call the API, which ``--cors-allow-origins`` names. A star names nobody."""
        given = str(getattr(self.webui.shared.cmd_opts, "cors_allow_origins", None) or "")
        return frozenset(site.strip().rstrip("/") for site in given.split(",")) - {"", "*"}

    def origin_pattern(self) -> str:
        """The pattern of such sites that ``--cors-allow-origins-regex`` gives; empty when it gives none."""
        return str(getattr(self.webui.shared.cmd_opts, "cors_allow_origins_regex", None) or "")

    def _value(self, key: str) -> Any:
        return self.webui.option(key, DEFAULTS[key][0])
