"""The small model of faces that this project trained and ships. Its card is ``models/bench/README.md``."""

from __future__ import annotations

from easyphoto.config import Family
from easyphoto.families.sd1 import CONTROLS, UNET_LAYERS
from easyphoto.families.spec import (
    TEXT_SAMPLER,
    Animation,
    ControlModel,
    Drawing,
    Effort,
    FamilySpec,
    Header,
    Learning,
    MaskReach,
    MemoryNumbers,
    Prompts,
    WorkingSize,
    table,
)
from easyphoto.ports import IdentityKind

SAMPLER = "DPM++ 2M Karras"
"""The sampler over a picture. What the bench checkpoint predicts is rough, and a sampler that adds noise of its own
carries the face further away. From text such samplers are the better ones."""
CFG = 3.0
"""The guidance at which the worth of a LoRA is measured."""
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut")
"""The convolutions of the residual blocks. The bench model attends at its two coarser levels only; without these layers
a LoRA could not change the finest level, where the eyes and the mouth are drawn."""
CAPTION = "portrait photo of a person"
"""The caption that its training pictures had. It knows no words of quality."""

# Three photos train as long as many do: stopped at 40 steps a photo, people of three photos were still becoming alike.
# At twice the rate of before, and with errors in the face counting three times, 120 steps show a person as well as 160
# did with all errors counting alike (docs/bench.md).
PERSON = table(
    {
        "resolution": 256,
        "max_train_steps": 120,
        "steps_per_photos": 120,
        "val_and_checkpointing_steps": 40,
        "train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "learning_rate": 4e-3,
        "face_weight": 3.0,
        "rank": 16,
        "network_alpha": 16,
    }
)
# The original has no such model: these are the values by which it was trained before it learned in fewer steps.
ORIGINAL = table({"max_train_steps": 160, "steps_per_photos": 160, "learning_rate": 2e-3})

SPEC = FamilySpec(
    family=Family("bench"),
    title="the bench model",
    engine="sd",
    shipped=True,
    adapter=IdentityKind.FACE_ID,
    header=Header(context=128, encoders=(128,), written="easyphoto_bench", declared=("easyphoto_bench",)),
    # It is trained at fewer pixels than the chain works at: cut closer, its faces are about as large here as there.
    learning=Learning(
        Effort(2, 10, CFG, SAMPLER),
        (*UNET_LAYERS, *CONVOLUTIONS),
        person=PERSON,
        original=ORIGINAL,
        crop_ratio=2.1,
        needs_disk=False,
    ),
    # It learned pictures of 256 pixels whose faces are about half as wide. In a crop of three faces they are that large
    # at 384 pixels; at 256 its VAE keeps only half of them recognisable. Much larger ones it never saw: a close-up is
    # left at 256.
    size=WorkingSize(384, None, 384, 384, 5, face_side=128, least_side=256, text_side=256, square_up_to=1.7),
    drawing=Drawing(Prompts(CAPTION, "", CAPTION, ""), sampler=SAMPLER, cfg_scale=CFG, pose_weight=1.0),
    # Its VAE softens and tints all that a mask lets it repaint: with the reach of the original, ears, hair and earrings
    # beside the face were lost.
    reach=MaskReach(growth=0.02, ring_outer=5 / 170, paste=3 / 170, paste_edge=3 / 170),
    softens=True,
    # On twelve people and eight templates it cost likeness, detail and surroundings (docs/chain.md).
    repaints_twice=False,
    # It learned hardly any: eleven that it painted lost eyes and glasses, and came no nearer to the person.
    paints_profiles=False,
    controls=CONTROLS,
    control_models=table({}),
    memory=MemoryNumbers(
        unet=14_490_644,
        text=1_003_136,
        vae=3_000_000,
        control=6_000_000,
        lora=94_784,
        lora_text=0,
        fixed=0,
        cell=36_000,
        cell_rank=76,
        kept_fixed=0,
        kept_cell=6_000,
        caption=2_000_000,
    ),
    animation=Animation(ControlModel(("motion", "bench_motion")), side=256, sampler=TEXT_SAMPLER),
)
