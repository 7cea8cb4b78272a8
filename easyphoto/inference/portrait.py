"""The chain: a template and a person go in, and a portrait comes out.

Each face is cut out, fused, repainted in a first pass and brought back to its colours; then fused, repainted and
coloured again in a second pass, and pasted back. Both passes are :meth:`easyphoto.inference.sitting.Sitting.run`, each
with its row of the plan. After the last face come the background, the skin, the sharpness and the likeness.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from easyphoto.errors import AssetMissing, Cancelled, EasyPhotoError, StorageFailed, reason
from easyphoto.events import Event, Listener, Portrayed, TemplateFailed
from easyphoto.families.spec import Feed, Pass
from easyphoto.inference import finish, plan, recipe, score, stages, text
from easyphoto.inference.best_of import Attempt, Trial, best, trials, tried
from easyphoto.inference.face_sources import agree, apart
from easyphoto.inference.painter import Meter, Words
from easyphoto.inference.plan import MaskKind
from easyphoto.inference.portrait_panel import FloorFace, PanelBook, PortraitKey
from easyphoto.inference.score import JudgedFace
from easyphoto.inference.shelf import Shelf
from easyphoto.inference.sitting import Sitting
from easyphoto.inference.studio import Sitter, Studio
from easyphoto.inference.task import SEEDS, LoadedTemplate, PortraitTask, check, hash_image, read, with_seed
from easyphoto.measures.likeness_panel import FloorOf, LikenessPanel
from easyphoto.messages import Message
from easyphoto.ports import Face, Host, Image, Likeness, Mask, Portrait, Vision
from easyphoto.vision import embedder_named, geometry, masks
from easyphoto.vision.pose import pose_in
from easyphoto.vision.sharpness import sharpness

log = logging.getLogger(__name__)

STAGES = ("template", "fusion", "first", "second", "final")
"""The stages of which a portrait keeps a picture where its task asks for them."""

PortraitOrder: TypeAlias = tuple[int, LoadedTemplate | None, int]
"""The index of a template, the template (None where it is still to be drawn from the text), and the seed."""

ENDING = (Cancelled, AssetMissing)
"""The errors that end the whole job. Every other error, be it one of our own or whatever a library raises on a picture
that it doesn't expect, is a failure of one template alone."""


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
    panels: PanelBook | None = None,
) -> Iterator[Portrait]:
    """Make the portraits of ``task`` and yield each as soon as it is done. Every template gets ``batch_size`` of them,
    with the seeds seed, seed + 1 and so on.

    A template that can't be done and a portrait that can't be saved give a :class:`TemplateFailed` event and no
    portrait, and the others go on. Nothing is rendered while the folder can't be written to. Raises
    :class:`InvalidRequest` when nothing of the task can be done, :class:`AssetMissing` when something is missing that
    every template needs, and :class:`Cancelled` within a step after ``cancelled`` returns True. What both
    embedders see of the faces is written into ``panels``.
    """
    check(task)
    meter = Meter(listener, cancelled)
    config = with_seed(task.config)
    if task.config.seed < 0:
        meter.notice(Message("The seed drawn is {seed}.", seed=config.seed))
    studio = Studio(replace(task, config=config), host, vision, meter)
    shelf, book = Shelf(task.folder), panels or PanelBook()
    for index, template, seed in _orders(studio.task, studio, listener):
        try:
            shelf.check()
            made = _best(studio, book, (index, template, seed), shelf)
        except ENDING:
            raise
        except Exception as error:  # noqa: BLE001 - what one template meets, a bug even, is not worth the others' hours
            meter.expect(-studio.cost)
            listener(_failed(index, error))
            continue
        try:
            portrait = shelf.put(made.portrait)
        except StorageFailed as error:
            listener(_failed(index, error))
            continue
        book.keep((index, made.trial))
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


def _orders(task: PortraitTask, studio: Studio, listener: Listener) -> Iterator[PortraitOrder]:
    """Yield every portrait that is to be made."""
    seeds = [(task.config.seed + i) % SEEDS for i in range(task.config.batch_size)]
    count = max(len(task.templates), 1) * len(seeds)
    studio.meter.expect(studio.cost * (count - len(task.done)))
    if not task.templates:
        yield from ((i, None, seed) for i, seed in enumerate(seeds) if (i, seed) not in task.done)
    for index, picture in enumerate(task.templates):
        missing = [seed for seed in seeds if (index, seed) not in task.done]
        if not missing:
            continue
        studio.meter.check()
        try:
            template = read(picture, index)
            studio.faces(template)
        except ENDING:
            raise
        except Exception as error:  # noqa: BLE001 - as in portray: one template's alone
            studio.meter.expect(-studio.cost * len(missing))
            listener(_failed(index, error))
            continue
        yield from ((index, template, seed) for seed in missing)


def _best(studio: Studio, book: PanelBook, order: PortraitOrder, shelf: Shelf) -> Attempt:
    """The best of as many portraits as are asked for, whose recipe says what was tried. The others are put aside where
    the user wants to keep them. One that fails is passed over, unless all do."""
    count, (index, given, seed) = studio.tries, order
    if count == 1:
        return _attempt(studio, book, (index, given or _drawn(studio, seed)), Trial(seed))
    attempts: list[Attempt] = []
    ceilings: list[float | None] = []
    template, drawn = given, seed
    seeds = [(seed + i * text.REDRAW) % SEEDS for i in range(studio.config.best_of)]
    for i, trial in enumerate(trials(seeds, studio.grids, attempts)):
        try:
            if template is None or (given is None and drawn != trial.seed):
                template, drawn = _drawn(studio, trial.seed), trial.seed
            studio.faces(template)
            attempts.append(_attempt(studio.weighed(trial.weights), book, (index, template), trial))
        except ENDING:
            raise
        except Exception:
            if not attempts and i == count - 1:
                raise
            log.warning("one of %d portraits failed", count, exc_info=True)
            continue
        ceilings = [seat.sources.median for seat in studio.seats if isinstance(seat, Sitter)]
        if attempts[-1].reaches(ceilings):
            studio.meter.expect(-studio.cost * (count - i - 1) / count)
            break
    kept = best(attempts)
    chosen, portrait = attempts[kept], attempts[kept].portrait
    if studio.config.keep_losers:
        for one in (attempt.portrait for attempt in attempts if attempt.portrait is not portrait):
            studio.spared(Message("A portrait that wasn't the best"), None, partial(shelf.put_aside, one))
    about = {**portrait.recipe, "best_of": tried(attempts, kept, ceilings, seed, len(seeds))}
    return replace(chosen, portrait=replace(portrait, recipe=about))


def _attempt(studio: Studio, book: PanelBook, order: tuple[int, LoadedTemplate], trial: Trial) -> Attempt:
    """Make one portrait on the template of that index, with its likeness and its recipe."""
    (index, template), seed, compared = order, trial.seed, studio.tries > 1
    faces = studio.faces(template)
    painted = _painted(studio, template, seed, STAGES if studio.task.keep_stages else STAGES[-1:])
    sittings, picture = painted.sittings, painted.picture
    bare: _Painted | None = None
    if studio.draws_floor:
        empty, shown = studio.without_people(), template
        bare = studio.spared(Message("The floor"), None, lambda: _painted(empty, shown, seed, STAGES[-1:]))
    task = studio.seated_task()
    nothing: tuple[Likeness | None, LikenessPanel | None] = None, None
    measured = [
        _measured(studio, book, (index, trial), (painted, face), _floor_of(studio, template, bare, face))
        if id(face) in sittings
        else nothing
        for face in faces[: len(task.people)]
    ] + [nothing] * (len(task.people) - len(faces))
    likeness = tuple(found for found, _ in measured)
    about = studio.spared(
        Message("The recipe"),
        recipe.outline(task, template, index, seed, likeness),
        lambda: recipe.build(task, template, index, seed, likeness, studio.host, studio.vision),
    )
    about = recipe.with_panels(about, [panel for _, panel in measured])
    kept = {**painted.album, "final": picture} if studio.task.keep_stages else {}
    portrait = Portrait(picture, seed, index, likeness, about, kept, alpha=finish.alpha_of(template.alpha, picture))
    return Attempt(
        portrait,
        trial,
        _sharpness(picture, painted.where) if compared else 0.0,
        tuple(id(face) in sittings for face in faces[: len(task.people)]) + (False,) * (len(task.people) - len(faces)),
    )


@dataclass(frozen=True, eq=False)
class _Painted:
    """A finished picture, how many times larger than its template it became, who sat for which face of the template (by
    the ``id`` of the face), the faces that were made as they lie in the picture, and the pictures of its stages."""

    picture: Image
    scale: float
    sittings: dict[int, Sitting]
    where: list[Face]
    album: dict[str, Image]


def _painted(studio: Studio, template: LoadedTemplate, seed: int, kept: tuple[str, ...]) -> _Painted:
    """Make the faces of a template and what follows them. The album has the stages ``kept``, before the last
    touches."""
    faces = studio.faces(template)
    pairs = [(f, s) for f, s in zip(faces, studio.seats, strict=True) if isinstance(s, Sitter)]
    album = dict.fromkeys(kept, template.image)
    sittings: dict[int, Sitting] = {}
    for face, sitter in pairs:
        others = [other for other in faces if other is not face]
        sittings[id(face)] = sitting = Sitting(studio, sitter, face, others, album, seed)
        sitting.sit()
    made, others = [face for face, _ in pairs], [f for f in faces if all(f is not face for face, _ in pairs)]
    picture = album["final"]
    if studio.has_background(len(made)):
        studio.meter.stage("background")
        laid = masks.union(*(sitting.laid for sitting in sittings.values()))
        picture = studio.spared(
            Message("The background pass"), picture, lambda: _background(studio, picture, laid, (made, others), seed)
        )
    studio.meter.stage("finish")
    picture, scale = _finished(studio, picture, made, others)
    return _Painted(picture, scale, sittings, [stages.scaled(face, scale) for face in made], album)


def _floor_of(studio: Studio, template: LoadedTemplate, bare: _Painted | None, face: Face) -> FloorFace | None:
    """What the likeness of a face of the template is told above: that face, or what came in its place in the picture
    ``bare`` that was drawn without the person. None where that could not be drawn, and for a template from text."""
    if studio.draws_floor:
        if bare is None:
            return None
        return FloorFace(score.find(bare.picture, stages.scaled(face, bare.scale), studio.vision), FloorOf.BASE)
    return FloorFace((template.image, face), FloorOf.TEMPLATE) if studio.task.templates else None


def _sharpness(picture: Image, faces: list[Face]) -> float:
    return float(np.mean([sharpness(picture, face) for face in faces]))


def _finished(studio: Studio, picture: Image, made: list[Face], others: list[Face]) -> tuple[Image, float]:
    """The picture with smoothed skin and enhanced, and how many times larger it became. A step that fails is left out
    with a notice."""
    config, vision = studio.config, studio.vision
    smooth = studio.spared(
        Message("The skin retouching"), picture, lambda: finish.retouch(picture, made, others, config, vision)
    )
    return studio.spared(
        Message("The enhancement"), (smooth, 1.0), lambda: finish.enhance(smooth, made, others, config, vision)
    )


def _measured(
    studio: Studio,
    book: PanelBook,
    order: PortraitKey,
    made: tuple[_Painted, Face],
    before: FloorFace | None,
) -> tuple[Likeness | None, LikenessPanel | None]:
    """The likeness of a face, and what both embedders tell of it above the floor ``before``; None where it can't be
    measured. ``order`` is the template's index and the trial; ``made`` is what was painted, and the template's face."""
    (painted, face) = made
    picture, sitting = painted.picture, painted.sittings[id(face)]
    where = stages.scaled(face, painted.scale)
    failed: tuple[JudgedFace | None, bool] = None, False
    found, looked = studio.spared(
        Message("The likeness"), failed, lambda: (_judged(studio, picture, where, sitting), True)
    )
    if not looked:
        return None, None
    panel = studio.spared(
        Message("The likeness panel"),
        None,
        lambda: book.add(studio, order, sitting, found, before),
    )
    return None if found is None else found.likeness, panel


def _judged(studio: Studio, picture: Image, where: Face, sitting: Sitting) -> JudgedFace | None:
    sitter, seen = sitting.sitter, score.find(picture, where, studio.vision)
    if seen is None:
        return None
    turned = pose_in(studio.vision, *seen)
    if not agree(turned, sitting.head):
        studio.meter.notice(
            Message(
                "The face of {user_id} looks {apart:.0f}° away from where the template's head does: "
                "the likeness says nothing of that.",
                user_id=sitter.subject.user_id,
                apart=apart(turned, sitting.head),
            )
        )
    vectors, embedder = sitter.sources.compared_with(sitting.fused, sitter.mean)
    judge = studio.vision.embedder if embedder is None else embedder_named(studio.vision, embedder)
    return score.judge(*seen, vectors, judge)


def _drawn(studio: Studio, seed: int) -> LoadedTemplate:
    sitter = next(one for one in studio.sitters if isinstance(one, Sitter))
    studio.meter.stage("text")
    person = text.PersonInText(sitter.subject, sitter.alone, studio.appearance(sitter, text.AHEAD))
    image = text.make_template(studio.task, person, studio.painter, studio.vision, seed, studio.meter.notice)
    return LoadedTemplate(image, "the picture made from the text", hash_image(image))


def _background(studio: Studio, picture: Image, pasted: Mask, faces: tuple[list[Face], list[Face]], seed: int) -> Image:
    """``picture`` with its background repainted. ``pasted`` is where the faces that were made lie in the picture;
    ``faces`` are those faces, and the others of the picture."""
    made, others = faces
    row, size = studio.rows[Pass.BACKGROUND], (picture.shape[0], picture.shape[1])
    outside = row.mask is MaskKind.OUTSIDE
    crop = geometry.Crop(0, 0, size[1], size[0]) if outside else stages.around(made, size)
    work = stages.background_size(crop.size, studio.family, enlarge=outside)
    mask_of = stages.outside_mask if outside else stages.seams_mask
    mask = mask_of(work, [geometry.in_crop(face, crop, work) for face in (made + others if outside else made)])
    image = geometry.resize(geometry.cut(picture, crop), work)
    words = Words(
        plan.background_prompt(studio.family, studio.config),
        plan.negative_prompt(studio.family, studio.config),
        studio.style,
        seed,
    )
    painted = studio.painter.repaint(row, image, mask, {Feed.INPUT: image}, words)
    width = min(geometry.in_crop(face, crop, work).width for face in made)
    laid = stages.paste_mask(mask, width, crop, size)
    if not outside:
        seams = stages.seams_only(pasted, min(face.width for face in made))
        laid = masks.intersection(
            laid, geometry.resize_mask(seams[crop.top : crop.bottom, crop.left : crop.right], work)
        )
        painted = stages.in_tone(painted, image, mask, stages.TONE * width)
    return stages.paste_back(picture, painted, crop, laid, stages.allowed(crop, made, others))
