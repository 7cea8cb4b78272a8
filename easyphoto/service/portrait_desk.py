"""Where portraits are asked for: what can be known to be wrong is refused at once, the rest waits in the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easyphoto import pictures
from easyphoto.checkpoint import require_same_family
from easyphoto.config import REF_MODES, SCENE_CONTROLS, PortraitConfig, spelt_out
from easyphoto.errors import AssetMissing, EasyPhotoError, InvalidRequest, NotFound
from easyphoto.errors import of as kind_of
from easyphoto.events import Event, Finished, Listener, Notice, TemplateFailed, wants_previews
from easyphoto.jobs import Job
from easyphoto.messages import Message
from easyphoto.people import Person
from easyphoto.pictures import Source
from easyphoto.ports import Checkpoint, ControlRole
from easyphoto.queue.port import DurableRequest, Order
from easyphoto.service import payloads, seating
from easyphoto.service.requests import GUEST, MAX_TEMPLATES, NOBODY, Accepted, PortraitRequest, PortraitResult
from easyphoto.service.saved_portrait import SavedPortrait
from easyphoto.service.workplace import Workplace

if TYPE_CHECKING:
    from easyphoto.inference.task import Subject, Unusable

GENERATE = "generate"
_GUEST = Person(GUEST, Path(), Path(), Path(), None, None, trained=False)
"""Stands for somebody who is known by the request's own picture alone."""


class PortraitDesk:
    """Takes requests for portraits and is the kind of work that the queue does them as."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    def queue(self, request: PortraitRequest, job: str = "") -> Job[PortraitResult]:
        """Queue portraits, as a job with the id ``job`` where one is given. A user id that doesn't exist, or a family
        that doesn't fit, is refused now."""
        from easyphoto.inference.task import with_seed

        with self._place.comings:
            accepted = self.accept(request)
            chosen = [person for person in accepted.people if person is not None]
            subject = ", ".join(person.user_id for person in chosen)
            using = (*chosen, accepted.scene)
            uses = tuple(person.user_id for person in using if person is not None and person is not _GUEST)
            # The seed is drawn now: what is done again after a restart comes out the same.
            payload, given = payloads.of_portraits(replace(request, config=with_seed(request.config)))
            return self._place.jobs.put(Order(GENERATE, subject, uses, payload, given, job))

    def accept(self, request: PortraitRequest, person: Callable[[str], Person] | None = None) -> Accepted:
        """What the request comes to; what can be known to be wrong with it is refused. ``person`` looks a user id up,
        the people who are there by default."""
        if len(request.templates) > MAX_TEMPLATES:
            raise InvalidRequest(
                "{count} templates are too many: at most {max_templates}.",
                count=len(request.templates),
                max_templates=MAX_TEMPLATES,
            )
        look_up = person or self._place.people.get
        people = seating.seated(request.user_ids, look_up)
        if request.by_likeness and seating.places(request.user_ids, people):
            raise InvalidRequest("Likeness decides whose face is whose, or you do: leave out by_likeness or the @.")
        chosen = [person for person in people if person is not None]
        alone = request.config.ref_mode_choose == REF_MODES[1]
        if alone and not chosen and request.identity_image is not None:
            people = (_GUEST,)
            chosen = [_GUEST]
        if request.identity_image is not None and len(chosen) > 1:
            raise InvalidRequest("The picture for the adapter shows one person: choose one, or leave the picture out.")
        for one in chosen:
            if one.scene:
                raise InvalidRequest(
                    "{user_id} is a scene and nobody's face: choose it as the scene.", user_id=one.user_id
                )
            one.require_whole()
        if not chosen:
            raise InvalidRequest("Nobody was chosen: pick a user id for at least one face.")
        scene = self._scene(request.config.scene_id)
        if not request.templates and not request.config.text_to_image_input_prompt.strip() and scene is None:
            raise InvalidRequest("There is no template: choose or upload one, or write a prompt for text to portrait.")
        checkpoint = self._portrait_checkpoint(request.config.sd_model_checkpoint, chosen)
        for one in chosen:
            if one.trained and not alone:
                require_same_family(one.lora, checkpoint)
        if alone:
            self._require_adapter(request.config, checkpoint)
        self._check_files(request, checkpoint, scene)
        return Accepted(people, checkpoint, scene)

    def _require_adapter(self, config: PortraitConfig, checkpoint: Checkpoint) -> None:
        """Refuse portraits without a LoRA where nothing else would tell whom they show."""
        from easyphoto import families
        from easyphoto.inference import plan

        row = plan.adapter(families.spec(checkpoint.family), config, alone=True)
        if row is None or row.kind not in self._place.host.identities(checkpoint.family):
            raise AssetMissing(
                "ref_mode_choose leaves the LoRA out, and {method} isn't there for {family} models: get its files, or "
                "choose {with_lora!r}.",
                method=config.no_user_lora_mode,
                family=checkpoint.family.value,
                with_lora=REF_MODES[0],
            )

    def _scene(self, name: str) -> Person | None:
        """The scene of that name, None for none. Raises :class:`NotFound` and :class:`InvalidRequest`."""
        if name in ("", NOBODY):
            return None
        try:
            found = self._place.people.get(name)
        except NotFound:
            raise NotFound("There is no scene {name!r}: train one, or choose none.", name=name) from None
        if not found.scene:
            raise InvalidRequest("{user_id} is a person and no scene: choose a scene, or none.", user_id=found.user_id)
        return found

    def _check_files(self, request: PortraitRequest, checkpoint: Checkpoint, scene: Person | None) -> None:
        """Refuse what a file is missing for, or the wrong one there, before anybody waits for it."""
        from easyphoto.inference import plan

        plan.lcm_loras(checkpoint.family, request.config, self._place.paths.loras)
        if request.templates:
            return
        if scene is not None:
            try:
                require_same_family(scene.lora, checkpoint)
            except InvalidRequest as error:
                raise InvalidRequest(
                    "The scene {user_id} can't be used here: {error}", user_id=scene.user_id, error=error
                ) from error
        way = request.config.t2i_control_way
        if way == SCENE_CONTROLS[0]:
            return
        if way == SCENE_CONTROLS[2] and request.pose_template is None:
            raise InvalidRequest("{way!r} needs a picture to take the pose from.", way=way)
        family = checkpoint.family
        if ControlRole.OPENPOSE not in self._place.host.controls(family) or self._place.host.control_limit() == 0:
            raise AssetMissing(
                "A pose needs an openpose ControlNet for {family} models, which isn't "
                "there: get one, or choose {scene_controls!r}.",
                family=family.value,
                scene_controls=SCENE_CONTROLS[0],
            )

    def replay(
        self,
        recipe: Path,
        templates: Sequence[Path],
        changes: Mapping[str, Any],
        identity_image: Source | None = None,
    ) -> PortraitRequest:
        """The request that made a portrait, from the recipe in its PNG, with ``changes`` to its parameters.

        The recipe knows its template by sha256: one of ``templates`` or of the presets must be that file.
        """
        from easyphoto.inference import recipe as recipes

        read = recipes.read(recipe)
        once = {
            "seed": read.seed,
            "batch_size": 1,
            "best_of": 1,
            "sd_model_checkpoint": read.data["checkpoint"]["name"],
        }
        changes = spelt_out(PortraitConfig, changes)
        config = replace(read.config, **{**once, **changes})
        chosen = read.chosen | set(changes)
        if "identity" in read.data and identity_image is None:
            raise InvalidRequest(
                "{recipe} was made with a picture for the adapter: give that picture too.", recipe=recipe.name
            )
        if read.from_text:
            return PortraitRequest(read.user_ids, (), config, chosen=chosen, identity_image=identity_image)
        for template in templates:
            read.check_template(template)
        found = read.find_template([*templates, *(t.path for t in self._place.templates.list())])
        if found is None:
            raise InvalidRequest(
                "{recipe} was made on the template {template_name}: give that file too.",
                recipe=recipe.name,
                template_name=read.template_name,
            )
        return PortraitRequest(read.user_ids, (found,), config, chosen=chosen, identity_image=identity_image)

    # --- the kind of work that portraits are -------------------------------------------------------------------------

    def work(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> PortraitResult:
        """Make the portraits, but for those that this very request has made before it was cut off."""
        from easyphoto.inference.portrait import portray
        from easyphoto.inference.portrait_panel import PanelBook
        from easyphoto.inference.task import PortraitTask, with_seed

        asked = payloads.portrait(request)
        accepted = self.accept(asked)
        before = payloads.made_before(self._place.paths.portraits, request) if request.attempt else []
        for portrait in before:
            emit(payloads.portrayed(portrait))
        self._place.prepare(emit, cancelled)
        scene = accepted.scene
        config = accepted.prompted(with_seed(asked.config), asked)

        def notice(message: str) -> None:
            emit(Notice(message=message))

        task = PortraitTask(
            templates=asked.templates,
            people=tuple(None if person is None else self._seated(person, asked, notice) for person in accepted.people),
            config=config,
            checkpoint=accepted.checkpoint,
            lora_folder=self._place.paths.loras,
            scene=None if scene is None else scene.lora,
            pose_template=None if asked.pose_template is None else pictures.load(asked.pose_template),
            folder=self._place.paths.portraits,
            commercial_only=self._place.preferences().commercial_only,
            chosen=asked.chosen,
            by_likeness=asked.by_likeness,
            job=request.job,
            origin=asked.origin,
            keep_stages=asked.keep_stages,
            done=frozenset((portrait.template, payloads.asked_seed(portrait.recipe)) for portrait in before),
        )
        listener = _NotingFailures(emit)
        failures = listener.failures
        book = PanelBook()
        made = [
            SavedPortrait.of(portrait)
            for portrait in portray(task, self._place.host, self._place.vision, listener, cancelled, book)
        ]
        portraits = tuple(sorted([*before, *made], key=lambda one: (one.template, one.seed))) if before else tuple(made)
        if not portraits and failures:
            raise _nothing_made(failures)
        names = [portrait.path.name for portrait in portraits if portrait.path is not None]
        panels = book.told()
        emit(Finished(result={"portraits": names, "failed": len(failures), "seed": config.seed, "panels": panels}))
        return PortraitResult(portraits, tuple(failures), config.seed, panels)

    def _seated(self, person: Person, asked: PortraitRequest, notice: Callable[[str], None]) -> Subject | Unusable:
        """The person with the picture that the adapter is shown, where there is one."""
        from easyphoto.inference.task import Subject, guest, seat

        shown = None if asked.identity_image is None else pictures.load(asked.identity_image)
        if person is _GUEST and shown is not None:
            return guest(GUEST, shown)
        found = seat(person, self._place.vision, notice)
        return replace(found, shown=shown) if isinstance(found, Subject) else found

    def to_data(self, result: PortraitResult) -> dict[str, Any]:
        return payloads.of_result(result)

    def from_data(self, data: Mapping[str, Any]) -> PortraitResult:
        return payloads.result(data)

    def _portrait_checkpoint(self, wanted: str, people: Sequence[Person]) -> Checkpoint:
        """The base model that was asked for, or the one that the first person was trained on who was trained at all."""
        if wanted:
            return self._place.base_models.named(wanted)
        first = next((person for person in people if person.trained), people[0])
        trained_on = str((first.marks or {}).get("base_model", ""))
        return self._place.base_models.of_family(first.family, trained_on)


class _NotingFailures:
    """A listener that passes everything on and keeps the templates that could not be done."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.failures: list[TemplateFailed] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, TemplateFailed):
            self.failures.append(event)
        self._listener(event)

    def is_watched(self) -> bool:
        return wants_previews(self._listener)


def _nothing_made(failures: Sequence[TemplateFailed]) -> EasyPhotoError:
    """The error of a job none of whose portraits came about: the reason of the first, and of how many."""
    first = failures[0]
    kind = kind_of(first.code)
    if len(failures) == 1:
        return kind(first.message)
    return kind(
        Message(
            "None of the {count} portraits could be made; the first: {message}",
            count=len(failures),
            message=first.message,
        )
    )
