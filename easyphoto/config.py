"""Every parameter, declared once.

A field's default, range, choices, label and help stand here; the UI's controls, the API's payload, the command line's
flags and the tables in the docs are made from these declarations, by name. The names are those of the API that users of
the extension already call. What a declaration is and how it is checked stands in :mod:`easyphoto.declaring`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, TypeVar

from easyphoto import program
from easyphoto.declaring import (
    AUTO,
    Declared,
    Param,
    auto_name,
    checked,
    declared,
    number,
    numbered,
    param,
    spelt_out,
    unlike_defaults,
    validate,
)
from easyphoto.errors import InvalidRequest

__all__ = [
    "AUTO",
    "FUSIONS",
    "FUSION_METHODS",
    "ID_METHODS",
    "OPTIMIZERS",
    "POSES",
    "PRECISIONS",
    "REF_MODES",
    "SCENE_CONTROLS",
    "SUPER_RESOLUTION_METHODS",
    "TRAINING_STYLES",
    "TRAIN_MODES",
    "Chosen",
    "Config",
    "Declared",
    "DrawnClipConfig",
    "Family",
    "Param",
    "Paths",
    "PortraitConfig",
    "TrainConfig",
    "auto_name",
    "checked",
    "declared",
    "from_mapping",
    "number",
    "numbered",
    "param",
    "spelt_out",
    "unlike_defaults",
    "validate",
]


class Family(str):
    """The name of a kind of model whose LoRAs fit one another. :mod:`easyphoto.families` knows which families there are
    and what they are like. Equal names are one object."""

    SD1: ClassVar[Family]
    SD2: ClassVar[Family]
    SDXL: ClassVar[Family]
    BENCH: ClassVar[Family]

    def __new__(cls, name: str) -> Family:
        return _interned(str(name))

    @property
    def value(self) -> str:
        """The name as plain text."""
        return str(self)


@cache
def _interned(name: str) -> Family:
    return str.__new__(Family, name)


Family.SD1, Family.SD2, Family.SDXL, Family.BENCH = Family("sd1"), Family("sd2"), Family("sdxl"), Family("bench")


TRAIN_MODES = ("Train Human Lora", "Train Scene Lora")
TRAINING_STYLES = ("quick", "as the original")
"""Which defaults a training has: those that learn in less time, or those by which the original trains."""
PRECISIONS = ("auto", "fp16", "bf16", "no")
FUSIONS = ("greedy", "average", "best", "last")
OPTIMIZERS = ("adamw", "adamw8bit", "adafactor")
SUPER_RESOLUTION_METHODS = ("gpen", "realesrgan")
FUSION_METHODS = ("auto", "inswapper", "warp")
POSES = (
    "by seed", "front", "slightly-left", "slightly-right", "left", "right", "up", "down", "tilted-left", "tilted-right",
    "hand-at-chin",
)  # fmt: skip
"""The names of the inner poses. The first choice takes a pose that follows from the seed."""
ID_METHODS = ("IP-Adapter Face", "InstantID", "IP-Adapter FaceID")
"""The adapters by which a person can be shown; the first means whichever IP-Adapter the family has."""
REF_MODES = ("Infer with Pretrained Lora", "Infer with IPA or InstantID only(without Pretraining Lora)")
"""With the person's LoRA, or by an adapter alone; in the words of the original."""
CLIP_CONTROLS = ("openpose", "canny", "color", "tile")
"""What of a control clip a drawn clip can be held to."""
SCENE_CONTROLS = ("Without Control", "Control with inner template", "Control with uploaded template")


@dataclass(frozen=True)
class TrainConfig:
    """How a person is trained. Defaults are those for SD1; a family's own are given by its specification."""

    sd_model_checkpoint: str = param(
        "",
        "Base model",
        help="Any SD1.5, SD2.1 or SDXL checkpoint that is there; empty takes the default.",
    )
    train_mode_choose: str = param(TRAIN_MODES[0], "Mode", choices=TRAIN_MODES, help="A face or a scene.")
    training_style: str = param(
        TRAINING_STYLES[0],
        "Way to train",
        choices=TRAINING_STYLES,
        help="Sets the defaults of other options. As the original: no early end, the ten best checkpoints averaged, "
        "errors count alike everywhere, and the demo model takes more steps; slower.",
    )
    resolution: int = param(
        512,
        "Resolution",
        minimum=64,
        maximum=2048,
        step=64,
        group="advanced",
        help="Side of the pictures that the network sees, in pixels.",
    )
    val_and_checkpointing_steps: int = param(
        100,
        "Validation & save steps",
        minimum=1,
        maximum=10000,
        step=1,
        group="advanced",
        help="Render the validation templates and save a checkpoint every so many steps.",
    )
    max_train_steps: int = param(
        800,
        "Max train steps",
        minimum=1,
        maximum=100000,
        step=1,
        group="advanced",
        help="Steps = min(photos x steps per photo, this).",
    )
    steps_per_photos: int = param(
        200,
        "Max steps per photo",
        minimum=1,
        maximum=10000,
        step=1,
        group="advanced",
        help="Steps = min(photos x this, max train steps).",
    )
    train_batch_size: int = param(
        1,
        "Batch size",
        minimum=1,
        maximum=64,
        step=1,
        group="advanced",
        help="Pictures in one pass. Keep batch size x accumulation at 4; 16 GB: 2x2 or 4x1.",
    )
    gradient_accumulation_steps: int = param(
        4,
        "Gradient accumulation",
        minimum=1,
        maximum=64,
        step=1,
        group="advanced",
        help="Passes for one step of the optimiser.",
    )
    dataloader_num_workers: int = param(
        16,
        "Data workers",
        minimum=0,
        maximum=64,
        step=1,
        group="advanced",
        legacy=True,
        help="Without effect: the latents are cached, so there is nothing to load.",
    )
    learning_rate: float = param(
        1e-4,
        "Learning rate",
        minimum=1e-7,
        maximum=1e-1,
        group="advanced",
        help="1e-4 suits full-size models.",
    )
    rank: int = param(
        128,
        "Rank",
        minimum=1,
        maximum=512,
        step=1,
        group="advanced",
        help="Rank of the LoRA's matrices.",
    )
    network_alpha: int = param(
        64,
        "Network alpha",
        minimum=1,
        maximum=512,
        step=1,
        group="advanced",
        help="Scale of the LoRA; usually half the rank.",
    )
    validation: bool = param(
        True,
        "Validation",
        group="advanced",
        help="Score checkpoints by likeness while training and fuse the best. Off is faster.",
    )
    patience: int = param(
        3,
        "Patience",
        minimum=0,
        maximum=100,
        step=1,
        group="advanced",
        help="End the training when the likeness hasn't risen for so many validations; 0 does all steps, as the "
        "original does.",
    )
    skin_retouching_bool: bool = param(
        True,
        "Skin retouching",
        group="advanced",
        help="Smooth the skin of the training photos.",
    )
    training_prefix_prompt: str = param(
        "",
        "Prefix prompt (scene)",
        group="scene",
        help="Caption of the scene's pictures.",
    )
    crop_ratio: float = param(
        3.0,
        "Crop ratio (scene)",
        minimum=1,
        maximum=10,
        step=0.1,
        group="scene",
        help="Side of the crop around the face, in face sizes.",
    )
    mixed_precision: str = param(
        "auto",
        "Precision",
        choices=PRECISIONS,
        group="advanced",
        help="auto takes bf16 or fp16 on a GPU and full precision on the CPU.",
    )
    train_text_encoder: bool = param(
        True,
        "Train text encoder",
        group="advanced",
        help="Give the text encoder a LoRA too.",
    )
    face_weight: float = param(
        1.0,
        "Face weight",
        minimum=1,
        maximum=10,
        step=0.5,
        group="advanced",
        help="How much more an error in the face counts than one elsewhere; 1 counts all alike, as the original does.",
    )
    snr_gamma: float = param(
        0.0,
        "SNR weighting",
        minimum=0,
        maximum=20,
        step=0.5,
        group="advanced",
        help="Gamma of min-SNR loss weighting; 0 is off, 5 is usual.",
    )
    optimizer: str = param(
        "adamw",
        "Optimizer",
        choices=OPTIMIZERS,
        group="advanced",
        help="adamw8bit (needs bitsandbytes) and adafactor need less memory.",
    )
    gradient_checkpointing: bool = param(
        False,
        "Gradient checkpointing",
        group="advanced",
        help="Less memory, about a quarter slower.",
    )
    fusion: str = param(
        "greedy",
        "LoRA fusion",
        choices=FUSIONS,
        group="advanced",
        help="greedy keeps a checkpoint only if the fused LoRA validates better; average takes the best ten.",
    )
    seed: int = param(
        42,
        "Seed",
        minimum=0,
        maximum=2**32 - 1,
        step=1,
        group="advanced",
        help="Same photos, same seed, same LoRA.",
    )
    enable_rl: bool = param(
        False,
        "Likeness as a reward",
        group="advanced",
        help="A small LoRA of its own then learns likeness itself; it is kept only if it proves to help.",
    )
    max_rl_time: float = param(
        1.0,
        "Max time of the reward (hours)",
        minimum=0.01,
        maximum=12,
        group="advanced",
        help="The reward takes no further step after so many hours; it usually ends long before.",
    )
    max_rl_steps: int = param(
        50,
        "Max steps of the reward",
        minimum=1,
        maximum=1000,
        step=1,
        group="advanced",
        help="Steps of the reward; it ends earlier when the likeness no longer rises.",
    )
    timestep_fraction: float = param(
        1.0,
        "Timestep fraction of the reward",
        minimum=0.7,
        maximum=1,
        step=0.05,
        group="advanced",
        help="Share of the noise levels that the reward learns at; less leaves out the noisiest.",
    )

    def __post_init__(self) -> None:
        validate(self)

    @property
    def is_scene(self) -> bool:
        return self.train_mode_choose == TRAIN_MODES[1]

    def steps(self, photos: int) -> int:
        """Return how many steps the optimiser takes for so many photos."""
        return min(photos * self.steps_per_photos, self.max_train_steps)


@dataclass(frozen=True)
class PortraitConfig:
    """How portraits are made. Defaults are those of the UI."""

    sd_model_checkpoint: str = param(
        "",
        "Base model",
        help="Any checkpoint of the family that the person was trained on; empty takes that one.",
    )
    additional_prompt: str = param(
        "",
        "Additional prompt",
        help="Added to the prompt: what the picture should show more of.",
    )
    additional_neg_prompt: str = param(
        "",
        "Additional negative prompt",
        help="Added to the negative prompt.",
    )
    seed: int = param(
        -1,
        "Seed",
        minimum=-1,
        maximum=2**32 - 1,
        step=1,
        help="-1 draws one and reports it.",
    )
    batch_size: int = param(
        1,
        "Portraits per template",
        minimum=1,
        maximum=32,
        step=1,
        help="How many portraits each template gives.",
    )
    lora_weights: float = param(
        0.9,
        "LoRA weight",
        minimum=0,
        maximum=1.3,
        step=0.05,
        tried=(0.9, 1.05, 0.75, 1.2),
        group="advanced",
        help="Strength of the person's LoRA.",
    )
    lora_weights_auto: bool = param(
        False,
        "Find the LoRA weight",
        group="advanced",
        help="Make each portrait with several LoRA weights and keep the one that is most alike and sharp; the number "
        "then doesn't count. Ends early as Best of does.",
    )
    reward_weight: float = param(
        1.0,
        "Reward weight",
        minimum=0,
        maximum=1,
        step=0.05,
        group="advanced",
        help="How much of what the reward taught is added, for people who have it; 0 is the LoRA alone.",
    )
    before_face_fusion_ratio: float = param(
        0.6,
        "Face fusion ratio before",
        minimum=0.2,
        maximum=0.8,
        step=0.05,
        legacy_default=0.5,
        group="advanced",
        help="How much of the fused skin goes in before the first pass; more is more alike.",
    )
    after_face_fusion_ratio: float = param(
        0.6,
        "Face fusion ratio after",
        minimum=0.2,
        maximum=0.8,
        step=0.05,
        legacy_default=0.5,
        group="advanced",
        help="The same after the first pass; switch that fusion off if the face looks blurred.",
    )
    first_diffusion_steps: int = param(
        50,
        "First diffusion steps",
        minimum=1,
        maximum=150,
        step=1,
        group="advanced",
        help="Steps of the first pass.",
    )
    first_denoising_strength: float = param(
        0.45,
        "First denoising strength",
        minimum=0.05,
        maximum=1.0,
        step=0.05,
        group="advanced",
        help="How far the first pass may go from the template; 0.3-0.6 is usual.",
    )
    second_diffusion_steps: int = param(
        20,
        "Second diffusion steps",
        minimum=1,
        maximum=150,
        step=1,
        group="advanced",
        help="Steps of the second pass.",
    )
    second_denoising_strength: float = param(
        0.30,
        "Second denoising strength",
        minimum=0.05,
        maximum=1.0,
        step=0.05,
        legacy_default=0.35,
        group="advanced",
        help="The same for the second pass; 0.2-0.4 is usual.",
    )
    enable_second_diffusion: bool = param(
        True,
        "Second diffusion",
        group="advanced",
        help="Blend the face's surroundings in a second pass. The small demo model does so only if the API or the "
        "command line asks for it: with it, likeness is lost there.",
    )
    crop_face_preprocess: bool = param(
        True,
        "Crop face preprocess",
        group="advanced",
        help="Work on the crop around the face and paste it back: finer, and the rest stays untouched.",
    )
    apply_face_fusion_before: bool = param(
        True, "Face fusion before", group="advanced", help="Fuse the face before the first pass.",
    )  # fmt: skip
    apply_face_fusion_after: bool = param(
        True, "Face fusion after", group="advanced", help="Fuse the face after the first pass.",
    )  # fmt: skip
    color_shift_middle: bool = param(
        True, "Color shift after the first pass", group="advanced",
        help="Bring the face's colours to the template's after the first pass.",
    )  # fmt: skip
    color_shift_last: bool = param(
        True, "Color shift at the end", group="advanced",
        help="The same after the second pass.",
    )  # fmt: skip
    background_restore: bool = param(
        False,
        "Background restore",
        group="advanced",
        help="Repaint what is not a face; makes styled base models fit together.",
    )
    background_restore_denoising_strength: float = param(
        0.35,
        "Background denoising strength",
        minimum=0.05,
        maximum=1.0,
        step=0.05,
        group="advanced",
        help="0.1-0.6 is usual.",
    )
    super_resolution: bool = param(
        True, "Super resolution at last", group="advanced", help="Enhance the finished portrait.",
    )  # fmt: skip
    super_resolution_method: str = param(
        "gpen",
        "Super resolution method",
        choices=SUPER_RESOLUTION_METHODS,
        group="advanced",
        help="gpen restores faces, realesrgan enlarges the picture; without its weights the next best serves.",
    )
    super_resolution_ratio: float = param(
        0.5,
        "Super resolution ratio",
        minimum=0,
        maximum=1,
        step=0.05,
        group="advanced",
        help="Share of the enhanced picture in the result.",
    )
    skin_retouching_bool: bool = param(
        False, "Skin retouching", group="advanced", help="Smooth the skin of the result.",
    )  # fmt: skip
    display_score: bool = param(
        False,
        "Display likeness",
        legacy=True,
        help="The original's API answers with the likeness too; everything else always does.",
    )
    face_fusion_method: str = param(
        FUSION_METHODS[0],
        "Face fusion method",
        choices=FUSION_METHODS,
        group="advanced",
        help="auto takes the best that is there; inswapper needs its weights, warp needs none.",
    )
    fusion_only: bool = param(
        False,
        "Fusion only",
        group="advanced",
        help="The face is put in and nothing is repainted: to compare with, as roop does it.",
    )
    face_shape_match: bool = param(
        False,
        "Face shape match",
        group="advanced",
        help="Bend the face's outline to the person's, repaint the whole crop in the first pass and keep the face.",
    )
    id_control: bool = param(
        False,
        "Identity from photos",
        group="advanced",
        help="Steady the LoRA by an adapter that is shown photos of the person; needs the family's adapter.",
    )
    id_control_method: str = param(
        ID_METHODS[0],
        "Adapter beside the LoRA",
        choices=ID_METHODS,
        group="advanced",
        help="By which adapter; InstantID is there for SDXL alone, and FaceID in the program's own engine.",
    )
    ipa_weight: float = param(
        0.3, "IP-Adapter weight", minimum=0, maximum=1, step=0.05, tried=(0.3, 0.5, 0.15, 0.7), legacy_default=0.5,
        group="advanced", help="How much the adapter counts beside the LoRA.",
    )  # fmt: skip
    ipa_weight_auto: bool = param(
        False,
        "Find the IP-Adapter weight",
        group="advanced",
        help="Make each portrait with several weights of the adapter beside the LoRA and keep the best, as Find the "
        "LoRA weight does; the number then doesn't count.",
    )
    instantid_id_weight: float = param(
        0.5, "InstantID weight of the place", minimum=0, maximum=1, step=0.05, group="advanced",
        help="How much InstantID's ControlNet holds the face where the template has it, beside the LoRA.",
    )  # fmt: skip
    instantid_ipa_weight: float = param(
        0.5, "InstantID weight of the face", minimum=0, maximum=1, step=0.05, group="advanced",
        help="How much InstantID's adapter counts beside the LoRA.",
    )  # fmt: skip
    ref_mode_choose: str = param(
        REF_MODES[0],
        "Reference",
        choices=REF_MODES,
        numbered=True,
        group="advanced",
        help="Whether portraits are made with the person's LoRA or (1) by an adapter alone, without any training.",
    )
    no_user_lora_mode: str = param(
        ID_METHODS[0],
        "Adapter without a LoRA",
        choices=ID_METHODS,
        group="advanced",
        help="By which adapter people are shown who have no LoRA, or whose LoRA is left out.",
    )
    ipa_only_weight: float = param(
        0.6, "IP-Adapter weight alone", minimum=0, maximum=1, step=0.05, group="advanced",
        help="How much the adapter counts where there is no LoRA.",
    )  # fmt: skip
    instantid_only_id_weight: float = param(
        0.5, "InstantID weight of the place alone", minimum=0, maximum=1, step=0.05, group="advanced",
        help="How much InstantID's ControlNet holds the face in place where there is no LoRA.",
    )  # fmt: skip
    instantid_only_ipa_weight: float = param(
        0.5, "InstantID weight of the face alone", minimum=0, maximum=1, step=0.05, group="advanced",
        help="How much InstantID's adapter counts where there is no LoRA.",
    )  # fmt: skip
    id_photos: int = param(
        3,
        "Photos for the adapter",
        minimum=1,
        maximum=8,
        step=1,
        group="advanced",
        help="So many photos of the person are shown to the adapter: those whose head is nearest to the template's.",
    )
    best_of: int = param(
        1, "Best of", minimum=1, maximum=16, step=1, group="advanced",
        help="Make each portrait with so many seeds and keep the one that is most alike and sharp; ends early when it "
        "is as much like the person as their photos are like one another.",
    )  # fmt: skip
    keep_losers: bool = param(
        False, "Keep the others too", group="advanced",
        help="Keep those that weren't the best, in the folder losers beside the portraits.",
    )  # fmt: skip
    measure_floor: bool = param(
        False, "Measure the floor", group="advanced",
        help="Draw each portrait once more without anything of the person, and tell its likeness above that picture's; "
        "takes twice the time, and the picture isn't kept.",
    )  # fmt: skip
    makeup_transfer: bool = param(
        False, "Makeup transfer", group="advanced", help="Bring the template's make-up back.",
    )  # fmt: skip
    makeup_transfer_ratio: float = param(
        0.5, "Makeup transfer ratio", minimum=0, maximum=1, step=0.05, group="advanced",
        help="How strongly.",
    )  # fmt: skip
    lcm_accelerate: bool = param(
        False,
        "LCM accelerate",
        group="advanced",
        help="12 and 8 steps, CFG 2, Euler a; needs an LCM LoRA of the family among the LoRAs.",
    )
    text_to_image_input_prompt: str = param(
        "",
        "Prompt (text to portrait)",
        group="text",
        help="What the template should show when it is made from text.",
    )
    text_to_image_width: int = param(624, "Width", minimum=64, maximum=2048, step=8, group="text", help="In pixels.")
    text_to_image_height: int = param(832, "Height", minimum=64, maximum=2048, step=8, group="text", help="In pixels.")
    scene_id: str = param(
        "none", "Scene LoRA", group="text", help="A scene trained with Train Scene Lora, or none.",
    )  # fmt: skip
    t2i_control_way: str = param(
        SCENE_CONTROLS[0],
        "Pose control",
        choices=SCENE_CONTROLS,
        group="text",
        help="Take the pose of the text portrait from a picture.",
    )
    t2i_pose_inner: str = param(
        POSES[0], "Inner pose", choices=POSES, numbered=True, group="text",
        help="Which of the inner poses is taken with the inner template: its name, or its number from 1.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        validate(self)

    @classmethod
    def legacy(cls) -> PortraitConfig:
        """Return the defaults of the original's HTTP API."""
        chosen = {d.name: d.param.legacy_default for d in declared(cls) if d.param.legacy_default is not None}
        return replace(cls(), **chosen)


@dataclass(frozen=True)
class DrawnClipConfig:
    """How a clip is drawn from text or from pictures, before people are put into it."""

    t2v_input_width: int = param(
        0,
        "Width of a drawn clip",
        minimum=0,
        maximum=2048,
        step=8,
        help="In pixels; 0 takes the size that the base model's motion module knows, in the shape of the picture or of "
        "the control clip where there is one.",
    )
    t2v_input_height: int = param(
        0,
        "Height of a drawn clip",
        minimum=0,
        maximum=2048,
        step=8,
        help="The same for the height.",
    )
    upload_control_video_type: str = param(
        CLIP_CONTROLS[0],
        "Control of the clip",
        choices=CLIP_CONTROLS,
        help="What a drawn clip takes from the control clip: frame by frame its poses, its edges, its colours, or all.",
    )
    i2v_denoising_strength: float = param(
        0.65,
        "Denoising strength from a picture",
        minimum=0.05,
        maximum=1.0,
        step=0.05,
        help="How far a clip from a picture may go from it; little also lets little move.",
    )
    repaint_together: bool = param(
        False,
        "Repaint all frames together",
        help="The person's two passes go over the whole drawn clip at once, by the motion module, and not over one "
        "frame after another.",
    )
    motion_module: str = param(
        "",
        "Motion module",
        help="The name of a file in models/AnimateDiff; empty takes the best for the base model.",
    )

    def __post_init__(self) -> None:
        validate(self)


Config = TypeVar("Config", TrainConfig, PortraitConfig, DrawnClipConfig)
Chosen: TypeAlias = frozenset[str] | None
"""The names of the fields that the user gave a value to, be it the default; None: nobody knows, see
:func:`unlike_defaults`."""


def from_mapping(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """Return a configuration made of names and values, which are checked. :data:`AUTO` leaves a number to a search
    where that can be done. Unknown names are an error that lists them."""
    values, known = spelt_out(cls, values), {d.name for d in declared(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InvalidRequest("Unknown parameter: {names}.", names=", ".join(unknown))
    return cls(**values)


@dataclass(frozen=True)
class Paths:
    """The folders in which things lie. Nothing is written outside them."""

    outputs: Path
    models: Path
    loras: Path
    templates: Path
    bench: Path
    """The checkpoint that ships with the project; read only."""

    @property
    def people(self) -> Path:
        return self.outputs / "easyphoto-user-id-infos"

    @property
    def portraits(self) -> Path:
        return self.outputs / "easyphoto-outputs"

    @property
    def videos(self) -> Path:
        """The clips that were made, each with a JSON file that says how."""
        return self.outputs / "easyphoto-video-outputs"

    @property
    def trainings(self) -> Path:
        """The reports of batches of trainings."""
        return self.outputs / "easyphoto-trainings"

    @property
    def uploads(self) -> Path:
        """The folder of files that came through a browser; they are kept while the program runs."""
        return self.outputs / "easyphoto-uploads"

    @property
    def queue(self) -> Path:
        """What was asked for and is not done yet, and what came of it."""
        return self.outputs / "easyphoto-queue"

    @classmethod
    def standalone(cls, data: Path | None = None) -> Paths:
        """Return the folders of a program without a WebUI, under ``data`` (:func:`program.data_folder` by default)."""
        root = (data or program.data_folder()).resolve()
        return cls(
            outputs=root / "outputs",
            models=root / "models",
            loras=root / "models" / "Lora",
            templates=program.FILES / "templates",
            bench=program.FILES / "models" / "bench",
        )
