"""Sky: a gradient, the sun or the moon, clouds, stars, and a skyline in the haze."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image

from vitrail.datasets.scenes.canvas import BUILDING, TREE, Canvas, to_rgb
from vitrail.datasets.scenes.noise import FloatArray, clouds, sample
from vitrail.datasets.scenes.weather import Colour

_COARSE = 4  # clouds are soft: a quarter of the resolution is enough for them


def paint_sky(canvas: Canvas, rng: Random) -> None:
    """Fill the whole canvas with sky."""
    camera, weather = canvas.camera, canvas.weather
    width, height = camera.width // _COARSE, camera.height // _COARSE
    horizon = camera.horizon / _COARSE
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    elevation = np.clip((horizon - rows) / horizon, 0, 1)

    blend = elevation[..., None] ** 0.65
    sky = _array(weather.skyline) * (1 - blend) + _array(weather.zenith) * blend
    sky = np.repeat(sky, width, axis=1)
    sun_x, sun_y = width * (0.5 + 0.42 * canvas.sun_side), horizon * (1 - weather.sun_height)
    distance = np.hypot(columns - sun_x, rows - sun_y) / width
    sky += _glow(distance, weather.stars)[..., None] * (_array(weather.sun) * 0.9 + 0.06)

    density = _cloud_density(rng, rows, columns, horizon, width, rng.uniform(*weather.cover))
    lit = np.clip(density - np.roll(density, (2, -round(3 * canvas.sun_side)), (0, 1)) + 0.62, 0, 1)[..., None]
    cloud = _array(weather.cloud_shade) * (1 - lit) + _array(weather.cloud) * lit
    cover = (density * np.clip(elevation * 5, 0.25, 1))[..., None]
    sky = sky * (1 - cover) + cloud * cover
    coarse = Image.fromarray((np.clip(sky, 0, 1) * 255).astype(np.uint8))
    canvas.image = coarse.resize((camera.width, camera.height), Image.Resampling.BICUBIC)
    canvas.attach()
    if weather.stars:
        _paint_stars(canvas, rng, density)
    if weather.stars or weather.name in ("clear day", "late afternoon"):
        _paint_disc(canvas, sun_x * _COARSE, sun_y * _COARSE)


def paint_skyline(canvas: Canvas, rng: Random) -> None:
    """Set distant houses or woods against the horizon."""
    camera = canvas.camera
    for z in (420.0, 260.0):
        x = -20.0
        scale = camera.scale(z)
        wooded = rng.random() < 0.45
        while x < camera.width:
            width = rng.uniform(8, 30) * scale
            height = rng.uniform(5, 16) * scale if wooded else rng.uniform(8, 46) * rng.random() * scale + 6 * scale
            top, bottom = camera.horizon - height, camera.horizon + 4
            if wooded:
                colour = canvas.paint((0.22, 0.33, 0.20), z * 0.6)
                canvas.oval((x - width * 0.4, top, x + width * 1.4, bottom + height), colour, TREE)
            else:
                colour = canvas.paint((0.52 + rng.uniform(-0.08, 0.08), 0.50, 0.50), z * 0.6)
                canvas.shape([(x, bottom), (x, top), (x + width, top), (x + width, bottom)], colour, BUILDING)
            x += width * rng.uniform(0.7, 1.1)


def _cloud_density(
    rng: Random, rows: FloatArray, columns: FloatArray, horizon: float, width: int, cover: float
) -> FloatArray:
    # A flat layer of clouds seen in perspective: it is compressed towards the horizon.
    depth = 1 / np.maximum((horizon - rows) / horizon + 0.18, 0.05)
    u = (columns - width / 2) / width * depth * 260 + rng.uniform(0, 512)
    v = depth * 130 + rng.uniform(0, 512)
    noise = sample(clouds(rng.randrange(4)), np.broadcast_to(v, u.shape), u)
    return np.clip((noise - (1 - cover) * 0.95) / 0.35, 0, 1).astype(np.float32)


def _glow(distance: FloatArray, night: bool) -> FloatArray:
    if night:
        return (np.exp(-distance * 14) * 1.2).astype(np.float32)
    return (np.exp(-distance * 4.5) * 0.5 + np.exp(-distance * 18) * 1.1).astype(np.float32)


def _paint_disc(canvas: Canvas, x: float, y: float) -> None:
    radius = canvas.camera.width * (0.014 if canvas.weather.stars else 0.018)
    colour: Colour = (0.93, 0.94, 0.98) if canvas.weather.stars else (1.0, 1.0, 0.97)
    canvas.oval((x - radius, y - radius, x + radius, y + radius), to_rgb(colour), None)
    if canvas.weather.stars:
        for dx, dy, size in ((-0.3, -0.2, 0.22), (0.25, 0.3, 0.28), (0.1, -0.45, 0.15)):
            box = (
                x + (dx - size) * radius,
                y + (dy - size) * radius,
                x + (dx + size) * radius,
                y + (dy + size) * radius,
            )
            canvas.oval(box, to_rgb((0.82, 0.84, 0.90)), None)


def _paint_stars(canvas: Canvas, rng: Random, density: FloatArray) -> None:
    for _ in range(140):
        x, y = rng.uniform(0, canvas.camera.width - 1), rng.uniform(0, canvas.camera.horizon)
        if density[int(y) // _COARSE % density.shape[0], int(x) // _COARSE % density.shape[1]] < 0.2:
            size = rng.choice((0.5, 0.5, 1.0))
            level = rng.uniform(0.35, 0.95)
            canvas.oval((x - size, y - size, x + size, y + size), to_rgb((level, level, level * 1.05)), None)


def _array(colour: Colour) -> FloatArray:
    return np.array(colour, np.float32)
