"""Lists the model files that lie in the program's folders, and finds them by the names that users give them."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from easyphoto import checkpoint, families, naming
from easyphoto.config import Family, Paths
from easyphoto.errors import AssetMissing, EasyPhotoError, InvalidRequest, NotFound
from easyphoto.families.spec import ControlModel
from easyphoto.messages import Message, joined
from easyphoto.ports import BrokenModel, Checkpoint, ControlRole, IdentityKind
from easyphoto.storage import listing
from easyphoto.vision import annotate

log = logging.getLogger(__name__)

BENCH_NAME = "bench"

DRAWN = frozenset({*annotate.MAPS, ControlRole.OPENPOSE})
"""The controls whose maps this host draws."""

SERVED = frozenset({IdentityKind.IP_ADAPTER_FACE, IdentityKind.FACE_ID, IdentityKind.INSTANTID})
"""The kinds of identity that this host serves from files of the user's."""
SHIPPED_ADAPTER = "ip-adapter-faceid_bench.safetensors"

IMAGE_ENCODER = "image_encoder"
"""The folder of CLIP's image encoder (ViT-H) in the models folder, as transformers saves it and as IP-Adapter's own
repository has it."""
IMAGE_ENCODERS = "clip_vision"
"""The folder in which its weights alone may lie, in one file of these names:"""
IMAGE_ENCODER_FILES = ("CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", "CLIP-ViT-H-14.safetensors", "clip_h.pth")
CHECKPOINTS, VAES, CONTROLNET_MODELS = "Stable-diffusion", "VAE", "ControlNet"
"""The names of the folders of models, which lie in the models folder."""


def checkpoints(paths: Paths) -> list[Checkpoint]:
    """The checkpoints that can be loaded: first the one that ships with the project, then the user's in the order of
    their names."""
    return [found for found in map(_judged, _among_checkpoints(paths)) if isinstance(found, Checkpoint)]


def broken_checkpoints(paths: Paths) -> list[BrokenModel]:
    """The files that lie among the checkpoints and can't be loaded, each with the reason."""
    return [found for found in map(_judged, _among_checkpoints(paths)) if isinstance(found, BrokenModel)]


def find_checkpoint(paths: Paths, name: str | None) -> Checkpoint:
    """The checkpoint that ``name`` means (:mod:`easyphoto.naming` says how), or the default one for None and "".

    Where the name means a broken file, the :class:`InvalidRequest` says what is wrong with that file, and not that
    there is none.
    """
    known = _among_checkpoints(paths)
    if not name:
        return _default(known)
    path = naming.find(name, known, "checkpoint")
    if path is None:
        raise NotFound(
            "There is no checkpoint {name!r}.{did_you_mean}",
            name=name,
            did_you_mean=naming.did_you_mean(name, [e.name for e in known]),
        )
    found = _judged(next(entry for entry in known if entry.value is path))
    if isinstance(found, BrokenModel):
        raise InvalidRequest(found.reason)
    return found


def _default(known: Sequence[naming.Named[Path]]) -> Checkpoint:
    reasons = []
    for entry in known:
        found = _judged(entry)
        if isinstance(found, Checkpoint):
            return found
        reasons.append(found.reason)
    unusable = Message(" These can't be used: {reasons}", reasons=joined(reasons, " ")) if reasons else ""
    raise AssetMissing(
        "There is no checkpoint: put one into models/{checkpoints}, or restore the folder models/bench.{unusable}",
        checkpoints=CHECKPOINTS,
        unusable=unusable,
    )


def controlnet(paths: Paths, family: Family, role: ControlRole) -> Path | None:
    """The file or the folder of the ControlNet that serves ``role`` for ``family``, or None where there is none."""
    spec = families.spec(family)
    if spec.shipped:
        folder = paths.bench / "controlnet" / role.value
        return folder if (folder / "config.json").is_file() else None
    if role not in DRAWN:
        return None
    for published in (name for model in spec.control_models.get(role, ()) for name in model.names):
        fitting = [e.value for e in naming.listed(paths.models / CONTROLNET_MODELS) if called(e.value, published)]
        if fitting:
            # Many users have the same weights under more than one name; a broken copy must not hide a whole one.
            return next((path for path in fitting if _sound(path)), fitting[0])
    return None


def adapter(paths: Paths, family: Family, kind: IdentityKind) -> Path | None:
    """The file of the adapter that serves ``kind`` for ``family``, or None where there is none. An IP-Adapter that is
    shown nothing but pictures is there only together with the :func:`image_encoder`, and InstantID with its
    :func:`placing_net`."""
    spec = families.spec(family)
    if spec.shipped:
        shipped = paths.bench / "adapter" / SHIPPED_ADAPTER
        return shipped if kind is spec.adapter and shipped.is_file() else None
    encoder = image_encoder(paths) is not None
    if kind not in SERVED or (kind is IdentityKind.IP_ADAPTER_FACE and not encoder):
        return None
    files = [_files(paths, model) for model in spec.control_models.get(kind, ())]
    if not files or not all(files):
        return None
    # FaceID does without the encoder, and FaceID-plus doesn't.
    return next((path for path in files[0] if encoder or "plus" not in path.name.lower()), files[0][0])


def placing_net(paths: Paths, family: Family, kind: IdentityKind) -> Path | None:
    """The file of the ControlNet by which the adapter of ``kind`` holds a face in its place, or None where there is
    none."""
    models = families.spec(family).control_models.get(kind, ())
    return None if len(models) < 2 else next(iter(_files(paths, models[1])), None)


def _files(paths: Paths, model: ControlModel) -> list[Path]:
    """The files that have a name of ``model``, the best first; those that can't run code come before the others."""
    listed = [entry.value for entry in naming.listed(paths.models / CONTROLNET_MODELS)]
    files = sorted(listed, key=lambda path: path.suffix.lower() in naming.PICKLED)
    return [path for name in model.names for path in files if called(path, name)]


def image_encoder(paths: Paths) -> Path | None:
    """CLIP's image encoder, as a folder or as a file, or None where there is none."""
    folder = paths.models / IMAGE_ENCODER
    if (folder / "config.json").is_file():
        return folder
    files = (paths.models / IMAGE_ENCODERS / name for name in IMAGE_ENCODER_FILES)
    return next((path for path in files if path.is_file()), None)


def find_vae(paths: Paths, name: str | None) -> Path | None:
    """The file of the VAE called ``name``. None, which means the checkpoint's own, for None, "" and the names
    "Automatic" and "None" of WebUIs."""
    if name in (None, "", "Automatic", "None"):
        return None
    return named(paths.models / VAES, str(name), "VAE", f"models/{VAES}")


def find_lora(paths: Paths, name: str) -> Path:
    """The file of the LoRA called ``name``. Raises :class:`AssetMissing` when there is none: a picture that was made
    without it would lie."""
    return named(paths.loras, name, "LoRA", "the LoRA folder")


def stamp(path: Path) -> tuple[Path, float]:
    """What tells one state of a file or a folder from another: its path, and the time of its last change or of that of
    any file in it."""
    if path.is_dir():
        return path, listing.newest(listing.below(path))
    return path, path.stat().st_mtime


def _among_checkpoints(paths: Paths) -> list[naming.Named[Path]]:
    """All files that lie among the checkpoints, whole or not. The one that ships with the project comes first."""
    shipped = (paths.bench / "model_index.json").is_file()
    return [
        *([naming.Named(BENCH_NAME, paths.bench, (str(paths.bench),))] if shipped else []),
        # In WebUIs a VAE may lie beside its checkpoint.
        *(e for e in naming.listed(paths.models / CHECKPOINTS) if ".vae." not in e.value.name.lower()),
    ]


def _judged(entry: naming.Named[Path]) -> Checkpoint | BrokenModel:
    try:
        info = checkpoint.require_checkpoint(entry.value, vae=True)
    except EasyPhotoError as error:
        return BrokenModel(entry.name, error.message)
    return Checkpoint(entry.name, entry.value, info.family)


def _sound(path: Path) -> bool:
    """Whether nothing in the header of a model file or folder speaks against using it. Pickles have no header, so of
    them only the size is looked at."""
    if path.suffix.lower() in naming.PICKLED:
        return path.is_file() and path.stat().st_size > 0
    try:
        checkpoint.inspect(path)
    except EasyPhotoError as error:
        log.info("passed over: %s", error)
        return False
    return True


def called(path: Path, published: str) -> bool:
    """Whether a file has a published name, which is a pattern. Mirrors add something to the names, ``_fp16`` or a hash
    in brackets, which may follow.

    ``_256lora`` and the like stand in the names of Control-LoRAs, which hold only the difference to the UNet of a
    checkpoint and are no ControlNets.
    """
    stem = ControlModel.plain(naming.bare(path.name))
    found = re.match(published, stem)
    more = stem[found.end() :] if found else ""
    return found is not None and (not more or more[0] in "_.[") and "lora" not in more


def named(root: Path, name: str, what: str, place: str) -> Path:
    """The model below ``root`` that ``name`` means. Raises :class:`AssetMissing`, which says into which ``place`` its
    file belongs, where there is no such ``what``."""
    found = naming.find_file(name, root, what)
    if found is None:
        names = [entry.name for entry in naming.listed(root)]
        raise AssetMissing(
            "There is no {what} named {name}: put its file into {place}.{did_you_mean}",
            what=what,
            name=name,
            place=place,
            did_you_mean=naming.did_you_mean(name, names),
        )
    return found
