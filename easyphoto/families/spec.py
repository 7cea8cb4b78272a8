"""What is particular to a family of models, as plain data. Nothing here needs torch, and nothing here runs anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from easyphoto.config import TRAIN_MODES, TRAINING_STYLES, Family, TrainConfig, from_mapping
from easyphoto.ports import ControlRole, IdentityKind

SAMPLER = "DPM++ 2M SDE Karras"
TEXT_SAMPLER = "Euler a"

# --- the chain -------------------------------------------------------------------------------------------------------


class Pass(str, Enum):
    """A pass of the chain. It has the name of its stage."""

    TEXT = "text"
    FIRST = "first"
    SECOND = "second"
    BACKGROUND = "background"


FACE_PASSES = (Pass.FIRST, Pass.SECOND)
"""The passes that show one person, so that an identity can be given to them."""


class Feed(str, Enum):
    """Which picture a control is made from."""

    INPUT = "input"
    """The picture that the pass starts from, after the face fusion."""
    REPLACED = "replaced"
    """The template, with the person's face_id picture laid over its face."""


@dataclass(frozen=True)
class ControlRow:
    """A control of a pass: what it holds, how much, and which picture it is made from."""

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
    """An identity of a pass: by which adapter, how much (``weight`` and ``place`` as in
    :class:`easyphoto.ports.Identity`), and from which pictures of the person it is taken: at most ``count``, beginning
    with that of the ``feed``, then those whose heads are nearest to the template's."""

    kind: IdentityKind
    weight: float
    feed: IdentityFeed = IdentityFeed.NEAREST
    place: float | None = None
    count: int = 1


@dataclass(frozen=True)
class WorkingSize:
    """At which size a family works: its pictures have either a short side or an area of so many pixels. Then the same
    for the background, and the blur of the masks."""

    short_side: int | None
    area: int | None
    background_short_side: int
    background_long_short_side: int
    """The short side of the background of pictures that are longer than 3 to 2."""
    mask_blur: int
    face_side: int | None = None
    """A picture whose face has more pixels than this is made smaller to work on, down to a short side of
    ``least_side``."""
    least_side: int = 0
    text_side: int | None = None
    """The short side of a picture from text. None: the picture is as large as it was asked for, up to
    ``text_area``."""
    text_area: int | None = None
    """At most so many pixels are drawn from text at once. None: any number is."""
    square_up_to: float = 1.0
    """With a ``text_side``: a picture whose sides have at most this ratio is cut out of a square one."""


@dataclass(frozen=True)
class MaskReach:
    """How far the masks of a face reach, in widths of the face: the parsed face is grown by ``growth`` for the first
    pass, the ring of the second one lies from ``ring_inner`` inside its outline to ``ring_outer`` outside, and what was
    changed is pasted with ``paste`` more and soft edges of ``paste_edge``.

    The defaults are those of the original extension, which gives them in pixels of a working picture whose face is
    about 170 pixels wide.
    """

    growth: float = 0.05
    ring_outer: float = 16 / 170
    ring_inner: float = 8 / 170
    paste: float = 12 / 170
    paste_edge: float = 5 / 170


@dataclass(frozen=True)
class Prompts:
    """The words that are put behind the user's own. They ask for quality and forbid faults, in a pass over a face and
    in a picture from text."""

    quality: str
    faults: str
    text_quality: str
    text_faults: str


@dataclass(frozen=True)
class HelperLora:
    """A LoRA that is worn beside the person's: the name of its file without the ending, and its weight."""

    name: str
    weight: float


@dataclass(frozen=True)
class Drawing:
    """How pictures are drawn: the samplers over a picture and from text, the guidance, the words, and the LoRAs that
    are worn beside the person's.

    ``hires_with_scene`` says that a picture from text with a scene is enlarged and repainted once. ``pose_weight`` is
    the weight of the control that holds the pose of a picture from text.
    """

    prompts: Prompts
    sampler: str = SAMPLER
    text_sampler: str = TEXT_SAMPLER
    cfg_scale: float = 7.0
    film_look: HelperLora | None = None
    lcm: HelperLora | None = None
    pose_weight: float = 0.5
    hires_with_scene: bool = True


@dataclass(frozen=True)
class Animation:
    """How clips are drawn with motion modules: the published names of these, the bundle of the catalog that has one
    ("" for none), the side of a clip in pixels unless another is asked for, the sampler, and what differs in the noise
    on which the modules were trained."""

    modules: ControlModel
    bundle: str = ""
    side: int = 512
    sampler: str = SAMPLER
    noise: Mapping[str, Any] = field(default_factory=dict)


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effort:
    """How much a validation takes: the number of its templates and of its sampling steps, its guidance, and its
    sampler."""

    templates: int
    steps: int
    cfg_scale: float
    sampler: str = SAMPLER


AS_THE_ORIGINAL: Mapping[str, Any] = MappingProxyType({"patience": 0, "face_weight": 1.0, "fusion": "average"})
"""What the original does otherwise, whatever the family: it takes all steps, counts all errors alike, and averages the
best checkpoints, up to ten."""


@dataclass(frozen=True)
class Learning:
    """How a LoRA is trained. ``person`` holds what differs from the defaults of :class:`TrainConfig`; ``scene`` holds
    what differs from those for scenes.

    ``original`` holds what differs where the training is to be as the original's, beside :data:`AS_THE_ORIGINAL`.

    ``crop_ratio`` says at most how many faces wide a photo is cut. ``unet_layers`` are the ends of the names of those
    layers of the UNet that get a LoRA. ``needs_disk`` says that checkpoints are so large that the free space is looked
    at first.
    """

    validation: Effort
    unet_layers: tuple[str, ...]
    person: Mapping[str, Any] = field(default_factory=dict)
    scene: Mapping[str, Any] = field(default_factory=dict)
    original: Mapping[str, Any] = field(default_factory=dict)
    crop_ratio: float = 3.0
    needs_disk: bool = True


@dataclass(frozen=True)
class MemoryNumbers:
    """How much memory a family takes. ``unet``, ``text``, ``vae`` and ``control`` are numbers of weights. ``lora`` is
    how many numbers a LoRA trains for each rank in the UNet and the text encoders together, ``lora_text`` how many of
    them are the text encoders'.

    A training keeps ``fixed`` + (``cell`` + rank x ``cell_rank``) x cells bytes for one picture in a batch, where a
    cell is 8 x 8 pixels. With gradient checkpointing it keeps ``kept_fixed`` + ``kept_cell`` x cells bytes. For the
    caption of the picture it keeps ``caption`` bytes.
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
    """How the files of the family are told from others.

    ``context`` is the width of the text that the UNet attends to; no two families have the same one. ``encoders`` are
    the widths of the text encoders, and ``second_encoder`` says that there are two. ``written`` is what this program
    writes as ``ss_base_model_version`` into a LoRA, and ``declared`` says how that or ``modelspec.architecture`` may
    begin in the files of others. ``architecture`` is what this program writes as ``modelspec.architecture``, None where
    there is no published name. ``v2`` is what ``ss_v2`` of a LoRA says. ``epsilon_names`` is for a family whose files
    predict v unless they say otherwise: a pattern of the names of those that predict noise all the same. It is None
    for a family whose files predict noise.
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
        """Whether a file predicts v that says nothing of it; ``stem`` is its name without the ending."""
        return self.epsilon_names is not None and not re.search(self.epsilon_names, stem, re.IGNORECASE)


@dataclass(frozen=True)
class ControlModel:
    """The names under which a model of a ControlNet or of an adapter is published.

    ``names`` are regular expressions for the beginning of a file's name without its ending, in lower case and with
    ``_`` for ``-`` and spaces; the best comes first. ``preprocessors`` are the names that WebUIs give to its
    preprocessor, the best first, where it depends on the family; they are empty where it depends on the role alone.
    """

    names: tuple[str, ...]
    preprocessors: tuple[str, ...] = ()

    @staticmethod
    def plain(name: str) -> str:
        """The name of a file in the form of the patterns: in lower case and with one kind of dash."""
        return re.sub(r"[- ]", "_", name.lower())

    @property
    def published(self) -> str:
        """The best name, in a form that can stand in a sentence."""
        return re.sub(r"\(\?!.*?\)", "", self.names[0])


@dataclass(frozen=True, kw_only=True)
class FamilySpec:
    """A family of models.

    ``title`` is what it is called in a sentence. ``engine`` is the name of its strategy in ``easyphoto.sd``.
    ``shipped`` says that its one checkpoint comes with the program, together with its ControlNets; its control maps are
    then those that these ControlNets were trained on. Latents are multiplied by ``vae_scale``, so that their variance
    is about 1. ``identities`` says what its passes over a face are given of the person's pictures; a row of any other
    pass is a ValueError. ``adapter`` is the kind that joins in those passes when the user asks for it.

    ``reach`` says how far the masks of a face reach. A family that ``softens`` what it repaints gets the fine detail of
    the fused picture back. One that doesn't ``repaints_twice`` leaves the repainting of the second pass out unless the
    user asks for it. ``paints_profiles``: whether it can paint a head that is seen from the side."""

    family: Family
    title: str
    header: Header
    learning: Learning
    size: WorkingSize
    drawing: Drawing
    controls: Mapping[Pass, tuple[ControlRow, ...]]
    control_models: Mapping[ControlRole | IdentityKind, tuple[ControlModel, ...]]
    """The models of ControlNets and, in WebUIs, of adapters. A role or a kind can need more than one model."""
    memory: MemoryNumbers
    engine: str
    vae_scale: float = 0.18215
    shipped: bool = False
    adapter: IdentityKind | None = None
    identities: Mapping[Pass, tuple[IdentityRow, ...]] = field(default_factory=dict)
    reach: MaskReach = MaskReach()
    softens: bool = False
    repaints_twice: bool = True
    paints_profiles: bool = True
    animation: Animation | None = None
    """None for a family for which there are no motion modules."""

    def __post_init__(self) -> None:
        for which in self.identities:
            if which not in FACE_PASSES:
                raise ValueError(f"the {which.value} pass of {self.family} shows no one person to identify")

    def train_config(self, *, scene: bool = False, **chosen: Any) -> TrainConfig:
        """The defaults of this family for people or for scenes, in the way to train that was chosen, with the values
        that the user has ``chosen`` put over them."""
        values = {**self.learning.person, **(self.learning.scene if scene else {})}
        if chosen.get("training_style") == TRAINING_STYLES[1]:
            values |= {**AS_THE_ORIGINAL, **self.learning.original}
        if scene:
            values["train_mode_choose"] = TRAIN_MODES[1]
        return from_mapping(TrainConfig, {**values, **chosen})


def table(rows: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The same mapping in a form that nobody can change."""
    return MappingProxyType(dict(rows))
