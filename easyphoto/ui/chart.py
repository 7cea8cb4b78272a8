"""Draw curves as one SVG: those of a training, with the loss on the left axis and the likeness on the right, and the
likeness of people over the time of a clip. The page sets the colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from easyphoto.likeness import clipped, words

Point = tuple[float, float]

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 58, 16, 48
SMOOTHING = 0.9
POINTS = 240
PEOPLE_COLOURS = 5
"""How many colours the page has for people."""


def curves(loss: Sequence[Point], likeness: Sequence[Point], labels: tuple[str, str, str], last_step: int) -> str:
    """Draw both curves. Returns an empty text if there is no point at all.

    ``loss`` and ``likeness`` are lists of (step, value). ``labels`` are the words for loss, likeness and step. The x
    axis ends at ``last_step``.
    """
    if not loss and not likeness:
        return ""
    end = max([last_step, *(x for x, _ in loss), *(x for x, _ in likeness), 1])
    parts = [_frame(end, labels)]
    if loss:
        raw, smooth = _thin(loss), _thin(_smoothed(loss))
        top = _nice(max(y for _, y in raw))
        parts += [_scale(top, 0.0, "left", "loss"), _line(raw, end, 0, top, "raw"), _line(smooth, end, 0, top, "loss")]
    if likeness:
        on_scale = [(x, clipped(y)) for x, y in likeness]
        parts += [_scale(1.0, 0.0, "right", "likeness"), _line(on_scale, end, 0, 1, "likeness")]
        parts += [_dot(point, end) for point in on_scale]
    head = f'<svg class="easyphoto-chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    return head + "".join(parts) + "</svg>"


def over_time(likeness: Mapping[str, Sequence[Sequence[Point]]], end: float, labels: tuple[str, str]) -> str:
    """Draw the likeness of each person over time: by name, the stretches of (second, value) in which they were seen.
    Returns an empty text if there is no point at all.

    ``labels`` are the words for likeness and seconds. The x axis ends at second ``end``.
    """
    if not any(stretch for stretches in likeness.values() for stretch in stretches):
        return ""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [_grid(), _scale(1.0, 0.0, "left", "scale")]
    parts += [
        f'<text x="{_x(end * i / 4, end):.0f}" y="{bottom + 22}" text-anchor="middle">{end * i / 4:.1f}</text>'
        for i in range(5)
    ]
    called = [f'<text x="{LEFT}" y="{HEIGHT - 3}">{escape(labels[0])}</text>']
    called.append(f'<text x="{right}" y="{HEIGHT - 3}" text-anchor="end">{escape(labels[1])}</text>')
    for place, (name, stretches) in enumerate(likeness.items()):
        kind = f"person p{place % PEOPLE_COLOURS}"
        for stretch in stretches:
            on_scale = _thin([(x, clipped(y)) for x, y in stretch])
            if len(stretch) == 1:
                parts.append(
                    f'<circle class="{kind}" cx="{_x(stretch[0][0], end):.1f}" r="3" '
                    f'cy="{_y(on_scale[0][1], 0, 1):.1f}"/>'
                )
            else:
                parts.append(_line(on_scale, end, 0, 1, kind))
        if len(likeness) > 1:
            called.append(f'<text class="{kind}" x="{LEFT + 100 + 90 * place}" y="{HEIGHT - 3}">{escape(name)}</text>')
    head = f'<svg class="easyphoto-chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    return head + "".join([*parts, *called]) + "</svg>"


def _x(step: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / end


def _y(value: float, low: float, high: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low))


def _line(points: Sequence[Point], end: float, low: float, high: float, name: str) -> str:
    path = " ".join(f"{_x(x, end):.1f},{_y(min(y, high), low, high):.1f}" for x, y in points)
    return f'<polyline class="{name}" points="{path}"/>'


def _dot(point: Point, end: float) -> str:
    x, y = _x(point[0], end), _y(point[1], 0, 1)
    title = f"<title>{point[0]:.0f}: {words(point[1])}</title>"
    return f'<circle class="likeness" cx="{x:.1f}" cy="{y:.1f}" r="4">{title}</circle>'


def _frame(end: float, labels: tuple[str, str, str]) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    loss, likeness, step = (escape(label) for label in labels)
    whole = sorted({round(end * i / 4) for i in range(5)})  # a short training has no ticks at half a step
    ticks = "".join(
        f'<text x="{_x(mark, end):.0f}" y="{bottom + 22}" text-anchor="middle">{mark}</text>' for mark in whole
    )
    names = (
        f'<text class="loss" x="{LEFT}" y="{HEIGHT - 3}">{loss}</text>'
        f'<text class="likeness" x="{right}" y="{HEIGHT - 3}" text-anchor="end">{likeness}</text>'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 3}" text-anchor="middle">{step}</text>'
    )
    return _grid() + ticks + names


def _grid() -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.0f}" y2="{y:.0f}"/>'
        for y in (TOP + (HEIGHT - BOTTOM - TOP) * i / 4 for i in range(5))
    )


def _scale(high: float, low: float, side: str, name: str) -> str:
    x, anchor = (LEFT - 6, "end") if side == "left" else (WIDTH - RIGHT + 6, "start")
    rows = ((TOP + (HEIGHT - TOP - BOTTOM) * i / 2, high + (low - high) * i / 2) for i in range(3))
    return "".join(
        f'<text class="{name}" x="{x}" y="{y + 4:.0f}" text-anchor="{anchor}">{v:.3g}</text>' for y, v in rows
    )


def _smoothed(points: Sequence[Point]) -> list[Point]:
    """Return the exponential mean, corrected for its start, because single losses of a diffusion model are mostly
    noise."""
    mean, weight, found = 0.0, 0.0, []
    for x, y in points:
        mean = SMOOTHING * mean + (1 - SMOOTHING) * y
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        found.append((x, mean / weight))
    return found


def _thin(points: Sequence[Point]) -> list[Point]:
    step = max(1, len(points) // POINTS)
    return [*points[::step], points[-1]]


def _nice(value: float) -> float:
    """Return the next round number above ``value``, so that the axis doesn't change its scale with each new point."""
    if not value > 0:
        return 1.0
    size = 10.0 ** len(str(int(1 / value))) if value < 1 else 1.0
    for step in (1, 2, 2.5, 5, 7.5, 10):
        if value <= step / size:
            return step / size
    return value
