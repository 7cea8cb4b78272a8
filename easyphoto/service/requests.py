"""What is asked of the program and what comes back: trainings, portraits, and what was decided for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from easyphoto.config import PRECISIONS, Chosen, DrawnClipConfig, PortraitConfig, TrainConfig
from easyphoto.errors import InvalidRequest
from easyphoto.events import TemplateFailed
from easyphoto.people import Person
from easyphoto.pictures import Source
from easyphoto.ports import Checkpoint, Portrait

NOBODY = "none"
"""The user id that leaves a face alone."""
GUEST = "guest"
"""What somebody is called who is known by the request's own picture alone."""
OVER_API = "api"
"""The origin of requests that came over the HTTP API."""
MAX_PHOTOS = 100
MAX_TEMPLATES = 200


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
    chosen: Chosen = None
    captions: tuple[str, ...] = ()
    """What each photo of a scene shows, in the order of the photos; where it is empty, the ``.txt`` file beside a photo
    says it, else the scene's own prompt does. A person's photos all have the same caption."""


@dataclass(frozen=True, eq=False)
class PortraitRequest:
    """Who goes onto which templates. ``user_ids``: one per face from left to right, ``none`` leaves a face alone, and
    ``ann@2`` or ``none@2`` says it of the second face from the left. With ``by_likeness`` each takes the place of the
    face that is most like them. Without templates, the portrait is made from text.

    ``identity_image`` is what the adapter is shown of the one person instead of the person's own photos; where
    ``ref_mode_choose`` leaves the LoRA out and nobody is named, it is somebody who is known by this picture alone.
    ``chosen`` names the fields of ``config`` that the user gave a value to: such a value stays where a default would
    give way to another, as its steps do to LCM's. None: those that aren't defaults. ``origin`` says over which way
    the request came where it didn't come from whom the program belongs to; the recipe keeps it."""

    user_ids: tuple[str, ...]
    templates: tuple[Source, ...] = ()
    config: PortraitConfig = field(default_factory=PortraitConfig)
    pose_template: Source | None = None
    keep_stages: bool = False
    chosen: Chosen = None
    identity_image: Source | None = None
    by_likeness: bool = False
    origin: str = ""


@dataclass(frozen=True, eq=False)
class Accepted:
    """What a request for portraits comes to: who sits for each face (None: it is left alone), on which base model, in
    which scene (None: in none)."""

    people: tuple[Person | None, ...]
    checkpoint: Checkpoint
    scene: Person | None

    @property
    def user_ids(self) -> tuple[str, ...]:
        """One for each face, from left to right."""
        return tuple(NOBODY if person is None else person.user_id for person in self.people)

    def prompted(self, config: PortraitConfig, request: PortraitRequest) -> PortraitConfig:
        """``config`` with the scene's own prompt where a picture is made from text and nobody wrote one."""
        if self.scene is None or request.templates or config.text_to_image_input_prompt.strip():
            return config
        return replace(config, text_to_image_input_prompt=str((self.scene.marks or {}).get("prompt") or ""))


@dataclass(frozen=True, eq=False)
class PortraitResult:
    """What came of a portrait job: the portraits, the templates that failed, the seed that was used, and the likeness
    panel of each person over all portraits, as plain JSON data by user id."""

    portraits: tuple[Portrait, ...]
    failures: tuple[TemplateFailed, ...]
    seed: int
    panels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ClipDrawing:
    """What a clip is to be drawn of: the text ``prompt``, and ``image``, or the way from ``image`` to ``last_image``.
    ``control`` is a clip that each frame is held to, as ``config`` says; a shorter one makes the drawn clip shorter.
    ``motion``: the file or folder of a motion module, in place of the one that ``config`` names."""

    prompt: str = ""
    image: Source | None = None
    last_image: Source | None = None
    config: DrawnClipConfig = field(default_factory=DrawnClipConfig)
    motion: Path | None = None
    control: Path | None = None


@dataclass(frozen=True, eq=False)
class VideoRequest:
    """Who takes the place of whom in a clip. ``user_ids``: one for each person of the clip in the order in which they
    come, from left to right where they come at once; ``none`` leaves that person alone. With ``by_likeness`` each goes
    to the person of the clip who is most like them. ``format`` is one of :data:`easyphoto.clips.bounds.FORMATS`,
    ``max_fps`` the most frames a second that are made of the clip, and ``max_frames`` the most in all (0: every one).
    With ``keep`` the queue takes a copy of the clip, or of the control clip of ``drawing``, which may then be removed;
    else it has to stay where it is.
    With ``drawing`` there is no clip yet: it is drawn first, ``clip`` only says what it is called, ``max_frames`` how
    many frames it has (0: 16), and without anybody in ``user_ids`` it stays as it was drawn.
    ``chosen`` is as in :class:`PortraitRequest`."""

    user_ids: tuple[str, ...]
    clip: Path
    config: PortraitConfig = field(default_factory=PortraitConfig)
    format: str = "mp4"
    max_fps: float = 60.0
    max_frames: int = 0
    by_likeness: bool = False
    keep: bool = False
    chosen: Chosen = None
    drawing: ClipDrawing | None = None


@dataclass(frozen=True)
class PersonInVideo:
    """How alike a person and the faces are that became theirs in a clip: the mean and the standard deviation over the
    frames of the cosine, and the mean of the calibrated score, by the ``embedder`` of that name."""

    user_id: str
    frames: int
    cosine: float
    deviation: float
    score: float
    embedder: str


@dataclass(frozen=True)
class VideoResult:
    """What came of a clip: the file (a folder for frames), how many frames it has and how many were repainted, the
    seed, and how alike each person is. ``about``: the JSON file beside it with the recipe and the likeness of each
    frame."""

    path: Path
    about: Path
    frames: int
    repainted: int
    seed: int
    people: tuple[PersonInVideo, ...]


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


def bytes_held(*sources: Source | None) -> int:
    """How many bytes these pictures hold in memory; a file on the disk holds none."""
    return sum(len(source) for source in sources if isinstance(source, bytes))
