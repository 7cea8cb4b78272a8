"""What is particular to a family of models, as plain data. Nothing here needs torch, and nothing here runs anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from easyphoto.config import TRAIN_MODES, Family, TrainConfig, from_mapping
from easyphoto.ports import ControlRole, IdentityKind

SAMPLER = "DPM++ 2M SDE Karras"
TEXT_SAMPLER = "Euler a"

# --- the chain -------------------------------------------------------------------------------------------------------


class Pass(str, Enum):
    """One pass of the chain, named as its stage."""

    TEXT = "text"
    FIRST = "first"
    SECOND = "second"
    BACKGROUND = "background"


FACE_PASSES = (Pass.FIRST, Pass.SECOND)
"""The passes that show one person, so that an identity can be given to them."""


class Feed(str, Enum):
    """Which picture a control is made from."""

    INPUT = "input"
    """The picture that the pass starts from: after fusion."""
    REPLACED = "replaced"
    """The template with the person's face_id picture laid over its face."""


@dataclass(frozen=True)
class ControlRow:
    """A control of a pass, its weight, and the picture that it is made from."""

    role: ControlRole
    weight: float
    feed: Feed = Feed.INPUT


class IdentityFeed(str, Enum):
    """Which picture of the person an identity is taken from."""

    REFERENCE = "reference"
    """The reference picture: the most frontal and typical photo."""
    NEAREST = "nearest"
    """The picture that face fusion would take: the reference, or, where the template's head looks another way than it
    does, the photo whose head is nearest."""


@dataclass(frozen=True)
class IdentityRow:
    """An identity of a pass: by which adapter, how much, and which picture of the person it is taken from."""

    kind: IdentityKind
    weight: float
    feed: IdentityFeed = IdentityFeed.NEAREST


@dataclass(frozen=True)
class WorkingSize:
    """How large a family works: a short side or an area in pixels, the same for the background, and the mask blur."""

    short_side: int | None
    area: int | None
    background_short_side: int
    background_long_short_side: int
    """For pictures longer than 3 to 2."""
    mask_blur: int
    face_side: int | None = None
    """A face of more pixels than this is worked on in fewer, down to a short side of ``least_side``."""
    least_side: int = 0
    text_side: int | None = None
    """The short side of a picture from text; None where it can be as large as it is asked for, up to ``text_area``."""
    text_area: int | None = None
    """At most so many pixels are drawn from text at once; None for any number."""
    square_up_to: float = 1.0
    """With a ``text_side``: up to this ratio of its sides a picture is cut out of a square one."""


@dataclass(frozen=True)
class Prompts:
    """Words that stand behind the user's own: of quality and of faults, for a face and for a picture from text."""

    quality: str
    faults: str
    text_quality: str
    text_faults: str


@dataclass(frozen=True)
class HelperLora:
    """A LoRA beside the person's: its file's name without ending, and its weight."""

    name: str
    weight: float


@dataclass(frozen=True)
class Drawing:
    """How pictures are drawn: samplers over a picture and from text, guidance, words, LoRAs beside the person's.

    ``hires_with_scene``: a picture from text with a scene is enlarged and repainted once. ``pose_weight``: of the
    control that holds the pose of a picture from text.
    """

    prompts: Prompts
    sampler: str = SAMPLER
    text_sampler: str = TEXT_SAMPLER
    cfg_scale: float = 7.0
    film_look: HelperLora | None = None
    lcm: HelperLora | None = None
    pose_weight: float = 0.5
    hires_with_scene: bool = True


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effort:
    """How many templates, of how many sampling steps, one validation takes, its guidance and its sampler."""

    templates: int
    steps: int
    cfg_scale: float
    sampler: str = SAMPLER


@dataclass(frozen=True)
class Learning:
    """How a LoRA is trained: what differs from :class:`TrainConfig`'s defaults, for people and, over these, for scenes.

    ``crop_ratio``: at most so many faces wide is a photo cut. ``unet_layers``: ends of the names of the UNet's layers
    that get a LoRA. ``needs_disk``: checkpoints are large enough for a look at the free space first.
    """

    validation: Effort
    unet_layers: tuple[str, ...]
    person: Mapping[str, Any] = field(default_factory=dict)
    scene: Mapping[str, Any] = field(default_factory=dict)
    crop_ratio: float = 3.0
    needs_disk: bool = True


@dataclass(frozen=True)
class MemoryNumbers:
    """``unet``, ``text``, ``vae``, ``control``: numbers of weights. ``lora`` and ``lora_text``: trained numbers for
    each rank, in UNet and text encoders together, and in the text encoders alone.

    Bytes kept for one picture in a batch: ``fixed`` + (``cell`` + rank x ``cell_rank``) x cells, where a cell is 8 x 8
    pixels; with gradient checkpointing ``kept_fixed`` + ``kept_cell`` x cells; ``caption`` for its caption.
    """

    unet: int
    text: int
    vae: int
    control: int
    lora: int
    lora_text: int
    fixed: int
    cell: int
    cell_rank: int
    kept_fixed: int
    kept_cell: int
    caption: int


# --- files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Header:
    """How files of the family are told from others.

    ``context``: width of the text that the UNet attends to, which is unlike that of all other families. ``encoders``:
    widths of its text encoders. ``second_encoder``: it has two. ``written``: ``ss_base_model_version`` of its LoRAs as
    they are written here; ``declared``: how that or ``modelspec.architecture`` may begin in others' files.
    ``architecture``: ``modelspec.architecture`` as it is written here, None where there is no published name. ``v2``:
    what ``ss_v2`` of its LoRAs says. ``epsilon_names``: a pattern of the names of files that predict noise although
    files of the family that say nothing predict v; None where those predict noise too.
    """

    context: int
    encoders: tuple[int, ...]
    written: str
    declared: tuple[str, ...]
    architecture: str | None = None
    second_encoder: bool = False
    v2: bool = False
    epsilon_names: str | None = None

    def predicts_v(self, stem: str) -> bool:
        """Whether a file of that name, without ending, which says nothing, predicts v."""
        return self.epsilon_names is not None and not re.search(self.epsilon_names, stem, re.IGNORECASE)


@dataclass(frozen=True)
class ControlModel:
    """Under which names the models of one ControlNet are published: regular expressions for the beginning of a file's
    name without ending, in lower case with ``_`` for ``-`` and spaces, the best first. ``preprocessors``: by what a
    WebUI calls them, the best first, where they depend on the family; empty where they depend on the role alone."""

    names: tuple[str, ...]
    preprocessors: tuple[str, ...] = ()

    @staticmethod
    def plain(name: str) -> str:
        """A file's name as the patterns are written: lower case, one kind of dash."""
        return re.sub(r"[- ]", "_", name.lower())

    @property
    def published(self) -> str:
        """The best name, for a sentence."""
        return re.sub(r"\(\?!.*?\)", "", self.names[0])


@dataclass(frozen=True, kw_only=True)
class FamilySpec:
    """A family. ``title``: what it is called in a sentence. ``engine``: the name of its strategy in ``easyphoto.sd``.
    ``shipped``: its one checkpoint, with its ControlNets, comes with the program, and its control maps are those that
    the program's own ControlNets were trained on. ``vae_scale``: what latents are multiplied by, so that they have
    about unit variance. ``identities``: what its passes over a face are given of the person's pictures; ValueError for
    any other pass."""

    family: Family
    title: str
    header: Header
    learning: Learning
    size: WorkingSize
    drawing: Drawing
    controls: Mapping[Pass, tuple[ControlRow, ...]]
    control_models: Mapping[ControlRole | IdentityKind, tuple[ControlModel, ...]]
    """Of ControlNets and, in WebUIs, of adapters. A role or a kind can need more than one model."""
    memory: MemoryNumbers
    engine: str
    vae_scale: float = 0.18215
    shipped: bool = False
    identities: Mapping[Pass, tuple[IdentityRow, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for which in self.identities:
            if which not in FACE_PASSES:
                raise ValueError(f"the {which.value} pass of {self.family} shows no one person to identify")

    def train_config(self, *, scene: bool = False, **chosen: Any) -> TrainConfig:
        """The defaults of this family and mode, with what the user ``chosen`` over them."""
        values = {**self.learning.person, **(self.learning.scene if scene else {})}
        if scene:
            values["train_mode_choose"] = TRAIN_MODES[1]
        return from_mapping(TrainConfig, {**values, **chosen})


def table(rows: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The mapping, which nobody can change any more."""
    return MappingProxyType(dict(rows))
