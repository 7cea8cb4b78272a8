"""What all portraits of a job share: the rows of its passes, its people with their pictures, and what sees and
paints."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from easyphoto import families
from easyphoto.config import PortraitConfig, auto_name, unlike_defaults
from easyphoto.errors import Cancelled, InvalidRequest, NoFace, reason
from easyphoto.families.spec import Pass
from easyphoto.inference import face_sources, gallery, plan, stages, text
from easyphoto.inference.face_sources import FaceSource, FaceSources
from easyphoto.inference.gallery import Gallery
from easyphoto.inference.identity import Appearance
from easyphoto.inference.matching import matched
from easyphoto.inference.painter import Meter, Painter, Words
from easyphoto.inference.plan import PassRow
from easyphoto.inference.task import LoadedTemplate, PortraitTask, Subject, Unusable
from easyphoto.messages import Message
from easyphoto.ports import Embedding, Face, FaceParts, Host, Image, LoraRef, Vision
from easyphoto.vision import detect_near, landmarks
from easyphoto.vision.pose import Pose, pose_in

log = logging.getLogger(__name__)

T = TypeVar("T")
BY_POINTS = "landmarks"
"""The parser that knows no more of a face than its points."""


@dataclass(frozen=True, eq=False)
class Sitter:
    """A person who is portrayed, with what was found in the person's pictures. ``alone``: without a LoRA. ``given`` is
    the picture that the user gave for the adapter, with its embedding."""

    subject: Subject
    sources: FaceSources
    face_id: FaceSource
    mean: Embedding
    loras: tuple[LoraRef, ...]
    alone: bool = False
    given: tuple[Image, Embedding] | None = None


@dataclass(frozen=True, eq=False)
class ParsedFace:
    """A face in a working picture, and the masks of its parts."""

    face: Face
    parts: FaceParts


@dataclass(frozen=True, eq=False)
class PlacedFace:
    """A face of a picture: the ``frame`` in which it is worked on, how it looks there, and where its head looks."""

    frame: stages.Frame
    look: ParsedFace
    head: Pose


class Studio:
    """What all portraits of a task share: its people, its passes, and the host and the vision that serve them."""

    def __init__(self, task: PortraitTask, host: Host, vision: Vision, meter: Meter) -> None:
        self.task = task
        self.host = host
        self.vision = _preferring(task, vision, meter)
        self.meter = meter
        self.config: PortraitConfig = task.config
        self.family = task.checkpoint.family
        self.painter = Painter(host, task.checkpoint, meter)
        self.rows, self._alone = self._rows()
        self.style = plan.style_loras(self.family, task.config, task.lora_folder, film_look=not task.commercial_only)
        if not task.templates and len(task.subjects) > 1:
            meter.notice(Message("A picture made from text shows one person: the first that was chosen."))
        people = task.people if task.templates else tuple(task.subjects[:1])
        self.sitters = [None if person is None else self._seated(person) for person in people]
        unseated = [one.error for one in self.sitters if isinstance(one, Unusable)]
        if unseated and not any(isinstance(one, Sitter) for one in self.sitters):
            raise unseated[0]
        self.grids = self._searched()
        self._found: tuple[LoadedTemplate, list[Face]] | None = None
        self.seats: list[Sitter | Unusable | None] = []
        """Who sits for each of the :meth:`faces` that were found last; None: the face is left alone."""
        self._placed: dict[int, PlacedFace] = {}

    @property
    def cost(self) -> float:
        """About how many diffusion steps one portrait takes, with all that are tried for it."""
        count = sum(isinstance(sitter, Sitter) for sitter in self.sitters)
        faces = count * (self.rows[Pass.FIRST].cost + self.rows[Pass.SECOND].cost)
        background = self.rows[Pass.BACKGROUND].cost if self.has_background(count) else 0
        once = faces + background + (0 if self.task.templates else text.cost(self.task))
        return once * self.tries * (2 if self.draws_floor else 1)

    @property
    def tries(self) -> int:
        """How many portraits are made at most of which one is kept."""
        return plan.tries(self.config, self.grids)

    def _rows(self) -> tuple[dict[Pass, PassRow], dict[Pass, PassRow]]:
        """The passes beside a LoRA, and without one."""
        beside, alone = (
            {which: plan.row(which, self.family, self.config, self.task.chosen, alone=alone) for which in Pass}
            for alone in (False, True)
        )
        return beside, alone

    def _searched(self) -> Mapping[str, Sequence[float]]:
        """The weights that are searched for, with the values to try. What nobody's portrait would show is not."""
        spec = families.spec(self.family)
        found = plan.searched(spec, self.config)
        with_lora = [one for one in self.sitters if isinstance(one, Sitter) and not one.alone]
        if not any(one.subject.lora for one in with_lora):
            found.pop("lora_weights", None)
        asked = plan.adapter(spec, replace(self.config, ipa_weight=1.0), alone=False)
        if not with_lora or asked is None or asked.kind not in self.host.identities(self.family):
            found.pop("ipa_weight", None)
        for name in plan.TRIED:
            if getattr(self.config, auto_name(name)) and name not in found:
                self.meter.notice(
                    Message("{name} isn't searched for, because it would change nothing here.", name=name)
                )
        return found

    def weighed(self, weights: Sequence[tuple[str, float]]) -> Studio:
        """This studio with other weights, each by the name of its parameter, which are then no longer searched for.
        What was found in the template is shared."""
        if not weights:
            return self
        changes: dict[str, Any] = {**dict(weights), **{auto_name(name): False for name, _ in weights}}
        other = copy.copy(self)
        other.config = replace(self.config, **changes)
        other.task = replace(self.task, config=other.config)
        other.rows, other._alone = other._rows()
        again = {id(one): other._reloaded(one) for one in self.sitters if isinstance(one, Sitter)}
        other.sitters = [again.get(id(one), one) for one in self.sitters]
        other.seats = [again.get(id(one), one) for one in self.seats]
        return other

    def _reloaded(self, sitter: Sitter) -> Sitter:
        """``sitter`` with the weights of this studio."""
        return replace(sitter, loras=self._loras(sitter.subject, sitter.alone))

    def _loras(self, subject: Subject, alone: bool) -> tuple[LoraRef, ...]:
        own = () if alone else plan.own_loras(subject.lora, subject.reward, self.config)
        return (*own, *self.style)

    @property
    def draws_floor(self) -> bool:
        """Whether each portrait is drawn once more without the person. Where nothing is repainted that would be the
        template, and a template that was made from text has the person in it already."""
        return self.config.measure_floor and not self.config.fusion_only and bool(self.task.templates)

    def without_people(self) -> Studio:
        """This studio with the same seats, in which nothing of the people goes into a picture: neither LoRA nor adapter
        nor face fusion. What was found in the template is shared."""
        bare = copy.copy(self)
        bare.config = plan.without_person(self.config)
        bare.rows = {which: plan.row(which, self.family, bare.config, self.task.chosen) for which in Pass}
        bare.seats = [
            replace(seat, loras=self.style, alone=False) if isinstance(seat, Sitter) else seat for seat in self.seats
        ]
        return bare

    def rows_of(self, sitter: Sitter) -> dict[Pass, PassRow]:
        """The passes over the face of ``sitter``."""
        return self._alone if sitter.alone else self.rows

    def has_background(self, faces: int) -> bool:
        """Whether a pass over the background follows where ``faces`` faces were made."""
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
        alone = subject.untrained or plan.without_lora(self.config)
        if alone and not self._alone[Pass.FIRST].identities:
            self.meter.notice(
                Message(
                    "{user_id} is shown without a LoRA and no adapter is asked for: the face comes from face fusion "
                    "alone.",
                    user_id=subject.user_id,
                )
            )
        reference = face_sources.look(subject.reference, self.vision)
        if reference is None:
            raise NoFace("The reference picture of {user_id} has no face that can be found.", user_id=subject.user_id)
        shown = self._gallery(subject)
        face_id = None if subject.face_id is subject.reference else face_sources.look(subject.face_id, self.vision)
        mean = subject.mean if shown is subject.gallery or shown is None else shown.mean
        if mean is None:
            mean = self.vision.embedder.embed(reference.image, reference.face)
        album = FaceSources(reference, shown, self.vision)
        return Sitter(
            subject, album, face_id or reference, mean, self._loras(subject, alone), alone, self._given(subject)
        )

    def _given(self, subject: Subject) -> tuple[Image, Embedding] | None:
        """The picture that the user gave for the adapter, with its embedding."""
        if subject.shown is None:
            return None
        seen = face_sources.look(subject.shown, self.vision)
        if seen is None:
            raise NoFace("The picture for the adapter has no face that can be found.")
        return seen.image, self.vision.embedder.embed(seen.image, seen.face)

    def _gallery(self, subject: Subject) -> Gallery | None:
        """The gallery of the person, with the embeddings of the embedder that serves now."""
        found = subject.gallery
        if found is None or found.embedder == self.vision.embedder.name:
            return found
        return gallery.measure([shot.path for shot in found.shots], self.vision)

    def faces(self, template: LoadedTemplate) -> list[Face]:
        """The faces of a template. Raises :class:`NoFace` when it has none, or when nobody was chosen for any of
        them."""
        if self._found is None or self._found[0] is not template:
            self.meter.stage("template")
            self._found, self._placed = (template, self.vision.detector.detect(template.image)), {}
            self.seats = self._seated_at(template.image, self._found[1])
        faces = self._found[1]
        if not faces:
            raise NoFace("No face was found in {template}.", template=template.name)
        if all(sitter is None for sitter in self.seats):
            raise NoFace(
                "Nobody was chosen for the {count} face(s) of {template}.", count=len(faces), template=template.name
            )
        self._leave_profiles(template)
        for sitter in self.seats:
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

    def _leave_profiles(self, template: LoadedTemplate) -> None:
        """Take away the seats of faces that the model can't paint because they are seen from the side. Raises
        :class:`InvalidRequest` where no seat is left. A picture from text is painted as it is."""
        spec = families.spec(self.family)
        fuses_any = self.config.fusion_only and not getattr(self.vision.fuser, "bends", True)
        if spec.paints_profiles or fuses_any or not self.task.templates or self._found is None:
            return
        turned = [
            i
            for i, (face, seat) in enumerate(zip(self._found[1], self.seats, strict=True))
            if seat is not None and self.placed(template.image, face).head.guessed
        ]
        if not turned:
            return
        self.seats = [None if i in turned else seat for i, seat in enumerate(self.seats)]
        if all(seat is None for seat in self.seats):
            raise InvalidRequest(
                "{template} shows a head from the side, which {model} can't paint: take a template whose head looks "
                "more ahead, or another base model.",
                template=template.name,
                model=spec.title,
            )
        self.meter.notice(
            Message(
                "{count} face(s) of {template} were left as they are: {model} can't paint a head that is seen from the "
                "side.",
                count=len(turned),
                template=template.name,
                model=spec.title,
            )
        )

    def _seated_at(self, image: Image, faces: list[Face]) -> list[Sitter | Unusable | None]:
        """Who sits for each face: from left to right, or whoever is most like it."""
        if not self.task.by_likeness:
            return [*self.sitters, *[None] * len(faces)][: len(faces)]
        for sitter in self.sitters:
            if isinstance(sitter, Unusable):
                raise sitter.error
        vectors = [sitter.mean if isinstance(sitter, Sitter) else None for sitter in self.sitters]
        found = matched([self.vision.embedder.embed(image, face) for face in faces], vectors)
        return [None if i is None else self.sitters[i] for i in found]

    def seated_task(self) -> PortraitTask:
        """The task with its people in the order of the faces that were found last."""
        if not self.task.by_likeness:
            return self.task
        people = tuple(seat.subject if isinstance(seat, Sitter) else None for seat in self.seats)
        return replace(self.task, people=people)

    def placed(self, picture: Image, face: Face) -> PlacedFace:
        """``face`` of ``picture``, ready to be worked on. What was found in the template itself is kept for the next
        portrait on it; where other faces were pasted before, the picture is another one."""
        if self._found is None or picture is not self._found[0].image:
            return self._place(picture, face)
        index = next(i for i, one in enumerate(self._found[1]) if one is face)
        if index not in self._placed:
            self._placed[index] = self._place(picture, face)
        return self._placed[index]

    def _place(self, picture: Image, face: Face) -> PlacedFace:
        frame = stages.frame(picture, face, self.family, crop=self.config.crop_face_preprocess)
        head = pose_in(self.vision, picture, face)
        return PlacedFace(frame, self.look(frame.image, frame.face, guessed=head.guessed), head)

    def spared(self, what: str, otherwise: T, work: Callable[[], T]) -> T:
        """What ``work`` returns; where it fails, ``otherwise`` and a notice. What is done to a picture that is already
        made must not lose it."""
        try:
            return work()
        except Cancelled:
            raise
        except Exception as error:
            log.warning("%s failed", what, exc_info=True)
            self.meter.notice(Message("{what} failed and was left out: {reason}.", what=what, reason=reason(error)))
            return otherwise

    def words(self, sitter: Sitter, head: Pose, seed: int) -> Words:
        """What a pass over the face of ``sitter`` is given, on a template whose head looks to ``head``."""
        return Words(
            plan.prompt(self.family, self.config, alone=sitter.alone),
            plan.negative_prompt(self.family, self.config),
            sitter.loras,
            seed,
            self.appearance(sitter, head),
        )

    def appearance(self, sitter: Sitter, head: Pose) -> Appearance:
        """What the pictures of ``sitter`` show, for a head that looks to ``head``."""
        given, mean = sitter.given or (None, sitter.mean)
        return Appearance(sitter.sources, mean, self.vision.embedder.name, head, given)

    def face(self, image: Image, expected: Face) -> Face:
        """The face that stands near ``expected`` in ``image``, or ``expected`` itself where none is found."""
        return stages.nearest(detect_near(self.vision.detector, image, expected), expected) or expected

    def look(self, image: Image, expected: Face, *, guessed: bool = False) -> ParsedFace:
        """The face that :meth:`face` finds, with the masks of its parts; only the inner ones where its points are
        ``guessed`` and the masks come from them."""
        face = self.face(image, expected)
        parts = self.vision.parser.parse(image, face)
        if guessed and self.vision.parser.name == BY_POINTS:
            parts = stages.inner_parts(parts, landmarks.of(self.vision, image, face))
        return ParsedFace(face, parts)


def _preferring(task: PortraitTask, vision: Vision, meter: Meter) -> Vision:
    """``vision`` with the backends that the user asked for. A backend that can't be had gives one notice.

    A backend that is only the default gives none where nobody chose it: ``doctor`` and the Weights tab say what it
    lacks.
    """
    wanted = plan.backends(task.config)
    named = unlike_defaults(task.config) if task.chosen is None else task.chosen
    chosen = vision.preferring(wanted)
    serving = chosen.backends()
    for role, name in wanted.items():
        if plan.BACKEND_FIELDS[role] in named and name != serving.get(role, name):
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
