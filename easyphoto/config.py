"""Every parameter, declared once.

A field's default, range, choices, label and help stand here; the UI's controls, the API's payload, the command line's
flags and the tables in the docs are made from these declarations, by name. The names are those of the API that users of
the extension already call.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from easyphoto import program
from easyphoto.errors import InvalidRequest
from easyphoto.messages import Message


class Family(str):
    """The name of a kind of model whose LoRAs fit one another. Which there are, and what they are like, is known to
    :mod:`easyphoto.families`. Equal names are one object."""

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


@dataclass(frozen=True)
class Param:
    """What the edges need to know of a field beside its name, type and default."""

    label: str
    label_zh: str
    help: str = ""
    help_zh: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    legacy_default: Any = None
    """The default of the original's HTTP API where it differs from that of its UI."""
    group: str = "basic"
    legacy: bool = False
    """Known for the sake of those who call the original's API, and of no other use: no tab, help or table offers it."""


@dataclass(frozen=True)
class Declared:
    """One declared field: what a UI, an API or a command line is made from."""

    name: str
    type: type
    optional: bool
    default: Any
    param: Param


def param(default: Any, label: str, label_zh: str, **more: Any) -> Any:
    """A dataclass field with its :class:`Param`."""
    metadata = {"param": Param(label, label_zh, **more)}
    return field(default=default, metadata=metadata)


TRAIN_MODES = ("Train Human Lora", "Train Scene Lora")
PRECISIONS = ("auto", "fp16", "bf16", "no")
FUSIONS = ("greedy", "average", "best", "last")
OPTIMIZERS = ("adamw", "adamw8bit", "adafactor")
SUPER_RESOLUTION_METHODS = ("gpen", "realesrgan")
FUSION_METHODS = ("auto", "inswapper", "warp")
POSES = (
    "by seed", "front", "slightly-left", "slightly-right", "left", "right", "up", "down", "tilted-left", "tilted-right",
    "hand-at-chin",
)  # fmt: skip
"""The inner poses by name; the first choice takes one that follows from the seed."""
SCENE_CONTROLS = ("Without Control", "Control with inner template", "Control with uploaded template")


@dataclass(frozen=True)
class TrainConfig:
    """How a person is trained. Defaults are those for SD1; :meth:`for_family` gives the others."""

    sd_model_checkpoint: str = param(
        "",
        "Base model",
        "基础模型",
        help="Any SD1.5, SD2.1 or SDXL checkpoint of the host; empty takes its default.",
        help_zh="宿主中任意 SD1.5、SD2.1 或 SDXL 模型;留空则用默认模型。",
    )
    train_mode_choose: str = param(
        TRAIN_MODES[0], "Mode", "训练模式", choices=TRAIN_MODES, help="A face or a scene.", help_zh="人物或场景。"
    )
    resolution: int = param(
        512,
        "Resolution",
        "训练分辨率",
        minimum=64,
        maximum=2048,
        step=64,
        group="advanced",
        help="Side of the pictures that the network sees, in pixels.",
        help_zh="训练时喂入网络的图片大小(像素)。",
    )
    val_and_checkpointing_steps: int = param(
        100,
        "Validation & save steps",
        "验证与保存步数",
        minimum=1,
        maximum=10000,
        step=1,
        group="advanced",
        help="Render the validation templates and save a checkpoint every so many steps.",
        help_zh="每隔多少步验证一次并保存中间权重。",
    )
    max_train_steps: int = param(
        800,
        "Max train steps",
        "最大训练步数",
        minimum=1,
        maximum=100000,
        step=1,
        group="advanced",
        help="Steps = min(photos x steps per photo, this).",
        help_zh="最终步数 = min(照片数 × 每张照片步数, 该值)。",
    )
    steps_per_photos: int = param(
        200,
        "Max steps per photo",
        "每张照片最大步数",
        minimum=1,
        maximum=10000,
        step=1,
        group="advanced",
        help="Steps = min(photos x this, max train steps).",
        help_zh="最终步数 = min(照片数 × 该值, 最大训练步数)。",
    )
    train_batch_size: int = param(
        1,
        "Batch size",
        "批次大小",
        minimum=1,
        maximum=64,
        step=1,
        group="advanced",
        help="Pictures in one pass. Keep batch size x accumulation at 4; 16 GB: 2x2 or 4x1.",
        help_zh="每次喂入的图片数。建议与梯度累计之积为 4;16GB 显存可用 2x2 或 4x1。",
    )
    gradient_accumulation_steps: int = param(
        4,
        "Gradient accumulation",
        "梯度累计步数",
        minimum=1,
        maximum=64,
        step=1,
        group="advanced",
        help="Passes for one step of the optimiser.",
        help_zh="每多少次前向更新一次权重。",
    )
    dataloader_num_workers: int = param(
        16,
        "Data workers",
        "数据加载进程数",
        minimum=0,
        maximum=64,
        step=1,
        group="advanced",
        legacy=True,
        help="Without effect: the latents are cached, so there is nothing to load.",
        help_zh="不起作用:潜变量已缓存,无需加载图片。",
    )
    learning_rate: float = param(
        1e-4,
        "Learning rate",
        "学习率",
        minimum=1e-7,
        maximum=1e-1,
        group="advanced",
        help="1e-4 suits full-size models.",
        help_zh="完整模型建议 1e-4。",
    )
    rank: int = param(
        128,
        "Rank",
        "LoRA 秩",
        minimum=1,
        maximum=512,
        step=1,
        group="advanced",
        help="Rank of the LoRA's matrices.",
        help_zh="LoRA 权重的特征长度。",
    )
    network_alpha: int = param(
        64,
        "Network alpha",
        "Network alpha",
        minimum=1,
        maximum=512,
        step=1,
        group="advanced",
        help="Scale of the LoRA; usually half the rank.",
        help_zh="LoRA 的缩放,一般为秩的一半。",
    )
    validation: bool = param(
        True,
        "Validation",
        "训练验证",
        group="advanced",
        help="Score checkpoints by likeness while training and fuse the best. Off is faster.",
        help_zh="训练中按人脸相似度验证并融合最优权重;关闭可加快训练。",
    )
    skin_retouching_bool: bool = param(
        True,
        "Skin retouching",
        "皮肤美化",
        group="advanced",
        help="Smooth the skin of the training photos.",
        help_zh="对训练照片做皮肤美化。",
    )
    training_prefix_prompt: str = param(
        "",
        "Prefix prompt (scene)",
        "场景提示词前缀",
        group="scene",
        help="Caption of the scene's pictures.",
        help_zh="场景训练图片的描述。",
    )
    crop_ratio: float = param(
        3.0,
        "Crop ratio (scene)",
        "裁剪比例(场景)",
        minimum=1,
        maximum=10,
        step=0.1,
        group="scene",
        help="Side of the crop around the face, in face sizes.",
        help_zh="人脸周围裁剪区域相对人脸的倍数。",
    )
    mixed_precision: str = param(
        "auto",
        "Precision",
        "训练精度",
        choices=PRECISIONS,
        group="advanced",
        help="auto takes bf16 or fp16 on a GPU and full precision on the CPU.",
        help_zh="auto:GPU 上用 bf16 或 fp16,CPU 上用全精度。",
    )
    train_text_encoder: bool = param(
        True,
        "Train text encoder",
        "训练文本编码器",
        group="advanced",
        help="Give the text encoder a LoRA too.",
        help_zh="同时为文本编码器训练 LoRA。",
    )
    snr_gamma: float = param(
        0.0,
        "SNR weighting",
        "SNR 加权",
        minimum=0,
        maximum=20,
        step=0.5,
        group="advanced",
        help="Gamma of min-SNR loss weighting; 0 is off, 5 is usual.",
        help_zh="min-SNR 损失加权的 gamma;0 为关闭,常用 5。",
    )
    optimizer: str = param(
        "adamw",
        "Optimizer",
        "优化器",
        choices=OPTIMIZERS,
        group="advanced",
        help="adamw8bit (needs bitsandbytes) and adafactor need less memory.",
        help_zh="adamw8bit(需 bitsandbytes)与 adafactor 更省显存。",
    )
    gradient_checkpointing: bool = param(
        False,
        "Gradient checkpointing",
        "梯度检查点",
        group="advanced",
        help="Less memory, about a quarter slower.",
        help_zh="更省显存,约慢四分之一。",
    )
    fusion: str = param(
        "greedy",
        "LoRA fusion",
        "LoRA 融合",
        choices=FUSIONS,
        group="advanced",
        help="greedy keeps a checkpoint only if the fused LoRA validates better; average takes the best ten.",
        help_zh="greedy:仅在融合后验证更好时保留;average:取最好的十个平均。",
    )
    seed: int = param(
        42,
        "Seed",
        "随机种子",
        minimum=0,
        maximum=2**32 - 1,
        step=1,
        group="advanced",
        help="Same photos, same seed, same LoRA.",
        help_zh="同样的照片与种子得到同样的 LoRA。",
    )

    def __post_init__(self) -> None:
        validate(self)

    @property
    def is_scene(self) -> bool:
        return self.train_mode_choose == TRAIN_MODES[1]

    def steps(self, photos: int) -> int:
        """Steps of the optimiser for so many photos."""
        return min(photos * self.steps_per_photos, self.max_train_steps)


@dataclass(frozen=True)
class PortraitConfig:
    """How portraits are made. Defaults are those of the UI."""

    sd_model_checkpoint: str = param(
        "",
        "Base model",
        "基础模型",
        help="Any checkpoint of the family that the person was trained on; empty takes that one.",
        help_zh="与训练同一系列的任意模型;留空则用训练时的模型。",
    )
    additional_prompt: str = param(
        "",
        "Additional prompt",
        "附加提示词",
        help="Added to the prompt: what the picture should show more of.",
        help_zh="附加到正向提示词。",
    )
    additional_neg_prompt: str = param(
        "",
        "Additional negative prompt",
        "附加反向提示词",
        help="Added to the negative prompt.",
        help_zh="附加到反向提示词。",
    )
    seed: int = param(
        -1,
        "Seed",
        "随机种子",
        minimum=-1,
        maximum=2**32 - 1,
        step=1,
        help="-1 draws one and reports it.",
        help_zh="-1 表示随机,并会显示所用的种子。",
    )
    batch_size: int = param(
        1,
        "Portraits per template",
        "每个模板生成数",
        minimum=1,
        maximum=32,
        step=1,
        help="How many portraits each template gives.",
        help_zh="每个模板生成几张。",
    )
    lora_weights: float = param(
        0.9,
        "LoRA weight",
        "LoRA 权重",
        minimum=0,
        maximum=1.3,
        step=0.05,
        group="advanced",
        help="Strength of the person's LoRA.",
        help_zh="人物 LoRA 的强度。",
    )
    before_face_fusion_ratio: float = param(
        0.6,
        "Face fusion ratio before",
        "第一次人脸融合强度",
        minimum=0.2,
        maximum=0.8,
        step=0.05,
        legacy_default=0.5,
        group="advanced",
        help="How much of the fused skin goes in before the first pass; more is more alike.",
        help_zh="第一次人脸融合的强度,越大越像。",
    )
    after_face_fusion_ratio: float = param(
        0.6,
        "Face fusion ratio after",
        "第二次人脸融合强度",
        minimum=0.2,
        maximum=0.8,
        step=0.05,
        legacy_default=0.5,
        group="advanced",
        help="The same after the first pass; switch that fusion off if the face looks blurred.",
        help_zh="第二次人脸融合的强度;若人像发虚可关闭该次融合。",
    )
    first_diffusion_steps: int = param(
        50,
        "First diffusion steps",
        "第一次扩散步数",
        minimum=1,
        maximum=150,
        step=1,
        group="advanced",
        help="Steps of the first pass.",
        help_zh="第一次扩散的总步数。",
    )
    first_denoising_strength: float = param(
        0.45,
        "First denoising strength",
        "第一次重绘强度",
        minimum=0.05,
        maximum=1.0,
        step=0.05,
        group="advanced",
        help="How far the first pass may go from the template; 0.3-0.6 is usual.",
        help_zh="第一次扩散的重绘比例,常用 0.3-0.6。",
    )
    second_diffusion_steps: int = param(
        20,
        "Second diffusion steps",
        "第二次扩散步数",
        minimum=1,
        maximum=150,
        step=1,
        group="advanced",
        help="Steps of the second pass.",
        help_zh="第二次扩散的总步数。",
    )
    second_denoising_strength: float = param(
        0.30,
        "Second denoising strength",
        "第二次重绘强度",
        minimum=0.05,
        maximum=1.0,
        step=0.05,
        legacy_default=0.35,
        group="advanced",
        help="The same for the second pass; 0.2-0.4 is usual.",
        help_zh="第二次扩散的重绘比例,常用 0.2-0.4。",
    )
    enable_second_diffusion: bool = param(
        True,
        "Second diffusion",
        "启用第二次扩散",
        group="advanced",
        help="Blend the face's surroundings in a second pass.",
        help_zh="用第二次扩散融合脸部周围。",
    )
    crop_face_preprocess: bool = param(
        True,
        "Crop face preprocess",
        "裁剪人脸后处理",
        group="advanced",
        help="Work on the crop around the face and paste it back: finer, and the rest stays untouched.",
        help_zh="先裁剪人脸区域处理再贴回,更精细且其余部分不变。",
    )
    apply_face_fusion_before: bool = param(
        True, "Face fusion before", "第一次人脸融合", group="advanced", help="Fuse the face before the first pass.",
        help_zh="第一次扩散前做人脸融合。",
    )  # fmt: skip
    apply_face_fusion_after: bool = param(
        True, "Face fusion after", "第二次人脸融合", group="advanced", help="Fuse the face after the first pass.",
        help_zh="第一次扩散后做人脸融合。",
    )  # fmt: skip
    color_shift_middle: bool = param(
        True, "Color shift after the first pass", "第一次色彩校正", group="advanced",
        help="Bring the face's colours to the template's after the first pass.", help_zh="第一次扩散后校正肤色。",
    )  # fmt: skip
    color_shift_last: bool = param(
        True, "Color shift at the end", "最后色彩校正", group="advanced",
        help="The same after the second pass.", help_zh="第二次扩散后校正肤色。",
    )  # fmt: skip
    background_restore: bool = param(
        False,
        "Background restore",
        "背景重建",
        group="advanced",
        help="Repaint what is not a face; makes styled base models fit together.",
        help_zh="重绘人脸以外的部分,使用风格化模型时更和谐。",
    )
    background_restore_denoising_strength: float = param(
        0.35,
        "Background denoising strength",
        "背景重绘强度",
        minimum=0.05,
        maximum=1.0,
        step=0.05,
        group="advanced",
        help="0.1-0.6 is usual.",
        help_zh="常用 0.1-0.6。",
    )
    super_resolution: bool = param(
        True, "Super resolution at last", "超分辨率", group="advanced", help="Enhance the finished portrait.",
        help_zh="对最终结果做超分增强。",
    )  # fmt: skip
    super_resolution_method: str = param(
        "gpen",
        "Super resolution method",
        "超分方法",
        choices=SUPER_RESOLUTION_METHODS,
        group="advanced",
        help="gpen restores faces, realesrgan enlarges the picture; without its weights the next best serves.",
        help_zh="gpen 修复人脸,realesrgan 放大整图;没有权重时使用次优方式。",
    )
    super_resolution_ratio: float = param(
        0.5,
        "Super resolution ratio",
        "超分融合比例",
        minimum=0,
        maximum=1,
        step=0.05,
        group="advanced",
        help="Share of the enhanced picture in the result.",
        help_zh="增强结果所占比例。",
    )
    skin_retouching_bool: bool = param(
        False, "Skin retouching", "皮肤美化", group="advanced", help="Smooth the skin of the result.",
        help_zh="对结果做皮肤美化。",
    )  # fmt: skip
    display_score: bool = param(
        False,
        "Display likeness",
        "显示相似度",
        legacy=True,
        help="The original's API answers with the likeness too; everything else always does.",
        help_zh="原版接口同时返回相似度;其他地方总会显示。",
    )
    face_fusion_method: str = param(
        FUSION_METHODS[0],
        "Face fusion method",
        "人脸融合方式",
        choices=FUSION_METHODS,
        group="advanced",
        help="auto takes the best that is there; inswapper needs its weights, warp needs none.",
        help_zh="auto:使用现有的最佳方式;inswapper 需要下载权重,warp 不需要。",
    )
    fusion_only: bool = param(
        False,
        "Fusion only",
        "仅人脸融合",
        group="advanced",
        help="The face is put in and nothing is repainted: to compare with, as roop does it.",
        help_zh="只替换人脸,不做扩散重绘,可用于对比(与 roop 相同)。",
    )
    face_shape_match: bool = param(
        False,
        "Face shape match",
        "脸型匹配",
        group="advanced",
        help="Bend the face's outline to the person's, repaint the whole crop in the first pass and keep the face.",
        help_zh="先将脸部轮廓变形为本人的脸型,第一次扩散不用遮罩,只保留人脸。",
    )
    makeup_transfer: bool = param(
        False, "Makeup transfer", "妆容迁移", group="advanced", help="Bring the template's make-up back.",
        help_zh="迁移模板的妆容。",
    )  # fmt: skip
    makeup_transfer_ratio: float = param(
        0.5, "Makeup transfer ratio", "妆容迁移比例", minimum=0, maximum=1, step=0.05, group="advanced",
        help="How strongly.", help_zh="妆容迁移强度。",
    )  # fmt: skip
    lcm_accelerate: bool = param(
        False,
        "LCM accelerate",
        "LCM 加速",
        group="advanced",
        help="12 and 8 steps, CFG 2, Euler a; needs an LCM LoRA of the family among the host's LoRAs.",
        help_zh="12 与 8 步、CFG 2、Euler a;需要对应系列的 LCM LoRA。",
    )
    text_to_image_input_prompt: str = param(
        "",
        "Prompt (text to portrait)",
        "文生写真提示词",
        group="text",
        help="What the template should show when it is made from text.",
        help_zh="无模板时用文字描述想要的画面。",
    )
    text_to_image_width: int = param(
        624, "Width", "宽度", minimum=64, maximum=2048, step=8, group="text", help="In pixels.", help_zh="像素。"
    )
    text_to_image_height: int = param(
        832, "Height", "高度", minimum=64, maximum=2048, step=8, group="text", help="In pixels.", help_zh="像素。"
    )
    scene_id: str = param(
        "none", "Scene LoRA", "场景 LoRA", group="text", help="A scene trained with Train Scene Lora, or none.",
        help_zh="用场景训练得到的 LoRA,或 none。",
    )  # fmt: skip
    t2i_control_way: str = param(
        SCENE_CONTROLS[0],
        "Pose control",
        "姿态控制",
        choices=SCENE_CONTROLS,
        group="text",
        help="Take the pose of the text portrait from a picture.",
        help_zh="用图片控制文生写真的姿态。",
    )
    t2i_pose_inner: str = param(
        POSES[0], "Inner pose", "内置姿态", choices=POSES, group="text",
        help="Which of the inner poses is taken with the inner template.", help_zh="使用内置模板时采用哪个姿态。",
    )  # fmt: skip

    def __post_init__(self) -> None:
        validate(self)

    @classmethod
    def legacy(cls) -> PortraitConfig:
        """The defaults of the original's HTTP API."""
        chosen = {d.name: d.param.legacy_default for d in declared(cls) if d.param.legacy_default is not None}
        return replace(cls(), **chosen)


Config = TypeVar("Config", TrainConfig, PortraitConfig)


def declared(cls: type[Any]) -> Iterator[Declared]:
    """The declared fields of a configuration, in order."""
    hints = typing.get_type_hints(cls)
    for f in fields(cls):
        kind, optional = _plain_type(hints[f.name])
        yield Declared(f.name, kind, optional, _default(f), f.metadata["param"])


def from_mapping(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """A configuration from names and values, checked; unknown names are an error that lists them."""
    known = {d.name for d in declared(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InvalidRequest("Unknown parameter: {names}.", names=", ".join(unknown))
    return cls(**values)


def validate(config: Any) -> None:
    """Raise :class:`InvalidRequest` with one sentence for the first value of a wrong type or outside its range."""
    for d in declared(type(config)):
        value: Any = getattr(config, d.name)
        if d.type is float and type(value) is int:
            value = float(value)
            object.__setattr__(config, d.name, value)
        if type(value) is not d.type:
            raise InvalidRequest("{d} must be {names}, not {value!r}.", d=d.name, names=_NAMES[d.type], value=value)
        low, high = d.param.minimum, d.param.maximum
        below = low is not None and isinstance(value, (int, float)) and not value >= low
        above = high is not None and isinstance(value, (int, float)) and not value <= high
        if below or above:
            raise InvalidRequest(
                "{d} must be from {number} to {number2}, not {value!r}.",
                d=d.name,
                number=_number(low),
                number2=_number(high),
                value=value,
            )
        if d.param.choices and value not in d.param.choices:
            raise InvalidRequest(
                "{d} must be one of {names}, not {value!r}.", d=d.name, names=", ".join(d.param.choices), value=value
            )


@dataclass(frozen=True)
class Paths:
    """Where things lie. Nothing is written outside these folders."""

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
    def uploads(self) -> Path:
        """What came through a browser, while the program runs."""
        return self.outputs / "easyphoto-uploads"

    @classmethod
    def standalone(cls, data: Path | None = None) -> Paths:
        """The folders of a program without a WebUI, under ``data`` (:func:`program.data_folder` by default)."""
        root = (data or program.data_folder()).resolve()
        return cls(
            outputs=root / "outputs",
            models=root / "models",
            loras=root / "models" / "Lora",
            templates=program.FILES / "templates",
            bench=program.FILES / "models" / "bench",
        )


_NAMES = {
    int: Message("a whole number"),
    float: Message("a number"),
    bool: Message("true or false"),
    str: Message("a text"),
}


def number(value: float) -> str:
    """A limit as people write it: whole ones with all their digits."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _number(value: float | None) -> str:
    return "any" if value is None else number(value)


def _plain_type(hint: Any) -> tuple[type, bool]:
    arguments = [a for a in typing.get_args(hint) if a is not type(None)]
    return (arguments[0], True) if arguments else (hint, False)


def _default(f: Field[Any]) -> Any:
    return None if f.default is MISSING else f.default
