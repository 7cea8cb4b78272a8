"""The words that wake a LoRA: its training photos were captioned with them, and a prompt has to hold them."""

from __future__ import annotations

TRIGGER = "easyphoto_face, easyphoto, 1person"
"""The caption of every photo of a person; LoRAs of the original extension answer to the same words."""
SCENE_TRIGGER = "special_scene, scene"
"""What every caption of a scene ends with."""
