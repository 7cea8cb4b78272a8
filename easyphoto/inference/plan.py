"""What each pass asks of the host: tables of family and pass, and the few rules by which a configuration changes them.

Nothing here touches a picture. The numbers are those of the EasyPhoto extension (aigc-apps/sd-webui-EasyPhoto).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from easyphoto import families, naming
from easyphoto.config import FUSION_METHODS, Family, PortraitConfig
from easyphoto.errors import AssetMissing
from easyphoto.families.spec import ControlRow, IdentityRow, Pass
from easyphoto.ports import ControlRole, LoraRef
from easyphoto.storage.triggers import SCENE_TRIGGER, TRIGGER

TEXT_TRIES = 4
"""How often a picture from text that doesn't show one face is drawn again."""
MULTIPLE = 32
"""Sides of what a host is given: so that no host rounds them."""


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
    identities: tuple[IdentityRow, ...] = ()
    fusion: float | None = None
    repaint: bool = True
    colour_shift: bool = False
    shift_lips: bool = True

    @property
    def cost(self) -> float:
        """About how many steps the host takes."""
        return max(1.0, self.steps * self.strength) if self.repaint else 0.0


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


def row(which: Pass, family: Family, config: PortraitConfig) -> PassRow:
    """The pass ``which`` for ``family`` as ``config`` wants it."""
    spec = families.spec(family)
    controls = spec.controls.get(which, ())
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
        mask_blur=spec.size.mask_blur,
        identities=spec.identities.get(which, ()),
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
    drawing = families.spec(family).drawing
    return drawing.text_sampler if which is Pass.TEXT else drawing.sampler


def _guidance(family: Family, config: PortraitConfig) -> float:
    if config.lcm_accelerate:
        return LCM_CFG
    return families.spec(family).drawing.cfg_scale


def backends(config: PortraitConfig) -> dict[str, str]:
    """Vision role -> the backend that ``config`` asks for."""
    wanted = {"enhancer": config.super_resolution_method} if config.super_resolution else {}
    if config.face_fusion_method != FUSION_METHODS[0]:
        wanted["fuser"] = config.face_fusion_method
    return wanted


def text_size(family: Family, config: PortraitConfig) -> tuple[int, int]:
    """(width, height) of a picture from text: as asked for, but for the short side of families that have only one."""
    width, height = config.text_to_image_width, config.text_to_image_height
    side = families.spec(family).size.text_side
    if side is None:
        return width // 8 * 8, height // 8 * 8
    scale = side / min(width, height)
    return round(width * scale / MULTIPLE) * MULTIPLE, round(height * scale / MULTIPLE) * MULTIPLE


def drawn_size(family: Family, config: PortraitConfig) -> tuple[int, int]:
    """(width, height) at which a picture from text is drawn. Larger or longer than a family learned, it would show two
    heads: what was asked for is then cut out of it and enlarged."""
    width, height = text_size(family, config)
    size = families.spec(family).size
    if size.text_side is not None:
        square = max(width, height) <= size.square_up_to * min(width, height)
        return (size.text_side, size.text_side) if square else (width, height)
    scale = 1.0 if size.text_area is None else min(1.0, (size.text_area / (width * height)) ** 0.5)
    return max(64, int(width * scale) // 8 * 8), max(64, int(height * scale) // 8 * 8)


def prompt(family: Family, config: PortraitConfig) -> str:
    """What a face pass shows."""
    return _join(TRIGGER, config.additional_prompt, families.spec(family).drawing.prompts.quality)


def background_prompt(family: Family, config: PortraitConfig) -> str:
    """What the background pass shows: nobody in particular."""
    return _join(config.additional_prompt, families.spec(family).drawing.prompts.quality)


def negative_prompt(family: Family, config: PortraitConfig) -> str:
    return _join(config.additional_neg_prompt, families.spec(family).drawing.prompts.faults)


def text_prompt(family: Family, config: PortraitConfig, *, with_scene: bool) -> str:
    """What a template made from text shows."""
    quality = families.spec(family).drawing.prompts.text_quality
    scene = SCENE_TRIGGER if with_scene else ""
    return _join(config.text_to_image_input_prompt, scene, "look at viewer", TRIGGER, quality)


def text_negative_prompt(family: Family, config: PortraitConfig) -> str:
    return _join(config.additional_neg_prompt, families.spec(family).drawing.prompts.text_faults)


def style_loras(
    family: Family, config: PortraitConfig, folder: Path | None, *, film_look: bool = True
) -> tuple[LoraRef, ...]:
    """LoRAs beside a person's in every pass: the film look where it is there, and LCM's when it is asked for.

    Raises :class:`AssetMissing` when LCM is asked for and its LoRA isn't in ``folder``.
    """
    film = families.spec(family).drawing.film_look if film_look else None
    path = None if film is None else find_lora(film.name, folder)
    chosen = () if film is None or path is None else (LoraRef(path, film.weight),)
    return (*chosen, *lcm_loras(family, config, folder))


def lcm_loras(family: Family, config: PortraitConfig, folder: Path | None) -> tuple[LoraRef, ...]:
    """The LCM LoRA of ``family`` when ``config`` asks for it; :class:`AssetMissing` when it isn't in ``folder``."""
    if not config.lcm_accelerate:
        return ()
    lcm = families.spec(family).drawing.lcm
    if lcm is None:
        raise AssetMissing("There is no LCM LoRA for {family} models: switch lcm_accelerate off.", family=family.value)
    path = find_lora(lcm.name, folder)
    if path is None:
        raise AssetMissing(
            "lcm_accelerate needs the LoRA {lcm}.safetensors in the LoRA folder: put it there or switch it off.",
            lcm=lcm.name,
        )
    return (LoraRef(path, lcm.weight),)


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
