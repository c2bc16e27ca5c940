"""Shapes that annotation tools write, and how they are drawn into a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Mask = npt.NDArray[Any]
Point = tuple[float, float]
_LINE_WIDTH = 10  # pixels, as labelme draws lines
_POINT_RADIUS = 5


def _paint(mask: Mask, value: int, draw: Callable[[ImageDraw.ImageDraw], None]) -> None:
    canvas = Image.new("L", (mask.shape[1], mask.shape[0]))
    draw(ImageDraw.Draw(canvas))
    mask[np.asarray(canvas) > 0] = value


@dataclass(frozen=True)
class Polygon:
    """A polygon in pixels, (x, y), with holes; drawn with its outline, as labelme does."""

    points: tuple[Point, ...]
    holes: tuple[tuple[Point, ...], ...] = ()

    def fill(self, mask: Mask, value: int) -> None:
        """Set what lies inside."""
        if len(self.points) < 3:
            return

        def draw(canvas: ImageDraw.ImageDraw) -> None:
            canvas.polygon(list(self.points), outline=1, fill=1)
            for hole in self.holes:
                canvas.polygon(list(hole), outline=0, fill=0)

        _paint(mask, value, draw)


@dataclass(frozen=True)
class RelativePolygon:
    """A polygon in fractions of the image's width and height."""

    points: tuple[Point, ...]

    def fill(self, mask: Mask, value: int) -> None:
        """Set what lies inside."""
        height, width = mask.shape
        Polygon(tuple((x * width, y * height) for x, y in self.points)).fill(mask, value)


@dataclass(frozen=True)
class Rectangle:
    """A rectangle between two opposite corners, in pixels."""

    corners: tuple[Point, Point]

    def fill(self, mask: Mask, value: int) -> None:
        """Set what lies inside."""
        (x1, y1), (x2, y2) = self.corners
        box = [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]
        _paint(mask, value, lambda canvas: canvas.rectangle(box, outline=1, fill=1))


@dataclass(frozen=True)
class Ellipse:
    """An ellipse with horizontal and vertical axes, by its centre and radii in pixels."""

    centre: Point
    radii: Point

    def fill(self, mask: Mask, value: int) -> None:
        """Set what lies inside."""
        (x, y), (a, b) = self.centre, self.radii
        _paint(mask, value, lambda canvas: canvas.ellipse([x - a, y - b, x + a, y + b], outline=1, fill=1))


@dataclass(frozen=True)
class Line:
    """A line through points, ten pixels wide."""

    points: tuple[Point, ...]

    def fill(self, mask: Mask, value: int) -> None:
        """Set what it covers."""
        _paint(mask, value, lambda canvas: canvas.line(list(self.points), fill=1, width=_LINE_WIDTH))


@dataclass(frozen=True, eq=False)
class Bitmap:
    """A small mask at a place.

    Attributes
    ----------
    left, top : int
        Its place.
    unpack : callable
        Returns the mask [H, W], whose pixels that are not zero count, once the height and the width of the image are
        known: it raises a ValueError for a larger mask, before memory is taken for it.
    """

    left: int
    top: int
    unpack: Callable[[tuple[int, int]], npt.NDArray[Any]]

    def fill(self, mask: Mask, value: int) -> None:
        """Set the pixels that are not zero."""
        pixels = self.unpack((mask.shape[0], mask.shape[1]))
        height, width = pixels.shape
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + height, mask.shape[0]), min(self.left + width, mask.shape[1])
        if bottom > top and right > left:
            part = pixels[top - self.top : bottom - self.top, left - self.left : right - self.left]
            mask[top:bottom, left:right][part > 0] = value


def check_within(size: tuple[int, int], image: tuple[int, int]) -> None:
    """Raise a ValueError for a mask of a height and width beyond those of its image."""
    if size[0] > image[0] or size[1] > image[1]:
        raise ValueError(f"a mask of {size[0]} × {size[1]} pixels in an image of {image[0]} × {image[1]}")


def circle_through(centre: Point, edge: Point) -> Ellipse:
    """Return the circle around `centre` through `edge`."""
    radius = math.hypot(centre[0] - edge[0], centre[1] - edge[1])
    return Ellipse(centre, (radius, radius))


def point_at(point: Point) -> Ellipse:
    """Return the disc of five pixels that stands for a point."""
    return Ellipse(point, (_POINT_RADIUS, _POINT_RADIUS))


def as_points(numbers: Sequence[Any]) -> tuple[Point, ...]:
    """Return [[x, y], …] or [x, y, x, y, …] as points."""
    if numbers and not isinstance(numbers[0], list | tuple):
        numbers = list(zip(numbers[::2], numbers[1::2], strict=False))
    return tuple((float(point[0]), float(point[1])) for point in numbers)
