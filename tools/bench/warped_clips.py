"""Clips made from still portraits: the head turns, nods and leans, the eyes blink, the camera and the light move.

Every movement is a smooth field over the picture that follows the 68 landmarks, so that a clip is made on the device
by sampling the picture, all of its frames at once. The fields of the head are given where things are in the portrait
(forward); a frame needs the way back, which a few fixed-point steps find, as no field shears by more than about 0.6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from benchkit import SIZE, Image, Pack, Points
from torch import nn

SOURCE = 448
"""Side in pixels to which every portrait is brought."""
BACK_STEPS = 5
"""Fixed-point steps that turn a forward field around."""
_CORNERS = ((36, 39), (42, 45))
_UPPER = ((37, 38), (43, 44))
_LOWER = ((41, 40), (47, 46))
_BROWS = ((18, 19, 20), (23, 24, 25))


@dataclass(frozen=True)
class Portraits:
    """Pictures on the device with what the fields need to know of their faces.

    pictures: N x 3 x SOURCE x SOURCE uint8. points: N x 68 x 2, in pixels of them. owners: each one's view in the pack.
    """

    pictures: torch.Tensor
    points: torch.Tensor
    owners: Sequence[int]

    def __len__(self) -> int:
        return len(self.owners)


def load_portraits(pack: Pack, held: bool, device: torch.device, workers: int = 16, most: int = 0) -> Portraits:
    """The pack's views that have landmarks, held out or not; the first `most` of them (0: all), decoded by threads."""
    owners = [index for index in pack.indices(held) if pack.views[index].landmarks]
    owners = owners[:most] if most else owners
    if not owners:
        raise SystemExit("the pack has no views with landmarks")

    def read(index: int) -> tuple[Image, Points]:
        picture = pack.image(index)
        side = picture.shape[0]
        grown = picture if side == SOURCE else cv2.resize(picture, (SOURCE, SOURCE), interpolation=cv2.INTER_CUBIC)
        points = (np.array(pack.views[index].landmarks, np.float32) + 0.5) * (SOURCE / side) - 0.5
        return grown.astype(np.uint8), points

    with ThreadPoolExecutor(workers) as pool:
        pairs = list(pool.map(read, owners))
    pictures = torch.from_numpy(np.stack([picture for picture, _ in pairs])).to(device).permute(0, 3, 1, 2)
    points = torch.from_numpy(np.stack([points for _, points in pairs]).astype(np.float32)).to(device)
    return Portraits(pictures.contiguous(), points, owners)


# ------------------------------------------------------------------------------------------------------ movements


class Draw:
    """Random numbers on the device, in the shapes that clips need: one row a clip, one column a frame."""

    def __init__(self, clips: int, frames: int, generator: torch.Generator) -> None:
        self._shape, self._generator, self._device = (clips, frames), generator, generator.device
        self.time = torch.linspace(0, 1, frames, device=self._device)[None]

    def number(self, low: float, high: float) -> torch.Tensor:
        """One number a clip (clips x 1), even between low and high."""
        return low + (high - low) * torch.rand(self._shape[0], 1, generator=self._generator, device=self._device)

    def chance(self, odds: float) -> torch.Tensor:
        """1 or 0 a clip."""
        return (self.number(0, 1) < odds).float()

    def swing(self, most: float, odds: float) -> torch.Tensor:
        """A smooth curve (clips x frames) between -most and most, or zeros: a fifth to three fifths of a wave with a
        softer one on top."""
        strength = self.chance(odds) * self.number(0.25, 1.0) * most
        slow = torch.sin(2 * math.pi * (self.number(0.2, 0.6) * self.time + self.number(0, 1)))
        soft = torch.sin(2 * math.pi * (self.number(0.6, 1.1) * self.time + self.number(0, 1)))
        return strength * (0.85 * slow + 0.15 * soft)

    def pulse(self, odds: float) -> torch.Tensor:
        """A short curve (clips x frames) from 0 to at most 1 and back, as lids go: in about a fifth of the clip."""
        reach = (self.time - self.number(0.1, 0.9)) / self.number(0.09, 0.14)
        shape = torch.cos(reach.clamp(-1, 1) * math.pi / 2).clamp(min=0) ** 1.5
        return self.chance(odds) * self.number(0.75, 1.0) * shape


@dataclass(frozen=True)
class Movement:
    """How clips move; every value is clips x frames.

    turn, nod, lean: radians. sway: face widths, right and down. smile, brows, blink: 0 to 1 (smile and brows also below
    0). window: left, top and side of what the camera sees, in pixels of the source. light: the gain's slope to the
    right and down, and its offset.
    """

    turn: torch.Tensor
    nod: torch.Tensor
    lean: torch.Tensor
    sway: tuple[torch.Tensor, torch.Tensor]
    smile: torch.Tensor
    brows: torch.Tensor
    blink: torch.Tensor
    window: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    light: tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def draw_window(draw: Draw, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A camera that goes from one square inside the picture to another; both hold the face."""
    low, high = points.amin(1), points.amax(1)
    centre, face = (low + high) / 2, (high - low).amax(1, keepdim=True)
    smallest = (face * 1.5).clamp(max=SOURCE)

    def square() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        side = smallest + (SOURCE - smallest) * draw.number(0.35, 1.0)
        slack = ((side - face) / 2 * 0.5).clamp(min=0)
        left = centre[:, :1] + slack * draw.number(-1, 1) - side / 2
        top = centre[:, 1:] + slack * draw.number(-1, 0.6) - side / 2
        return left.clamp(min=0).minimum(SOURCE - side), top.clamp(min=0).minimum(SOURCE - side), side

    first, last = square(), square()
    share = draw.chance(0.6) * draw.number(0.1, 0.7)
    ease = draw.time * draw.time * (3 - 2 * draw.time)
    return tuple(a + (b - a) * share * ease for a, b in zip(first, last, strict=True))  # type: ignore[return-value]


def draw_movement(draw: Draw, points: torch.Tensor) -> Movement:
    """Random movements for the faces with these landmarks (clips x 68 x 2, pixels of the source)."""
    return Movement(
        turn=draw.swing(math.radians(24), 0.75),
        nod=draw.swing(math.radians(16), 0.5),
        lean=draw.swing(math.radians(7), 0.4),
        sway=(draw.swing(0.1, 0.4), draw.swing(0.06, 0.3)),
        smile=draw.swing(1.0, 0.5),
        brows=draw.swing(1.0, 0.3),
        blink=draw.pulse(0.5),
        window=draw_window(draw, points),
        light=(draw.swing(0.22, 0.4), draw.swing(0.15, 0.3), draw.swing(0.08, 0.3)),
    )


# ---------------------------------------------------------------------------------------------------------- fields


def _each(values: torch.Tensor) -> torch.Tensor:
    """Clips x frames, ready to be met with clips x frames x height x width."""
    return values[:, :, None, None]


class FaceFrame:
    """A face's own coordinates: the origin on the nose, one unit a face width, x along the eyes, y down."""

    def __init__(self, points: torch.Tensor) -> None:
        """points: clips x 68 x 2, in pixels."""
        eyes = points[:, 42:48].mean(1) - points[:, 36:42].mean(1)
        angle = torch.atan2(eyes[:, 1], eyes[:, 0])
        self._origin = points[:, 27:36].mean(1)
        span = points.amax(1) - points.amin(1)
        self._unit = torch.maximum(span[:, 0], 0.85 * span[:, 1])
        self._cos, self._sin = torch.cos(angle), torch.sin(angle)
        x, y = self.to_face(points[:, :, 0][:, None, None], points[:, :, 1][:, None, None])
        self.landmarks = torch.stack([x[:, 0, 0], y[:, 0, 0]], -1)
        """clips x 68 x 2."""

    @staticmethod
    def _wide(values: torch.Tensor) -> torch.Tensor:
        return values[:, None, None, None]

    def to_face(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels (clips first, four dimensions) as coordinates of the face."""
        x = (x - self._wide(self._origin[:, 0])) / self._wide(self._unit)
        y = (y - self._wide(self._origin[:, 1])) / self._wide(self._unit)
        cos, sin = self._wide(self._cos), self._wide(self._sin)
        return cos * x + sin * y, cos * y - sin * x

    def to_pixels(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Coordinates of the face as pixels."""
        cos, sin, unit = self._wide(self._cos), self._wide(self._sin), self._wide(self._unit)
        left, top = self._wide(self._origin[:, 0]), self._wide(self._origin[:, 1])
        return (cos * x - sin * y) * unit + left, (sin * x + cos * y) * unit + top


def _bump(x: torch.Tensor, y: torch.Tensor, at: torch.Tensor, reach: tuple[float, float]) -> torch.Tensor:
    """1 at the places `at` (clips x 2), falling to nothing within about twice the reach."""
    dx = (x - at[:, 0, None, None, None]) / reach[0]
    dy = (y - at[:, 1, None, None, None]) / reach[1]
    return torch.exp(-dx * dx - dy * dy)


def head_field(
    x: torch.Tensor, y: torch.Tensor, marks: torch.Tensor, move: Movement
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the head's movement takes the places x, y (clips x frames x height x width, in face widths): the way.

    The head is a dome with a nose on it; a turn moves each place by its depth, as a small rotation of a solid does.
    """
    middle = marks.new_tensor([0.0, -0.2]).expand(len(marks), 2)
    dome = _bump(x, y, middle, (0.85, 1.1))
    depth = 0.5 * dome + 0.1 * _bump(x, y, marks[:, 30], (0.22, 0.26))
    turn, nod, lean = _each(move.turn), _each(move.nod), _each(move.lean)
    dx = depth * torch.sin(turn) - x * (1 - torch.cos(turn)) * dome
    dy = depth * torch.sin(nod) - y * (1 - torch.cos(nod)) * dome
    whole = _bump(x, y, middle, (1.25, 1.45))
    pivot = y - 0.95
    dx = dx + whole * (_each(move.sway[0]) + x * (torch.cos(lean) - 1) - pivot * torch.sin(lean))
    dy = dy + whole * (_each(move.sway[1]) + x * torch.sin(lean) + pivot * (torch.cos(lean) - 1))
    smile, brows = _each(move.smile), _each(move.brows)
    for corner, way in ((48, -1.0), (54, 1.0)):
        near = _bump(x, y, marks[:, corner], (0.17, 0.14))
        dx, dy = dx + near * smile * (0.035 * way), dy - near * smile * 0.035
    for brow in _BROWS:
        dy = dy - _bump(x, y, marks[:, list(brow)].mean(1), (0.22, 0.13)) * brows * 0.03
    return dx, dy


def lid_source(x: torch.Tensor, y: torch.Tensor, marks: torch.Tensor, blink: torch.Tensor) -> torch.Tensor:
    """The y (face widths) from which a place is taken while the lids are closed by `blink` (clips x frames, 0 to 1).

    The skin between brow and lid stretches down over the eye; what a lid doesn't cover stays where it is.
    """
    closed = _each(blink) * 0.95
    for corners, upper, lower, brow in zip(_CORNERS, _UPPER, _LOWER, _BROWS, strict=True):
        ends = marks[:, list(corners)]
        middle = ends.mean(1)
        half = (ends[:, 1, 0] - ends[:, 0, 0]).clamp(min=0.06) / 2 * 1.15
        slope = (ends[:, 1, 1] - ends[:, 0, 1]) / (ends[:, 1, 0] - ends[:, 0, 0]).clamp(min=0.06)
        rise = (middle[:, 1] - marks[:, list(upper), 1].mean(1)).clamp(min=0.012) * 1.15
        fall = (marks[:, list(lower), 1].mean(1) - middle[:, 1]).clamp(min=0.008) * 1.15
        room = (middle[:, 1] - marks[:, list(brow), 1].mean(1) - rise).clamp(0.05, 0.2) * 0.85

        def wide(values: torch.Tensor) -> torch.Tensor:
            return values[:, None, None, None]

        along = (x - wide(middle[:, 0])) / wide(half)
        arch = (1 - along * along).clamp(min=0)
        down = y - wide(middle[:, 1]) - (x - wide(middle[:, 0])) * wide(slope)
        top = -wide(rise) * arch - wide(room)
        travel = closed * wide(rise + fall) * arch
        skin = wide(room)
        inside = (down > top) & (down < top + skin + travel) & (arch > 0)
        stretched = top + (down - top) * skin / (skin + travel)
        y = torch.where(inside, y + stretched - down, y)
    return y


@torch.no_grad()
def render(portraits: Portraits, chosen: torch.Tensor, frames: int, generator: torch.Generator) -> torch.Tensor:
    """One clip for each chosen portrait (numbers on the device), moving at random, half of them mirrored: clips x
    frames x 3 x SIZE x SIZE, float in [-1, 1]."""
    draw = Draw(len(chosen), frames, generator)
    lit = moved(portraits, chosen, draw_movement(draw, portraits.points[chosen]))
    mirror = draw.chance(0.5)[:, :, None, None, None] > 0
    return torch.where(mirror, lit.flip(-1), lit)


@torch.no_grad()
def moved(portraits: Portraits, chosen: torch.Tensor, move: Movement) -> torch.Tensor:
    """One clip for each chosen portrait, moving as it is told: clips x frames x 3 x SIZE x SIZE, float in [-1, 1]."""
    frames = move.turn.shape[1]
    points = portraits.points[chosen]
    face = FaceFrame(points)
    ramp = (torch.arange(SIZE, device=points.device) + 0.5) / SIZE
    left, top, side = (_each(part) for part in move.window)
    there_x, there_y = face.to_face(
        (left + side * ramp[None, None, None, :] - 0.5).expand(-1, -1, SIZE, SIZE),
        (top + side * ramp[None, None, :, None] - 0.5).expand(-1, -1, SIZE, SIZE),
    )
    x, y = there_x, there_y
    for _ in range(BACK_STEPS):
        dx, dy = head_field(x, y, face.landmarks, move)
        x, y = there_x - dx, there_y - dy
    y = lid_source(x, y, face.landmarks, move.blink)
    x, y = face.to_pixels(x, y)
    places = torch.stack([(2 * x + 1) / SOURCE - 1, (2 * y + 1) / SOURCE - 1], 2).flatten(0, 1)
    # The portrait is larger than the frame: four samples for each pixel, or fine hair would flicker.
    places = nn.functional.interpolate(places, scale_factor=2, mode="bilinear")
    tall = places.permute(0, 2, 3, 1).reshape(len(chosen), frames * 2 * SIZE, 2 * SIZE, 2)
    pictures = portraits.pictures[chosen].float() / 127.5 - 1
    sampled = nn.functional.grid_sample(pictures, tall, padding_mode="reflection", align_corners=False)
    shrunk = nn.functional.avg_pool2d(sampled, 2).reshape(len(chosen), 3, frames, SIZE, SIZE).transpose(1, 2)
    across, down, even = (_each(part) for part in move.light)
    gain = 1 + even + across * (2 * ramp[None, None, None, :] - 1) + down * (2 * ramp[None, None, :, None] - 1)
    return ((shrunk + 1) * gain[:, :, None] - 1).clamp(-1, 1)
