"""Person, Train, Portrait and Likeness: what a running EasyPhoto does, as nodes."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from .easyphoto_server import DEFAULT, EasyPhotoFault, EasyPhotoServer

CATEGORY = "EasyPhoto"
PERSON, LIKENESS = "EASYPHOTO_PERSON", "EASYPHOTO_LIKENESS"
"""The types that only these nodes pass to one another: (server, user id), and what was measured of each portrait."""
_SERVER = ("STRING", {"default": DEFAULT, "tooltip": "Where `easyphoto serve` listens."})
_USER = ("STRING", {"default": "ann", "tooltip": "The name of the person."})
_OPTIONS = (
    "STRING",
    {"default": "{}", "multiline": True, "tooltip": "Parameters of EasyPhoto as JSON (docs/parameters.md)."},
)


class EasyPhotoPerson:
    """Somebody whom EasyPhoto knows, or who is added from photos without a training."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Somebody whom EasyPhoto knows. With photos, a new person is added without a training."
    RETURN_TYPES = (PERSON,)
    RETURN_NAMES = ("person",)
    INPUT_IS_LIST = True  # pictures of any sizes come as a list of batches
    FUNCTION = "find"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {"required": {"user_id": _USER, "server": _SERVER}, "optional": {"photos": ("IMAGE",)}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:  # noqa: N802 - people come and go, so it is looked at each time
        return float("nan")

    def find(self, user_id: list[str], server: list[str], photos: list[Any] | None = None) -> tuple[tuple[str, str]]:
        easyphoto, name = EasyPhotoServer(server[0]), user_id[0]
        if easyphoto.person(name) is None:
            if not photos:
                raise EasyPhotoFault(f"There is no person {name!r}: train them, or connect photos of them.")
            easyphoto.post("people", {"user_id": name, "photos": _encoded(photos)})
        return ((server[0], name),)


class EasyPhotoTrain:
    """Trains a person from photos. Somebody who is trained already is trained anew only if ``again`` says so."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Trains a person from 5-20 photos, once."
    RETURN_TYPES = (PERSON,)
    RETURN_NAMES = ("person",)
    INPUT_IS_LIST = True  # pictures of any sizes come as a list of batches
    FUNCTION = "train"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        again = ("BOOLEAN", {"default": False, "tooltip": "Train a person who is trained already."})
        return {
            "required": {"photos": ("IMAGE",), "user_id": _USER, "server": _SERVER, "again": again},
            "optional": {"options": _OPTIONS},
        }

    def train(
        self,
        photos: list[Any],
        user_id: list[str],
        server: list[str],
        again: list[bool],
        options: Sequence[str] = ("{}",),
    ) -> tuple[tuple[str, str]]:
        easyphoto, name = EasyPhotoServer(server[0]), user_id[0]
        known = easyphoto.person(name)
        if again[0] or known is None or not known.get("trained", True):
            body = {"user_id": name, "photos": _encoded(photos), "options": _read(options[0])}
            _follow(easyphoto, easyphoto.post("jobs/train", body)["id"])
        return ((server[0], name),)


class EasyPhotoPortrait:
    """Portraits of a person on templates, a list with one picture for each portrait that was made."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Portraits of a person on templates."
    RETURN_TYPES = ("IMAGE", LIKENESS)
    RETURN_NAMES = ("portraits", "likeness")
    OUTPUT_IS_LIST = (True, False)
    INPUT_IS_LIST = True  # pictures of any sizes come as a list of batches
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        seed = ("INT", {"default": 0, "min": 0, "max": 2**32 - 1, "control_after_generate": True})
        return {
            "required": {"person": (PERSON,), "templates": ("IMAGE",), "seed": seed},
            "optional": {"options": _OPTIONS},
        }

    def make(
        self,
        person: list[tuple[str, str]],
        templates: list[Any],
        seed: list[int],
        options: Sequence[str] = ("{}",),
    ) -> tuple[list[Any], list[dict[str, Any]]]:
        server, name = person[0]
        easyphoto = EasyPhotoServer(server)
        if easyphoto.get("status").get("host") == "comfyui":
            raise EasyPhotoFault(
                "This EasyPhoto makes its pictures in a ComfyUI, which would wait for itself: start another "
                "`easyphoto serve` without --comfyui for these nodes."
            )
        body = {
            "user_ids": [name],
            "templates": _encoded(templates),
            "options": {**_read(options[0]), "seed": seed[0]},
        }
        job = easyphoto.post("jobs/portrait", body)["id"]
        made = _follow(easyphoto, job)["portraits"]
        return [_decoded(easyphoto.picture(job, portrait["picture"])) for portrait in made], made


class EasyPhotoLikeness:
    """What was measured of portraits: the mean score and cosine, and a line for each portrait."""

    CATEGORY = CATEGORY
    DESCRIPTION = "How alike portraits are: 0 is a stranger, 1 the same person."
    RETURN_TYPES = ("FLOAT", "FLOAT", "STRING")
    RETURN_NAMES = ("score", "cosine", "text")
    FUNCTION = "tell"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"likeness": (LIKENESS,)}}

    def tell(self, likeness: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [[face for face in portrait.get("likeness", ()) if face is not None] for portrait in likeness]
        faces = [face for row in rows for face in row]
        lines = [
            f"{number}: " + (", ".join(f"{face['score']:.2f} ({face['cosine']:.3f})" for face in row) or "no face")
            for number, row in enumerate(rows, start=1)
        ]
        text = "\n".join(lines)
        return {"ui": {"text": [text]}, "result": (_mean(faces, "score"), _mean(faces, "cosine"), text)}


def _mean(faces: list[dict[str, Any]], key: str) -> float:
    return sum(float(face[key]) for face in faces) / len(faces) if faces else 0.0


def _follow(easyphoto: EasyPhotoServer, job: str) -> dict[str, Any]:
    """The job when it has finished. Its steps are shown on the node, and an interrupt in ComfyUI cancels it."""
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar

    bar = ProgressBar(1)

    def tell(step: int, total: int) -> None:
        bar.update_absolute(step, total)
        throw_exception_if_processing_interrupted()

    return easyphoto.follow(job, tell)


def _read(options: str) -> dict[str, Any]:
    try:
        found = json.loads(options or "{}")
    except ValueError as error:
        raise EasyPhotoFault(f"The options are no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise EasyPhotoFault('The options are no JSON object: write them like {"steps": 20}.')
    return found


def _encoded(batches: Iterable[Any]) -> list[str]:
    """The pictures of ComfyUI's batches, which are (n, height, width, 3) in [0, 1], as the base64 of PNGs."""
    return [_png(image) for batch in batches for image in batch]


def _png(image: Any) -> str:
    import numpy as np
    from PIL import Image

    pixels = np.clip(image.cpu().numpy()[..., :3] * 255, 0, 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _decoded(file: bytes) -> Any:
    """A picture file as ComfyUI's batch of one: (1, height, width, 3) in [0, 1]."""
    import numpy as np
    import torch
    from PIL import Image

    with Image.open(io.BytesIO(file)) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels)[None]
