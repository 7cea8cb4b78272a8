"""EasyPhoto in ComfyUI: copy or link this folder into ``ComfyUI/custom_nodes`` as ``easyphoto``.

The nodes Person, Train, Portrait and Likeness ask a running EasyPhoto (``easyphoto serve``) over its HTTP API. Nothing
is installed into ComfyUI's Python.
"""

from __future__ import annotations

from .service_nodes import EasyPhotoLikeness, EasyPhotoPerson, EasyPhotoPortrait, EasyPhotoTrain
from .soft_control import EasyPhotoSoftControl

NODE_CLASS_MAPPINGS = {
    "EasyPhotoPerson": EasyPhotoPerson,
    "EasyPhotoTrain": EasyPhotoTrain,
    "EasyPhotoPortrait": EasyPhotoPortrait,
    "EasyPhotoLikeness": EasyPhotoLikeness,
    "EasyPhotoSoftControl": EasyPhotoSoftControl,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "EasyPhotoPerson": "Person (EasyPhoto)",
    "EasyPhotoTrain": "Train (EasyPhoto)",
    "EasyPhotoPortrait": "Portrait (EasyPhoto)",
    "EasyPhotoLikeness": "Likeness (EasyPhoto)",
    "EasyPhotoSoftControl": "Soft ControlNet (EasyPhoto)",
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
