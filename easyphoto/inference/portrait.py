"""The chain: a template and a person in, a portrait out.

For each face: cut it out, fuse, first pass, colours, fuse, second pass, colours, paste back. Both passes are
:meth:`_Sitting.run` with another row of the plan. After the last face: background, skin, sharpness, likeness.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from easyphoto.config import PortraitConfig
from easyphoto.errors import AssetMissing, Cancelled, EasyPhotoError, NoFace, StorageFailed, reason
from easyphoto.events import Event, Listener, Portrayed, TemplateFailed
from easyphoto.families.spec import Feed, Pass
from easyphoto.inference import finish, gallery, plan, recipe, score, stages, text
from easyphoto.inference.gallery import Gallery
from easyphoto.inference.painter import Meter, Painter, Words
from easyphoto.inference.plan import MaskKind, PassRow
from easyphoto.inference.shelf import Shelf
from easyphoto.inference.sources import Source, Sources, agree, apart
from easyphoto.inference.task import (
    SEEDS,
    PortraitTask,
    Subject,
    Template,
    Unusable,
    check,
    hash_image,
    read,
    with_seed,
)
from easyphoto.messages import Message
from easyphoto.ports import Embedding, Face, FaceParts, Host, Image, Likeness, LoraRef, Mask, Portrait, Vision
from easyphoto.vision import embedder_named, geometry, landmarks, makeup, masks, outline
from easyphoto.vision.pose import pose_in

log = logging.getLogger(__name__)

STAGES = ("template", "fusion", "first", "second", "final")
"""The pictures that every portrait keeps of its way."""


ENDING = (Cancelled, AssetMissing)
"""What ends the whole job. Everything else that one template fails with is that template's alone: our own sentences,
and whatever mathematics and image libraries raise on a picture that they don't expect."""

T = TypeVar("T")


def _silent(event: Event) -> None:
    log.debug("%s", event)


def _never() -> bool:
    return False


def portray(
    task: PortraitTask,
    host: Host,
    vision: Vision,
    listener: Listener = _silent,
    cancelled: Callable[[], bool] = _never,
) -> Iterator[Portrait]:
    """The portraits of ``task``, each as soon as it is done: for every template ``batch_size`` of them, with the seeds
    seed, seed + 1 and so on.

    A template that can't be done, and a portrait that can't be saved, give a :class:`TemplateFailed` event and no
    portrait; the others go on. While the folder can't be written to nothing is rendered. Raises
    :class:`InvalidRequest` when nothing of the task can be done, :class:`AssetMissing` for what concerns every
    template, :class:`Cancelled` within a step after ``cancelled`` says so.
    """
    check(task)
    meter = Meter(listener, cancelled)
    config = with_seed(task.config)
    if task.config.seed < 0:
        meter.notice(Message("The seed drawn is {seed}.", seed=config.seed))
    studio = _Studio(replace(task, config=config), host, vision, meter)
    shelf = Shelf(task.folder)
    for index, template, seed in _orders(studio.task, studio, listener):
        try:
            shelf.check()
            portrait = studio.portrait(index, template, seed)
        except ENDING:
            raise
        except Exception as error:  # noqa: BLE001 - what one template meets, a bug even, is not worth the others' hours
            meter.expect(-studio.cost)
            listener(_failed(index, error))
            continue
        try:
            portrait = shelf.put(portrait)
        except StorageFailed as error:
            listener(_failed(index, error))
            continue
        found = [one for one in portrait.likeness if one is not None]
        path = "" if portrait.path is None else str(portrait.path)
        likeness, embedder = tuple(one.score for one in found), found[0].embedder if found else ""
        listener(Portrayed(template=index, path=path, likeness=likeness, embedder=embedder))
        yield portrait


def _failed(index: int, error: Exception) -> TemplateFailed:
    if isinstance(error, EasyPhotoError):
        log.info("template %d failed: %s", index, error)
        return TemplateFailed(template=index, code=error.code, message=error.message)
    log.error("template %d failed", index, exc_info=error)
    sentence = Message("The picture could not be done: {reason}.", reason=reason(error))
    return TemplateFailed(template=index, code=EasyPhotoError.code, message=sentence)


def _orders(task: PortraitTask, studio: _Studio, listener: Listener) -> Iterator[tuple[int, Template | None, int]]:
    """(index, template, seed) of every portrait to be made; None where the template is still to be drawn."""
    seeds = [(task.config.seed + i) % SEEDS for i in range(task.config.batch_size)]
    studio.meter.expect(studio.cost * max(len(task.templates), 1) * len(seeds))
    if not task.templates:
        yield from ((i, None, seed) for i, seed in enumerate(seeds))
    for index, picture in enumerate(task.templates):
        studio.meter.check()
        try:
            template = read(picture, index)
            studio.faces(template)
        except ENDING:
            raise
        except Exception as error:  # noqa: BLE001 - as in portray: one template's alone
            studio.meter.expect(-studio.cost * len(seeds))
            listener(_failed(index, error))
            continue
        yield from ((index, template, seed) for seed in seeds)


def _preferring(config: PortraitConfig, vision: Vision, meter: Meter) -> Vision:
    """``vision`` with the backends that were asked for; one that can't be had is said once.

    The default is no news: nobody asked for it, and ``doctor`` and the Weights tab name what it lacks.
    """
    wanted = plan.backends(config)
    by_default = plan.backends(PortraitConfig())
    chosen = vision.preferring(wanted)
    serving = chosen.backends()
    for role, name in wanted.items():
        if name not in (serving.get(role, name), by_default.get(role)):
            meter.notice(
                Message(
                    "The {role} {name} is not here, or its licence is not allowed, so {serving} serves: "
                    "the Weights tab and `python -m easyphoto models` say how to get it.",
                    role=Message(role),
                    name=name,
                    serving=serving[role],
                )
            )
    return chosen


@dataclass(frozen=True, eq=False)
class Sitter:
    """A subject with what was found in its pictures."""

    subject: Subject
    sources: Sources
    face_id: Source
    mean: Embedding
    loras: tuple[LoraRef, ...]


@dataclass(frozen=True, eq=False)
class Look:
    """A face in a working picture and its parts."""

    face: Face
    parts: FaceParts


class _Studio:
    """What all portraits of a task share."""

    def __init__(self, task: PortraitTask, host: Host, vision: Vision, meter: Meter) -> None:
        self.task = task
        self.host = host
        self.vision = _preferring(task.config, vision, meter)
        self.meter = meter
        self.config: PortraitConfig = task.config
        self.family = task.checkpoint.family
        self.painter = Painter(host, task.checkpoint, meter)
        self.rows = {which: plan.row(which, self.family, task.config) for which in Pass}
        self._style = plan.style_loras(self.family, task.config, task.lora_folder, film_look=not task.commercial_only)
        if not task.templates and len(task.subjects) > 1:
            meter.notice(Message("A picture made from text shows one person: the first that was chosen."))
        people = task.people if task.templates else tuple(task.subjects[:1])
        self.sitters = [None if person is None else self._seated(person) for person in people]
        unseated = [one.error for one in self.sitters if isinstance(one, Unusable)]
        if unseated and not any(isinstance(one, Sitter) for one in self.sitters):
            raise unseated[0]
        self._found: tuple[Template, list[Face]] | None = None

    @property
    def cost(self) -> float:
        """About how many steps one portrait takes."""
        count = sum(isinstance(sitter, Sitter) for sitter in self.sitters)
        faces = count * (self.rows[Pass.FIRST].cost + self.rows[Pass.SECOND].cost)
        background = self.rows[Pass.BACKGROUND].cost if self._has_background(count) else 0
        return faces + background + (0 if self.task.templates else text.cost(self.task))

    def _has_background(self, faces: int) -> bool:
        return not self.config.fusion_only and (self.config.background_restore or faces > 1)

    def _seated(self, person: Subject | Unusable) -> Sitter | Unusable:
        try:
            return self._sitter(person) if isinstance(person, Subject) else person
        except NoFace as error:
            return Unusable(person.user_id, error)

    def _sitter(self, subject: Subject) -> Sitter:
        if not subject.works:
            self.meter.notice(
                Message(
                    "The training of {user_id} was marked as failed: expect little likeness.", user_id=subject.user_id
                )
            )
        reference_face = gallery.main_face(subject.reference, self.vision)
        if reference_face is None:
            raise NoFace("The reference picture of {user_id} has no face that can be found.", user_id=subject.user_id)
        shown = self._gallery(subject)
        sources = Sources(subject.reference, reference_face, shown, self.vision)
        face_id, face_id_face = sources.reference, gallery.main_face(subject.face_id, self.vision)
        if face_id_face is not None:
            face_id = Source(subject.face_id, face_id_face, pose_in(self.vision, subject.face_id, face_id_face))
        mean = subject.mean if shown is subject.gallery or shown is None else shown.mean
        if mean is None:
            mean = self.vision.embedder.embed(subject.reference, reference_face)
        weight = self.config.lora_weights
        own = (LoraRef(subject.lora, weight),) if subject.lora is not None and weight > 0 else ()
        return Sitter(subject, sources, face_id, mean, (*own, *self._style))

    def _gallery(self, subject: Subject) -> Gallery | None:
        """The person's photos as the embedder that serves now sees them."""
        found = subject.gallery
        if found is None or found.embedder == self.vision.embedder.name:
            return found
        return gallery.measure([shot.path for shot in found.shots], self.vision)

    def faces(self, template: Template) -> list[Face]:
        """The faces of a template; :class:`NoFace` when there is none, or none that somebody was chosen for."""
        if self._found is None or self._found[0] is not template:
            self.meter.stage("template")
            self._found = (template, self.vision.detector.detect(template.image))
        faces = self._found[1]
        if not faces:
            raise NoFace("No face was found in {template}.", template=template.name)
        if all(sitter is None for sitter in self.sitters[: len(faces)]):
            raise NoFace(
                "Nobody was chosen for the {count} face(s) of {template}.", count=len(faces), template=template.name
            )
        for sitter in self.sitters[: len(faces)]:
            if isinstance(sitter, Unusable):
                raise sitter.error
        if len(self.sitters) > len(faces):
            self.meter.notice(
                Message(
                    "{people} people were chosen and {template} has {faces} faces: the last are left out.",
                    people=len(self.sitters),
                    template=template.name,
                    faces=len(faces),
                )
            )
        return faces

    def portrait(self, index: int, template: Template | None, seed: int) -> Portrait:
        """One portrait, scored and described."""
        if template is None:
            template = self._drawn(seed)
        faces = self.faces(template)
        pairs = [(f, s) for f, s in zip(faces, self.sitters, strict=False) if isinstance(s, Sitter)]
        album = dict.fromkeys(STAGES, template.image)
        sittings: dict[int, _Sitting] = {}
        for face, sitter in pairs:
            others = [other for other in faces if other is not face]
            sittings[id(face)] = sitting = _Sitting(self, sitter, face, others, album, seed)
            sitting.sit()
        made, others = [face for face, _ in pairs], [f for f in faces if all(f is not face for face, _ in pairs)]
        picture = album["final"]
        if self._has_background(len(made)):
            self.meter.stage("background")
            laid = masks.union(*(sitting.laid for sitting in sittings.values()))
            picture = self.spared(
                Message("The background pass"), picture, lambda: self._background(picture, laid, (made, others), seed)
            )
        self.meter.stage("finish")
        picture, scale = self._finished(picture, made, others)
        likeness = tuple(
            self._likeness(picture, stages.scaled(face, scale), sittings.get(id(face)))
            for face, sitter in zip(faces, self.sitters, strict=False)
        ) + (None,) * (len(self.sitters) - len(faces))
        album["final"] = picture
        about = self.spared(
            Message("The recipe"),
            recipe.outline(self.task, template, index, seed, likeness),
            lambda: recipe.build(self.task, template, index, seed, likeness, self.host, self.vision),
        )
        return Portrait(picture, seed, index, likeness, about, album, alpha=finish.alpha_of(template.alpha, picture))

    def _finished(self, picture: Image, made: list[Face], others: list[Face]) -> tuple[Image, float]:
        """Skin and sharpness, each left out with a notice where it fails; how many times larger the picture became."""
        config, vision = self.config, self.vision
        smooth = self.spared(
            Message("The skin retouching"), picture, lambda: finish.retouch(picture, made, others, config, vision)
        )
        return self.spared(
            Message("The enhancement"), (smooth, 1.0), lambda: finish.enhance(smooth, made, others, config, vision)
        )

    def _likeness(self, picture: Image, where: Face, sitting: _Sitting | None) -> Likeness | None:
        """Of the face that was made at ``where``, if one was; where it can't be measured the picture stays."""
        return (
            None
            if sitting is None
            else self.spared(Message("The likeness"), None, lambda: self._judged(picture, where, sitting))
        )

    def spared(self, what: str, otherwise: T, work: Callable[[], T]) -> T:
        """What ``work`` gives, or ``otherwise`` and a notice: what comes after a picture is made must not lose it."""
        try:
            return work()
        except Cancelled:
            raise
        except Exception as error:
            log.warning("%s failed", what, exc_info=True)
            self.meter.notice(Message("{what} failed and was left out: {reason}.", what=what, reason=reason(error)))
            return otherwise

    def _judged(self, picture: Image, where: Face, sitting: _Sitting) -> Likeness | None:
        sitter, seen = sitting.sitter, score.find(picture, where, self.vision)
        if seen is None:
            return None
        turned = pose_in(self.vision, *seen)
        if not agree(turned, sitting.head):
            self.meter.notice(
                Message(
                    "The face of {user_id} looks {apart:.0f}° away from where the template's head does: "
                    "the likeness says nothing of that.",
                    user_id=sitter.subject.user_id,
                    apart=apart(turned, sitting.head),
                )
            )
        vectors, embedder = sitter.sources.compared_with(sitting.fused, sitter.mean)
        judge = self.vision.embedder if embedder is None else embedder_named(self.vision, embedder)
        return score.compare(*seen, vectors, judge)

    def words(self, sitter: Sitter, seed: int) -> Words:
        """Prompts and LoRAs of a face pass."""
        return Words(
            plan.prompt(self.family, self.config), plan.negative_prompt(self.family, self.config), sitter.loras, seed
        )

    def look(self, image: Image, expected: Face) -> Look:
        """The face near ``expected`` as it is now, or ``expected`` itself where none is found, with its parts."""
        face = stages.nearest(self.vision.detector.detect(image), expected) or expected
        return Look(face, self.vision.parser.parse(image, face))

    def _drawn(self, seed: int) -> Template:
        subject = self.task.subjects[0]
        self.meter.stage("text")
        image = text.make_template(self.task, subject, self.painter, self.vision, seed, self.meter.notice)
        return Template(image, "the picture made from the text", hash_image(image))

    def _background(self, picture: Image, pasted: Mask, faces: tuple[list[Face], list[Face]], seed: int) -> Image:
        """``pasted``: where the faces that were made were laid into the picture; ``faces``: those, and the others."""
        made, others = faces
        row, size = self.rows[Pass.BACKGROUND], (picture.shape[0], picture.shape[1])
        outside = row.mask is MaskKind.OUTSIDE
        crop = geometry.Crop(0, 0, size[1], size[0]) if outside else stages.around(made, size)
        work = stages.background_size(crop.size, self.family, enlarge=outside)
        mask_of = stages.outside_mask if outside else stages.seams_mask
        mask = mask_of(work, [geometry.in_crop(face, crop, work) for face in (made + others if outside else made)])
        image = geometry.resize(geometry.cut(picture, crop), work)
        words = Words(
            plan.background_prompt(self.family, self.config),
            plan.negative_prompt(self.family, self.config),
            self._style,
            seed,
        )
        painted = self.painter.repaint(row, image, mask, {Feed.INPUT: image}, words)
        width = min(geometry.in_crop(face, crop, work).width for face in made)
        laid = stages.paste_mask(mask, width, crop, size)
        if not outside:
            seams = stages.seams_only(pasted, min(face.width for face in made))
            laid = masks.intersection(
                laid, geometry.resize_mask(seams[crop.top : crop.bottom, crop.left : crop.right], work)
            )
            painted = stages.in_tone(painted, image, mask, stages.TONE * width)
        return stages.paste_back(picture, painted, crop, laid, stages.allowed(crop, made, others))


class _Sitting:
    """One person before one template: the two passes over one face, and its place in the pictures of ``album``."""

    def __init__(
        self, studio: _Studio, sitter: Sitter, face: Face, others: list[Face], album: dict[str, Image], seed: int
    ) -> None:
        self._studio = studio
        self.sitter = sitter
        self._album = album
        self._words = studio.words(sitter, seed)
        picture = album["final"]
        self._frame = stages.frame(picture, face, studio.family, crop=studio.config.crop_face_preprocess)
        self._look = studio.look(self._frame.image, self._frame.face)
        self._width = self._frame.face.width
        self._permitted = stages.allowed(self._frame.crop, [face], others)
        self._changed: Mask = masks.empty(self._frame.size)
        self.head = pose_in(studio.vision, picture, face)
        """Where the template's head looks."""
        self.laid: Mask = masks.empty((picture.shape[0], picture.shape[1]))
        """Where, in the whole picture, the result lies over it; known once it does."""
        self.fused: Source | None = None
        """The picture whose own pixels were bent into the face, if any were."""
        self._replaced = self._with_face_id()

    def sit(self) -> None:
        """Make the face and lay every stage of it into the album."""
        studio, rows = self._studio, self._studio.rows
        pictures: dict[str, Image] = {}
        start = self._frame.image
        pictures["first"] = self.run(rows[Pass.FIRST], start, pictures)
        pictures["second"] = self.run(rows[Pass.SECOND], pictures["first"], pictures)
        result = pictures["second"]
        if studio.config.makeup_transfer:
            result = studio.spared(Message("The make-up transfer"), result, lambda: self._made_up(pictures["second"]))
        size = self._album["final"].shape[0], self._album["final"].shape[1]
        laid = stages.paste_mask(self._changed, self._width, self._frame.crop, size)
        permitted = stages.whole_mask(self._permitted, self._frame.crop, size)
        self.laid = masks.intersection(stages.whole_mask(laid, self._frame.crop, size), permitted)
        for name, patch in {**pictures, "final": result}.items():
            self._album[name] = stages.paste_back(self._album[name], patch, self._frame.crop, laid, self._permitted)

    def run(self, row: PassRow, image: Image, pictures: dict[str, Image]) -> Image:
        """One pass of the chain over the working picture: fuse, repaint, keep the face, shift the colours."""
        studio, width = self._studio, self._width
        if row.mask is MaskKind.WHOLE:
            image = self._shape(image)
        if row.fusion is not None:
            studio.meter.stage("fusion")
            image = self._fuse(image, row.fusion)
        pictures.setdefault("fusion", image)
        before = studio.look(image, self._look.face)
        self._mark(stages.first_mask(before.parts, width))
        if row.repaint:
            mask = self._mask(row.mask, before)
            if mask is not None:
                self._mark(mask)
            feeds = {Feed.INPUT: image, Feed.REPLACED: self._replaced}
            painted = studio.painter.repaint(row, image, mask, feeds, self._words)
            if mask is None:
                kept = stages.shape_mask(studio.look(painted, before.face).parts, width)
                self._mark((kept > 0.02).astype(np.float32))
                painted = geometry.blend(image, painted, kept)
            image = painted
        if row.colour_shift:
            plain = image
            image = studio.spared(Message("The colour shift"), plain, lambda: self._in_colours(plain, before.face, row))
        return image

    def _in_colours(self, image: Image, near: Face, row: PassRow) -> Image:
        """``image`` with its face in the template's colours."""
        now, then = self._studio.look(image, near), self._frame.image
        return stages.shift_colours(image, now.parts, then, self._look.parts, self._width, lips=row.shift_lips)

    def _made_up(self, image: Image) -> Image:
        """``image`` with the template's make-up."""
        own = self._studio.look(image, self._look.face).parts
        ratio = self._studio.config.makeup_transfer_ratio
        return makeup.transfer(image, own, self._frame.image, self._look.parts, ratio)

    def _with_face_id(self) -> Image:
        """The template with the person's best picture over its face. A face that looks elsewhere would turn the pose:
        the template's own then stays."""
        image, face = self._frame.image, self.sitter.face_id
        if not agree(face.pose, self.head):
            return image
        return stages.replace_face(image, self._look.face, face.image, face.face)

    def _shape(self, image: Image) -> Image:
        """The face in the outline of the person's: no host would redraw a jaw that its controls hold fast."""
        studio, source = self._studio, self.sitter.sources.nearest(self.head)
        if not agree(source.pose, self.head):
            studio.meter.notice(
                Message(
                    "The outline of {user_id}'s face was not matched: the template's head looks "
                    "{apart:.0f}° away from the nearest photo.",
                    user_id=self.sitter.subject.user_id,
                    apart=apart(source.pose, self.head),
                )
            )
            return image
        given = landmarks.of(studio.vision, source.image, source.face)
        face = studio.look(image, self._look.face).face
        shaped, where = outline.match(image, landmarks.of(studio.vision, image, face), given)
        self._mark(where)
        return shaped

    def _fuse(self, image: Image, ratio: float) -> Image:
        studio, sources = self._studio, self.sitter.sources
        bends = getattr(studio.vision.fuser, "bends", True)
        source = sources.nearest(self.head) if bends else sources.reference
        if bends and not agree(source.pose, self.head):
            studio.meter.notice(
                Message(
                    "The face of {user_id} was not fused in: the template's head looks {apart:.0f}° away "
                    "from the nearest photo, and a face bent so far would show.",
                    user_id=self.sitter.subject.user_id,
                    apart=apart(source.pose, self.head),
                )
            )
            return image
        self.fused = source if bends else None
        before = studio.look(image, self._look.face)
        fused = studio.vision.fuser.fuse(image, before.face, source.image, source.face)
        after = studio.look(fused, before.face)
        mask = stages.blend_mask(before.parts, after.parts, ratio, self._width)
        self._mark((mask > 0.02).astype(np.float32))
        return geometry.blend(image, fused, mask)

    def _mask(self, kind: MaskKind, look: Look) -> Mask | None:
        if kind is MaskKind.WHOLE:
            return None
        make = stages.first_mask if kind is MaskKind.FACE else stages.second_mask
        return make(look.parts, self._width)

    def _mark(self, mask: Mask) -> None:
        self._changed = masks.union(self._changed, mask)
