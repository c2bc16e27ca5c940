"""Road, pavements, kerbs and markings, and the shadows that fall on them."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from vitrail.datasets.scenes.camera import NEAR, Camera, Point
from vitrail.datasets.scenes.canvas import ROAD, SIDEWALK, Canvas, to_rgb
from vitrail.datasets.scenes.street import FAR, Street
from vitrail.datasets.scenes.weather import Colour, vary

_WIDE = 400.0
_KERB: Colour = (0.66, 0.65, 0.63)
_PAINT: Colour = (0.88, 0.88, 0.85)
_SHADOW_SCALE = 2


def paint_ground(canvas: Canvas, street: Street, rng: Random) -> None:
    """Paint the road, the pavements and the markings."""
    camera = canvas.camera
    stone = vary((0.64, 0.61, 0.57), rng, 0.12)
    tar = vary((0.40, 0.40, 0.42), rng, 0.13)
    below = [(0, camera.horizon), (camera.width, camera.horizon), (camera.width, camera.height), (0, camera.height)]
    canvas.shape([(float(x), float(y)) for x, y in below], canvas.paint(stone, FAR), SIDEWALK)
    # strips from far to near, so that the air between shows
    edges = [max(FAR * 0.78**step, NEAR) for step in range(21)]
    for far, near in pairwise(edges):
        z = (far + near) / 2
        _strip(canvas, -_WIDE, _WIDE, far, near, canvas.paint(stone, z, 0.6), SIDEWALK)
        _strip(canvas, street.left, street.right, far, near, canvas.paint(tar, z, 0.6), ROAD)
        for x, side in ((street.left, -1), (street.right, 1)):
            _strip(canvas, x, x + side * 0.28, far, near, canvas.paint(_KERB, z, 0.6), SIDEWALK)
            _strip(canvas, x - side * 0.22, x, far, near, canvas.paint(tar, z, 0.2), ROAD)
    if street.crossing:
        far, near = street.crossing[1], street.crossing[0]
        _strip(canvas, -_WIDE, _WIDE, far, near, canvas.paint(tar, (far + near) / 2, 0.6), ROAD)
    _mark(canvas, street, rng)
    _repair(canvas, street, tar, rng)


def _strip(
    canvas: Canvas, x0: float, x1: float, far: float, near: float, colour: tuple[int, int, int], label: int | None
) -> None:
    canvas.shape(canvas.camera.ground([(x0, far), (x1, far), (x1, near), (x0, near)]), colour, label)


def _mark(canvas: Canvas, street: Street, rng: Random) -> None:
    worn = rng.uniform(0.75, 1.0)
    paint: Colour = (_PAINT[0] * worn, _PAINT[1] * worn, _PAINT[2] * worn)
    if rng.random() < 0.12:
        paint = (0.85 * worn, 0.70 * worn, 0.25 * worn)
    length, gap = rng.choice(((3.0, 6.0), (3.0, 3.0), (6.0, 6.0)))
    z = rng.uniform(0, length + gap)
    solid = rng.random() < 0.25
    while z < 120:
        far = z + (length + gap if solid else length)
        if not street.in_crossing(z, 4.0) and not street.in_crossing(far, 4.0):
            _strip(canvas, street.middle - 0.08, street.middle + 0.08, far, max(z, NEAR), canvas.paint(paint, z), None)
        z += length + gap
    if rng.random() < 0.5:
        end = street.crossing[0] - 6 if street.crossing else FAR
        for x in (street.left + 0.35, street.right - 0.35):
            for near in range(1, int(end) - 4, 4):
                _strip(canvas, x - 0.06, x + 0.06, near + 4.0, near + 0.2, canvas.paint(paint, near + 2), None)
    if street.zebra is not None:
        x = street.left + 0.5
        while x < street.right - 0.6:
            _strip(canvas, x, x + 0.5, street.zebra + 3.2, street.zebra, canvas.paint(paint, street.zebra), None)
            x += 1.05
        _strip(
            canvas, street.middle, street.right, street.zebra - 1.2, street.zebra - 1.6, canvas.paint(paint, 10), None
        )


def _repair(canvas: Canvas, street: Street, tar: Colour, rng: Random) -> None:
    for _ in range(rng.randrange(4)):
        x, z = rng.uniform(street.left + 0.5, street.right - 1.5), rng.uniform(5, 40)
        colour = canvas.paint(vary(tar, rng, 0.25), z)
        _strip(canvas, x, x + rng.uniform(0.6, 1.6), z + rng.uniform(0.8, 5), z, colour, None)
    for _ in range(rng.randrange(3)):
        x, z = rng.uniform(street.left + 0.8, street.right - 0.8), rng.uniform(5, 25)
        left, top, right, bottom = _flat_disc(canvas.camera, x, z, 0.33)
        canvas.oval((left, top, right, bottom), canvas.paint((0.20, 0.19, 0.19), z), None)
        lid = (left * 0.88 + right * 0.12, top, left * 0.12 + right * 0.88, top * 0.2 + bottom * 0.8)
        canvas.oval(lid, canvas.paint((0.30, 0.29, 0.28), z), None)


def _flat_disc(camera: Camera, x: float, z: float, radius: float) -> tuple[float, float, float, float]:
    """The box of the ellipse that a disc on the ground looks like: left, top, right, bottom."""
    centre, _ = camera.point(x, 0, z)
    half = camera.scale(z) * radius
    return centre - half, camera.point(x, 0, z + radius)[1], centre + half, camera.point(x, 0, max(z - radius, NEAR))[1]


class Shadows:
    """Shadows on the ground, gathered before anything that stands on it is painted."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        camera = canvas.camera
        self._layer = Image.new("L", (camera.width // _SHADOW_SCALE, camera.height // _SHADOW_SCALE), 255)
        self._pen = ImageDraw.Draw(self._layer)
        sun = canvas.weather.sun[0]
        self.depth = 0.85 * sun / (sun + canvas.weather.ambient[0])
        self.length = 0.35 / max(canvas.weather.sun_height, 0.12)  # shadow length in units of height
        self.sideways = -canvas.sun_side * self.length

    def cast(self, corners: list[Point], strength: float = 1.0) -> None:
        """Darken a polygon of ground points (X, Z) by the sun's share of the light."""
        self._fill(corners, 1 - self.depth * strength)

    def contact(self, corners: list[Point], strength: float = 0.5) -> None:
        """Darken a polygon beneath an object, where little light gets whatever the weather."""
        self._fill(corners, 1 - strength)

    def disc(self, x: float, z: float, radius: float, strength: float) -> None:
        """Darken a disc on the ground."""
        box = [value / _SHADOW_SCALE for value in _flat_disc(self.canvas.camera, x, max(z, NEAR), radius)]
        self._pen.ellipse(box, fill=round(255 * (1 - strength)))

    def apply(self) -> None:
        """Apply the shadows to the ground."""
        canvas = self.canvas
        soft = self._layer.filter(ImageFilter.GaussianBlur(1.2))
        soft = soft.resize(canvas.image.size, Image.Resampling.BILINEAR)
        top = int(canvas.camera.horizon) - 2
        region = (0, top, canvas.camera.width, canvas.camera.height)
        ground = canvas.image.crop(region)
        dark = ImageChops.multiply(ground, Image.merge("RGB", [soft.crop(region)] * 3))
        tint = Image.new("RGB", ground.size, to_rgb((0.10, 0.12, 0.20)))
        bluish = Image.blend(dark, tint, 0.05)
        flat = canvas.mask.crop(region).point([255 if label in (ROAD, SIDEWALK) else 0 for label in range(256)])
        canvas.image.paste(bluish, region[:2], flat)
        canvas.attach()

    def _fill(self, corners: list[Point], level: float) -> None:
        points = [(x / _SHADOW_SCALE, y / _SHADOW_SCALE) for x, y in self.canvas.camera.ground(corners)]
        self._pen.polygon(points, fill=round(255 * level))
