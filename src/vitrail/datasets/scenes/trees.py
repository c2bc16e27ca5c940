"""Trees: crowns of leaf clusters, drawn once per process as sprites and lit for every scene."""

from __future__ import annotations

import math
from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from vitrail.datasets.scenes.canvas import TREE, Canvas, to_rgb
from vitrail.datasets.scenes.weather import Colour, dim, mix, times, vary

_SPRITE = 384  # pixels a side
_KINDS = 10
_LEAF_SHAPES = 24
_GREENS: tuple[Colour, ...] = (
    (0.34, 0.52, 0.20),
    (0.27, 0.46, 0.20),
    (0.42, 0.54, 0.22),
    (0.24, 0.42, 0.24),
    (0.68, 0.50, 0.18),
    (0.66, 0.36, 0.16),
)
_BARK: Colour = (0.36, 0.29, 0.23)


def paint_tree(canvas: Canvas, x: float, z: float, rng: Random) -> None:
    """Paint a tree on the pavement."""
    camera = canvas.camera
    scale = camera.scale(z)
    height = rng.uniform(5.0, 9.5)
    crown = height * rng.uniform(0.55, 0.75)
    trunk = height - crown * 0.8
    bark = canvas.paint(_BARK, z, 0.3)
    foot_x, foot_y = camera.point(x, 0, z)
    top = foot_y - trunk * scale * 1.25
    half = 0.15 * scale
    trunk_shape = [
        (foot_x - half * 1.3, foot_y),
        (foot_x - half * 0.7, top),
        (foot_x + half * 0.7, top),
        (foot_x + half * 1.3, foot_y),
    ]
    canvas.shape(trunk_shape, bark, TREE)
    size = max(4, round(crown * scale * 1.15))
    if size > 4 * canvas.camera.height:
        return
    sprite = _lit(canvas, rng.randrange(_KINDS), size, z, rng)
    canvas.sprite(sprite, (foot_x - sprite.width / 2, foot_y - height * scale), TREE)


def _lit(canvas: Canvas, kind: int, size: int, z: float, rng: Random) -> Image.Image:
    mirrored = (canvas.sun_side < 0) == (rng.random() < 0.9)  # crowns are drawn with the light from the right
    width = max(3, round(size * rng.uniform(0.72, 1.1)))
    green = vary(rng.choices(_GREENS, (6, 6, 5, 4, 1, 1))[0], rng, 0.15)
    weather = canvas.weather
    dark = times(dim(green, 0.30), weather.ambient)
    bright = times(dim(green, 1.45), canvas.light(0.9))
    haze = 1 - math.exp(-z * weather.haze)
    low, high = mix(dark, weather.skyline, haze), mix(bright, weather.skyline, haze)
    level = np.linspace(0, 1, 256)[:, None]
    tables = (255 * np.clip(np.array(low) * (1 - level) + np.array(high) * level, 0, 1)).astype(np.uint8).T.tolist()
    shade, alpha = (
        part.resize((width, size), Image.Resampling.BILINEAR) for part in crown(kind, mirrored, size < _SPRITE // 3)
    )
    return Image.merge("RGBA", [*(shade.point(table) for table in tables), alpha])


@cache
def crown(kind: int, mirrored: bool, small: bool) -> tuple[Image.Image, Image.Image]:
    """Return a crown as two L pictures: how much light its leaves get, and where they are."""
    if small:
        shade, alpha = (part.reduce(3) for part in crown(kind, mirrored, False))
        return shade, alpha
    if mirrored:
        shade, alpha = (part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for part in crown(kind, False, False))
        return shade, alpha
    rng = Random(f"crown {kind}")
    size = _SPRITE
    shade, alpha = Image.new("L", (size, size), 0), Image.new("L", (size, size), 0)
    pen, alpha_pen = ImageDraw.Draw(shade), ImageDraw.Draw(alpha)
    clusters = sorted((_cluster(rng) for _ in range(_LEAF_SHAPES)), key=lambda c: (c[2], -c[1]))
    for x, y, radius in clusters:
        _paint_cluster(pen, alpha_pen, x * size, y * size, radius * size, rng)
    soft = shade.filter(ImageFilter.GaussianBlur(0.8))
    return ImageChops.blend(shade, soft, 0.6), alpha.filter(ImageFilter.GaussianBlur(0.7))


def _cluster(rng: Random) -> tuple[float, float, float]:
    angle, distance = rng.uniform(0, 2 * math.pi), math.sqrt(rng.random()) * 0.33
    return 0.5 + distance * math.cos(angle), 0.5 + distance * math.sin(angle) * 0.95, rng.uniform(0.09, 0.17)


def _paint_cluster(
    pen: ImageDraw.ImageDraw, alpha_pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, rng: Random
) -> None:
    base = 0.62 - (y / _SPRITE - 0.5) * 0.75 + (x / _SPRITE - 0.5) * 0.45
    core = radius * 0.8
    pen.ellipse((x - core, y - core, x + core, y + core), fill=_level(base - 0.22))
    alpha_pen.ellipse((x - core, y - core, x + core, y + core), fill=255)
    for _ in range(int(radius * 3.2)):
        angle, distance = rng.uniform(0, 2 * math.pi), math.sqrt(rng.random()) * radius
        dx, dy = distance * math.cos(angle), distance * math.sin(angle)
        light = base + (-dy + dx * 0.7) / radius * 0.26 + rng.uniform(-0.1, 0.1)
        leaf = rng.uniform(2.5, 6.5)
        box = (x + dx - leaf, y + dy - leaf * 0.75, x + dx + leaf, y + dy + leaf * 0.75)
        pen.ellipse(box, fill=_level(light))
        alpha_pen.ellipse(box, fill=255)


def _level(light: float) -> int:
    return to_rgb((light, 0, 0))[0]
