"""Every portrait of a table by itself: its request, a key by which it is known again, and its file's name.

The key is a hash of all that decides what a portrait shows: its parameters and seed, the bytes of its template, of the
LoRAs and of the base model. It is computed here of what is asked for, and of the recipe in a file of what is there, so
that nothing else has to be remembered about what a batch has made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from easyphoto import filenames, pictures
from easyphoto.batch.given import GivenTemplate
from easyphoto.batch.rows import AskedRow, output_names
from easyphoto.config import PortraitConfig, auto_name, declared
from easyphoto.errors import EasyPhotoError, InvalidRequest
from easyphoto.pictures import Source
from easyphoto.ports import Checkpoint, LoraRef
from easyphoto.service import NOBODY, EasyPhoto, PortraitRequest
from easyphoto.storage.batch_reports import BETWEEN

SEEDS = 2**32
SHORT = 10
"""Characters of a key that stand in a file's name."""
_WHO, _WHERE = 40, 40
"""Bytes of the people's and the template's names in a file's name."""
_NOT_IN_KEY = frozenset({"sd_model_checkpoint", "batch_size"})
"""The base model counts by its bytes, and every portrait is one."""
_GIVES_WAY = frozenset({"first_diffusion_steps", "second_diffusion_steps", "first_denoising_strength"})
"""What LCM replaces unless the user gave a value to it."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One portrait of a row: the ``name`` of its file without the ending, its ``key``, and what is asked for it."""

    line: int
    name: str
    key: str
    request: PortraitRequest
    template: str
    checkpoint: Checkpoint

    @property
    def steps(self) -> float:
        """About how many steps the portrait takes."""
        from easyphoto import families
        from easyphoto.families.spec import Pass
        from easyphoto.inference import plan

        config, faces = self.request.config, sum(name != NOBODY for name in self.request.user_ids)
        rows = [plan.row(which, self.checkpoint.family, config) for which in (Pass.FIRST, Pass.SECOND)]
        floor = 2 if config.measure_floor else 1
        tries = plan.tries(config, plan.searched(families.spec(self.checkpoint.family), config))
        return max(1.0, faces * sum(row.cost for row in rows)) * tries * floor

    @property
    def people(self) -> str:
        """Who is on it, as a table says it."""
        return BETWEEN.join(self.request.user_ids)

    @property
    def seed(self) -> int:
        return self.request.config.seed


def pieces(rows: Iterable[AskedRow], service: EasyPhoto) -> Iterator[Piece]:
    """The portraits of the rows, in their order. Templates, LoRAs and base models are read to be hashed, each once."""
    hashes = _Hashes(service)
    for row in rows:
        yield from _of_row(row, hashes)


def each_row(rows: Iterable[AskedRow], service: EasyPhoto) -> Iterator[tuple[AskedRow, list[Piece] | EasyPhotoError]]:
    """The same row by row, and for a row whose files can't be read any more the reason."""
    hashes = _Hashes(service)
    for row in rows:
        try:
            yield row, list(_of_row(row, hashes))
        except EasyPhotoError as error:
            yield row, error
        except OSError as error:
            yield row, InvalidRequest("What this row needs can't be read: {reason}.", reason=error.strerror or error)


def _of_row(row: AskedRow, hashes: _Hashes) -> Iterator[Piece]:
    named = iter(output_names(row))
    for template in row.templates or (None,):
        config = row.accepted.prompted(row.config, row.request())
        sha256 = None if template is None else hashes.source(template.source)
        pose = None if row.pose is None else hashes.pose(row.pose)
        about = {"people": list(row.user_ids), "template": sha256, "pose": pose}
        seed = config.seed if config.seed >= 0 else _seed_of(config, about)
        for i in range(config.batch_size):
            once = replace(config, seed=(seed + i) % SEEDS, batch_size=1)
            whole = {**about, **hashes.models(row, once)}
            key = _key(_values(once), row.chosen, whole)
            sources = () if template is None else (template.source,)
            alone = replace(row.config, seed=once.seed, batch_size=1)
            asked = PortraitRequest(row.user_ids, sources, alone, row.pose, chosen=row.chosen)
            called = "" if template is None else template.name
            yield Piece(
                row.line, next(named, None) or _name(row, template, key), key, asked, called, row.accepted.checkpoint
            )


def key_of(recipe: Mapping[str, Any]) -> str | None:
    """The key of a portrait that is there, from the recipe in its file; None where the recipe doesn't say enough.
    Parameters that are newer than the recipe have their defaults."""
    try:
        known = {d.name: d.default for d in declared(PortraitConfig)}
        config = {name: value for name, value in {**known, **recipe["config"]}.items() if name in known}
        if several := recipe.get("best_of"):
            config |= {"seed": several["seed"], "best_of": several["count"]}
            config |= {auto_name(name): True for name in several.get("searched", ())}
        template, checkpoint = recipe["template"], recipe["checkpoint"]
        about = {
            "people": list(recipe["user_ids"]),
            "template": None if template is None else template["sha256"],
            "pose": recipe["pose"],
            "checkpoint": checkpoint["sha256"] or checkpoint["name"],
            "loras": [[one["sha256"], float(one["weight"])] for one in recipe["loras"]],
        }
        return _key(config, frozenset(recipe.get("chosen", ())), about)
    except (KeyError, TypeError, ValueError):
        return None


def _values(config: PortraitConfig) -> dict[str, Any]:
    return {d.name: getattr(config, d.name) for d in declared(PortraitConfig)}


def _key(config: Mapping[str, Any], chosen: frozenset[str], about: Mapping[str, Any]) -> str:
    searched = {d.name for d in declared(PortraitConfig) if d.param.tried and config[auto_name(d.name)]}
    counted = {n: v for n, v in config.items() if n not in _NOT_IN_KEY | searched}
    if searched:  # which weight was found can't be known before
        about = {**about, "loras": [sha256 for sha256, _ in about["loras"]]}
    return _digest(
        {"config": counted, "chosen": sorted(chosen & _GIVES_WAY) if config["lcm_accelerate"] else [], **about}
    )


def _seed_of(config: PortraitConfig, about: Mapping[str, Any]) -> int:
    """The seed of a row that names none: drawn from what is asked for, so that the same row gives the same portrait
    again, after a restart and on any machine. LoRAs don't count: a person who is trained anew keeps it."""
    drawn = int(_digest({"config": {n: v for n, v in _values(config).items() if n != "seed"}, **about})[:8], 16)
    return drawn % (SEEDS - config.batch_size)


def _digest(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _name(row: AskedRow, template: GivenTemplate | None, key: str) -> str:
    """What a portrait is called that nobody named: who, on what, and the beginning of its key."""
    people = "+".join(name for name in row.user_ids if name != NOBODY)
    who = filenames.safe(people, _WHO, "portrait")
    where = filenames.safe("text" if template is None else template.name, _WHERE, "template")
    return f"{who}-{where}-{key[:SHORT]}"


class _Hashes:
    """What the keys of one table need to know of files, each file read once."""

    def __init__(self, service: EasyPhoto) -> None:
        self._service = service
        self._sources: dict[Source, str] = {}
        self._poses: dict[Source, str] = {}
        self._files: dict[Path, str] = {}
        self._styles: dict[tuple[str, bool], Sequence[LoraRef]] = {}

    def source(self, source: Source) -> str:
        """SHA-256 of a template's bytes, as its recipe has it."""
        if source not in self._sources:
            data = source if isinstance(source, bytes) else source.read_bytes()
            self._sources[source] = hashlib.sha256(data).hexdigest()
        return self._sources[source]

    def pose(self, source: Source) -> str:
        from easyphoto.inference.task import hash_image

        if source not in self._poses:
            self._poses[source] = hash_image(pictures.load(source))
        return self._poses[source]

    def models(self, row: AskedRow, config: PortraitConfig) -> dict[str, Any]:
        """The base model and the LoRAs of a row's portraits, as their recipes have them."""
        from easyphoto import families
        from easyphoto.inference import plan, recipe

        grids = plan.searched(families.spec(row.accepted.checkpoint.family), config)
        first: dict[str, Any] = {name: values[0] for name, values in grids.items()}
        config = replace(config, **first)
        there = [person for person in row.accepted.people if person is not None and person.trained]
        people = [ref for one in there for ref in plan.own_loras(one.lora, one.reward, config)]
        scene = None if row.templates or row.accepted.scene is None else row.accepted.scene.lora
        loras = recipe.loras(people, scene, self._style(row, config))
        return {
            "checkpoint": self._file(row.accepted.checkpoint.path) or row.accepted.checkpoint.name,
            "loras": [[self._file(ref.path), float(ref.weight)] for ref in loras],
        }

    def _style(self, row: AskedRow, config: PortraitConfig) -> Sequence[LoraRef]:
        from easyphoto.inference import plan

        family = row.accepted.checkpoint.family
        asked = (family, config.lcm_accelerate)
        if asked not in self._styles:
            film_look = not self._service.preferences().commercial_only
            self._styles[asked] = plan.style_loras(family, config, self._service.paths.loras, film_look=film_look)
        return self._styles[asked]

    def _file(self, path: Path) -> str:
        from easyphoto.inference.recipe import hash_path

        if path not in self._files:
            self._files[path] = hash_path(path)
        return self._files[path]
