"""What EasyPhoto can do, for every edge: the tabs, the HTTP API and the command line call this and nothing below it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from easyphoto import families, naming, pictures
from easyphoto.catalog import Catalog, Folders
from easyphoto.checkpoint import require_checkpoint, require_same_family
from easyphoto.config import (
    PRECISIONS,
    SCENE_CONTROLS,
    TRAIN_MODES,
    Paths,
    PortraitConfig,
    TrainConfig,
    declared,
)
from easyphoto.errors import AssetMissing, EasyPhotoError, InvalidRequest, NotFound, StorageFailed, TooBusy
from easyphoto.errors import of as kind_of
from easyphoto.events import Event, Failed, Finished, Listener, Notice, TemplateFailed
from easyphoto.folders import free_bytes
from easyphoto.jobs import Job, JobQueue
from easyphoto.messages import Message, joined
from easyphoto.people import PeopleStore, Person, Removed
from easyphoto.pictures import Source
from easyphoto.ports import BrokenModel, Checkpoint, ControlRole, Host, Image, Portrait, TellsBroken, Vision
from easyphoto.storage import earlier, locks, portraits
from easyphoto.storage.folders import STAGED, JobFolder, PersonFolder
from easyphoto.storage.scratch import Scratch
from easyphoto.storage.uploads import Uploads
from easyphoto.templates import TemplateStore
from easyphoto.weights import Weights

if TYPE_CHECKING:
    from easyphoto.training.photos import PhotoReport
    from easyphoto.training.spec import TrainingSpec

Interpreter: TypeAlias = Callable[[Listener, Callable[[], bool]], Path]

NOBODY = "none"
"""The user id that leaves a face alone."""
MAX_PHOTOS = 100
MAX_TEMPLATES = 200
MAX_CHECKS = 4
"""How many may have their photos looked at, at the same time: each holds all its photos in memory."""
DISK_FOR_TRAINING = 2 * 2**30
"""Bytes that must be free before a training starts: photos, crops, checkpoints and the LoRA of a full-size model."""


@dataclass(frozen=True, eq=False)
class TrainRequest:
    """Photos of one person, and how to train. ``config`` None takes the defaults of the base model's family.

    ``resume`` goes on with the last training of this person, with that training's options and photos. ``chosen`` names
    the fields of ``config`` that the user gave a value to, which matters then: those that differ from the earlier
    training's and would change what was learned are refused by name. None: those that aren't defaults.
    """

    user_id: str
    photos: tuple[Source, ...]
    config: TrainConfig | None = None
    validation_templates: tuple[Source, ...] = ()
    resume: bool = False
    chosen: frozenset[str] | None = None
    captions: tuple[str, ...] = ()
    """What each photo of a scene shows, in the order of the photos; where it is empty, the ``.txt`` file beside a photo
    says it, else the scene's own prompt does. A person's photos all have the same caption."""


@dataclass(frozen=True, eq=False)
class PortraitRequest:
    """Who goes onto which templates. ``user_ids``: one per face from left to right, ``none`` leaves a face alone.
    Without templates, the portrait is made from text."""

    user_ids: tuple[str, ...]
    templates: tuple[Source, ...] = ()
    config: PortraitConfig = field(default_factory=PortraitConfig)
    pose_template: Source | None = None
    keep_stages: bool = False


@dataclass(frozen=True, eq=False)
class PortraitResult:
    """What came of a portrait job: the portraits, the templates that failed, and the seed that was used."""

    portraits: tuple[Portrait, ...]
    failures: tuple[TemplateFailed, ...]
    seed: int


class _SavedPortrait(Portrait):
    """A portrait whose pixels lie in its file alone and are read when they are asked for: the queue remembers what it
    made long after anybody looks at it."""

    @classmethod
    def of(cls, portrait: Portrait) -> Portrait:
        """The same without its pixels; one that has no file keeps them."""
        if portrait.path is None:
            return portrait
        saved = object.__new__(cls)
        saved.__dict__.update({k: v for k, v in vars(portrait).items() if k != "image"}, alpha=None)
        return saved

    def __getattr__(self, name: str) -> Image:
        if name == "image" and self.path is not None:
            return pictures.load(self.path)
        raise AttributeError(name)


@dataclass(frozen=True)
class Preferences:
    """What was decided for all jobs. ``commercial_only``: no weights whose licence forbids commercial use.
    ``precision``: of trainings that leave it at ``auto``."""

    commercial_only: bool = False
    precision: str = PRECISIONS[0]

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InvalidRequest(
                "The precision must be one of {choices}, not {precision!r}.",
                choices=", ".join(PRECISIONS),
                precision=self.precision,
            )


class EasyPhoto:
    """The program. ``host`` runs Stable Diffusion, ``vision`` sees faces, ``paths`` is where everything lies.

    ``python`` gives the interpreter that trainings run in, and makes its environment first if need be: it is called
    at the start of every job with the job's listener and its "is it cancelled". None for the interpreter that runs now.
    ``preferences`` are asked at each use, ``folders`` are where weights go and are looked for.
    """

    def __init__(
        self,
        host: Host,
        vision: Vision,
        paths: Paths,
        python: Interpreter | None = None,
        preferences: Callable[[], Preferences] = Preferences,
        folders: Callable[[], Folders] | None = None,
    ) -> None:
        self.host = host
        self.vision = vision
        self.paths = paths
        self._python = python
        self.people = PeopleStore(paths)
        self.templates = TemplateStore(paths)
        self.uploads = Uploads(paths)
        self.jobs = JobQueue()
        # Held while a job that needs a person is queued, and while one is deleted: neither comes in between the other.
        self._comings = threading.Lock()
        self._checks = threading.BoundedSemaphore(MAX_CHECKS)
        self.preferences = preferences
        self._new_weights = threading.Event()
        self.weights = Weights(
            Catalog.load(),
            folders or (lambda: Folders.of(paths)),
            self.jobs,
            lambda: self.preferences().commercial_only,
            self._new_weights.set,
        )

    # --- training ----------------------------------------------------------------------------------------------------

    def check_photos(self, photos: Sequence[Source]) -> PhotoReport:
        """What the trainer would say of these photos, before anybody waits for a training. They are named as
        :func:`photo_names` does; one that can't be read has a verdict like any other. :class:`TooBusy` when
        ``MAX_CHECKS`` others are at it."""
        if not self._checks.acquire(blocking=False):
            raise TooBusy(
                "The photos of {max_checks} others are being looked at: try again in a moment.", max_checks=MAX_CHECKS
            )
        try:
            return self._check_photos(photos)
        finally:
            self._checks.release()

    def _check_photos(self, photos: Sequence[Source]) -> PhotoReport:
        from easyphoto.training.photos import PhotoVerdict, Verdict, report

        unreadable: list[PhotoVerdict] = []

        def readable() -> Iterator[tuple[str, Image]]:
            for name, source in zip(photo_names(photos), photos, strict=True):
                try:
                    yield name, pictures.load(source, max_area=pictures.PHOTO_AREA, name=name)
                except InvalidRequest as error:
                    unreadable.append(PhotoVerdict(name, "", Verdict.UNREADABLE, error.message))

        made = report(readable(), self.vision)
        return replace(made, photos=(*made.photos, *unreadable))

    def train_config(self, chosen: Mapping[str, Any]) -> TrainConfig:
        """What the user chose, over the defaults for the base model's family and the mode."""
        family = self.checkpoint(str(chosen.get("sd_model_checkpoint", ""))).family
        scene = chosen.get("train_mode_choose") == TRAIN_MODES[1]
        return families.spec(family).train_config(scene=scene, **chosen)

    def train(self, request: TrainRequest) -> Job[Person]:
        """Queue a training. What can be known to be wrong is an :class:`InvalidRequest` now, not after the wait."""
        name = self.people.to_train(request.user_id)
        if request.captions and len(request.captions) != len(request.photos):
            raise InvalidRequest(
                "There are {captions} captions for {photos} photos.",
                captions=len(request.captions),
                photos=len(request.photos),
            )
        if not request.photos and not request.resume:
            raise InvalidRequest("There are no photos: upload 5 to 20 photos of one person.")
        if len(request.photos) > MAX_PHOTOS:
            raise InvalidRequest(
                "{count} photos are too many: at most {max_photos}.", count=len(request.photos), max_photos=MAX_PHOTOS
            )
        with self._comings:
            return self._queue_training(self.people.at(name), request)

    def _queue_training(self, person: PersonFolder, request: TrainRequest) -> Job[Person]:
        name = person.name
        if not self._is_queued(name):
            # Behind a training of the same person that waits here, it is looked at when its turn comes.
            if locks.busy(person.job):
                raise InvalidRequest(
                    "{name} is being trained already: wait for that training to end or cancel it.", name=name
                )
            _, checkpoint = self._order(person, request)
        else:
            checkpoint = self.checkpoint(request.config.sd_model_checkpoint if request.config else "")
        self._require_parts(checkpoint)
        free = free_bytes(self.paths.outputs)
        if free is None:
            raise StorageFailed(
                "The drive of {outputs} isn't there: nothing can be written.", outputs=self.paths.outputs
            )
        if families.spec(checkpoint.family).learning.needs_disk and free < DISK_FOR_TRAINING:
            raise StorageFailed(
                "Only {free:.1f} GB of disk are free; a training needs {disk_for_training:.0f}.",
                free=free / 2**30,
                disk_for_training=DISK_FOR_TRAINING / 2**30,
            )
        return self.jobs.submit(
            "train",
            name,
            lambda job: self._train(job, name, request),
            holds=_bytes(*request.photos, *request.validation_templates),
            uses=(name,),
        )

    def _train(self, job: Job[Person], name: str, request: TrainRequest) -> Person:
        from easyphoto.training.job import TrainingSpec, run

        python = None if self._python is None else self._python(job.emit, job.cancelled)
        home = self.people.at(self.people.to_train(name))
        config, checkpoint = self._order(home, request)
        with ExitStack() as held:
            held.callback(home.drop_if_empty)
            stage = held.enter_context(Scratch(home.job.path, STAGED))
            names, photos = self._photos(job, home, JobFolder(stage.path), request)
            resumes = request.resume and (home.job.state.is_file() or not request.photos)
            spec = TrainingSpec(
                user_id=name,
                photos=photos,
                names=names,
                captions=self._captions(home, request, names) if config.is_scene else (),
                config=config,
                checkpoint=checkpoint.path,
                family=checkpoint.family,
                person_folder=home.path,
                lora_path=self.people.lora(name),
                validation_templates=self._validation_templates(home, JobFolder(stage.path), request),
                models=self.paths.models,
                python=python,
                resume=resumes,
                commercial_only=self.preferences().commercial_only,
            )
            self._new_weights.clear()
            self.vision.release()
            with self.host.training():
                run(spec, home.job.path, _all_but_the_end(job), job.cancelled)
        self.host.refresh_loras()
        person = self.people.get(name)
        job.emit(Finished(result={"user_id": name, "likeness": person.likeness, "works": person.works}))
        return person

    def _order(self, home: PersonFolder, request: TrainRequest) -> tuple[TrainConfig, Checkpoint]:
        """How and on what to train. A training that is resumed takes what its first request says."""
        from easyphoto.training import resume

        before = None
        if request.resume and home.job.path.is_dir():
            with locks.alone(home.job, home.name):
                try:
                    earlier.settle(home.job)
                except OSError as error:
                    raise StorageFailed(
                        "{home} can't be written: {reason}.", home=home.name, reason=error.strerror or error
                    ) from error
                before = resume.earlier(home.job)
        if before is None:
            if request.resume and not request.photos and not home.photos():
                raise InvalidRequest("There is no earlier training of {home!r} to go on with.", home=home.name)
            checkpoint = self.checkpoint(request.config.sd_model_checkpoint if request.config else "")
            return self._with_precision(request.config or self.train_config({})), checkpoint
        checkpoint = self._trained_on(before)
        if request.config is None:
            return before.config, checkpoint
        chosen = self._chosen(request.config) if request.chosen is None else request.chosen
        if "sd_model_checkpoint" in chosen and request.config.sd_model_checkpoint:
            wanted = self.checkpoint(request.config.sd_model_checkpoint)
            if wanted.path != checkpoint.path:
                raise resume.other_options([("sd_model_checkpoint", checkpoint.name, wanted.name)])
        return resume.options(before.config, self._with_precision(request.config), chosen), checkpoint

    def stopped_training(self, user_id: str) -> TrainConfig | None:
        """The options of the last training of this person that a training which is resumed goes on with, the base
        model by its name; None where there is nothing to go on with."""
        from easyphoto.training import resume

        try:
            job = self.people.at(user_id).job
            before = resume.earlier(job) if job.state.is_file() else None
            if before is None:
                return None
            return replace(before.config, sd_model_checkpoint=self._trained_on(before).name)
        except InvalidRequest:
            return None

    def _with_precision(self, config: TrainConfig) -> TrainConfig:
        if config.mixed_precision != PRECISIONS[0]:
            return config
        return replace(config, mixed_precision=self.preferences().precision)

    def _chosen(self, config: TrainConfig) -> frozenset[str]:
        """The fields that aren't what a form shows before anybody touches it."""
        checkpoint = self.checkpoint(config.sd_model_checkpoint)
        usual = families.spec(checkpoint.family).train_config(scene=config.is_scene)
        first = {"train_mode_choose": TRAIN_MODES[0]}
        named = {d.name for d in declared(TrainConfig)} - {"sd_model_checkpoint"}
        chosen = {n for n in named if getattr(config, n) != first.get(n, getattr(usual, n))}
        if checkpoint != self.checkpoint(""):
            chosen.add("sd_model_checkpoint")
        return frozenset(chosen)

    def _trained_on(self, before: TrainingSpec) -> Checkpoint:
        """The base model of the earlier training, as the host knows it now."""
        known = [c for c in self.host.checkpoints() if c.family is before.family]
        same = [c for c in known if c.path == before.checkpoint]
        same = same or [c for c in known if c.path.name == before.checkpoint.name]
        if len(same) != 1:
            raise InvalidRequest(
                "The base model {checkpoint} of the earlier training can't be found: put it back, or "
                "train again without resume.",
                checkpoint=before.checkpoint.name,
            )
        return same[0]

    def _is_queued(self, name: str) -> bool:
        """Whether a training of this person waits or runs here."""
        return any(j.what == "train" and j.subject == name and not j.ended for j in self.jobs.list())

    def _photos(
        self, job: Job[Person], home: PersonFolder, stage: JobFolder, request: TrainRequest
    ) -> tuple[tuple[str, ...], tuple[Path, ...]]:
        """What the user calls the photos to train on, and where they lie. New ones are kept upright in the staging
        folder until the training has the person for itself; one that can't be read is left out with a notice."""
        kept, earlier_names = tuple(home.photos()), _names_of(home.job)
        if request.resume and not request.photos:
            if not kept:
                raise InvalidRequest("There is no earlier training of {home!r} to go on with.", home=home.name)
            return earlier_names, kept
        paths: dict[str, Path] = {}
        for name, source in zip(photo_names(request.photos), request.photos, strict=True):
            try:
                image = pictures.load(source, max_area=pictures.PHOTO_AREA, name=name)
            except InvalidRequest as error:
                job.emit(Notice(message=Message("A photo was left out: {error}", error=error)))
                continue
            paths[name] = stage.photos / f"{len(paths)}.jpg"
            pictures.save_jpg(paths[name], image)
        if not paths:
            raise InvalidRequest("None of the photos can be read.")
        if request.resume and home.job.state.is_file():
            if sorted(p.read_bytes() for p in paths.values()) != sorted(p.read_bytes() for p in kept):
                raise InvalidRequest(
                    "These are other photos than those of the earlier training: resume without photos, or train again "
                    "without resume."
                )
            return earlier_names, kept
        return tuple(paths), tuple(paths.values())

    def _captions(self, home: PersonFolder, request: TrainRequest, names: Sequence[str]) -> tuple[str, ...]:
        """What was written of the photos that are called ``names``; of the earlier ones, where a training goes on."""
        from easyphoto.training import captions

        if request.resume and (not request.photos or home.job.state.is_file()):
            return _strings_of(home.job, "captions")
        given = request.captions or ("",) * len(request.photos)
        found = {}
        for name, source, text in zip(photo_names(request.photos), request.photos, given, strict=True):
            found[name] = text or (captions.beside(source) if isinstance(source, Path) else "")
        return tuple(found.get(name, "") for name in names)

    def _validation_templates(self, home: PersonFolder, stage: JobFolder, request: TrainRequest) -> tuple[Path, ...]:
        if not request.validation_templates:
            kept = tuple(sorted(home.job.templates.glob("*.png"))) if request.resume else ()
            return kept or tuple(t.path for t in self.templates.list() if not t.own and t.faces == 1)
        paths = tuple(stage.templates / f"template-{i}.png" for i in range(len(request.validation_templates)))
        for path, source in zip(paths, request.validation_templates, strict=True):
            pictures.save_png(path, pictures.load(source))
        return paths

    # --- people ------------------------------------------------------------------------------------------------------

    def portraits_of(self, user_id: str) -> list[Path]:
        """The portraits that show a person, alone or with others, by the recipes in them."""
        return portraits.of(self.paths.portraits, user_id)

    def delete_person(self, user_id: str, *, portraits: bool = False) -> Removed:
        """Delete a person: photos, LoRA, everything of their trainings, their uploads, and the portraits that show
        them where ``portraits`` says so. What was removed, and which portraits are left.

        :class:`NotFound` when there is nobody of exactly that name, :class:`InvalidRequest` while they are being
        trained, by whatever process, and while a portrait of theirs waits or is made here, :class:`StorageFailed` when
        not everything can be deleted.
        """
        with self._comings:
            if self._is_queued(user_id):
                raise InvalidRequest("{user_id!r} is being trained: cancel that training first.", user_id=user_id)
            if any(user_id in job.uses and not job.ended for job in self.jobs.list()):
                raise InvalidRequest(
                    "Portraits of {user_id!r} are being made: wait for them or cancel that job first.", user_id=user_id
                )
            removed = self.people.delete(user_id)
        try:
            uploads = self.uploads.empty(user_id)
            shown = self.portraits_of(user_id)
            size = sum(path.stat().st_size for path in shown)
            for path in shown if portraits else ():
                path.unlink()
        except OSError as error:
            raise StorageFailed(
                "Not everything of {user_id!r} could be deleted: {reason}.",
                user_id=user_id,
                reason=error.strerror or error,
            ) from error
        self.host.refresh_loras()
        if not portraits:
            return replace(removed, uploads=len(uploads), portraits_left=tuple(shown))
        return replace(
            removed,
            files=removed.files + len(shown),
            bytes=removed.bytes + size,
            uploads=len(uploads),
            portraits=tuple(shown),
        )

    def _require_parts(self, checkpoint: Checkpoint) -> None:
        """What the trainer can't do without in a base model, known before anybody waits or a photo is looked at."""
        from easyphoto.sd import tokenizers

        if checkpoint.path.exists():
            require_checkpoint(checkpoint.path)
            tokenizers.require(checkpoint.path, tokenizers.folders(self.paths.models, checkpoint.path))

    # --- portraits ---------------------------------------------------------------------------------------------------

    def generate(self, request: PortraitRequest) -> Job[PortraitResult]:
        """Queue portraits. A user id that doesn't exist, or a family that doesn't fit, is refused now."""
        if len(request.templates) > MAX_TEMPLATES:
            raise InvalidRequest(
                "{count} templates are too many: at most {max_templates}.",
                count=len(request.templates),
                max_templates=MAX_TEMPLATES,
            )
        with self._comings:
            return self._queue_portraits(request)

    def _queue_portraits(self, request: PortraitRequest) -> Job[PortraitResult]:
        people = [None if name == NOBODY else self.people.get(name) for name in request.user_ids]
        chosen = [person for person in people if person is not None]
        for person in chosen:
            if person.scene:
                raise InvalidRequest(
                    "{user_id} is a scene and nobody's face: choose it as the scene.", user_id=person.user_id
                )
            person.require_whole()
        if not chosen:
            raise InvalidRequest("Nobody was chosen: pick a user id for at least one face.")
        scene = self._scene(request.config.scene_id)
        if not request.templates and not request.config.text_to_image_input_prompt.strip() and scene is None:
            raise InvalidRequest("There is no template: choose or upload one, or write a prompt for text to portrait.")
        checkpoint = self._portrait_checkpoint(request.config.sd_model_checkpoint, chosen)
        for person in chosen:
            require_same_family(person.lora, checkpoint)
        self._check_files(request, checkpoint, scene)
        subject = ", ".join(person.user_id for person in chosen)
        return self.jobs.submit(
            "generate",
            subject,
            lambda job: self._generate(job, request, people, checkpoint, scene),
            holds=_bytes(*request.templates, request.pose_template),
            uses=[person.user_id for person in (*chosen, scene) if person is not None],
        )

    def _scene(self, name: str) -> Person | None:
        """The scene of that name, None for none. Raises :class:`NotFound` and :class:`InvalidRequest`."""
        if name in ("", NOBODY):
            return None
        try:
            found = self.people.get(name)
        except NotFound:
            raise NotFound("There is no scene {name!r}: train one, or choose none.", name=name) from None
        if not found.scene:
            raise InvalidRequest("{user_id} is a person and no scene: choose a scene, or none.", user_id=found.user_id)
        return found

    def _check_files(self, request: PortraitRequest, checkpoint: Checkpoint, scene: Person | None) -> None:
        """Refuse what a file is missing for, or the wrong one there, before anybody waits for it."""
        from easyphoto.inference import plan

        plan.lcm_loras(checkpoint.family, request.config, self.paths.loras)
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
        if ControlRole.OPENPOSE not in self.host.controls(family) or self.host.control_limit() == 0:
            raise AssetMissing(
                "A pose needs an openpose ControlNet for {family} models, which the host doesn't "
                "have: get one, or choose {scene_controls!r}.",
                family=family.value,
                scene_controls=SCENE_CONTROLS[0],
            )

    def replay(self, recipe: Path, templates: Sequence[Path], changes: Mapping[str, Any]) -> PortraitRequest:
        """The request that made a portrait, from the recipe in its PNG, with ``changes`` to its parameters.

        The recipe knows its template by sha256: one of ``templates`` or of the presets must be that file.
        """
        from easyphoto.inference import recipe as recipes

        read = recipes.read(recipe)
        once = {"seed": read.seed, "batch_size": 1, "sd_model_checkpoint": read.data["checkpoint"]["name"]}
        config = replace(read.config, **{**once, **changes})
        if read.from_text:
            return PortraitRequest(read.user_ids, (), config)
        for template in templates:
            read.check_template(template)
        found = read.find_template([*templates, *(t.path for t in self.templates.list())])
        if found is None:
            raise InvalidRequest(
                "{recipe} was made on the template {template_name}: give that file too.",
                recipe=recipe.name,
                template_name=read.template_name,
            )
        return PortraitRequest(read.user_ids, (found,), config)

    def _generate(
        self,
        job: Job[PortraitResult],
        request: PortraitRequest,
        people: Sequence[Person | None],
        checkpoint: Checkpoint,
        scene: Person | None,
    ) -> PortraitResult:
        from easyphoto.inference.portrait import portray
        from easyphoto.inference.task import PortraitTask, seat, with_seed

        if self._python is not None:  # the vision worker runs there
            self._python(job.emit, job.cancelled)
        if self._new_weights.is_set():  # not while another job looks through the models that are loaded
            self._new_weights.clear()
            self.vision.release()
        config = with_seed(request.config)

        def notice(message: str) -> None:
            job.emit(Notice(message=message))

        if scene is not None and not request.templates and not config.text_to_image_input_prompt.strip():
            config = replace(config, text_to_image_input_prompt=str((scene.marks or {}).get("prompt") or ""))
        task = PortraitTask(
            templates=request.templates,
            people=tuple(None if person is None else seat(person, self.vision, notice) for person in people),
            config=config,
            checkpoint=checkpoint,
            lora_folder=self.paths.loras,
            scene=None if scene is None else scene.lora,
            pose_template=None if request.pose_template is None else pictures.load(request.pose_template),
            folder=self.paths.portraits,
            commercial_only=self.preferences().commercial_only,
        )
        failures: list[TemplateFailed] = []

        def listen(event: Event) -> None:
            if isinstance(event, TemplateFailed):
                failures.append(event)
            job.emit(event)

        portraits = tuple(
            _SavedPortrait.of(portrait if request.keep_stages else replace(portrait, stages={}))
            for portrait in portray(task, self.host, self.vision, listen, job.cancelled)
        )
        if not portraits and failures:
            raise _nothing_made(failures)
        names = [portrait.path.name for portrait in portraits if portrait.path is not None]
        job.emit(Finished(result={"portraits": names, "failed": len(failures), "seed": config.seed}))
        return PortraitResult(portraits, tuple(failures), config.seed)

    def _portrait_checkpoint(self, wanted: str, people: Sequence[Person]) -> Checkpoint:
        """The base model that was asked for, or the one that the first person was trained on."""
        if wanted:
            return self.checkpoint(wanted)
        trained_on = str((people[0].marks or {}).get("base_model", ""))
        of_family = [c for c in self.host.checkpoints() if c.family is people[0].family]
        found = naming.find(trained_on, map(_listed, of_family), "base model") if trained_on else None
        return found or (of_family[0] if of_family else self.checkpoint(""))

    # --- base models -------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Checkpoint]:
        """The host's base models that can be used, its default first."""
        return self.host.checkpoints()

    def broken_checkpoints(self) -> list[BrokenModel]:
        """What lies among the host's base models and can't be used, and why."""
        return self.host.broken_checkpoints() if isinstance(self.host, TellsBroken) else []

    def checkpoint(self, name: str) -> Checkpoint:
        """The host's base model that ``name`` means (:mod:`easyphoto.naming`), or its default for an empty name.

        :class:`InvalidRequest` where there is none, with the reason where it is broken; :class:`AmbiguousName` where
        two could be meant.
        """
        known = self.host.checkpoints()
        if not name and known:
            return known[0]
        broken = self.broken_checkpoints()
        named: list[naming.Named[Checkpoint | BrokenModel]] = [
            *map(_listed, known),
            *(naming.Named[Checkpoint | BrokenModel](b.name, b) for b in broken),
        ]
        found = naming.find(name, named, "base model") if name else None
        if isinstance(found, Checkpoint):
            return found
        if isinstance(found, BrokenModel):
            raise InvalidRequest(
                "The base model {found} can't be used: {reason}", found=found.name, reason=found.reason
            )
        if not known:
            raise InvalidRequest(_no_base_model(broken))
        close = naming.near(name, [entry.name for entry in named]) or [c.name for c in known[:8]]
        raise NoSuchModel(
            Message("There is no base model {name!r}; there are: {close}.", name=name, close=", ".join(close))
        )


class NoSuchModel(InvalidRequest):
    """The host has no base model of that name."""


def _listed(checkpoint: Checkpoint) -> naming.Named[Any]:
    return naming.Named(checkpoint.name, checkpoint, (*checkpoint.aliases, str(checkpoint.path)))


def _no_base_model(broken: Sequence[BrokenModel]) -> str:
    sentence = Message("The host has no base model: put a Stable Diffusion checkpoint into its models folder.")
    if not broken:
        return sentence
    reasons = joined([b.reason for b in broken[:4]], " ")
    return Message("The host has no base model that can be used: {reasons}", reasons=reasons)


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


def _all_but_the_end(job: Job[Person]) -> Listener:
    """The trainer's events go to the job, but the job says itself how it ended."""

    def listen(event: Event) -> None:
        if not isinstance(event, Finished | Failed):
            job.emit(event)

    return listen


def _names_of(job: JobFolder) -> tuple[str, ...]:
    """What the user called the photos of the training whose job folder this is; nothing where that isn't known."""
    return _strings_of(job, "names")


def _strings_of(job: JobFolder, field: str) -> tuple[str, ...]:
    """A list of texts in the request of a job folder; nothing where it isn't there."""
    try:
        return tuple(str(value) for value in json.loads(job.request.read_text(encoding="utf-8"))[field])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def photo_names(photos: Sequence[Source]) -> list[str]:
    """What a report calls each photo: its file name, with a number where that name came before."""
    names: list[str] = []
    for index, source in enumerate(photos):
        name = called = source.name if isinstance(source, Path) else f"photo {index + 1}"
        count = 1
        while name in names:
            count += 1
            name = f"{called} ({count})"
        names.append(name)
    return names


def _bytes(*sources: Source | None) -> int:
    """What these hold in memory; a file on the disk holds nothing."""
    return sum(len(source) for source in sources if isinstance(source, bytes))
