"""Tests of the LoRA row: its samples say where the face is, and a training that asks for it doesn't go without."""

from __future__ import annotations

import lora_row
import numpy as np
import pytest
from benchkit import SIZE

from easyphoto import families
from easyphoto.config import Family
from easyphoto.ports import Image
from easyphoto.training import crops
from easyphoto.training.samples import Sample
from tests.fakes import FakeVision, blank, draw_face


class NoFaces:
    """Finds no face in any photo."""

    def find(self, photo: Image) -> None:
        return None


def test_a_sample_says_where_its_face_is() -> None:
    vision, photo = FakeVision(), draw_face(blank(400, 400), (200, 200), 120)
    (face,) = vision.detector.detect(photo)
    sample = lora_row.framed_sample(photo, face, vision)
    assert sample.image.shape == (SIZE, SIZE, 3) and sample.face.shape == (SIZE, SIZE)
    (found,) = vision.detector.detect(sample.image)
    np.testing.assert_array_equal(sample.face, crops.face_in(sample.image, found, vision))
    assert 0.05 < sample.face.mean() < 0.6 and sample.face[0].max() == 0


def test_a_photo_without_a_face_has_it_nowhere() -> None:
    sample = lora_row.sample_of(NoFaces(), blank(SIZE, SIZE), FakeVision())  # type: ignore[arg-type]
    assert sample.face.shape == (SIZE, SIZE) and sample.face.max() == 0


def test_samples_that_do_not_say_it_are_not_trained_on_in_silence() -> None:
    config = families.spec(Family.BENCH).train_config()
    assert config.face_weight != 1
    known = Sample(blank(SIZE, SIZE), face=np.zeros((SIZE, SIZE), np.float32))
    with pytest.raises(SystemExit, match="prepare them anew"):
        lora_row.begun(None, [known, Sample(blank(SIZE, SIZE))], config)
