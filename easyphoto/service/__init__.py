"""What EasyPhoto can do, for every edge: the tabs, the HTTP API and the command line call this and nothing below it.

``facade`` is the program, ``requests`` says what it may be asked, and three desks take it: ``training_desk``,
``portrait_desk`` and ``video_desk``. What the desks share is a ``workplace``; ``host_models`` finds what the host makes
pictures with.
"""

from easyphoto.service.facade import MAX_CHECKS, EasyPhoto
from easyphoto.service.host_models import NoSuchModel
from easyphoto.service.requests import (
    GUEST,
    MAX_PHOTOS,
    MAX_TEMPLATES,
    NOBODY,
    Accepted,
    ClipDrawing,
    PortraitRequest,
    PortraitResult,
    Preferences,
    TrainRequest,
    VideoRequest,
    VideoResult,
    photo_names,
)
from easyphoto.service.training_desk import DISK_FOR_TRAINING
from easyphoto.service.workplace import Interpreter

__all__ = [
    "DISK_FOR_TRAINING",
    "MAX_CHECKS",
    "MAX_PHOTOS",
    "MAX_TEMPLATES",
    "GUEST",
    "NOBODY",
    "Accepted",
    "ClipDrawing",
    "EasyPhoto",
    "Interpreter",
    "NoSuchModel",
    "PortraitRequest",
    "PortraitResult",
    "Preferences",
    "TrainRequest",
    "VideoRequest",
    "VideoResult",
    "photo_names",
]
