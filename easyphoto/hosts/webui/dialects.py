"""The WebUIs by their differences: one row for each. No other module of this package knows which of them it runs in.

All of them take a unit of ControlNet as a plain dictionary with the picture in base64, change the base model by the
option ``sd_model_checkpoint`` of one picture, and list their samplers in ``sd_samplers.all_samplers_map``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from easyphoto.sd import tokenizers


@dataclass(frozen=True, kw_only=True)
class ControlLists:
    """Where ControlNet lists what it has: ``modules``, of which the first that the host has imported counts, and in it
    the functions that return the names of the ``models`` and of the ``preprocessors``. ``words`` are the modules that
    say what its modes are called."""

    modules: tuple[str, ...]
    models: str
    preprocessors: str
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class VaeChoice:
    """How a VAE is chosen: ``option`` is the setting, and ``table`` in ``module`` maps the names of VAEs to their
    files. If ``many`` is true, the setting is a list of files, and an empty one means the VAE of the base model."""

    option: str
    module: str
    table: str
    many: bool = False


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What one WebUI calls things by, and what only it does.

    It is recognised by ``modules`` that it has imported, by a ``function`` of its ``sd_models``, and by how its
    ``version`` begins. ``main_loop`` is the module of its loop on the main thread, where its models must be moved.
    ``networks`` are the names that the module of its LoRAs may have. ``takes_back`` is the function of ``sd_models``
    that puts the base model on the GPU again after a training; without one the WebUI does that by itself. ``tokenizer``
    is the folder below its own where it has CLIP's tokenizer, if it ships one. ``sends_away`` is the option and its
    value with which it lets the server of somebody else draw.
    """

    name: str
    modules: tuple[str, ...]
    function: str = ""
    version: str = ""
    main_loop: str | None = None
    controls: ControlLists
    networks: tuple[str, ...]
    vae: VaeChoice
    takes_back: str | None
    tokenizer: Path | None = None
    sends_away: tuple[str, str] | None = None


_EXTENSION = ("internal_controlnet.external_code", "scripts.external_code")
_LIBRARY = ControlLists(
    modules=("lib_controlnet.global_state",),
    models="get_all_controlnet_names",
    preprocessors="get_sorted_preprocessors",
    words=("lib_controlnet.external_code",),
)
_ONE_VAE = VaeChoice(option="sd_vae", module="modules.sd_vae", table="vae_dict")
_FILES = VaeChoice(option="forge_additional_modules", module="modules_forge.main_entry", table="module_list", many=True)
_LORA = ("networks", "extensions_builtin.Lora.networks")
_FORGE_LORA = ("networks", "extensions_builtin.sd_forge_lora.networks")

DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        name="Forge Neo",
        modules=("modules_forge",),
        function="forge_model_reload",
        version="neo",
        main_loop="modules_forge.main_thread",
        controls=_LIBRARY,
        networks=_FORGE_LORA,
        vae=_FILES,
        takes_back=None,
        tokenizer=tokenizers.OF_FORGE,
        sends_away=("forge_model_mode", "api"),
    ),
    Dialect(
        name="Forge",
        modules=("modules_forge",),
        function="forge_model_reload",
        main_loop="modules_forge.main_thread",
        controls=_LIBRARY,
        networks=_FORGE_LORA,
        vae=_FILES,
        takes_back=None,
        tokenizer=tokenizers.OF_FORGE,
    ),
    Dialect(
        name="reForge",
        modules=("modules_forge",),
        main_loop="modules_forge.main_thread",
        controls=_LIBRARY,
        networks=_LORA,
        vae=_ONE_VAE,
        takes_back="load_model_to_device",
        tokenizer=tokenizers.OF_REFORGE,
    ),
    Dialect(
        name="AUTOMATIC1111",
        modules=(),
        controls=ControlLists(modules=_EXTENSION, models="get_models", preprocessors="get_modules", words=_EXTENSION),
        networks=_LORA,
        vae=_ONE_VAE,
        takes_back="send_model_to_device",
    ),
)
"""The rows, of which the first that fits counts. The last one fits every WebUI."""
