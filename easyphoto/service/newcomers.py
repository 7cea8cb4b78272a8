"""People without a training: photos are looked at, and the person is there at once.

Portraits show such a person by an adapter and by face fusion. A training makes a person of them like any other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from easyphoto import pictures
from easyphoto.config import TrainConfig
from easyphoto.errors import InvalidRequest
from easyphoto.people import PeopleStore, Person
from easyphoto.pictures import Source
from easyphoto.ports import Image, Vision
from easyphoto.service.requests import photo_names
from easyphoto.storage import files
from easyphoto.storage.folders import PROCESSED, REPORT, PersonFolder

log = logging.getLogger(__name__)

CROP_RATIO = 3.0
"""How many faces wide a photo is cut at most: no family is known that would say otherwise."""


def add(name: str, photos: Sequence[Source], people: PeopleStore, vision: Vision) -> Person:
    """Make a person of photos, without a training. Raises :class:`InvalidRequest` when somebody of that name is there
    or no photo can be read, :class:`NoFace` when no photo is good, and :class:`StorageFailed` when the disk takes
    nothing. In none of these cases anything is left behind."""
    from easyphoto.training import crops, samples
    from easyphoto.training.photos import report, upright

    if not photos:
        raise InvalidRequest("There are no photos: give at least one.")
    with people.arriving(name) as stage:
        images = _read(photos)
        seen = report(list(images.items()), vision)
        images |= {photo.name: upright(images[photo.name], photo) for photo in seen.photos}
        chosen = crops.select(seen)
        chosen = replace(chosen, training=(*chosen.training, *chosen.held_out)[: crops.BEST])
        made = crops.person_crops(chosen, images, vision, TrainConfig(), CROP_RATIO, lambda done, total: None)
        home = PersonFolder(stage)
        samples.save(stage / PROCESSED, made)
        pictures.save_jpg(home.reference, crops.reference_picture(chosen, images))
        for number, photo in enumerate(seen.taken):
            pictures.save_jpg(home.backup / f"{number}.jpg", images[photo.name])
        seen.save(stage / REPORT, selection=chosen.to_mapping())
        created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        files.write_json(home.marks, {"trained": False, "embedder": seen.embedder, "created": created})
    return people.get(name)


def _read(photos: Sequence[Source]) -> dict[str, Image]:
    """The photos by their names (:func:`photo_names`), without those that can't be read."""
    images = {}
    for name, source in zip(photo_names(photos), photos, strict=True):
        try:
            images[name] = pictures.load(source, max_area=pictures.PHOTO_AREA, name=name)
        except InvalidRequest as error:
            log.warning("a photo was left out: %s", error)
    if not images:
        raise InvalidRequest("None of the photos can be read.")
    return images
