"""The recipe of a portrait: everything that made it. It is written into the PNG and read back to make the portrait
again.

There are two text chunks: ``parameters``, in the WebUI's infotext convention, so that its PNG Info tab understands the
picture, and ``easyphoto``, a JSON object with everything (see :func:`build`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import easyphoto
from easyphoto import families, filenames, pictures
from easyphoto.config import PortraitConfig, declared, from_mapping, unlike_defaults
from easyphoto.errors import InvalidRequest, StorageFailed
from easyphoto.families.spec import FACE_PASSES, Pass
from easyphoto.inference import plan
from easyphoto.inference.task import LoadedTemplate, PortraitTask, hash_image, names
from easyphoto.likeness import clipped, cosine_words, words
from easyphoto.measures.likeness_panel import LikenessPanel
from easyphoto.messages import Message
from easyphoto.ports import AdapterHost, Checkpoint, Host, Likeness, LoraRef, Portrait, Vision
from easyphoto.storage import files

CHUNK = "easyphoto"
FORMAT = 1
NOBODY = "none"
WHO_BYTES = 96
"""The names of people take at most so many bytes of a portrait's file name. With the date, the seed and a number it is
then still short enough for every file system."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Recipe:
    """A recipe that was read. ``template_name`` is empty and ``template_sha256`` None for a portrait made from text;
    ``chosen`` names the fields of ``config`` that the user gave a value to."""

    config: PortraitConfig
    user_ids: tuple[str, ...]
    seed: int
    template_name: str
    template_sha256: str | None
    data: Mapping[str, Any]
    chosen: frozenset[str] = frozenset()

    @property
    def from_text(self) -> bool:
        return self.template_sha256 is None

    def find_template(self, places: Iterable[Path]) -> Path | None:
        """The template's file, known by its SHA-256, among ``places``: files, or folders whose files are looked at."""
        for place in places:
            for path in sorted(place.iterdir()) if place.is_dir() else [place]:
                if path.is_file() and hash_file(path) == self.template_sha256:
                    return path
        return None

    def check_template(self, path: Path) -> None:
        """Raise :class:`InvalidRequest` when ``path`` is not the template that the recipe was made with."""
        if not path.is_file():
            raise InvalidRequest(
                "{path} does not exist: the recipe needs its template {template_name}.",
                path=path.name,
                template_name=self.template_name,
            )
        if hash_file(path) != self.template_sha256:
            raise InvalidRequest(
                "{path} is not the picture that the recipe was made with ({template_name}).",
                path=path.name,
                template_name=self.template_name,
            )

    def differences(self, now: Mapping[str, Any]) -> list[str]:
        """One sentence for each thing that differs from the recipe ``now`` of the portrait that was just made."""
        pairs = [
            ("The program's version", self.data.get(CHUNK), now.get(CHUNK)),
            ("The base model", _hash_of(self.data, "checkpoint"), _hash_of(now, "checkpoint")),
            ("The LoRAs", _hashes_of(self.data, "loras"), _hashes_of(now, "loras")),
            ("The people's pictures", _pictures_of(self.data), _pictures_of(now)),
            ("The template", _hash_of(self.data, "template"), _hash_of(now, "template")),
            ("The adapters", self.data.get("adapters") or now.get("adapters"), now.get("adapters")),
            ("The host", self.data.get("host"), now.get("host")),
            ("The vision backends", self.data.get("vision"), now.get("vision")),
        ]
        return [Message("{what} differs from the recipe's.", what=what) for what, was, is_now in pairs if was != is_now]


def build(
    task: PortraitTask,
    template: LoadedTemplate,
    index: int,
    seed: int,
    likeness: Sequence[Likeness | None],
    host: Host,
    vision: Vision,
) -> dict[str, Any]:
    """The recipe as plain JSON data. Its ``config`` makes this one portrait again: it has the portrait's own seed and
    asks for one portrait. Pictures and files stand in it by name and SHA-256, never by path."""
    shown = next((person.shown for person in task.subjects if person.shown is not None), None)
    return {
        **outline(task, template, index, seed, likeness),
        "checkpoint": _checkpoint(task.checkpoint),
        "loras": [_lora(ref) for ref in _loras(task)],
        "people": [
            {"user_id": p.user_id, "reference": hash_image(p.reference), "face_id": hash_image(p.face_id)}
            for p in task.subjects
        ],
        "pose": None if task.pose_template is None else hash_image(task.pose_template),
        **({} if shown is None else {"identity": hash_image(shown)}),
        **_adapters(task, host),
        "host": _plain(host.describe()),
        "vision": dict(vision.backends()),
    }


def outline(
    task: PortraitTask, template: LoadedTemplate, index: int, seed: int, likeness: Sequence[Likeness | None]
) -> dict[str, Any]:
    """The part of a recipe for which neither the host nor vision is asked and no file is read."""
    config = replace(task.config, seed=seed, batch_size=1, best_of=1, sd_model_checkpoint=task.checkpoint.name)
    drawn = not task.templates
    return {
        "format": FORMAT,
        CHUNK: easyphoto.__version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seed": seed,
        "config": {d.name: getattr(config, d.name) for d in declared(PortraitConfig)},
        "chosen": sorted(unlike_defaults(task.config) if task.chosen is None else task.chosen),
        "user_ids": names(task.people),
        "checkpoint": {"name": task.checkpoint.name, "family": task.checkpoint.family.value, "sha256": ""},
        "loras": [],
        "people": [],
        "template": None if drawn else {"index": index, "name": template.name, "sha256": template.sha256},
        "pose": None,
        "size": [int(template.image.shape[1]), int(template.image.shape[0])],
        "host": {},
        "vision": {},
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__},
        "likeness": [None if one is None else {**asdict(one), "score": clipped(one.score)} for one in likeness],
        **({"alone": True} if _ways(task) == {True} else {}),
        **({"job": task.job, "index": index} if task.job else {}),
        **({"origin": task.origin} if task.origin else {}),
    }


def with_panels(recipe: Mapping[str, Any], panels: Sequence[LikenessPanel | None]) -> dict[str, Any]:
    """A recipe whose entries under ``likeness`` also carry what both embedders tell of each face."""
    faces = zip(recipe["likeness"], panels, strict=True)
    told = [one if one is None or panel is None else {**one, **panel.to_mapping()} for one, panel in faces]
    return {**recipe, "likeness": told}


def infotext(data: Mapping[str, Any]) -> str:
    """The recipe in the WebUI's convention: the prompt, the negative prompt, and a line with the first pass's
    parameters."""
    config = from_mapping(PortraitConfig, data["config"])
    family = families.named(data["checkpoint"]["family"])
    alone = bool(data.get("alone", plan.without_lora(config)))
    row = plan.row(Pass.FIRST, family, config, _chosen(data, config), alone=alone)
    tags = "".join(f" <lora:{one['name']}:{one['weight']:g}>" for one in data["loras"])
    found = [one for one in data["likeness"] if one]
    values: dict[str, Any] = {
        "Steps": row.steps,
        "Sampler": row.sampler,
        "CFG scale": f"{row.cfg_scale:g}",
        "Seed": data["seed"],
        "Size": "x".join(str(side) for side in data["size"]),
        "Model hash": data["checkpoint"]["sha256"][:10],
        "Model": data["checkpoint"]["name"],
        "Denoising strength": f"{row.strength:g}",
        "Mask blur": row.mask_blur,
        "EasyPhoto people": ", ".join(data["user_ids"]),
        "EasyPhoto likeness": ", ".join(_likeness(one) for one in found),
        "Lora hashes": ", ".join(f"{one['name']}: {one['sha256'][:12]}" for one in data["loras"]),
        "Version": f"EasyPhoto {data[CHUNK]}",
    }
    line = ", ".join(f"{key}: {_quoted(str(value))}" for key, value in values.items() if str(value))
    prompt = plan.prompt(family, config, alone=alone) + tags
    return f"{prompt}\nNegative prompt: {plan.negative_prompt(family, config)}\n{line}"


def _ways(task: PortraitTask) -> set[bool]:
    """Whether people are shown without a LoRA: the answers that there are."""
    without = plan.without_lora(task.config)
    return {one.untrained or without for one in task.subjects}


def _chosen(data: Mapping[str, Any], config: PortraitConfig) -> frozenset[str]:
    """What the user chose of ``config``; recipes of earlier versions don't say, so what isn't the default."""
    return frozenset(data["chosen"]) if "chosen" in data else unlike_defaults(config)


def _likeness(one: Mapping[str, Any]) -> str:
    """The likeness that stands under the portrait, and the cosine from which it comes."""
    return f"{words(one['score'])} (cosine {cosine_words(one['cosine'])}, {one['embedder']})"


def save(portrait: Portrait, folder: Path) -> Path:
    """Write the portrait with its recipe into ``folder``, under a name that no other file has. Where the file system
    doesn't take the names of the people, the name of the file does without them. Raises :class:`StorageFailed` when
    that can't be written either."""
    stem, text = datetime.now().strftime("%Y%m%d-%H%M%S"), _chunks(portrait.recipe)
    try:
        return _saved(portrait, folder / f"{stem}-{_who(portrait.recipe)}-{portrait.seed}.png", text)
    except (StorageFailed, OSError, ValueError):
        return _saved(portrait, folder / f"{stem}-portrait-{portrait.seed}.png", text)


def _saved(portrait: Portrait, wanted: Path, text: Mapping[str, str]) -> Path:
    """Write beside ``wanted`` first: another lane or machine may save a portrait of that name in the same second."""
    part = wanted.with_name(f".{uuid.uuid4().hex[:8]}-{wanted.stem}{files.PART}")
    try:
        pictures.save_png(part, portrait.image, text, alpha=portrait.alpha)
        return files.put_new(part, wanted)
    except StorageFailed as error:
        raise files.not_written(wanted, error.__cause__) if isinstance(error.__cause__, OSError) else error from error
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise files.not_written(wanted, error) from error


def _who(recipe: Mapping[str, Any]) -> str:
    """The people of a portrait as a part of its file name: one or two names, or the first name and how many more."""
    ids = [name for name in recipe.get("user_ids", ()) if name != NOBODY]
    if len(ids) == 2:
        return "+".join(filenames.safe(name, WHO_BYTES // 2, "portrait") for name in ids)
    more = f"+{len(ids) - 1}" if len(ids) > 2 else ""
    return filenames.safe(ids[0] if ids else "", WHO_BYTES - len(more), "portrait") + more


def _chunks(recipe: Mapping[str, Any]) -> dict[str, str]:
    """The recipe as text chunks of a PNG. Where no infotext can be made the chunk is left out: the picture counts
    more."""
    text = {CHUNK: json.dumps(recipe, ensure_ascii=False, sort_keys=True, default=str)}
    try:
        return {"parameters": infotext(recipe), **text}
    except (KeyError, TypeError, ValueError, InvalidRequest):
        log.warning("no infotext can be made of a recipe", exc_info=True)
        return text


def read(path: Path) -> Recipe:
    """The recipe of a portrait. Raises :class:`InvalidRequest` when the file holds no recipe, or one that can't be
    used."""
    chunks = pictures.read_text(path)
    if CHUNK not in chunks:
        raise InvalidRequest("{path} holds no EasyPhoto recipe: was it saved again by another program?", path=path.name)
    try:
        data = json.loads(chunks[CHUNK])
        if data["format"] > FORMAT:
            raise InvalidRequest(
                "The recipe of {path} was written by a newer EasyPhoto ({data}).", path=path.name, data=data[CHUNK]
            )
        template = data["template"] or {"name": "", "sha256": None}
        config = from_mapping(PortraitConfig, data["config"])
        return Recipe(
            config=config,
            user_ids=tuple(data["user_ids"]),
            seed=data["seed"],
            template_name=template["name"],
            template_sha256=template["sha256"],
            data=data,
            chosen=_chosen(data, config),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest("The recipe of {path} is damaged ({error}).", path=path.name, error=error) from error


def hash_path(path: Path) -> str:
    """The SHA-256 of a file, or of the names and contents of the weights in a folder. Empty when nothing can be
    read."""
    try:
        return _hash_path(path)
    except OSError:
        log.warning("%s can't be read", path, exc_info=True)
        return ""


def _hash_path(path: Path) -> str:
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(path.rglob("*.safetensors")):
            digest.update(f"{file.relative_to(path).as_posix()}:{hash_file(file)}\n".encode())
        return digest.hexdigest()
    return hash_file(path) if path.is_file() else ""


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's content."""
    stat = path.stat()
    return _hash(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash(path: Path, size: int, changed: int) -> str:
    """The SHA-256, which is remembered for as long as the file's size and time stay: a checkpoint has gigabytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _checkpoint(checkpoint: Checkpoint) -> dict[str, str]:
    return {"name": checkpoint.name, "family": checkpoint.family.value, "sha256": hash_path(checkpoint.path)}


def _loras(task: PortraitTask) -> list[LoraRef]:
    scene = None if task.templates else task.scene
    people = [ref for one in task.subjects for ref in plan.own_loras(one.lora, one.reward, task.config)]
    style = plan.style_loras(task.checkpoint.family, task.config, task.lora_folder, film_look=not task.commercial_only)
    return loras(people, scene, style)


def loras(people: Sequence[LoraRef], scene: Path | None, style: Sequence[LoraRef]) -> list[LoraRef]:
    """The LoRAs of a portrait, in the order in which its recipe names them: those of the ``people`` who sit, that of
    the ``scene`` of a picture from text, and those of ``style`` (see :func:`plan.style_loras`)."""
    return [*people, *([] if scene is None else [LoraRef(scene, plan.SCENE_WEIGHT)]), *style]


def _adapters(task: PortraitTask, host: Host) -> dict[str, Any]:
    """The adapters of a portrait with the files that serve them, where the host can tell; nothing without an
    adapter."""
    family, config = task.checkpoint.family, task.config
    if not isinstance(host, AdapterHost) or config.fusion_only:
        return {}
    rows = [
        row
        for alone in sorted(_ways(task))
        for which in FACE_PASSES
        for row in plan.row(which, family, config, task.chosen, alone=alone).identities
    ]
    found = {kind: host.adapter_files(family, kind) for kind in dict.fromkeys(row.kind for row in rows)}
    told = [
        {"kind": kind.value, "files": [_adapter_file(file) for file in files]} for kind, files in found.items() if files
    ]
    return {"adapters": told} if told else {}


def _adapter_file(file: Path | str) -> dict[str, str]:
    if isinstance(file, Path):
        return {"name": file.name, "sha256": hash_path(file)}
    return {"name": file, "sha256": ""}


def _lora(ref: LoraRef) -> dict[str, Any]:
    return {"name": ref.name, "weight": ref.weight, "sha256": hash_path(ref.path)}


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(data), default=str))
    return plain


def _hash_of(data: Mapping[str, Any], what: str) -> str:
    return str((data.get(what) or {}).get("sha256", ""))


def _hashes_of(data: Mapping[str, Any], what: str) -> list[tuple[str, float]]:
    return [(one["sha256"], one["weight"]) for one in data.get(what) or []]


def _pictures_of(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(one["reference"], one["face_id"]) for one in data.get("people") or []]


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(c in value for c in ',:\n"') else value
