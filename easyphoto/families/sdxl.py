"""Stable Diffusion XL. It has two text encoders, works on an area of a megapixel, and has one control in each pass."""

from __future__ import annotations

from easyphoto.config import Family
from easyphoto.families.sd1 import PROMPTS, SCENE, UNET_LAYERS
from easyphoto.families.spec import (
    Animation,
    ControlModel,
    ControlRow,
    Drawing,
    Effort,
    FamilySpec,
    Header,
    HelperLora,
    Learning,
    MemoryNumbers,
    Pass,
    WorkingSize,
    table,
)
from easyphoto.ports import ControlRole, IdentityKind

CANNY = ("diffusers_xl_canny_full", "diffusers_xl_canny_mid", "diffusers_xl_canny", "canny.*xl", "xl.*canny")
CLIP_FACE = ("ip_adapter_auto", "ip_adapter_clip_sdxl_plus_vith", "clip_vit_h_(ipadapter)")
PERSON = table({"resolution": 1024, "max_train_steps": 600, "rank": 32, "network_alpha": 16})

SPEC = FamilySpec(
    family=Family("sdxl"),
    title="SDXL",
    engine="sdxl",
    vae_scale=0.13025,
    header=Header(
        context=2048,
        encoders=(768, 1280),
        second_encoder=True,
        written="sdxl_base_v1-0",
        declared=("sdxl", "sd_xl", "stable-diffusion-xl"),
        architecture="stable-diffusion-xl-v1-base",
    ),
    learning=Learning(Effort(4, 20, 7.0), UNET_LAYERS, person=PERSON, scene=SCENE),
    size=WorkingSize(None, 1024 * 1024, 1024, 768, 8, text_area=1280 * 1024),
    drawing=Drawing(PROMPTS, lcm=HelperLora("lcm_lora_sdxl", 0.4), pose_weight=1.0, hires_with_scene=False),
    controls=table(
        {
            Pass.FIRST: (ControlRow(ControlRole.CANNY, 0.5),),
            Pass.SECOND: (ControlRow(ControlRole.CANNY, 1.0),),
            Pass.BACKGROUND: (ControlRow(ControlRole.CANNY, 1.0),),
        }
    ),
    control_models=table(
        {
            ControlRole.CANNY: (ControlModel(CANNY),),
            ControlRole.OPENPOSE: (ControlModel(("thibaud_xl_openpose", "openposexl2", ".*openpose.*xl")),),
            ControlRole.TILE: (ControlModel(("ttplanetsdxlcontrolnet_tile", ".*tile.*xl", ".*xl.*tile")),),
            IdentityKind.IP_ADAPTER_FACE: (ControlModel(("ip_adapter_plus_face_sdxl",), CLIP_FACE),),
            IdentityKind.FACE_ID: (ControlModel(("ip_adapter_faceid_plusv2_sdxl", "ip_adapter_faceid_sdxl")),),
            IdentityKind.INSTANTID: (
                ControlModel(("ip_adapter_instant_id_sdxl",), ("instant_id_face_embedding", "insightface_(instantid)")),
                ControlModel(("control_instant_id_sdxl",), ("instant_id_face_keypoints",)),
            ),
        }
    ),
    adapter=IdentityKind.IP_ADAPTER_FACE,
    memory=MemoryNumbers(
        unet=2_567_463_684,
        text=817_720_320,
        vae=83_653_863,
        control=1_251_014_160,
        lora=3_061_248,
        lora_text=401_408,
        fixed=243_000_000,
        cell=537_800,
        cell_rank=433,
        kept_fixed=15_000_000,
        kept_cell=39_900,
        caption=157_000_000,
    ),
    animation=Animation(
        ControlModel(("mm_sdxl_v10_beta", "mm_sdxl", "animatediff_motion_adapter_sdxl")),
        bundle="motion-sdxl",
        side=1024,
        noise=table({"beta_end": 0.02}),
    ),
)
