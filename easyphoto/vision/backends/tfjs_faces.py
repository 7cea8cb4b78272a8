"""Reporters that were saved as TensorFlow.js graphs: FaceRes (Savchenko, 2019) and MobileFace.

Each sees the face in ArcFace's place, by its five points. FaceRes was trained on VGGFace2 in the order blue, green, red
without that data set's mean; other orders and scales work too, but tell people apart less well.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from easyphoto.ports import Calibration, Face, Image
from easyphoto.reporting import ReporterVector
from easyphoto.vision import geometry
from easyphoto.vision.backends import calibrations
from easyphoto.vision.backends.arcface import ARCFACE_POINTS


@dataclass(frozen=True)
class TfjsFaceNet:
    """How one network wants its face: a square of ``side`` pixels of 0-255, ``backwards`` as blue, green, red, less
    ``mean``; and the operation whose result describes it."""

    name: str
    side: int
    output: str
    backwards: bool = False
    mean: Sequence[float] = (0.0, 0.0, 0.0)


FACERES = TfjsFaceNet("faceres", 224, "global_pooling/Mean", backwards=True, mean=(103.939, 116.779, 123.68))
MOBILEFACE = TfjsFaceNet("mobileface", 112, "batchnorm0/add_1")


class TfjsReporter:
    """Reports by one of these networks, which torch computes on the CPU."""

    def __init__(self, net: TfjsFaceNet, graph: Path, weights: Path) -> None:
        """Raises :class:`AssetMissing` when the files can't be used."""
        from easyphoto.vision.backends.tfjs_graph import TfjsGraph

        self.name = net.name
        self._net = net
        self._graph = TfjsGraph(graph, weights, net.output)
        self._lock = threading.Lock()

    @cached_property
    def calibration(self) -> Calibration:
        """What was measured of the network. It is read when it is asked for, so that a network that nobody has measured
        yet can be."""
        return calibrations.load(self.name)

    def witness(self, image: Image, face: Face) -> ReporterVector:
        """What the network makes of a face."""
        import torch

        chip = self.chip(image, face)[..., :: -1 if self._net.backwards else 1]
        pixels = chip.astype(np.float32) - np.array(self._net.mean, np.float32)
        with self._lock:
            found = self._graph(torch.from_numpy(pixels)[None])[0].numpy()
        length = max(1e-6, float(np.linalg.norm(found)))
        return ReporterVector((found / length).astype(np.float32), self.name)

    def chip(self, image: Image, face: Face) -> Image:
        """What the network sees of a face: (side, side, 3), RGB."""
        side = self._net.side
        matrix = geometry.similarity(face.points, ARCFACE_POINTS * np.float32(side / 112))
        return geometry.warp(image, matrix, (side, side), interpolation=cv2.INTER_LINEAR)
