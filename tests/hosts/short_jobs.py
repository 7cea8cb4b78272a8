"""Options with which a real host on a small machine trains and paints narrow models in seconds."""

from __future__ import annotations

SHORT: dict[str, object] = {
    "resolution": 128,
    "max_train_steps": 2,
    "val_and_checkpointing_steps": 2,
    "train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "rank": 4,
    "network_alpha": 2,
}
FEW: dict[str, object] = {"first_diffusion_steps": 3, "second_diffusion_steps": 4}
