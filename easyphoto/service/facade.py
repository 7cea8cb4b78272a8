"""The program as every edge calls it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from easyphoto import pictures
from easyphoto.catalog import Catalog, Folders
from easyphoto.catalog.weights import MODELS, Weights
from easyphoto.config import Paths, TrainConfig
from easyphoto.errors import InvalidRequest, NotFound, StorageFailed, TooBusy
from easyphoto.jobs import Job
from easyphoto.people import PeopleStore, Person, Removed
from easyphoto.pictures import Source
from easyphoto.ports import BrokenModel, Checkpoint, Host, Image, Vision
from easyphoto.queue.durable import DurableQueue
from easyphoto.queue.lanes import LocalRunner
from easyphoto.queue.port import RequestKind
from easyphoto.service import face_counting, newcomers
from easyphoto.service.host_models import BaseModels
from easyphoto.service.portrait_desk import GENERATE, PortraitDesk
from easyphoto.service.requests import (
    Accepted,
    PortraitRequest,
    PortraitResult,
    Preferences,
    TrainRequest,
    VideoRequest,
    VideoResult,
    photo_names,
)
from easyphoto.service.training_desk import TRAIN, TrainingDesk
from easyphoto.service.video_desk import VIDEO, VideoDesk
from easyphoto.service.workplace import Interpreter, Workplace
from easyphoto.storage import batch_reports, portraits, videos
from easyphoto.storage.uploads import Uploads
from easyphoto.templates import Template, TemplateStore
from easyphoto.vision import registry

if TYPE_CHECKING:
    from easyphoto.inference.clip_people import ClipPeople
    from easyphoto.training.photo_coach import Coaching
    from easyphoto.training.photos import PhotoReport

MAX_CHECKS = 4
"""How many may have photos or a clip looked at, at the same time: each holds all its photos in memory."""


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
        self.people = PeopleStore(paths)
        self.templates = TemplateStore(paths)
        self.uploads = Uploads(paths)
        self.jobs = DurableQueue(paths.queue)
        self.preferences = preferences
        self._base_models = BaseModels(host)
        self._place = Workplace(
            host=host,
            vision=vision,
            paths=paths,
            python=python,
            preferences=lambda: self.preferences(),  # noqa: PLW0108 - another answer may be put in its place
            people=self.people,
            templates=self.templates,
            jobs=self.jobs,
            base_models=self._base_models,
        )
        self._lanes = [self._place]
        self._trainings = TrainingDesk(self._place)
        self._portraits = PortraitDesk(self._place)
        self._videos = VideoDesk(self._place, self._portraits)
        self._checks = threading.BoundedSemaphore(MAX_CHECKS)
        self.weights = Weights(
            Catalog.load(),
            folders or (lambda: Folders.of(paths)),
            self.jobs,
            lambda: self.preferences().commercial_only,
            self._weights_came,
            registry.BY_ROLE,
        )
        self.jobs.kinds.update(self._kinds(self._trainings, self._portraits, self._videos))
        self.jobs.use([LocalRunner(host.name, self.jobs.kinds)])

    # --- the queue ---------------------------------------------------------------------------------------------------

    @property
    def kinds(self) -> Mapping[str, RequestKind[Any]]:
        """How a request in the queue becomes work, by its kind (:mod:`easyphoto.queue.port`)."""
        return self.jobs.kinds

    def runner(self, host: Host, vision: Vision, device: str) -> LocalRunner:
        """A lane of the queue for one more device: the same program on an engine and eyes of its own. Given to
        ``jobs.use``, before the first job."""
        place = replace(
            self._place, host=host, vision=vision, device=device, base_models=BaseModels(host), new_weights=Event()
        )
        self._lanes.append(place)
        portraits = PortraitDesk(place)
        return LocalRunner(device, self._kinds(TrainingDesk(place), portraits, VideoDesk(place, portraits)))

    def _kinds(
        self, trainings: TrainingDesk, portraits: PortraitDesk, videos: VideoDesk
    ) -> dict[str, RequestKind[Any]]:
        return {TRAIN: trainings, GENERATE: portraits, VIDEO: videos, MODELS: self.weights}

    def _weights_came(self) -> None:
        for place in self._lanes:
            place.new_weights.set()

    # --- training ----------------------------------------------------------------------------------------------------

    def check_photos(self, photos: Sequence[Source]) -> PhotoReport:
        """What the trainer would say of these photos, before anybody waits for a training. They are named as
        :func:`photo_names` does; one that can't be read has a verdict like any other. :class:`TooBusy` when
        ``MAX_CHECKS`` others are at it."""
        with self._looking():
            return self._check_photos(photos)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        if not self._checks.acquire(blocking=False):
            raise TooBusy(
                "The photos of {max_checks} others are being looked at: try again in a moment.", max_checks=MAX_CHECKS
            )
        try:
            yield
        finally:
            self._checks.release()

    def coach(self, report: PhotoReport) -> Coaching:
        """What :meth:`check_photos` means for a training: whether the photos are enough, and what would help."""
        from easyphoto.training import photo_coach

        return photo_coach.coach(report, self.vision.embedder.calibration)

    def _check_photos(self, photos: Sequence[Source]) -> PhotoReport:
        from easyphoto.training.photos import PhotoOutcome, PhotoVerdict, report

        unreadable: list[PhotoVerdict] = []

        def readable() -> Iterator[tuple[str, Image]]:
            for name, source in zip(photo_names(photos), photos, strict=True):
                try:
                    yield name, pictures.load(source, max_area=pictures.PHOTO_AREA, name=name)
                except InvalidRequest as error:
                    unreadable.append(PhotoVerdict(name, "", PhotoOutcome.UNREADABLE, error.message))

        made = report(readable(), self.vision)
        return replace(made, photos=(*made.photos, *unreadable))

    def train_config(self, chosen: Mapping[str, Any]) -> TrainConfig:
        """What the user chose, over the defaults for the base model's family and the mode."""
        return self._trainings.config(chosen)

    def train(self, request: TrainRequest) -> Job[Person]:
        """Queue a training. What can be known to be wrong is an :class:`InvalidRequest` now, not after the wait."""
        return self._trainings.queue(request)

    def accept_training(self, request: TrainRequest) -> tuple[TrainConfig, Checkpoint]:
        """How and on what :meth:`train` would train anew, or its refusal, without queueing anything."""
        return self._trainings.accept(request)

    def stopped_training(self, user_id: str) -> TrainConfig | None:
        """The options of the last training of this person that a training which is resumed goes on with, the base
        model by its name; None where there is nothing to go on with."""
        return self._trainings.stopped_training(user_id)

    # --- people ------------------------------------------------------------------------------------------------------

    def add_person(self, user_id: str, photos: Sequence[Source]) -> Person:
        """Make a person of photos, without a training: portraits show them by an adapter and by face fusion, and a
        training later makes them a person like any other.

        :class:`InvalidRequest` when somebody of that name is there, :class:`NoFace` when no photo is good,
        :class:`TooBusy` as in :meth:`check_photos`.
        """
        with self._looking():
            return newcomers.add(user_id, photos, self.people, self.vision)

    def rename_person(self, user_id: str, to: str) -> Person:
        """Give a person another user id. Portraits of before keep the old one, which stays this person's: they are
        found and deleted by the new one.

        :class:`NotFound` when there is nobody of exactly that name, :class:`InvalidRequest` while they are in use, and
        when the new name can't be had.
        """
        with self._place.comings:
            if self.jobs.active(user_id) is not None:
                raise InvalidRequest("{user_id!r} is in use: wait for that job or cancel it first.", user_id=user_id)
            person = self.people.rename(user_id, to)
            if person.user_id != user_id:
                self.jobs.forget(user_id)
        self.host.refresh_loras()
        return person

    def portraits_of(self, user_id: str) -> list[Path]:
        """The portraits, and the files of the clips, that show a person, alone or with others, by the recipes in and
        beside them."""
        return self._shown_as(self._names_of(user_id))

    def _names_of(self, user_id: str) -> tuple[str, ...]:
        """The user id and those that this person had before."""
        person = next((p for p in self.people.list() if p.user_id == user_id), None)
        return (user_id, *(() if person is None else person.former))

    def _shown_as(self, names: Sequence[str]) -> list[Path]:
        clips = {clip for name in names for clip in videos.of(self.paths.videos, name)}
        shown = {path for name in names for path in portraits.of(self.paths.portraits, name)}
        return [*sorted(shown), *(file for clip in sorted(clips) for file in videos.files_of(clip))]

    def delete_person(self, user_id: str, *, portraits: bool = False) -> Removed:
        """Delete a person: photos, LoRA, everything of their trainings, their uploads, what the queue holds of them,
        the reports of trainings that show them, and, where ``portraits`` says so, the portraits and clips that show
        them with the reports on those. What was removed, and which portraits are left.

        :class:`NotFound` when there is nobody of exactly that name, :class:`InvalidRequest` while they are being
        trained, by whatever process, and while a portrait of theirs waits or is made here, :class:`StorageFailed` when
        not everything can be deleted.
        """
        with self._place.comings:
            active = self.jobs.active(user_id)
            if active == TRAIN:
                raise InvalidRequest("{user_id!r} is being trained: cancel that training first.", user_id=user_id)
            if active is not None:
                raise InvalidRequest(
                    "Portraits of {user_id!r} are being made: wait for them or cancel that job first.", user_id=user_id
                )
            names = self._names_of(user_id)
            try:
                removed = self.people.delete(user_id)
            except NotFound:
                self.jobs.forget(user_id)  # somebody who was to be trained and never was
                raise
            self.jobs.forget(user_id)
        try:
            uploads = [path for name in names for path in self.uploads.empty(name)]
            if not portraits:  # half a clip that no job goes on with is none that could be kept
                videos.sweep(self.paths.videos, self._place.job_ids)
            shown = self._shown_as(names)
            size = sum(path.stat().st_size for path in shown)
            for clip in [c for name in names for c in videos.of(self.paths.videos, name)] if portraits else ():
                videos.remove(clip)
            for path in shown if portraits else ():
                path.unlink(missing_ok=True)
            for folder in (self.paths.trainings, self.paths.portraits) if portraits else (self.paths.trainings,):
                for report in {found for name in names for found in batch_reports.of(folder, name)}:
                    batch_reports.remove(report)
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

    # --- portraits ---------------------------------------------------------------------------------------------------

    def generate(self, request: PortraitRequest, *, job: str = "") -> Job[PortraitResult]:
        """Queue portraits. A user id that doesn't exist, or a family that doesn't fit, is refused now. ``job``: the id
        of the new job (:func:`easyphoto.jobs.new_id`), for whoever has to write it down beforehand."""
        return self._portraits.queue(request, job)

    def accept(self, request: PortraitRequest, person: Callable[[str], Person] | None = None) -> Accepted:
        """What :meth:`generate` would make of the request, or refuse, without queueing it. ``person`` looks a user id
        up where many requests are asked about, and defaults to the people who are there."""
        return self._portraits.accept(request, person)

    def video(self, request: VideoRequest, *, job: str = "") -> Job[VideoResult]:
        """Queue a clip. What is no clip, a user id that doesn't exist, or a family that doesn't fit, is refused now."""
        return self._videos.queue(request, job)

    def people_in_clip(self, request: VideoRequest) -> ClipPeople:
        """Who is to be seen in a clip, in the order in which its user ids are given to them, before anybody is chosen;
        of a long clip, who comes first. :class:`InvalidRequest` for what is no clip, :class:`TooBusy` when
        ``MAX_CHECKS`` others have something looked at."""
        with self._looking():
            return self._videos.people(request)

    def replay(
        self,
        recipe: Path,
        templates: Sequence[Path],
        changes: Mapping[str, Any],
        identity_image: Source | None = None,
    ) -> PortraitRequest:
        """The request that made a portrait, from the recipe in its PNG, with ``changes`` to its parameters. Where the
        adapter was shown a picture that the user gave, it has to be given again.

        The recipe knows its template by sha256: one of ``templates`` or of the presets must be that file.
        """
        return self._portraits.replay(recipe, templates, changes, identity_image)

    def faces_of(self, template: Source) -> list[Image]:
        """The faces of a template from left to right, cut out of it. Raises :class:`InvalidRequest` when it can't be
        read, :class:`TooBusy` as :meth:`check_photos`."""
        with self._looking():
            return face_counting.crops(template, self.vision)

    def count_faces(self, templates: Sequence[Template], seconds: float | None = None) -> int:
        """Count the faces of those of the templates that have no count, for ``seconds`` at most, and remember them.
        Returns how many are left."""
        return face_counting.count(templates, self.vision, self.templates.counts, seconds)

    # --- base models -------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Checkpoint]:
        """The host's base models that can be used, its default first."""
        return self._base_models.usable()

    def broken_checkpoints(self) -> list[BrokenModel]:
        """What lies among the host's base models and can't be used, and why."""
        return self._base_models.broken()

    def checkpoint(self, name: str) -> Checkpoint:
        """The host's base model that ``name`` means (:mod:`easyphoto.naming`), or its default for an empty name.

        :class:`InvalidRequest` where there is none, with the reason where it is broken; :class:`AmbiguousName` where
        two could be meant.
        """
        return self._base_models.named(name)
