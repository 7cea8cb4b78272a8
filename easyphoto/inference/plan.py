"""What each pass asks of the host: the rows that a family gives, and the few rules by which a configuration changes
them.

Nothing here touches a picture. The numbers are those of the EasyPhoto extension (aigc-apps/sd-webui-EasyPhoto).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from easyphoto import families, naming
from easyphoto.config import (
    FUSION_METHODS,
    ID_METHODS,
    REF_MODES,
    Chosen,
    Family,
    PortraitConfig,
    declared,
    unlike_defaults,
)
from easyphoto.errors import AssetMissing
from easyphoto.families.spec import FACE_PASSES, ControlRow, FamilySpec, IdentityRow, Pass
from easyphoto.ports import ControlRole, IdentityKind, LoraRef
from easyphoto.storage.triggers import SCENE_TRIGGER, TRIGGER

TEXT_TRIES = 4
"""How often a picture from text is drawn again that doesn't show exactly one face."""
MULTIPLE = 32
"""The sides of every picture that a host is given are multiples of this, so that no host rounds them."""


class MaskKind(str, Enum):
    """The part of the picture that a pass may repaint."""

    FACE = "face"
    """The parsed face, with its holes closed, a little larger."""
    RING = "ring"
    """A band along the outline of the face, with eyes and lips."""
    OUTSIDE = "outside"
    """Everything except the faces."""
    SEAMS = "seams"
    """A band around each face that was made."""
    WHOLE = "whole"
    """Everything: the host gets no mask."""


@dataclass(frozen=True)
class PassRow:
    """One pass, ready to be run.

    ``mask_blur`` is in pixels of the working picture. ``fusion`` is the ratio of the face fusion before the pass, None
    for no fusion. Where ``repaint`` is False the host has nothing to do, and the pass is fusion and colours alone.
    ``colour_shift`` says whether the colours are brought back after the pass, ``shift_lips`` whether those of the lips
    are too.
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
        """About how many steps the host takes for the pass."""
        return max(1.0, self.steps * self.strength) if self.repaint else 0.0


LCM_CFG, LCM_SAMPLER = 2.0, "Euler a"
INSTANTID_CFG, INSTANTID_SAMPLER = 5.0, "Euler"
LCM_STEPS: Mapping[Pass, int] = MappingProxyType({Pass.FIRST: 12, Pass.SECOND: 8, Pass.BACKGROUND: 8, Pass.TEXT: 8})
LCM_STRENGTH = 0.5
USUAL_STEPS = 30
"""The steps of the passes for which nobody chooses a number: the background and a picture from text."""
SEAMS_STRENGTH = 0.3
WHOLE_FUSION = 1.0
"""The ratio of the face fusion where fusion is all that is done."""
ONE_PERSON = "1person"
"""What the prompt says of a person whom InstantID alone shows."""
SCENE_WEIGHT, SCENE_HIRES_WEIGHT, TEXT_PERSON_WEIGHT = 0.8, 0.4, 0.25
TEXT_ADAPTER_WEIGHT = 0.3
"""How much an adapter counts at most in a picture from text."""
HIRES_SCALE, HIRES_STRENGTH = 1.5, 0.2
"""How many times larger a text portrait with a scene becomes before it is repainted."""


def row(which: Pass, family: Family, config: PortraitConfig, chosen: Chosen = None, *, alone: bool = False) -> PassRow:
    """The row of the pass ``which`` for ``family``, as ``config`` wants it. A default gives way to what suits LCM or
    the family better; a value that the user has ``chosen`` stays, even where it is the default's. ``alone``: for a
    person who is shown without a LoRA."""
    named = unlike_defaults(config) if chosen is None else chosen
    spec = families.spec(family)
    controls = spec.controls.get(which, ())
    if which is Pass.FIRST and config.face_shape_match:
        controls = tuple(c for c in controls if c.role is not ControlRole.COLOR)
    plain = PassRow(
        name=which,
        mask=_mask(which, config),
        controls=controls,
        sampler=_sampler(which, family, config, alone),
        cfg_scale=_guidance(which, family, config, alone),
        steps=_steps(which, config, named),
        strength=_strength(which, config, named),
        mask_blur=spec.size.mask_blur,
        identities=_identities(which, spec, config, alone),
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
        wanted = spec.repaints_twice or "enable_second_diffusion" in named
        repaint = config.enable_second_diffusion and wanted
        return replace(plain, fusion=fusion, colour_shift=shift, shift_lips=False, repaint=repaint)
    return plain


def _sampler(which: Pass, family: Family, config: PortraitConfig, alone: bool) -> str:
    if config.lcm_accelerate:
        return LCM_SAMPLER
    if which in FACE_PASSES and by_instantid(config, alone):
        return INSTANTID_SAMPLER
    drawing = families.spec(family).drawing
    return drawing.text_sampler if which is Pass.TEXT else drawing.sampler


def _guidance(which: Pass, family: Family, config: PortraitConfig, alone: bool) -> float:
    if config.lcm_accelerate:
        return LCM_CFG
    if which in FACE_PASSES and by_instantid(config, alone):
        return INSTANTID_CFG
    return families.spec(family).drawing.cfg_scale


TRIED: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {d.name: d.param.tried for d in declared(PortraitConfig) if d.param.tried}
)
"""The weights that can be searched for, and the values that are tried."""
BACKEND_FIELDS: Mapping[str, str] = MappingProxyType(
    {"enhancer": "super_resolution_method", "fuser": "face_fusion_method"}
)
"""Vision role -> the field that asks for its backend."""


def backends(config: PortraitConfig) -> dict[str, str]:
    """Which backend ``config`` asks for, by vision role."""
    wanted = {"enhancer": config.super_resolution_method} if config.super_resolution else {}
    if config.face_fusion_method != FUSION_METHODS[0]:
        wanted["fuser"] = config.face_fusion_method
    return wanted


def text_size(family: Family, config: PortraitConfig) -> tuple[int, int]:
    """(width, height) of a picture from text: what was asked for, except that some families have one fixed short
    side."""
    width, height = config.text_to_image_width, config.text_to_image_height
    side = families.spec(family).size.text_side
    if side is None:
        return width // 8 * 8, height // 8 * 8
    scale = side / min(width, height)
    return round(width * scale / MULTIPLE) * MULTIPLE, round(height * scale / MULTIPLE) * MULTIPLE


def drawn_size(family: Family, config: PortraitConfig) -> tuple[int, int]:
    """(width, height) at which a picture from text is drawn. A picture that is larger or longer than those that the
    family learned from would show two heads, so it is drawn smaller; what was asked for is cut out of it and
    enlarged."""
    width, height = text_size(family, config)
    size = families.spec(family).size
    if size.text_side is not None:
        square = max(width, height) <= size.square_up_to * min(width, height)
        return (size.text_side, size.text_side) if square else (width, height)
    scale = 1.0 if size.text_area is None else min(1.0, (size.text_area / (width * height)) ** 0.5)
    return max(64, int(width * scale) // 8 * 8), max(64, int(height * scale) // 8 * 8)


def prompt(family: Family, config: PortraitConfig, *, alone: bool = False) -> str:
    """The prompt of a pass over a face. ``alone``: of a person who is shown without a LoRA."""
    if alone and by_instantid(config, alone):
        return _join(ONE_PERSON, config.additional_prompt)
    return _join(TRIGGER, config.additional_prompt, families.spec(family).drawing.prompts.quality)


def background_prompt(family: Family, config: PortraitConfig) -> str:
    """The prompt of the background pass, which shows nobody in particular."""
    return _join(config.additional_prompt, families.spec(family).drawing.prompts.quality)


def negative_prompt(family: Family, config: PortraitConfig) -> str:
    return _join(config.additional_neg_prompt, families.spec(family).drawing.prompts.faults)


def text_prompt(family: Family, config: PortraitConfig, *, with_scene: bool, with_person: bool = True) -> str:
    """The prompt of a template that is made from text; the words that a person's LoRA knows are left out without
    one."""
    quality = families.spec(family).drawing.prompts.text_quality
    scene = SCENE_TRIGGER if with_scene else ""
    person = TRIGGER if with_person else ""
    return _join(config.text_to_image_input_prompt, scene, "look at viewer", person, quality)


def text_negative_prompt(family: Family, config: PortraitConfig) -> str:
    return _join(config.additional_neg_prompt, families.spec(family).drawing.prompts.text_faults)


def own_loras(lora: Path | None, reward: Path | None, config: PortraitConfig) -> tuple[LoraRef, ...]:
    """A person's own LoRAs: that of the training, and the small one that the reward taught on top of it."""
    weight = config.lora_weights
    if lora is None or weight <= 0 or without_lora(config):
        return ()
    small = weight * config.reward_weight
    return (LoraRef(lora, weight), *([LoraRef(reward, small)] if reward is not None and small > 0 else []))


def style_loras(
    family: Family, config: PortraitConfig, folder: Path | None, *, film_look: bool = True
) -> tuple[LoraRef, ...]:
    """The LoRAs of every pass beside a person's own: the film look where its file is there, and LCM when it is asked
    for.

    Raises :class:`AssetMissing` when LCM is asked for and its LoRA isn't in ``folder``.
    """
    film = families.spec(family).drawing.film_look if film_look else None
    path = None if film is None else find_lora(film.name, folder)
    chosen = () if film is None or path is None else (LoraRef(path, film.weight),)
    return (*chosen, *lcm_loras(family, config, folder))


def lcm_loras(family: Family, config: PortraitConfig, folder: Path | None) -> tuple[LoraRef, ...]:
    """The LCM LoRA of ``family`` when ``config`` asks for it. Raises :class:`AssetMissing` when it isn't in
    ``folder``."""
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
    """The file of a LoRA in ``folder`` or below it; None when it isn't there. Raises :class:`InvalidRequest`, which
    names both files, when it is there twice."""
    return None if folder is None else naming.find_file(f"{name}.safetensors", folder, "LoRA")


def without_person(config: PortraitConfig) -> PortraitConfig:
    """``config`` without anything that a portrait gets of the person: what the base model then makes of a template is
    the floor that the portrait's likeness is told above."""
    return replace(
        config,
        lora_weights=0.0,
        id_control=False,
        apply_face_fusion_before=False,
        apply_face_fusion_after=False,
        face_shape_match=False,
    )


def without_lora(config: PortraitConfig) -> bool:
    """Whether everybody is shown by an adapter alone."""
    return config.ref_mode_choose == REF_MODES[1]


def by_instantid(config: PortraitConfig, alone: bool) -> bool:
    """Whether InstantID shows a person, ``alone`` or beside a LoRA."""
    return _method(config, alone) == ID_METHODS[1] and (alone or config.id_control)


def _method(config: PortraitConfig, alone: bool) -> str:
    return config.no_user_lora_mode if alone else config.id_control_method


def _ip_adapter(spec: FamilySpec, config: PortraitConfig, alone: bool) -> IdentityKind | None:
    """The kind of IP-Adapter that is asked for; None where the family has none."""
    if _method(config, alone) != ID_METHODS[2]:
        return spec.adapter
    return IdentityKind.FACE_ID if IdentityKind.FACE_ID in (*spec.control_models, spec.adapter) else None


def adapter(spec: FamilySpec, config: PortraitConfig, *, alone: bool) -> IdentityRow | None:
    """The adapter that shows a person, ``alone`` or beside a LoRA; None where none is asked for or the family has none.
    A weight of 0 asks for none."""
    if not (alone or config.id_control):
        return None
    if by_instantid(config, alone):
        face = config.instantid_only_ipa_weight if alone else config.instantid_ipa_weight
        place = config.instantid_only_id_weight if alone else config.instantid_id_weight
        return IdentityRow(IdentityKind.INSTANTID, face, place=place) if face > 0 or place > 0 else None
    weight = config.ipa_only_weight if alone else config.ipa_weight
    kind = _ip_adapter(spec, config, alone)
    if kind is None or weight <= 0:
        return None
    return IdentityRow(kind, weight, count=config.id_photos)


def searched(spec: FamilySpec, config: PortraitConfig) -> dict[str, tuple[float, ...]]:
    """The weights that ``config`` leaves to a search and that count in its passes: the values to try, by the name of
    the parameter."""
    lora = config.lora_weights_auto and not without_lora(config)
    steadied = config.id_control and not without_lora(config) and not by_instantid(config, False)
    adapter = config.ipa_weight_auto and steadied and _ip_adapter(spec, config, False) is not None
    asked = {"lora_weights": lora, "ipa_weight": adapter}
    return {name: TRIED[name] for name, wanted in asked.items() if wanted and not config.fusion_only}


def tries(config: PortraitConfig, grids: Mapping[str, Sequence[float]]) -> int:
    """How many portraits are made at most of which one is kept."""
    return config.best_of + sum(len(values) - 1 for values in grids.values())


def _identities(which: Pass, spec: FamilySpec, config: PortraitConfig, alone: bool) -> tuple[IdentityRow, ...]:
    """The rows of the family, and the adapter that is asked for. In a picture from text it counts for little, so that
    the text does; InstantID would also put the face where the person's picture has it."""
    rows, asked = spec.identities.get(which, ()), adapter(spec, config, alone=alone)
    if which is Pass.TEXT and asked is not None and asked.kind is not IdentityKind.INSTANTID:
        return (replace(asked, weight=min(asked.weight, TEXT_ADAPTER_WEIGHT)),)
    return (*rows, asked) if asked is not None and which in FACE_PASSES else rows


def _mask(which: Pass, config: PortraitConfig) -> MaskKind:
    if which is Pass.TEXT:
        return MaskKind.WHOLE
    if which is Pass.FIRST:
        return MaskKind.WHOLE if config.face_shape_match else MaskKind.FACE
    if which is Pass.SECOND:
        return MaskKind.RING
    return MaskKind.OUTSIDE if config.background_restore else MaskKind.SEAMS


def _steps(which: Pass, config: PortraitConfig, chosen: frozenset[str]) -> int:
    if which in (Pass.BACKGROUND, Pass.TEXT):
        return LCM_STEPS[which] if config.lcm_accelerate else USUAL_STEPS
    name = f"{which.value}_diffusion_steps"
    wanted: int = getattr(config, name)
    # A number that the user chose stays. Only the usual number gives way, which is far too high for LCM.
    return LCM_STEPS[which] if config.lcm_accelerate and name not in chosen else wanted


def _strength(which: Pass, config: PortraitConfig, chosen: frozenset[str]) -> float:
    if which is Pass.TEXT:
        return HIRES_STRENGTH
    if which is Pass.BACKGROUND:
        return config.background_restore_denoising_strength if config.background_restore else SEAMS_STRENGTH
    if which is Pass.SECOND:
        return config.second_denoising_strength
    usual = "first_denoising_strength" not in chosen
    return LCM_STRENGTH if config.lcm_accelerate and usual else config.first_denoising_strength


def _join(*parts: str) -> str:
    return ", ".join(part.strip(" ,") for part in parts if part.strip(" ,"))
