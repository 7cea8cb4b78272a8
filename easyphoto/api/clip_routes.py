"""The routes of clips: send one or say what to draw, and fetch what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse

from easyphoto.api import schema, wire
from easyphoto.config import DrawnClipConfig, PortraitConfig, from_mapping
from easyphoto.errors import InvalidRequest, NotFound
from easyphoto.filenames import safe
from easyphoto.jobs import Job
from easyphoto.service import ClipDrawing, EasyPhoto, VideoRequest, VideoResult
from easyphoto.storage.files import write_bytes
from easyphoto.storage.scratch import Scratch
from easyphoto.storage.videos import SENT

TYPES: Mapping[str, str] = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif", ".webp": "image/webp"}


def add(router: APIRouter, service: EasyPhoto, errors: Mapping[int | str, dict[str, Any]]) -> None:
    """Add the routes to ``router``. ``errors`` describes what each may answer beside what it is for."""

    @router.post("/jobs/video", responses={**errors}, status_code=202, summary="Put people into a clip")
    def video(payload: schema.VideoPayload) -> schema.QueuedJob:
        people = wire.user_ids(payload.user_ids)
        chosen = schema.chosen(payload.options)
        request = VideoRequest(
            user_ids=people,
            clip=Path(payload.name),
            config=from_mapping(PortraitConfig, chosen),
            format=payload.format,
            max_fps=payload.max_fps,
            max_frames=payload.max_frames,
            by_likeness=payload.by_likeness,
            chosen=frozenset(chosen),
            drawing=_drawing(payload),
        )
        if request.drawing is None:
            job = queue(service, request, wire.decode(payload.clip, "clip", schema.MAX_CLIP))
        else:
            job = queue_drawing(service, request, payload.control_clip, "control_clip")
        return schema.QueuedJob(id=job.id, position=service.jobs.position(job))

    @router.get(
        "/jobs/{job_id}/video",
        response_class=FileResponse,
        responses={**errors, 200: {"content": {kind: {} for kind in TYPES.values()}, "description": "The clip."}},
        summary="Fetch the clip of a job",
    )
    def fetch(job_id: str) -> FileResponse:
        job = service.jobs.get(job_id)
        if job.what != "video" or job.state != "finished":
            raise NotFound("The job {job} has no clip.", job=job_id)
        path = job.wait(0).path
        if path.suffix not in TYPES or not path.is_file():  # a folder of frames that the command was asked for
            raise NotFound("The job {job} has no clip.", job=job_id)
        return FileResponse(path, media_type=TYPES[path.suffix])


def queue(service: EasyPhoto, request: VideoRequest, clip: bytes) -> Job[VideoResult]:
    """Queue a clip that was sent; the name in ``request`` says what the clip is called."""
    with Scratch(service.paths.videos, SENT) as scratch:
        place = scratch.path / safe(request.clip.name, 100, "clip")
        write_bytes(place, clip)
        return service.video(replace(request, clip=place, keep=True))


def queue_drawing(service: EasyPhoto, request: VideoRequest, control: str, field: str) -> Job[VideoResult]:
    """Queue a clip that is to be drawn, held to the clip ``control`` in base64 that the client sent as ``field`` ("":
    to none)."""
    assert request.drawing is not None
    if not control:
        return service.video(request)
    with Scratch(service.paths.videos, SENT) as scratch:
        place = scratch.path / "control"
        write_bytes(place, wire.decode(control, field, schema.MAX_CLIP))
        return service.video(replace(request, drawing=replace(request.drawing, control=place), keep=True))


def _drawing(payload: schema.VideoPayload) -> ClipDrawing | None:
    """Return what a clip is to be drawn of, None where one was sent."""
    asked = payload.prompt or payload.image or payload.last_image
    if bool(payload.clip) == bool(asked or payload.control_clip):
        raise InvalidRequest("Send a clip, or say what to draw (prompt, image): one of the two.")
    return (
        None
        if payload.clip
        else drawn_of(payload.prompt, payload.image, payload.last_image, schema.chosen(payload.drawing))
    )


def drawn_of(prompt: str, image: str, last_image: str, chosen: Mapping[str, Any]) -> ClipDrawing:
    """Return the drawing of a client who sent the pictures in base64 ("" for none)."""
    return ClipDrawing(
        prompt=prompt,
        image=wire.decode(image, "image") if image else None,
        last_image=wire.decode(last_image, "last_image") if last_image else None,
        config=from_mapping(DrawnClipConfig, chosen),
    )
