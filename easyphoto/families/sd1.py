"""Stable Diffusion 1.x. The chain's numbers are those of the EasyPhoto extension (aigc-apps/sd-webui-EasyPhoto)."""

from __future__ import annotations

from easyphoto.config import Family
from easyphoto.families.spec import (
    Animation,
    ControlModel,
    ControlRow,
    Drawing,
    Effort,
    FamilySpec,
    Feed,
    Header,
    HelperLora,
    Learning,
    MemoryNumbers,
    Pass,
    Prompts,
    WorkingSize,
    table,
)
from easyphoto.ports import ControlRole, IdentityKind

CLIP_FACE = ("ip_adapter_auto", "ip_adapter_clip_sd15", "clip_vit_h_(ipadapter)")

UNET_LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
"""The layers of the attention, the feed-forward and the projections around them. kohya's LoRAs train these too."""

PROMPTS = Prompts(
    quality=(
        "(best quality), (realistic, photo-realistic:1.3), (beautiful eyes:1.3), (beautiful mouth:1.3), "
        "finely detailed face, natural skin, light smile, raw photo, ultra high res"
    ),
    faults=(
        "(bags under the eyes:1.5), (earrings:1.3), (glasses:1.2), (nsfw:1.5), (naked:1.5), (bad lips:1.3), "
        "(bad ears:1.3), (bad hair:1.3), (bad teeth:1.3), (worst quality:2), (low quality:2), lowres, "
        "watermark, bad anatomy"
    ),
    text_quality=(
        "(best quality), (realistic, photo-realistic:1.3), film photography, (portrait:1.1), (indirect lighting), "
        "raw photo, ultra high res"
    ),
    text_faults=(
        "(nsfw:1.5), (naked:1.5), bokeh, cgi, illustration, cartoon, deformed, disfigured, blurry, text, "
        "(worst quality:2), (low quality:2), lowres, watermark, bad anatomy, bad hands"
    ),
)

CONTROLS = table(
    {
        Pass.FIRST: (
            ControlRow(ControlRole.CANNY, 0.5),
            ControlRow(ControlRole.OPENPOSE, 0.5, Feed.REPLACED),
            ControlRow(ControlRole.COLOR, 0.85),
        ),
        Pass.SECOND: (ControlRow(ControlRole.CANNY, 1.0), ControlRow(ControlRole.TILE, 1.0)),
        Pass.BACKGROUND: (ControlRow(ControlRole.CANNY, 1.0), ControlRow(ControlRole.COLOR, 1.0)),
    }
)
SIZE = WorkingSize(512, None, 768, 512, 8, text_area=768 * 768)
SCENE = table({"resolution": 768, "rank": 256, "network_alpha": 128})

SPEC = FamilySpec(
    family=Family("sd1"),
    title="SD1",
    engine="sd",
    header=Header(
        context=768,
        encoders=(768,),
        written="sd_v1",
        declared=("sd_v1", "sd_1", "sd1", "stable-diffusion-v1"),
        architecture="stable-diffusion-v1",
    ),
    learning=Learning(Effort(4, 20, 7.0), UNET_LAYERS, scene=SCENE),
    size=SIZE,
    drawing=Drawing(PROMPTS, film_look=HelperLora("FilmVelvia3", 0.65), lcm=HelperLora("lcm_lora_sd15", 0.8)),
    controls=CONTROLS,
    control_models=table(
        {
            ControlRole.CANNY: (
                ControlModel(("control_v11p_sd15_canny", "control_sd15_canny", "control_canny(?!.*xl)")),
            ),
            ControlRole.OPENPOSE: (
                ControlModel(("control_v11p_sd15_openpose", "control_sd15_openpose", "control_openpose(?!.*xl)")),
            ),
            ControlRole.COLOR: (ControlModel(("control_sd15_random_color",)),),
            ControlRole.TILE: (ControlModel(("control_v11f1e_sd15_tile",)),),
            IdentityKind.IP_ADAPTER_FACE: (
                ControlModel(("ip_adapter_full_face_sd15", "ip_adapter_plus_face_sd15"), CLIP_FACE),
            ),
            IdentityKind.FACE_ID: (
                ControlModel(
                    ("ip_adapter_faceid_plusv2_sd15", "ip_adapter_faceid_plus_sd15", "ip_adapter_faceid_sd15")
                ),
            ),
        }
    ),
    adapter=IdentityKind.IP_ADAPTER_FACE,
    memory=MemoryNumbers(
        unet=859_520_964,
        text=123_060_480,
        vae=83_653_863,
        control=361_279_120,
        lora=497_664,
        lora_text=73_728,
        fixed=117_400_000,
        cell=289_800,
        cell_rank=340,
        kept_fixed=13_000_000,
        kept_cell=57_600,
        caption=48_000_000,
    ),
    # AnimateDiff's modules were trained on noise that grows evenly, which is not how that of the base model grows.
    animation=Animation(
        ControlModel(
            (
                "mm_sd_v15_v2",
                "mm_sd15_v2",
                "animatediff_motion_adapter_v1_5_2",
                "v3_sd15_mm",
                "mm_sd15_v3",
                "animatediff_motion_adapter_v1_5_3",
            )
        ),
        bundle="motion-sd1",
        noise=table({"beta_schedule": "linear"}),
    ),
)
