"""Clips that are drawn before people are put into them: what is refused at once, what the queue keeps of it, and the
work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from easyphoto import families, pictures
from easyphoto.clips import decoding
from easyphoto.clips.bounds import DRAWN_FRAMES, MAX_DRAWN
from easyphoto.clips.decoding import Clip
from easyphoto.config import DrawnClipConfig, from_mapping
from easyphoto.errors import AssetMissing, InvalidRequest
from easyphoto.events import Listener
from easyphoto.pictures import Source
from easyphoto.ports import ControlRole
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
    for source in _pictures(drawing):
        pictures.load(source)
    if drawing.control is not None:
        if request.keep and drawing.control.is_dir():
            raise InvalidRequest("A folder of frames can't be sent.")
        _control(drawing.control, request)


def given(drawing: ClipDrawing, *, keep: bool) -> tuple[Source, ...]:
    """What the queue keeps beside the data: the pictures that a clip is drawn from, the first and the last, and with
    ``keep`` the control clip."""
    kept = (drawing.control,) if keep and drawing.control is not None else ()
    return (*_pictures(drawing), *kept)


def _pictures(drawing: ClipDrawing) -> tuple[Source, ...]:
    return tuple(source for source in (drawing.image, drawing.last_image) if source is not None)


def _control(path: Path, request: VideoRequest) -> Clip:
    """The control clip: as many of its frames as are to be drawn, as fast as those are shown."""
    clip = decoding.probe(path, min(request.max_fps, decoding.FOLDER_RATE))
    return replace(clip, only=request.max_frames or DRAWN_FRAMES)


def to_data(drawing: ClipDrawing) -> dict[str, Any]:
    """What the queue keeps, beside the pictures."""
    return {
        "prompt": drawing.prompt,
        "pictures": len(_pictures(drawing)),
        "config": asdict(drawing.config),
        "motion": None if drawing.motion is None else str(drawing.motion.resolve()),
        "control": None if drawing.control is None else str(drawing.control.resolve()),
    }


def told(drawing: ClipDrawing) -> dict[str, Any]:
    """What is told of it beside the clip: no paths of this machine."""
    files = {"motion": drawing.motion, "control": drawing.control}
    return {**to_data(drawing), **{name: None if path is None else path.name for name, path in files.items()}}


def from_data(data: Mapping[str, Any], request: DurableRequest) -> ClipDrawing:
    """The drawing of :func:`to_data`, on the pictures as they lie in the queue. KeyError, TypeError, ValueError or
    OSError where it can't be read."""
    count = int(data["pictures"])
    sources = [picture.source for picture in request.pictures[:count]]
    if len(sources) != count:
        raise ValueError("pictures are missing")
    control = data.get("control")
    if control is not None and request.payload["kept"]:
        control = request.pictures[count].path
    return ClipDrawing(
        prompt=str(data["prompt"]),
        image=sources[0] if sources else None,
        last_image=sources[1] if len(sources) > 1 else None,
        config=from_mapping(DrawnClipConfig, data["config"]),
        motion=None if data["motion"] is None else Path(data["motion"]),
        control=None if control is None else Path(control),
    )


def require_module(drawing: ClipDrawing, accepted: Accepted, place: Workplace) -> None:
    """Raise AssetMissing where the host can't draw clips, or has no motion module or no control for the base model."""
    from easyphoto.inference.drawn_clip import animator

    wanted = drawing.motion or drawing.config.motion_module
    family = accepted.checkpoint.family
    animator(place.host).motion_module(accepted.checkpoint, wanted)
    role = ControlRole(drawing.config.upload_control_video_type)
    if drawing.control is not None and role not in place.host.controls(family):
        raise AssetMissing(
            "A clip can't be held to a control clip by {role}: there is no such ControlNet for {family} models.",
            role=role.value,
            family=families.spec(family).title,
        )


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
        control=None if drawing.control is None else _control(drawing.control, request),
        person=next((person.lora for person in people if person.trained), None),
        scene=None if accepted.scene is None else accepted.scene.lora,
        lora_folder=place.paths.loras,
        chosen=request.chosen,
    )
    drawn_clip.draw(task, place.host, workshop / FOLDER, emit, cancelled)
    return decoding.probe(workshop / FOLDER, request.max_fps)
