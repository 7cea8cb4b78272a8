"""The routes of clips: send one, and fetch what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse

from easyphoto.api import schema, wire
from easyphoto.clips.bounds import FORMATS
from easyphoto.config import PortraitConfig, from_mapping
from easyphoto.errors import InvalidRequest, NotFound
from easyphoto.filenames import safe
from easyphoto.jobs import Job
from easyphoto.service import EasyPhoto, VideoRequest, VideoResult
from easyphoto.storage.scratch import Scratch

MAX_CLIP = 300 * 2**20
"""The most bytes of a clip that a client may send."""
SENT = ".sent-"
"""How the folder begins in which a clip lies until the queue has its copy."""
TYPES: Mapping[str, str] = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif", ".webp": "image/webp"}


def add(router: APIRouter, service: EasyPhoto, errors: Mapping[int | str, dict[str, Any]]) -> None:
    """Add the routes to ``router``. ``errors`` describes what each may answer beside what it is for."""

    @router.post("/jobs/video", responses={**errors}, status_code=202, summary="Put people into a clip")
    def video(payload: schema.VideoPayload) -> schema.QueuedJob:
        if len(payload.user_ids) > schema.MAX_FACES:
            raise InvalidRequest(
                "{count} user ids are too many: at most {max_faces}.",
                count=len(payload.user_ids),
                max_faces=schema.MAX_FACES,
            )
        chosen = schema.chosen(payload.options)
        request = VideoRequest(
            user_ids=tuple(payload.user_ids),
            clip=Path(payload.name),
            config=from_mapping(PortraitConfig, chosen),
            format=payload.format,
            max_fps=payload.max_fps,
            max_frames=payload.max_frames,
            by_likeness=payload.by_likeness,
            chosen=frozenset(chosen),
        )
        job = queue(service, request, wire.decode(payload.clip, "clip", MAX_CLIP))
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
        return FileResponse(path, media_type=TYPES[path.suffix])


def queue(service: EasyPhoto, request: VideoRequest, clip: bytes) -> Job[VideoResult]:
    """Queue a clip that was sent; the name in ``request`` says what the clip is called."""
    if request.format == FORMATS[-1]:
        raise InvalidRequest("A folder of frames can't be sent: choose another format.")
    with Scratch(service.paths.videos, SENT) as scratch:
        place = scratch.path / safe(request.clip.name, 100, "clip")
        place.write_bytes(clip)
        return service.video(replace(request, clip=place, keep=True))
