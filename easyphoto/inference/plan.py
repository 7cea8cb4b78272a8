"""What each pass asks of the host: tables of family and pass, and the few rules by which a configuration changes them.

Nothing here touches a picture. The numbers are those of the EasyPhoto extension (aigc-apps/sd-webui-EasyPhoto).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from easyphoto import naming
from easyphoto.config import FUSION_METHODS, Family, PortraitConfig
from easyphoto.errors import AssetMissing
from easyphoto.ports import ControlRole, LoraRef

TRIGGER = "easyphoto_face, easyphoto, 1person"
"""The caption of every training photo, and so the words that wake a person's LoRA."""
SCENE_TRIGGER = "special_scene, scene"

SAMPLER = "DPM++ 2M SDE Karras"
TEXT_SAMPLER = "Euler a"
BENCH_CFG = 3.0
"""The bench checkpoint's guidance, at which the worth of a LoRA is measured."""
BENCH_SAMPLER = "DPM++ 2M Karras"
"""Over a picture. What the bench checkpoint predicts is rough: samplers that add noise of their own carry a face
further away; from text they are the better ones."""
BENCH_TEXT_SIDE = 256
"""The short side of its pictures from text, in pixels: what it was trained at."""
SQUARE_UP_TO = 1.7
"""Up to this ratio of its sides a picture of the bench checkpoint is cut out of a square one."""
TEXT_AREA: Mapping[Family, int] = MappingProxyType(
    {Family.SD1: 768 * 768, Family.SD2: 768 * 768, Family.SDXL: 1280 * 1024}
)
"""At most so many pixels are drawn from text at once."""
TEXT_TRIES = 4
"""How often a picture from text that doesn't show one face is drawn again."""
CFG = 7.0
MULTIPLE = 32
"""Sides of what a host is given: so that no host rounds them."""


class Pass(str, Enum):
    """One pass of the chain, named as its stage."""

    TEXT = "text"
    FIRST = "first"
    SECOND = "second"
    BACKGROUND = "background"


class MaskKind(str, Enum):
    """Where a pass may repaint."""

    FACE = "face"
    """The parsed face, its holes closed, dilated."""
    RING = "ring"
    """A band along the outline of the face, with eyes and lips."""
    OUTSIDE = "outside"
    """All but the faces."""
    SEAMS = "seams"
    """A band around each face that was made."""
    WHOLE = "whole"
    """Everything: no mask."""


class Feed(str, Enum):
    """Which picture a control is made from."""

    INPUT = "input"
    """The picture that the pass starts from: after fusion."""
    REPLACED = "replaced"
    """The template with the person's face_id picture laid over its face."""


@dataclass(frozen=True)
class ControlRow:
    role: ControlRole
    weight: float
    feed: Feed = Feed.INPUT


@dataclass(frozen=True)
class PassRow:
    """One pass, ready to be run.

    ``mask_blur`` in pixels of the working picture; ``fusion``: the ratio of the face fusion before it, None for none;
    ``repaint`` False: the host has nothing to do, fusion and colours only; ``colour_shift`` after it, ``shift_lips``
    with the lips.
    """

    name: Pass
    mask: MaskKind
    controls: tuple[ControlRow, ...]
    sampler: str
    cfg_scale: float
    steps: int
    strength: float
    mask_blur: int
    fusion: float | None = None
    repaint: bool = True
    colour_shift: bool = False
    shift_lips: bool = True

    @property
    def cost(self) -> float:
        """About how many steps the host takes."""
        return max(1.0, self.steps * self.strength) if self.repaint else 0.0


@dataclass(frozen=True)
class Frame:
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


_CANNY, _POSE, _COLOR, _TILE = ControlRole.CANNY, ControlRole.OPENPOSE, ControlRole.COLOR, ControlRole.TILE

_SD1_CONTROLS: Mapping[Pass, tuple[ControlRow, ...]] = MappingProxyType(
    {
        Pass.FIRST: (ControlRow(_CANNY, 0.5), ControlRow(_POSE, 0.5, Feed.REPLACED), ControlRow(_COLOR, 0.85)),
        Pass.SECOND: (ControlRow(_CANNY, 1.0), ControlRow(_TILE, 1.0)),
        Pass.BACKGROUND: (ControlRow(_CANNY, 1.0), ControlRow(_COLOR, 1.0)),
    }
)
_SDXL_CONTROLS: Mapping[Pass, tuple[ControlRow, ...]] = MappingProxyType(
    {
        Pass.FIRST: (ControlRow(_CANNY, 0.5),),
        Pass.SECOND: (ControlRow(_CANNY, 1.0),),
        Pass.BACKGROUND: (ControlRow(_CANNY, 1.0),),
    }
)
CONTROLS: Mapping[Family, Mapping[Pass, tuple[ControlRow, ...]]] = MappingProxyType(
    {
        Family.SD1: _SD1_CONTROLS,
        Family.SD2: _SD1_CONTROLS,
        Family.SDXL: _SDXL_CONTROLS,
        Family.BENCH: _SD1_CONTROLS,
    }
)
FRAMES: Mapping[Family, Frame] = MappingProxyType(
    {
        Family.SD1: Frame(512, None, 768, 512, 8),
        Family.SD2: Frame(512, None, 768, 512, 8),
        Family.SDXL: Frame(None, 1024 * 1024, 1024, 768, 8),
        Family.BENCH: Frame(384, None, 384, 384, 5, face_side=128, least_side=256),
    }
)
"""The bench checkpoint learned pictures of 256 pixels whose faces are about half as wide. In a crop of three faces they
are that large at 384 pixels; at 256 its VAE keeps only half of them recognisable. Much larger ones it never saw: a
close-up is left at 256."""
POSE_WEIGHT: Mapping[Family, float] = MappingProxyType(
    {Family.SD1: 0.5, Family.SD2: 0.5, Family.SDXL: 1.0, Family.BENCH: 1.0}
)

FILM_LOOK = ("FilmVelvia3", 0.65)
LCM_LORAS: Mapping[Family, tuple[str, float]] = MappingProxyType(
    {Family.SD1: ("lcm_lora_sd15", 0.8), Family.SD2: ("lcm_lora_sd21", 0.8), Family.SDXL: ("lcm_lora_sdxl", 0.4)}
)
LCM_CFG, LCM_SAMPLER = 2.0, "Euler a"
LCM_STEPS: Mapping[Pass, int] = MappingProxyType({Pass.FIRST: 12, Pass.SECOND: 8, Pass.BACKGROUND: 8, Pass.TEXT: 8})
LCM_STRENGTH = 0.5
USUAL_STEPS = 30
"""Of the passes whose steps nobody chooses: background and text."""
SEAMS_STRENGTH = 0.3
WHOLE_FUSION = 1.0
"""The ratio where fusion is all that is done."""
SCENE_WEIGHT, SCENE_HIRES_WEIGHT, TEXT_PERSON_WEIGHT = 0.8, 0.4, 0.25
HIRES_SCALE, HIRES_STRENGTH = 1.5, 0.2
"""A text portrait with a scene is enlarged and repainted once."""

_QUALITY = (
    "(best quality), (realistic, photo-realistic:1.3), (beautiful eyes:1.3), (beautiful mouth:1.3), "
    "finely detailed face, natural skin, light smile, raw photo, ultra high res"
)
_TEXT_QUALITY = (
    "(best quality), (realistic, photo-realistic:1.3), film photography, (portrait:1.1), (indirect lighting), "
    "raw photo, ultra high res"
)
_FAULTS = (
    "(bags under the eyes:1.5), (earrings:1.3), (glasses:1.2), (nsfw:1.5), (naked:1.5), (bad lips:1.3), "
    "(bad ears:1.3), (bad hair:1.3), (bad teeth:1.3), (worst quality:2), (low quality:2), lowres, "
    "watermark, bad anatomy"
)
_TEXT_FAULTS = (
    "(nsfw:1.5), (naked:1.5), bokeh, cgi, illustration, cartoon, deformed, disfigured, blurry, text, "
    "(worst quality:2), (low quality:2), lowres, watermark, bad anatomy, bad hands"
)
_BENCH_QUALITY = "portrait photo of a person"
"""The bench checkpoint knows no words of quality: this is how its pictures were captioned."""


def row(which: Pass, family: Family, config: PortraitConfig) -> PassRow:
    """The pass ``which`` for ``family`` as ``config`` wants it."""
    controls = CONTROLS[family].get(which, ())
    if which is Pass.FIRST and config.face_shape_match:
        controls = tuple(c for c in controls if c.role is not ControlRole.COLOR)
    plain = PassRow(
        name=which,
        mask=_mask(which, config),
        controls=controls,
        sampler=_sampler(which, family, config),
        cfg_scale=_guidance(family, config),
        steps=_steps(which, config),
        strength=_strength(which, config),
        mask_blur=FRAMES[family].mask_blur,
    )
    if config.fusion_only and which in (Pass.FIRST, Pass.SECOND):
        first = which is Pass.FIRST
        fusion = WHOLE_FUSION if first else None
        shift = config.color_shift_middle if first else config.color_shift_last
        return replace(plain, fusion=fusion, repaint=False, colour_shift=shift, shift_lips=first)
    if which is Pass.FIRST:
        fusion = config.before_face_fusion_ratio if config.apply_face_fusion_before else None
        return replace(plain, fusion=fusion, colour_shift=config.color_shift_middle)
    if which is Pass.SECOND:
        fusion = config.after_face_fusion_ratio if config.apply_face_fusion_after else None
        shift = config.color_shift_last
        return replace(
            plain, fusion=fusion, colour_shift=shift, shift_lips=False, repaint=config.enable_second_diffusion
        )
    return plain


def _sampler(which: Pass, family: Family, config: PortraitConfig) -> str:
    if config.lcm_accelerate:
        return LCM_SAMPLER
    if which is Pass.TEXT:
        return TEXT_SAMPLER
    return BENCH_SAMPLER if family is Family.BENCH else SAMPLER


def _guidance(family: Family, config: PortraitConfig) -> float:
    if config.lcm_accelerate:
        return LCM_CFG
    return BENCH_CFG if family is Family.BENCH else CFG


def backends(config: PortraitConfig) -> dict[str, str]:
    """Vision role -> the backend that ``config`` asks for."""
    wanted = {"enhancer": config.super_resolution_method} if config.super_resolution else {}
    if config.face_fusion_method != FUSION_METHODS[0]:
        wanted["fuser"] = config.face_fusion_method
    return wanted


def text_size(family: Family, config: PortraitConfig) -> tuple[int, int]:
    """(width, height) of a picture from text: as asked for, but for the bench checkpoint's short side."""
    width, height = config.text_to_image_width, config.text_to_image_height
    if family is not Family.BENCH:
        return width // 8 * 8, height // 8 * 8
    scale = BENCH_TEXT_SIDE / min(width, height)
    return round(width * scale / MULTIPLE) * MULTIPLE, round(height * scale / MULTIPLE) * MULTIPLE


def drawn_size(family: Family, config: PortraitConfig) -> tuple[int, int]:
    """(width, height) at which a picture from text is drawn. Larger or longer than a family learned, it would show two
    heads: what was asked for is then cut out of it and enlarged."""
    width, height = text_size(family, config)
    if family is Family.BENCH:
        square = max(width, height) <= SQUARE_UP_TO * min(width, height)
        return (BENCH_TEXT_SIDE, BENCH_TEXT_SIDE) if square else (width, height)
    scale = min(1.0, (TEXT_AREA[family] / (width * height)) ** 0.5)
    return max(64, int(width * scale) // 8 * 8), max(64, int(height * scale) // 8 * 8)


def prompt(family: Family, config: PortraitConfig) -> str:
    """What a face pass shows."""
    return _join(TRIGGER, config.additional_prompt, _BENCH_QUALITY if family is Family.BENCH else _QUALITY)


def background_prompt(family: Family, config: PortraitConfig) -> str:
    """What the background pass shows: nobody in particular."""
    return _join(config.additional_prompt, _BENCH_QUALITY if family is Family.BENCH else _QUALITY)


def negative_prompt(family: Family, config: PortraitConfig) -> str:
    return _join(config.additional_neg_prompt, "" if family is Family.BENCH else _FAULTS)


def text_prompt(family: Family, config: PortraitConfig, *, with_scene: bool) -> str:
    """What a template made from text shows."""
    quality = _BENCH_QUALITY if family is Family.BENCH else _TEXT_QUALITY
    scene = SCENE_TRIGGER if with_scene else ""
    return _join(config.text_to_image_input_prompt, scene, "look at viewer", TRIGGER, quality)


def text_negative_prompt(family: Family, config: PortraitConfig) -> str:
    return _join(config.additional_neg_prompt, "" if family is Family.BENCH else _TEXT_FAULTS)


def style_loras(
    family: Family, config: PortraitConfig, folder: Path | None, *, film_look: bool = True
) -> tuple[LoraRef, ...]:
    """LoRAs beside a person's in every pass: the film look where it is there, and LCM's when it is asked for.

    Raises :class:`AssetMissing` when LCM is asked for and its LoRA isn't in ``folder``.
    """
    film = find_lora(FILM_LOOK[0], folder) if film_look and family is Family.SD1 else None
    chosen = () if film is None else (LoraRef(film, FILM_LOOK[1]),)
    return (*chosen, *lcm_loras(family, config, folder))


def lcm_loras(family: Family, config: PortraitConfig, folder: Path | None) -> tuple[LoraRef, ...]:
    """The LCM LoRA of ``family`` when ``config`` asks for it; :class:`AssetMissing` when it isn't in ``folder``."""
    if not config.lcm_accelerate:
        return ()
    if family not in LCM_LORAS:
        raise AssetMissing(f"There is no LCM LoRA for {family.value} models: switch lcm_accelerate off.")
    name, weight = LCM_LORAS[family]
    path = find_lora(name, folder)
    if path is None:
        raise AssetMissing(
            f"lcm_accelerate needs the LoRA {name}.safetensors in the LoRA folder: put it there or switch it off."
        )
    return (LoraRef(path, weight),)


def find_lora(name: str, folder: Path | None) -> Path | None:
    """The file of a LoRA in ``folder`` or below, None when it isn't there; :class:`InvalidRequest` when it is there
    twice, with the names of both."""
    return None if folder is None else naming.find_file(f"{name}.safetensors", folder, "LoRA")


def _mask(which: Pass, config: PortraitConfig) -> MaskKind:
    if which is Pass.TEXT:
        return MaskKind.WHOLE
    if which is Pass.FIRST:
        return MaskKind.WHOLE if config.face_shape_match else MaskKind.FACE
    if which is Pass.SECOND:
        return MaskKind.RING
    return MaskKind.OUTSIDE if config.background_restore else MaskKind.SEAMS


def _steps(which: Pass, config: PortraitConfig) -> int:
    if which in (Pass.BACKGROUND, Pass.TEXT):
        return LCM_STEPS[which] if config.lcm_accelerate else USUAL_STEPS
    name = f"{which.value}_diffusion_steps"
    wanted: int = getattr(config, name)
    # A number that was chosen stays; only the usual one, far too many for LCM, gives way.
    return LCM_STEPS[which] if config.lcm_accelerate and wanted == getattr(PortraitConfig(), name) else wanted


def _strength(which: Pass, config: PortraitConfig) -> float:
    if which is Pass.TEXT:
        return HIRES_STRENGTH
    if which is Pass.BACKGROUND:
        return config.background_restore_denoising_strength if config.background_restore else SEAMS_STRENGTH
    if which is Pass.SECOND:
        return config.second_denoising_strength
    usual = config.first_denoising_strength == PortraitConfig().first_denoising_strength
    return LCM_STRENGTH if config.lcm_accelerate and usual else config.first_denoising_strength


def _join(*parts: str) -> str:
    return ", ".join(part.strip(" ,") for part in parts if part.strip(" ,"))
