"""Clips that are drawn before people are put into them: what is refused at once, what the queue keeps of it, and the
work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from easyphoto import pictures
from easyphoto.clips import decoding
from easyphoto.clips.bounds import DRAWN_FRAMES, MAX_DRAWN
from easyphoto.clips.decoding import Clip
from easyphoto.config import DrawnClipConfig, from_mapping
from easyphoto.errors import InvalidRequest
from easyphoto.events import Listener
from easyphoto.pictures import Source
from easyphoto.queue.port import DurableRequest
from easyphoto.service.requests import Accepted, ClipDrawing, VideoRequest
from easyphoto.service.workplace import Workplace

FOLDER = "drawn"
"""The folder of the drawn frames, in that of the job."""


def check(drawing: ClipDrawing, request: VideoRequest) -> None:
    """Refuse what can't be drawn. The pictures are read, so that a broken one is known before anybody waits."""
    if request.max_frames > MAX_DRAWN:
        raise InvalidRequest("A clip that is drawn has at most {most} frames.", most=MAX_DRAWN)
    if drawing.image is None and drawing.last_image is not None:
        raise InvalidRequest("A last picture needs a first one: choose that too.")
    if drawing.image is None and not drawing.prompt.strip():
        raise InvalidRequest("Say what the clip is to show: write a prompt, or choose a picture.")
    for source in given(drawing):
        pictures.load(source)


def given(drawing: ClipDrawing) -> tuple[Source, ...]:
    """The pictures that a clip is drawn from, the first and the last."""
    return tuple(source for source in (drawing.image, drawing.last_image) if source is not None)


def to_data(drawing: ClipDrawing) -> dict[str, Any]:
    """What the queue keeps, beside the pictures."""
    return {
        "prompt": drawing.prompt,
        "pictures": len(given(drawing)),
        "config": asdict(drawing.config),
        "motion": None if drawing.motion is None else str(drawing.motion.resolve()),
    }


def told(drawing: ClipDrawing) -> dict[str, Any]:
    """What is told of it beside the clip: no paths of this machine."""
    return {**to_data(drawing), "motion": None if drawing.motion is None else drawing.motion.name}


def from_data(data: Mapping[str, Any], request: DurableRequest) -> ClipDrawing:
    """The drawing of :func:`to_data`, on the pictures as they lie in the queue. KeyError, TypeError, ValueError or
    OSError where it can't be read."""
    sources = [picture.source for picture in request.pictures]
    if len(sources) != data["pictures"]:
        raise ValueError("pictures are missing")
    return ClipDrawing(
        prompt=str(data["prompt"]),
        image=sources[0] if sources else None,
        last_image=sources[1] if len(sources) > 1 else None,
        config=from_mapping(DrawnClipConfig, data["config"]),
        motion=None if data["motion"] is None else Path(data["motion"]),
    )


def require_module(drawing: ClipDrawing, accepted: Accepted, place: Workplace) -> None:
    """Raise AssetMissing where the host can't draw clips, or has no motion module for the base model."""
    from easyphoto.inference.drawn_clip import animator

    wanted = drawing.motion or drawing.config.motion_module
    animator(place.host).motion_module(accepted.checkpoint, wanted)


def draw(
    request: VideoRequest,
    accepted: Accepted,
    place: Workplace,
    workshop: Path,
    emit: Listener,
    cancelled: Callable[[], bool],
) -> Clip:
    """Draw the clip that is asked for into the job's folder, unless it lies there, and return it."""
    from easyphoto.inference import drawn_clip

    drawing = request.drawing
    assert drawing is not None
    people = [person for person in accepted.people if person is not None]
    task = drawn_clip.DrawnClipTask(
        prompt=drawing.prompt,
        frames=request.max_frames or DRAWN_FRAMES,
        config=request.config,
        drawing=drawing.config,
        checkpoint=accepted.checkpoint,
        image=None if drawing.image is None else pictures.load(drawing.image),
        last_image=None if drawing.last_image is None else pictures.load(drawing.last_image),
        motion=drawing.motion,
        person=next((person.lora for person in people if person.trained), None),
        scene=None if accepted.scene is None else accepted.scene.lora,
        lora_folder=place.paths.loras,
        chosen=request.chosen,
    )
    drawn_clip.draw(task, place.host, workshop / FOLDER, emit, cancelled)
    return decoding.probe(workshop / FOLDER, request.max_fps)
