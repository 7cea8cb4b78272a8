"""Where trainings are asked for: what can be known to be wrong is refused at once, the rest waits in the queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from easyphoto import families, pictures
from easyphoto.catalog import Catalog, Folders
from easyphoto.checkpoint import require_checkpoint
from easyphoto.config import PRECISIONS, TRAIN_MODES, TRAINING_STYLES, TrainConfig, declared
from easyphoto.disk import free_bytes
from easyphoto.errors import AssetMissing, Cancelled, InvalidRequest, StorageFailed
from easyphoto.events import Event, Failed, Finished, Listener, Notice
from easyphoto.jobs import Job
from easyphoto.messages import Message
from easyphoto.people import Person
from easyphoto.ports import Checkpoint
from easyphoto.queue.port import DurableRequest, Order
from easyphoto.service import payloads
from easyphoto.service.requests import MAX_PHOTOS, TrainRequest, photo_names
from easyphoto.service.workplace import Workplace
from easyphoto.storage import earlier, files, locks
from easyphoto.storage.folders import STAGED, JobFolder, PersonFolder
from easyphoto.storage.scratch import Scratch

DISK_FOR_TRAINING = 2 * 2**30
"""Bytes that must be free before a training starts: photos, crops, checkpoints and the LoRA of a full-size model."""

TRAIN = "train"
LEAVES = 150.0
"""Seconds that the trainer of a program which is gone may need to save and leave."""
POLL = 0.2
"""Seconds between two looks whether it has."""


class TrainingDesk:
    """Takes requests to train and is the kind of work that the queue does them as."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    def config(self, chosen: Mapping[str, Any]) -> TrainConfig:
        """What the user chose, over the defaults for the base model's family, the mode and the way to train."""
        family = self._place.base_models.named(str(chosen.get("sd_model_checkpoint", ""))).family
        scene = chosen.get("train_mode_choose") == TRAIN_MODES[1]
        return families.spec(family).train_config(scene=scene, **chosen)

    def queue(self, request: TrainRequest) -> Job[Person]:
        """Queue a training. What can be known to be wrong is an :class:`InvalidRequest` now, not after the wait."""
        name = self._name(request)
        with self._place.comings:
            return self._queue_training(self._place.people.at(name), request)

    def accept(self, request: TrainRequest) -> tuple[TrainConfig, Checkpoint]:
        """How and on what a training that begins anew would be made. What can be known to be wrong with it is refused,
        and nothing is queued."""
        self._name(request)
        config = self._with_precision(request.config or self.config({}))
        checkpoint = self._place.base_models.named(config.sd_model_checkpoint)
        self._require_parts(checkpoint)
        return config, checkpoint

    def _name(self, request: TrainRequest) -> str:
        """The user id that the request's training gets. :class:`InvalidRequest` for what is wrong with its photos."""
        name = self._place.people.to_train(request.user_id)
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
        return name

    def _queue_training(self, person: PersonFolder, request: TrainRequest) -> Job[Person]:
        name = person.name
        if not self._place.is_queued(name):
            # Behind a training of the same person that waits here, it is looked at when its turn comes.
            if locks.busy(person.job):
                raise InvalidRequest(
                    "{name} is being trained already: wait for that training to end or cancel it.", name=name
                )
            _, checkpoint = self._order(person, request)
        else:
            checkpoint = self._place.base_models.named(request.config.sd_model_checkpoint if request.config else "")
        self._require_parts(checkpoint)
        free = free_bytes(self._place.paths.outputs)
        if free is None:
            raise StorageFailed(
                "The drive of {outputs} isn't there: nothing can be written.", outputs=self._place.paths.outputs
            )
        if families.spec(checkpoint.family).learning.needs_disk and free < DISK_FOR_TRAINING:
            raise StorageFailed(
                "Only {free:.1f} GB of disk are free; a training needs {disk_for_training:.0f}.",
                free=free / 2**30,
                disk_for_training=DISK_FOR_TRAINING / 2**30,
            )
        self._place.jobs.supersede(TRAIN, name)
        payload, given = payloads.of_training(replace(request, user_id=name), self._written(request))
        return self._place.jobs.put(Order(TRAIN, name, (name,), payload, given))

    def _written(self, request: TrainRequest) -> tuple[str, ...]:
        """What is written of each photo of a scene, as long as the files beside the photos can be read."""
        from easyphoto.training import captions

        if request.config is None or not request.config.is_scene:
            return request.captions
        given = request.captions or ("",) * len(request.photos)
        found = tuple(
            text or (captions.beside(source) if isinstance(source, Path) else "")
            for source, text in zip(request.photos, given, strict=True)
        )
        return found if any(found) else ()

    # --- the kind of work that trainings are -------------------------------------------------------------------------

    def work(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> Person:
        """Train, or go on with what this very request has trained before it was cut off."""
        asked = payloads.training(request)
        if request.attempt:
            asked = self._going_on(request, asked, cancelled)
        return self._train(request.job, asked, emit, cancelled)

    def to_data(self, result: Person) -> dict[str, Any]:
        return {"user_id": result.user_id}

    def from_data(self, data: Mapping[str, Any]) -> Person:
        return self._place.people.get(str(data["user_id"]))

    def _going_on(self, request: DurableRequest, asked: TrainRequest, cancelled: Callable[[], bool]) -> TrainRequest:
        """What is asked of a training that was begun before: to go on from its last state where it has saved one."""
        job = self._place.people.at(asked.user_id).job
        end = time.monotonic() + LEAVES
        while locks.busy(job) and time.monotonic() < end:  # the trainer of a program that is gone saves and leaves
            if cancelled():
                raise Cancelled("The training was stopped.")
            time.sleep(POLL)
        gone = not request.pictures and not asked.resume
        if job.is_of(request.job) and (job.state.is_file() or (gone and not job.earlier.is_dir())):
            return replace(asked, photos=(), validation_templates=(), captions=(), resume=True, config=None)
        if gone:
            raise InvalidRequest(
                "The photos of this training are not kept any more: train {name} anew.", name=asked.user_id
            )
        return asked

    def _train(self, request_id: str, request: TrainRequest, emit: Listener, cancelled: Callable[[], bool]) -> Person:
        from easyphoto.training.job import TrainingSpec, run

        name = request.user_id
        python = None if self._place.python is None else self._place.python(emit, cancelled)
        home = self._place.people.at(self._place.people.to_train(name))
        config, checkpoint = self._order(home, request)
        self._fetch_tokenizer(checkpoint, emit, cancelled)
        with ExitStack() as held:
            held.callback(home.drop_if_empty)
            stage = held.enter_context(Scratch(home.job.path, STAGED))
            names, photos = self._photos(emit, home, JobFolder(stage.path), request)
            self._say_what_is_ignored(emit, request, config)
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
                lora_path=self._place.people.lora(name),
                validation_templates=self._validation_templates(
                    home, JobFolder(stage.path), request, rewarded=config.enable_rl
                ),
                models=self._place.paths.models,
                python=python,
                resume=resumes,
                device=self._place.device,
                commercial_only=self._place.preferences().commercial_only,
            )
            self._place.new_weights.clear()
            self._place.vision.release()
            with self._place.host.training():
                run(spec, home.job.path, _Begun(home.job, request_id, emit), cancelled)
        self._place.host.refresh_loras()
        person = self._place.people.get(name)
        said = {kind: (person.marks or {}).get(kind) for kind in ("panel", "reward")}
        told = {"user_id": name, "likeness": person.likeness, "works": person.works, **said}
        emit(Finished(result=told))
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
            checkpoint = self._place.base_models.named(request.config.sd_model_checkpoint if request.config else "")
            return self._with_precision(request.config or self.config({})), checkpoint
        checkpoint = self._place.base_models.trained_on(before.checkpoint, before.family)
        if request.config is None:
            return before.config, checkpoint
        chosen = self._chosen(request.config) if request.chosen is None else request.chosen
        if "sd_model_checkpoint" in chosen and request.config.sd_model_checkpoint:
            wanted = self._place.base_models.named(request.config.sd_model_checkpoint)
            if wanted.path != checkpoint.path:
                raise resume.other_options([("sd_model_checkpoint", checkpoint.name, wanted.name)])
        return resume.options(before.config, self._with_precision(request.config), chosen), checkpoint

    def stopped_training(self, user_id: str) -> TrainConfig | None:
        """The options of the last training of this person that a training which is resumed goes on with, the base
        model by its name; None where there is nothing to go on with."""
        from easyphoto.training import resume

        try:
            job = self._place.people.at(user_id).job
            before = resume.earlier(job) if job.state.is_file() else None
            if before is None:
                return None
            return replace(
                before.config,
                sd_model_checkpoint=self._place.base_models.trained_on(before.checkpoint, before.family).name,
            )
        except InvalidRequest:
            return None

    def _with_precision(self, config: TrainConfig) -> TrainConfig:
        if config.mixed_precision != PRECISIONS[0]:
            return config
        return replace(config, mixed_precision=self._place.preferences().precision)

    def _chosen(self, config: TrainConfig) -> frozenset[str]:
        """The fields that aren't what a form shows before anybody touches it, or once the mode or the way to train was
        changed in it."""
        checkpoint = self._place.base_models.named(config.sd_model_checkpoint)
        family = families.spec(checkpoint.family)
        usual = family.train_config(scene=config.is_scene, training_style=config.training_style)
        first = {"train_mode_choose": TRAIN_MODES[0], "training_style": TRAINING_STYLES[0]}
        named = {d.name for d in declared(TrainConfig)} - {"sd_model_checkpoint"}
        chosen = {n for n in named if getattr(config, n) != first.get(n, getattr(usual, n))}
        if checkpoint != self._place.base_models.named(""):
            chosen.add("sd_model_checkpoint")
        return frozenset(chosen)

    def _say_what_is_ignored(self, emit: Listener, request: TrainRequest, config: TrainConfig) -> None:
        """Say which option of the user's has no effect in this mode."""
        if not config.is_scene or config.face_weight == 1 or request.config is None:
            return
        chosen = self._chosen(request.config) if request.chosen is None else request.chosen
        if "face_weight" in chosen:
            emit(
                Notice(
                    message=Message(
                        "A scene counts all errors alike: face_weight {weight:g} was left out.",
                        weight=config.face_weight,
                    )
                )
            )

    def _photos(
        self, emit: Listener, home: PersonFolder, stage: JobFolder, request: TrainRequest
    ) -> tuple[tuple[str, ...], tuple[Path, ...]]:
        """What the user calls the photos to train on, and where they lie. New ones are kept upright in the staging
        folder until the training has the person for itself; one that can't be read is left out with a notice."""
        kept, earlier_names = tuple(home.photos()), home.job.texts("names")
        if request.resume and not request.photos:
            if not kept:
                raise InvalidRequest("There is no earlier training of {home!r} to go on with.", home=home.name)
            return earlier_names, kept
        paths: dict[str, Path] = {}
        for name, source in zip(photo_names(request.photos), request.photos, strict=True):
            try:
                image = pictures.load(source, max_area=pictures.PHOTO_AREA, name=name)
            except InvalidRequest as error:
                emit(Notice(message=Message("A photo was left out: {error}", error=error)))
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
            return home.job.texts("captions")
        given = request.captions or ("",) * len(request.photos)
        found = {}
        for name, source, text in zip(photo_names(request.photos), request.photos, given, strict=True):
            found[name] = text or (captions.beside(source) if isinstance(source, Path) else "")
        return tuple(found.get(name, "") for name in names)

    def _validation_templates(
        self, home: PersonFolder, stage: JobFolder, request: TrainRequest, *, rewarded: bool
    ) -> tuple[Path, ...]:
        """The templates to validate on: those that the user gave, else those that ship. The reward needs more, and
        takes the user's own and the gallery's behind them."""
        if not request.validation_templates:
            kept = tuple(sorted(home.job.templates.glob("*.png"))) if request.resume else ()
            single = sorted((t for t in self._place.templates.list() if t.faces == 1), key=lambda t: not t.shipped)
            return kept or tuple(t.path for t in single if t.shipped or rewarded)
        paths = tuple(stage.templates / f"template-{i}.png" for i in range(len(request.validation_templates)))
        for path, source in zip(paths, request.validation_templates, strict=True):
            pictures.save_png(path, pictures.load(source))
        return paths

    def _require_parts(self, checkpoint: Checkpoint) -> None:
        """What the trainer can't do without in a base model, known before anybody waits or a photo is looked at."""
        from easyphoto.catalog import fetching

        if checkpoint.path.exists():
            require_checkpoint(checkpoint.path)
            if fetching.offline():
                self._require_tokenizer(checkpoint)

    def _require_tokenizer(self, checkpoint: Checkpoint) -> None:
        from easyphoto.sd import tokenizers

        if checkpoint.path.is_file():
            tokenizers.require(checkpoint.path, tokenizers.folders(self._place.paths.models, checkpoint.path))

    def _fetch_tokenizer(self, checkpoint: Checkpoint, emit: Listener, cancelled: Callable[[], bool]) -> None:
        """Download CLIP's tokenizer where a base model needs one and this machine has none. What can't be had is said
        before a photo is looked at."""
        from easyphoto.sd import tokenizers

        try:
            self._require_tokenizer(checkpoint)
        except AssetMissing as missing:
            folders = Folders.under(self._place.paths.models)
            try:
                Catalog.load().fetch(tokenizers.BUNDLE, folders, listener=emit, cancelled=cancelled)
            except AssetMissing as error:
                emit(Notice(message=error.message))
                raise missing from error
            self._require_tokenizer(checkpoint)


class _Begun:
    """Listens to a trainer: its events go on, but the job says itself how it ended. With the first of them the job
    folder is the training's own, and is marked with the request that it was begun for."""

    def __init__(self, job: JobFolder, request_id: str, emit: Listener) -> None:
        self._job = job
        self._request_id = request_id
        self._emit = emit
        self._marked = False

    def __call__(self, event: Event) -> None:
        if not self._marked:
            self._marked = True
            # A full disk takes no mark: the training would be begun anew rather than gone on with, which loses no more.
            with suppress(StorageFailed):
                files.write_bytes(self._job.queued, self._request_id.encode(), folders=False)
        if not isinstance(event, Finished | Failed):
            self._emit(event)
