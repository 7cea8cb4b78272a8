"""Where clips are asked for, and the kind of work that the queue does them as."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import easyphoto
from easyphoto.clips import decoding, encoding
from easyphoto.clips.bounds import FORMATS, FRAMES, MAX_FRAMES, MAX_RATE
from easyphoto.clips.decoding import Clip
from easyphoto.clips.encoding import Writing
from easyphoto.config import PortraitConfig, from_mapping
from easyphoto.errors import InvalidRequest, NotFound
from easyphoto.events import Finished, Listener, Notice, Progress
from easyphoto.filenames import safe, shown
from easyphoto.jobs import Job
from easyphoto.ports import Likeness
from easyphoto.queue.port import DurableRequest, Order
from easyphoto.service.portrait_desk import PortraitDesk
from easyphoto.service.requests import PersonInVideo, PortraitRequest, VideoRequest, VideoResult
from easyphoto.service.workplace import Workplace
from easyphoto.storage import videos

if TYPE_CHECKING:
    from easyphoto.inference.clip_people import ClipPeople
    from easyphoto.inference.moving import FrameLikeness

VIDEO = "video"
LOOK_SECONDS = 20.0
"""For how long a clip is looked at for its people while somebody waits."""


class VideoDesk:
    """Takes requests for clips and is the kind of work that the queue does them as."""

    def __init__(self, place: Workplace, portraits: PortraitDesk) -> None:
        self._place, self._portraits = place, portraits

    def queue(self, request: VideoRequest, job: str = "") -> Job[VideoResult]:
        """Queue a clip, as a job with the id ``job`` where one is given."""
        from easyphoto.inference.task import with_seed

        self._checked(request)
        with self._place.comings:
            accepted = self._portraits.accept(_as_portraits(request))
            uses = tuple(person.user_id for person in accepted.people if person is not None)
            payload = {
                "clip": str(request.clip.resolve()),
                "kept": request.keep,
                "user_ids": list(request.user_ids),
                "config": asdict(with_seed(replace(request.config, batch_size=1))),
                "format": request.format,
                "max_fps": request.max_fps,
                "max_frames": request.max_frames,
                "by_likeness": request.by_likeness,
                "chosen": None if request.chosen is None else sorted(request.chosen),
            }
            given = (request.clip,) if request.keep else ()
            return self._place.jobs.put(Order(VIDEO, ", ".join(uses), uses, payload, given, job))

    def people(self, request: VideoRequest) -> ClipPeople:
        """Who is to be seen in the clip that is asked for, in the order of its ``user_ids``."""
        from easyphoto.inference import clip_people

        return clip_people.look(self._source(request), self._place.vision, LOOK_SECONDS)

    def _checked(self, request: VideoRequest) -> Clip:
        """The clip that is asked for; what is none, or can't be written, is refused before anybody waits for it."""
        if request.format not in FORMATS:
            raise InvalidRequest(
                "A clip can't be written as {kind}: choose {kinds}.", kind=request.format, kinds=", ".join(FORMATS)
            )
        clip = self._source(request)
        if request.format in encoding.CODECS:
            decoding.av()
        return clip

    def _source(self, request: VideoRequest) -> Clip:
        """The clip that is asked for, however it is to be written; what is none is refused."""
        if not 1 <= request.max_fps <= MAX_RATE:
            raise InvalidRequest("A clip is shown with 1 to {most} frames a second.", most=MAX_RATE)
        if not 0 <= request.max_frames <= MAX_FRAMES or request.max_frames == 1:
            raise InvalidRequest("A clip has from 2 to {most} frames.", most=MAX_FRAMES)
        if request.keep and request.clip.is_dir():
            raise InvalidRequest("A folder of frames can't be sent.")
        clip = decoding.probe(request.clip, request.max_fps)
        return replace(clip, only=request.max_frames)

    # --- the kind of work --------------------------------------------------------------------------------------------

    def work(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> VideoResult:
        """Make the clip; what this very request has made before it was cut off is gone on from."""
        from easyphoto.inference.moving import ClipTask, FrameShelf, repaint
        from easyphoto.inference.task import seat

        asked = _read(request)
        clip = self._checked(asked)
        accepted = self._portraits.accept(_as_portraits(asked))
        self._place.prepare(emit, cancelled)

        def notice(message: str) -> None:
            emit(Notice(message=message))

        folder = videos.workshop(self._place.paths.videos, request.job)
        task = ClipTask(
            clip=clip,
            people=tuple(
                None if person is None else seat(person, self._place.vision, notice) for person in accepted.people
            ),
            config=asked.config,
            checkpoint=accepted.checkpoint,
            folder=folder,
            by_likeness=asked.by_likeness,
            lora_folder=self._place.paths.loras,
            commercial_only=self._place.preferences().commercial_only,
            chosen=asked.chosen,
        )
        videos.sweep(self._place.paths.videos, lambda: {request.job, *self._place.job_ids()})
        videos.begin(folder, asked.user_ids)
        made = repaint(task, self._place.host, self._place.vision, emit, cancelled)
        emit(Progress(stage="video", step=0, total=1))
        video = self._place.paths.videos / _name(asked, request.job)
        recipe = {
            "easyphoto": easyphoto.__version__,
            "job": request.job,
            "clip": shown(asked.clip.name),
            "user_ids": list(asked.user_ids),
            "by_likeness": asked.by_likeness,
            "seed": made.seed,
            "config": request.payload["config"],
            "checkpoint": accepted.checkpoint.name,
            "rate": str(clip.rate),
            "frames": made.frames,
            "repainted": made.repainted,
        }
        about = json.dumps(recipe, ensure_ascii=False)
        sound = asked.clip if clip.sound else None
        encoding.write(folder / video.name, FrameShelf(folder).frames(), Writing(clip.rate, sound, about, notice))
        curve = [asdict(row) for row in made.curve]
        told = videos.publish(folder / video.name, video, {**recipe, "likeness": curve})
        shutil.rmtree(folder, ignore_errors=True)
        people = _people(made.curve)
        emit(Progress(stage="video", step=1, total=1))
        emit(
            Finished(
                result={
                    "video": video.name,
                    "frames": made.frames,
                    "repainted": made.repainted,
                    "seed": made.seed,
                    "people": [asdict(one) for one in people],
                }
            )
        )
        return VideoResult(video, told, made.frames, made.repainted, made.seed, people)

    def to_data(self, result: VideoResult) -> dict[str, Any]:
        return {**asdict(result), "path": str(result.path), "about": str(result.about)}

    def from_data(self, data: Mapping[str, Any]) -> VideoResult:
        path = Path(data["path"])
        if not path.exists():
            raise NotFound("The clip {name} is there no more.", name=shown(path.name))
        people = tuple(PersonInVideo(**one) for one in data["people"])
        return VideoResult(**{**data, "path": path, "about": Path(data["about"]), "people": people})


def _as_portraits(request: VideoRequest) -> PortraitRequest:
    """The clip as a template: what is refused of portraits is refused of a clip."""
    return PortraitRequest(request.user_ids, (request.clip,), request.config, chosen=request.chosen)


def _read(request: DurableRequest) -> VideoRequest:
    payload = request.payload
    try:
        return VideoRequest(
            user_ids=tuple(map(str, payload["user_ids"])),
            clip=request.pictures[0].path if payload["kept"] else Path(payload["clip"]),
            config=from_mapping(PortraitConfig, payload["config"]),
            format=str(payload["format"]),
            max_fps=float(payload["max_fps"]),
            max_frames=int(payload["max_frames"]),
            by_likeness=bool(payload["by_likeness"]),
            chosen=None if payload["chosen"] is None else frozenset(map(str, payload["chosen"])),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InvalidRequest(
            "The request {job} in the queue can't be read: ask for it anew.", job=request.job
        ) from error


def _name(request: VideoRequest, job: str) -> str:
    """What the clip is called: as what it was made of, and by the job, so that none takes another's place."""
    name = f"{safe(request.clip.name if request.clip.is_dir() else request.clip.stem, 90)}-{job}"
    # What stands behind a dot would be taken for the ending that says how the clip is written.
    return name.replace(".", "-") if request.format == FRAMES else f"{name}.{request.format}"


def _people(curve: Iterable[FrameLikeness]) -> tuple[PersonInVideo, ...]:
    """The likeness of each person over the frames in which their face was measured."""
    rows: dict[str, list[Likeness]] = {}
    for row in curve:
        rows.setdefault(row.user_id, []).append(row.likeness)
    return tuple(
        PersonInVideo(
            user_id=user_id,
            frames=len(found),
            cosine=float(np.mean([one.cosine for one in found])),
            deviation=float(np.std([one.cosine for one in found])),
            score=float(np.mean([one.score for one in found])),
            embedder=found[0].embedder,
        )
        for user_id, found in rows.items()
    )
