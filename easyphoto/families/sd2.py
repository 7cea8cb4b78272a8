"""Stable Diffusion 2.x: the chain of SD1 with OpenCLIP as its text encoder."""

from __future__ import annotations

from easyphoto.config import Family
from easyphoto.families.sd1 import CONTROLS, PROMPTS, SCENE, SIZE, UNET_LAYERS
from easyphoto.families.spec import (
    ControlModel,
    Drawing,
    Effort,
    FamilySpec,
    Header,
    HelperLora,
    Learning,
    MemoryNumbers,
    table,
)
from easyphoto.ports import ControlRole

SPEC = FamilySpec(
    family=Family("sd2"),
    title="SD2",
    engine="sd",
    header=Header(
        context=1024,
        encoders=(1024,),
        written="sd_v2",
        v2=True,
        declared=("sd_v2", "sd_2", "sd2", "stable-diffusion-v2"),
        architecture="stable-diffusion-v2-768-v",
        epsilon_names="512|base",
    ),
    learning=Learning(Effort(4, 20, 7.0), UNET_LAYERS, scene=SCENE),
    size=SIZE,
    drawing=Drawing(PROMPTS, lcm=HelperLora("lcm_lora_sd21", 0.8)),
    controls=CONTROLS,
    control_models=table(
        {
            ControlRole.CANNY: (ControlModel(("control_v11p_sd21_canny", "control_sd21_canny")),),
            ControlRole.OPENPOSE: (
                ControlModel(
                    (
                        "control_v11p_sd21_openposev2(?!_)",
                        "control_v11p_sd21_openpose(?!v2_)",
                        "control_sd21_openpose",
                    )
                ),
            ),
            ControlRole.COLOR: (ControlModel(("control_v11p_sd21_color",)),),
        }
    ),
    memory=MemoryNumbers(
        unet=865_910_724,
        text=340_387_840,
        vae=83_653_863,
        control=364_228_240,
        lora=620_544,
        lora_text=188_416,
        fixed=120_000_000,
        cell=279_100,
        cell_rank=340,
        kept_fixed=12_000_000,
        kept_cell=47_000,
        caption=108_000_000,
    ),
)
