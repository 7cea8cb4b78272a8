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
from easyphoto.errors import InvalidRequest, NoFace, NotFound
from easyphoto.events import Finished, Listener, Notice, Progress
from easyphoto.filenames import safe, shown
from easyphoto.jobs import Job
from easyphoto.messages import Message
from easyphoto.pictures import Source
from easyphoto.ports import Likeness
from easyphoto.queue.port import DurableRequest, Order
from easyphoto.service import clip_drawing
from easyphoto.service.portrait_desk import PortraitDesk
from easyphoto.service.requests import NOBODY, Accepted, PersonInVideo, PortraitRequest, VideoRequest, VideoResult
from easyphoto.service.workplace import Workplace
from easyphoto.storage import videos

if TYPE_CHECKING:
    from easyphoto.inference.clip_people import ClipPeople
    from easyphoto.inference.moving import ClipTask, FrameLikeness, MadeClip

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
            accepted = self._accepted(request)
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
            given: tuple[Source, ...] = (request.clip,) if request.keep else ()
            if request.drawing is not None:
                payload["drawing"] = clip_drawing.to_data(request.drawing)
                given = clip_drawing.given(request.drawing, keep=request.keep)
            return self._place.jobs.put(Order(VIDEO, ", ".join(uses), uses, payload, given, job))

    def people(self, request: VideoRequest) -> ClipPeople:
        """Who is to be seen in the clip that is asked for, in the order of its ``user_ids``."""
        from easyphoto.inference import clip_people

        return clip_people.look(self._source(request), self._place.vision, LOOK_SECONDS)

    def _accepted(self, request: VideoRequest) -> Accepted:
        """Who takes part, on which base model. A clip that is drawn may be left without anybody, but not without a
        motion module."""
        drawing = request.drawing
        if drawing is None:
            return self._portraits.accept(_as_portraits(request))
        if all(name == NOBODY for name in request.user_ids):
            accepted = Accepted((), self._place.base_models.named(request.config.sd_model_checkpoint), None)
        else:
            accepted = self._portraits.accept(_as_portraits(request))
        clip_drawing.require_module(drawing, accepted, self._place)
        return accepted

    def _checked(self, request: VideoRequest) -> Clip | None:
        """The clip that is asked for, None where it is to be drawn; what is none, or can't be written, is refused
        before anybody waits for it."""
        if request.format not in FORMATS:
            raise InvalidRequest(
                "A clip can't be written as {kind}: choose {kinds}.", kind=request.format, kinds=", ".join(FORMATS)
            )
        clip = None
        if request.drawing is None:
            clip = self._source(request)
            encoding.check(request.format, clip)
        else:
            _check_bounds(request)
            clip_drawing.check(request.drawing, request)
        if request.format in encoding.CODECS:
            decoding.av()
        return clip

    def _source(self, request: VideoRequest) -> Clip:
        """The clip that is asked for, however it is to be written; what is none is refused."""
        _check_bounds(request)
        if request.keep and request.clip.is_dir():
            raise InvalidRequest("A folder of frames can't be sent.")
        clip = decoding.probe(request.clip, request.max_fps)
        return replace(clip, only=request.max_frames)

    # --- the kind of work --------------------------------------------------------------------------------------------

    def work(self, request: DurableRequest, emit: Listener, cancelled: Callable[[], bool]) -> VideoResult:
        """Make the clip; what this very request has made before it was cut off is gone on from."""
        from easyphoto.inference.moving import ClipTask, FrameShelf
        from easyphoto.inference.task import seat

        asked = _read(request)
        given = self._checked(asked)
        accepted = self._accepted(asked)
        self._place.prepare(emit, cancelled)

        def notice(message: str) -> None:
            emit(Notice(message=message))

        folder = videos.workshop(self._place.paths.videos, request.job)
        videos.sweep(self._place.paths.videos, lambda: {request.job, *self._place.job_ids()})
        videos.begin(folder, asked.user_ids)
        drawing = asked.drawing
        clip = given or clip_drawing.draw(asked, accepted, self._place, folder, emit, cancelled)
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
            together=drawing is not None and drawing.config.repaint_together,
            motion=None if drawing is None else drawing.motion or drawing.config.motion_module or None,
        )
        made = self._repainted(task, asked, emit, cancelled)
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
        if drawing is not None:
            recipe["drawing"] = clip_drawing.told(drawing)
        about = json.dumps(recipe, ensure_ascii=False)
        sound = asked.clip if clip.sound else None
        frames = FrameShelf(folder).frames() if made.repainted else decoding.frames(clip)
        encoding.write(folder / video.name, frames, Writing(clip.rate, sound, about, notice))
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

    def _repainted(
        self, task: ClipTask, asked: VideoRequest, emit: Listener, cancelled: Callable[[], bool]
    ) -> MadeClip:
        """The clip with its people. One that was drawn stays as it is where nobody was chosen or nobody is to be seen:
        drawing it took long."""
        from easyphoto.inference.moving import MadeClip, repaint

        as_drawn = MadeClip(task.clip.count, 0, asked.config.seed, ())
        if not any(task.people) and asked.drawing is not None:
            return as_drawn
        try:
            return repaint(task, self._place.host, self._place.vision, emit, cancelled)
        except NoFace as error:
            if asked.drawing is None:
                raise
            emit(Notice(message=Message("The clip stays as it was drawn: {error}", error=error)))
            return as_drawn

    def to_data(self, result: VideoResult) -> dict[str, Any]:
        return {**asdict(result), "path": str(result.path), "about": str(result.about)}

    def from_data(self, data: Mapping[str, Any]) -> VideoResult:
        path = Path(data["path"])
        if not path.exists():
            raise NotFound("The clip {name} is there no more.", name=shown(path.name))
        people = tuple(PersonInVideo(**one) for one in data["people"])
        return VideoResult(**{**data, "path": path, "about": Path(data["about"]), "people": people})


def _check_bounds(request: VideoRequest) -> None:
    if not 1 <= request.max_fps <= MAX_RATE:
        raise InvalidRequest("A clip is shown with 1 to {most} frames a second.", most=MAX_RATE)
    if not 0 <= request.max_frames <= MAX_FRAMES or request.max_frames == 1:
        raise InvalidRequest("A clip has from 2 to {most} frames.", most=MAX_FRAMES)


def _as_portraits(request: VideoRequest) -> PortraitRequest:
    """The clip as a template: what is refused of portraits is refused of a clip."""
    return PortraitRequest(request.user_ids, (request.clip,), request.config, chosen=request.chosen)


def _read(request: DurableRequest) -> VideoRequest:
    payload = request.payload
    drawing = payload.get("drawing")
    try:
        return VideoRequest(
            user_ids=tuple(map(str, payload["user_ids"])),
            clip=request.pictures[0].path if payload["kept"] and not drawing else Path(payload["clip"]),
            config=from_mapping(PortraitConfig, payload["config"]),
            format=str(payload["format"]),
            max_fps=float(payload["max_fps"]),
            max_frames=int(payload["max_frames"]),
            keep=bool(payload["kept"]),
            by_likeness=bool(payload["by_likeness"]),
            chosen=None if payload["chosen"] is None else frozenset(map(str, payload["chosen"])),
            drawing=clip_drawing.from_data(drawing, request) if drawing else None,
        )
    except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
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
