"""Which model files lie in the program's folders, and by which names they are called."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from easyphoto import checkpoint
from easyphoto.config import Family, Paths
from easyphoto.errors import AssetMissing, EasyPhotoError, InvalidRequest, NotFound
from easyphoto.ports import Checkpoint, ControlRole

log = logging.getLogger(__name__)

BENCH_NAME = "bench"

CONTROLNETS: Mapping[Family, Mapping[ControlRole, tuple[str, ...]]] = {
    Family.SD1: {
        ControlRole.CANNY: ("control_v11p_sd15_canny", "control_sd15_canny"),
        ControlRole.OPENPOSE: ("control_v11p_sd15_openpose", "control_sd15_openpose"),
        ControlRole.COLOR: ("control_sd15_random_color",),
        ControlRole.TILE: ("control_v11f1e_sd15_tile",),
    },
    Family.SD2: {
        ControlRole.CANNY: ("control_v11p_sd21_canny", "control_sd21_canny"),
        ControlRole.OPENPOSE: ("control_v11p_sd21_openposev2", "control_v11p_sd21_openpose", "control_sd21_openpose"),
        ControlRole.COLOR: ("control_v11p_sd21_color",),
    },
    Family.SDXL: {
        ControlRole.CANNY: ("diffusers_xl_canny_full", "diffusers_xl_canny_mid", "diffusers_xl_canny_small"),
        ControlRole.OPENPOSE: ("thibaud_xl_openpose", "openposexl2"),
        ControlRole.TILE: ("ttplanetsdxlcontrolnet_tile",),
    },
}
"""File names under which ControlNets are published, without their ending, the best first."""

_MODEL_ENDINGS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


def checkpoints(paths: Paths) -> list[Checkpoint]:
    """The checkpoints that can be loaded: the one that ships with the project, then the user's by name.

    A file that is broken or no checkpoint is left out, with a line in the log.
    """
    found = []
    for name, path in _checkpoint_files(paths):
        try:
            info = checkpoint.inspect(path)
        except EasyPhotoError as error:
            log.info("left out: %s", error)
            continue
        if info.kind == "checkpoint":
            found.append(Checkpoint(name, path, info.family))
    return found


def find_checkpoint(paths: Paths, name: str | None) -> Checkpoint:
    """The checkpoint called ``name`` (with or without its ending), or the default one for None and "".

    A broken file is an :class:`InvalidRequest` with what is wrong with it, not "there is no such".
    """
    if not name:
        available = checkpoints(paths)
        if not available:
            folder = paths.models / "Stable-diffusion"
            raise AssetMissing(f"There is no checkpoint: put one into {folder}, or restore {paths.bench}.")
        return available[0]
    for called, path in _checkpoint_files(paths):
        if _plain(name) in {called, path.name, _plain(called), _plain(path.name), str(path), _plain(str(path))}:
            info = checkpoint.inspect(path)
            if info.kind != "checkpoint":
                raise InvalidRequest(f"{called} is a {info.kind}, not a checkpoint.")
            return Checkpoint(called, path, info.family)
    for path in _models(paths.models / "Stable-diffusion"):
        if name in (path.name, path.stem) and path.is_file():
            raise InvalidRequest(f"{path.name} is a pickle, which may run code when it is opened; use a .safetensors.")
    raise NotFound(f"There is no checkpoint {name!r}.")


def controlnet(paths: Paths, family: Family, role: ControlRole) -> Path | None:
    """The file or folder of the ControlNet that serves ``role`` for ``family``; None where there is none."""
    if family is Family.BENCH:
        folder = paths.bench / "controlnet" / role.value
        return folder if (folder / "config.json").is_file() else None
    for published in CONTROLNETS[family].get(role, ()):
        for path in _models(paths.models / "ControlNet"):
            if _called(path, published):
                return path
    return None


def find_vae(paths: Paths, name: str | None) -> Path | None:
    """The VAE called ``name``; None for None, "" and a WebUI's "Automatic" and "None": the checkpoint's own."""
    if name in (None, "", "Automatic", "None"):
        return None
    return _named(paths.models / "VAE", str(name), "VAE")


def find_lora(paths: Paths, name: str) -> Path:
    """The LoRA called ``name``; :class:`AssetMissing` when there is none, for a picture made without it would lie."""
    return _named(paths.loras, name, "LoRA")


def stamp(path: Path) -> tuple[Path, float]:
    """What tells one state of a file or folder from another: path and time of the last change of any file in it."""
    if path.is_dir():
        return path, max((f.stat().st_mtime for f in path.rglob("*") if f.is_file()), default=0.0)
    return path, path.stat().st_mtime


def _checkpoint_files(paths: Paths) -> Iterator[tuple[str, Path]]:
    if (paths.bench / "model_index.json").is_file():
        yield BENCH_NAME, paths.bench
    root = paths.models / "Stable-diffusion"
    for path in _models(root):
        if path.is_dir() or path.suffix == ".safetensors":
            yield path.relative_to(root).as_posix(), path


def _models(root: Path, above: tuple[Path, ...] = ()) -> Iterable[Path]:
    """Model files and diffusers folders anywhere under ``root``, by name; what lies inside a folder model is its.

    Links are followed, but not to a folder that they lie in; a folder that can't be read is passed over.
    """
    real = root.resolve()
    if not root.is_dir() or real in above:
        return
    try:
        content = sorted(root.iterdir(), key=lambda p: p.name.lower())
    except OSError as error:
        log.info("left out: %s", error)
        return
    for path in content:
        if path.is_dir():
            if (path / "model_index.json").is_file() or (path / "config.json").is_file():
                yield path
            else:
                yield from _models(path, (*above, real))
        elif path.suffix.lower() in _MODEL_ENDINGS:
            yield path


def _called(path: Path, published: str) -> bool:
    """Whether a file goes by a published name, maybe with what mirrors add to it (``_fp16``, a hash in brackets).

    ``_256lora`` and the like name Control-LoRAs, which are only the difference to a checkpoint's own UNet.
    """
    stem = _plain(path.name).lower()
    more = stem[len(published) :]
    return stem.startswith(published) and (not more or more[0] in "_-.[ ") and "lora" not in more


def _plain(name: str) -> str:
    """A model's name without the hash in brackets that WebUIs append and without a model file's ending."""
    name = re.sub(r"\s+\[[0-9a-f]+\]$", "", name)
    ending = next((e for e in _MODEL_ENDINGS if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)] if ending else name


def _named(root: Path, name: str, what: str) -> Path:
    """The model under ``root`` of that name; one that differs in case only is second best."""
    files = list(_models(root))
    wanted = _plain(name)
    exact = [p for p in files if _plain(p.name) == wanted]
    alike = [p for p in files if _plain(p.name).lower() == wanted.lower()]
    for path in (*exact, *alike):
        return path
    raise AssetMissing(f"There is no {what} named {name}: put its file into {root}.")
