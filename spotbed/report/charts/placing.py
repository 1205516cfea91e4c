"""Names beside points, each where it covers neither another name nor another point, if there is such a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from spotbed.report.marks import Note

_Anchor = Literal["left", "right", "center"]
_PLACES: tuple[tuple[_Anchor, float, float], ...] = (
    ("left", 9, 13),
    ("left", 9, -13),
    ("right", -9, 13),
    ("right", -9, -13),
    ("left", 12, 0),
    ("right", -12, 0),
    ("center", 0, 18),
    ("center", 0, -18),
)
_WIDTH, _HEIGHT = 420.0, 320.0  # of the plotting area in pixels, about: narrow, so that labels stay apart on a phone
_Box = tuple[float, float, float, float]


def names_beside(
    at: Mapping[str, tuple[float, float]], x_ends: tuple[float, float], y_ends: tuple[float, float]
) -> list[Note]:
    """One note per point; `x_ends` and `y_ends` are the ends of the panel's axes."""
    pixels = {
        label: (
            (x - x_ends[0]) / (x_ends[1] - x_ends[0]) * _WIDTH,
            (y - y_ends[0]) / (y_ends[1] - y_ends[0]) * _HEIGHT,
        )
        for label, (x, y) in at.items()
    }
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in pixels.values()]
    notes: list[Note] = []
    for label, (x, y) in pixels.items():
        boxes = [(place, _box(x, y, place, min(len(label), 34))) for place in _PLACES]
        place, box = min(boxes, key=lambda entry: _badness(entry[1], taken, (x, y)))
        taken.append(box)
        notes.append(Note(*at[label], label, place[0], shift=(place[1], place[2])))
    return notes


def _box(x: float, y: float, place: tuple[_Anchor, float, float], letters: int) -> _Box:
    anchor, right, up = place
    width = 7.0 * letters
    left = x + right - {"left": 0.0, "center": width / 2, "right": width}[anchor]
    return left, y + up - 8, left + width, y + up + 8


def _badness(box: _Box, taken: Sequence[_Box], own: tuple[float, float]) -> float:
    covered = sum(
        max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
        * max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
        for other in taken
        if other[:2] != (own[0] - 8, own[1] - 8)
    )
    outside = max(0.0, -box[0]) + max(0.0, box[2] - _WIDTH) + max(0.0, -box[1]) + max(0.0, box[3] - _HEIGHT)
    return covered + 20 * outside
