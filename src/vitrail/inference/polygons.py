"""Outlines of the regions of a mask as polygons."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Point = tuple[int, int]
Ring = list[Point]
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up: (x, y), with y downwards


class Polygon(NamedTuple):
    """A connected region of one class: pixels that share a side.

    Attributes
    ----------
    index : int
        The class.
    exterior : list of (int, int)
        Corners (x, y) of its outline in pixels, clockwise as seen on the screen; (0, 0) is the top left corner of the
        image and (W, H) the bottom right one. The first corner is not repeated at the end.
    holes : list of list of (int, int)
        Outlines of its holes, counterclockwise.
    """

    index: int  # type: ignore[assignment] # hides tuple.index, which is not needed here
    exterior: Ring
    holes: list[Ring]


def class_polygons(mask: np.ndarray, index: int) -> list[Polygon]:
    """Return the regions of one class in a mask [H, W]; together they cover the pixels of the class exactly."""
    rings = _rings(mask == index)
    areas = [_area(ring) for ring in rings]
    around = sorted(
        ((area, Polygon(index, ring, [])) for area, ring in zip(areas, rings, strict=True) if area > 0),
        key=lambda entry: entry[0],
    )
    for area, hole in zip(areas, rings, strict=True):
        if area < 0:
            place = _beside(hole)
            next(polygon for _, polygon in around if _contains(polygon.exterior, place)).holes.append(hole)
    return [polygon for _, polygon in reversed(around)]


def _rings(where: np.ndarray) -> list[Ring]:
    """Return the closed paths along the sides between pixels inside and outside, with the inside on the right."""
    left = _sides(where)
    rings = []
    while left:
        start = next(iter(left))  # (x, y, direction)
        here, ring = start, []
        while here in left:
            left.discard(here)
            x, y, direction = here
            point = (x + _STEPS[direction][0], y + _STEPS[direction][1])
            # A right turn first, so that pixels which touch at a corner only are two regions.
            turns = [(direction + turn) % 4 for turn in (1, 0, 3)]
            following = next(turn for turn in turns if (*point, turn) in left or (*point, turn) == start)
            if following != direction:
                ring.append(point)
            here = (*point, following)
        rings.append(ring)
    return rings


def _sides(where: np.ndarray) -> set[tuple[int, int, int]]:
    """Return the start (x, y) and the direction of each side between a pixel inside and one outside."""
    inside = np.pad(where, 1)
    centre = inside[1:-1, 1:-1]
    outside = (inside[:-2, 1:-1], inside[1:-1, 2:], inside[2:, 1:-1], inside[1:-1, :-2])  # above, right, below, left
    starts = ((0, 0), (1, 0), (1, 1), (0, 1))
    sides: set[tuple[int, int, int]] = set()
    for direction, (beyond, (right, down)) in enumerate(zip(outside, starts, strict=True)):
        rows, columns = np.nonzero(centre & ~beyond)
        sides.update(zip((columns + right).tolist(), (rows + down).tolist(), [direction] * len(rows), strict=True))
    return sides


def _area(ring: Ring) -> float:
    """Return the area inside a path; negative for one that runs counterclockwise on the screen."""
    corners = np.array(ring, dtype=np.int64)
    following = np.roll(corners, -1, axis=0)
    return float((corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]).sum()) / 2


def _beside(ring: Ring) -> tuple[float, float]:
    """Return the centre of the pixel on the right of the first side of a path."""
    (x, y), (other_x, other_y) = ring[0], ring[1]
    right, down = int(np.sign(other_x - x)), int(np.sign(other_y - y))
    return x + 0.5 * (right - down), y + 0.5 * (down + right)


def _contains(ring: Ring, point: tuple[float, float]) -> bool:
    """Return whether a point that is not on the path is inside: a ray to the left crosses an odd number of sides."""
    x, y = point
    crossings = sum(
        first_x < x and (first_y > y) != (second_y > y)
        for (first_x, first_y), (_, second_y) in zip(ring, [*ring[1:], ring[0]], strict=True)
    )
    return crossings % 2 == 1
