"""The image and the mask of a scene, drawn together: every shape goes into both."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from vitrail.datasets.scenes.camera import Camera, Point
from vitrail.datasets.scenes.weather import Colour, Weather, dim, mix, times

SKY, BUILDING, ROAD, SIDEWALK, TREE, POLE, VEHICLE, PERSON = range(8)


class Canvas:
    """Image and mask of a scene, painted from far to near at several times the final resolution.

    Parameters
    ----------
    camera : Camera
        Provides the size.
    weather : Weather
        Provides the light.
    sun_side : float
        Position of the sun, from -1 (left) to 1 (right).
    """

    def __init__(self, camera: Camera, weather: Weather, sun_side: float) -> None:
        self.camera = camera
        self.weather = weather
        self.sun_side = sun_side
        size = (camera.width, camera.height)
        self.image = Image.new("RGB", size)
        self.mask = Image.new("L", size, SKY)
        self.attach()

    def attach(self) -> None:
        """Create the drawing contexts again after `image` or `mask` were replaced."""
        self.pen = ImageDraw.Draw(self.image)
        self.mask_pen = ImageDraw.Draw(self.mask)

    def light(self, facing: float) -> Colour:
        """Return the light on a surface: `facing` is 1 towards the sun, 0 along its rays, -1 away from it."""
        ambient, sun = self.weather.ambient, self.weather.sun
        share = max(facing, 0.0)
        return ambient[0] + sun[0] * share, ambient[1] + sun[1] * share, ambient[2] + sun[2] * share

    def paint(self, colour: Colour, z: float, facing: float = 0.5) -> tuple[int, int, int]:
        """Return the colour of a lit surface seen through `z` metres of haze."""
        return self.through_air(times(colour, self.light(facing)), z)

    def through_air(self, colour: Colour, z: float) -> tuple[int, int, int]:
        """Return the colour of a light seen through `z` metres of haze."""
        return to_rgb(mix(colour, self.weather.skyline, 1 - math.exp(-z * self.weather.haze)))

    def shape(self, points: Sequence[Point], colour: tuple[int, int, int], label: int | None) -> None:
        """Fill a polygon; with label None the mask keeps its labels."""
        self.pen.polygon(points, fill=colour)
        if label is not None:
            self.mask_pen.polygon(points, fill=label)

    def oval(self, box: tuple[float, float, float, float], colour: tuple[int, int, int], label: int | None) -> None:
        """Fill an ellipse, given left, top, right and bottom."""
        self.pen.ellipse(box, fill=colour)
        if label is not None:
            self.mask_pen.ellipse(box, fill=label)

    def stroke(self, points: Sequence[Point], width: float, colour: tuple[int, int, int], label: int | None) -> None:
        """Draw a thick line through points."""
        thickness = max(1, round(width))
        self.pen.line(points, fill=colour, width=thickness, joint="curve")
        if label is not None:
            self.mask_pen.line(points, fill=label, width=thickness, joint="curve")

    def sprite(self, sprite: Image.Image, corner: Point, label: int | None) -> None:
        """Paste an RGBA picture; its label goes where it is more than half opaque."""
        at = round(corner[0]), round(corner[1])
        alpha = sprite.getchannel("A")
        self.image.paste(sprite, at, alpha)
        if label is not None:
            self.mask.paste(label, (*at, at[0] + sprite.width, at[1] + sprite.height), alpha.point(_OPAQUE))

    def glow(self, sprite: Image.Image, centre: Point, colour: Colour) -> None:
        """Blend a light of a colour over the image; `sprite` is its opacity, an image of mode L."""
        at = round(centre[0] - sprite.width / 2), round(centre[1] - sprite.height / 2)
        self.image.paste(to_rgb(colour), (*at, at[0] + sprite.width, at[1] + sprite.height), sprite)


_OPAQUE = [0] * 128 + [255] * 128


def to_rgb(colour: Colour) -> tuple[int, int, int]:
    """Convert a colour in 0…1 to 0…255."""
    return _byte(colour[0]), _byte(colour[1]), _byte(colour[2])


def shaded(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    """Make a painted colour darker or lighter."""
    return to_rgb(dim((colour[0] / 255, colour[1] / 255, colour[2] / 255), factor))


def _byte(value: float) -> int:
    return 0 if value <= 0 else 255 if value >= 1 else int(value * 255 + 0.5)
