"""The windows in which a clip is drawn that is longer than a motion module looks at once."""

from __future__ import annotations

from dataclasses import dataclass

LENGTH, OVERLAP = 16, 4
"""The frames of a window and those that it shares with the next one: what AnimateDiff's modules were trained on, and
the original's own overlap."""


@dataclass(frozen=True)
class Window:
    """The frames from ``start`` on, and how much the prediction counts for each of them; the weights that a frame has
    in all of its windows sum to 1."""

    start: int
    weights: tuple[float, ...]

    @property
    def frames(self) -> slice:
        """Return where the window lies along the frames."""
        return slice(self.start, self.start + len(self.weights))


def windows(frames: int, length: int = LENGTH, overlap: int = OVERLAP) -> tuple[Window, ...]:
    """Return the windows over ``frames`` frames. Neighbours share ``overlap`` frames, the last two may share more, and
    where they do each fades out as the other fades in. Raises ValueError for an overlap that isn't below
    ``length``."""
    if not 0 <= overlap < length:
        raise ValueError(f"windows of {length} frames can't share {overlap}")
    length = min(length, frames)
    last = frames - length
    starts = [*range(0, last, max(1, length - overlap)), last]
    fading = [float(min(at + 1, length - at, overlap + 1)) for at in range(length)]
    total = [0.0] * frames
    for start in starts:
        for at, weight in enumerate(fading):
            total[start + at] += weight
    return tuple(
        Window(start, tuple(weight / total[start + at] for at, weight in enumerate(fading))) for start in starts
    )
