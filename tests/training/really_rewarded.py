"""A trainer whose reward finds a reporter, for trainings in a process of their own: a reporter without a download, that
knows a face by its coarse brightness.

``python -m tests.training.really_rewarded FOLDER``
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from easyphoto.ports import Calibration, Face, Image
from easyphoto.reporting import FaceReporter, ReporterVector
from easyphoto.training import worker
from easyphoto.vision import geometry
from easyphoto.vision.registry import LocalVision

SIDE = 12


class CoarseReporter:
    """Sees a face as 12 x 12 shades of grey."""

    name = "coarse"
    calibration = Calibration(0.9, 0.05, 0.0, 0.2, "made up")

    def witness(self, image: Image, face: Face) -> ReporterVector:
        part = geometry.cut(image, geometry.box_crop(face.box, (image.shape[0], image.shape[1])))
        grey = cv2.resize(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        numbers = grey.astype(np.float32).ravel()
        numbers -= numbers.mean()
        return ReporterVector(numbers / max(float(np.linalg.norm(numbers)), 1e-6), self.name)


def reporter(_: LocalVision) -> FaceReporter:
    return CoarseReporter()


if __name__ == "__main__":
    LocalVision.reporter = property(reporter)  # type: ignore[assignment]
    sys.exit(worker.main(sys.argv[1:]))
