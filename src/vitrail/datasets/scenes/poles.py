"""Street lamps, traffic lights and signs."""

from __future__ import annotations

from functools import cache
from random import Random

import numpy as np
from PIL import Image

from vitrail.datasets.scenes.canvas import POLE, Canvas, to_rgb
from vitrail.datasets.scenes.weather import Colour, dim

_METAL: Colour = (0.33, 0.35, 0.37)
_LAMP: Colour = (1.0, 0.86, 0.58)
_SIGNALS: tuple[Colour, ...] = ((1.0, 0.16, 0.10), (1.0, 0.72, 0.10), (0.15, 0.95, 0.40))


def paint_lamp(canvas: Canvas, x: float, z: float, towards: int, rng: Random) -> None:
    """Paint a street lamp whose arm reaches over the road, to the left (-1) or to the right (1)."""
    camera = canvas.camera
    metal = canvas.paint(_METAL, z, 0.4)
    height, arm = rng.uniform(6.5, 8.0), towards * rng.uniform(1.2, 2.0)
    scale = camera.scale(z)
    width = max(1.6, 0.15 * scale)
    _post(canvas, x, height, z, width, metal)
    bend = [
        camera.point(x, height - 0.05, z),
        camera.point(x + arm * 0.5, height + 0.35, z),
        camera.point(x + arm, height + 0.3, z),
    ]
    canvas.stroke(bend, width * 0.7, metal, POLE)
    head_x, head_y = camera.point(x + arm, height + 0.25, z)
    half = 0.38 * scale
    canvas.oval((head_x - half, head_y - half * 0.3, head_x + half, head_y + half * 0.4), metal, POLE)
    if canvas.weather.lamps:
        bulb = half * 0.75
        canvas.oval((head_x - bulb, head_y, head_x + bulb, head_y + half * 0.45), to_rgb(_LAMP), POLE)
        glow(canvas, (head_x, head_y + half * 0.2), scale * 1.5, _LAMP)


def paint_signal(canvas: Canvas, x: float, z: float, rng: Random) -> None:
    """Paint a traffic light."""
    camera = canvas.camera
    scale = camera.scale(z)
    dark = canvas.paint((0.16, 0.17, 0.18), z, 0.4)
    _post(canvas, x, 3.0, z, max(1.6, 0.13 * scale), canvas.paint(_METAL, z, 0.4))
    centre, top = camera.point(x, 3.3, z)
    half = 0.19 * scale
    canvas.shape(
        [(centre - half, top), (centre + half, top), (centre + half, top + half * 5), (centre - half, top + half * 5)],
        dark,
        POLE,
    )
    on = rng.choice((0, 0, 1, 2, 2))
    for index, colour in enumerate(_SIGNALS):
        y = top + half * (0.95 + 1.55 * index)
        shown = to_rgb(colour) if index == on else canvas.paint(dim(colour, 0.18), z)
        size = half * 0.62
        canvas.oval((centre - size, y - size, centre + size, y + size), shown, None)
        if index == on:
            glow(canvas, (centre, y), half * (5 if canvas.weather.lamps else 2.4), colour)


def paint_sign(canvas: Canvas, x: float, z: float, rng: Random) -> None:
    """Paint a traffic sign."""
    camera = canvas.camera
    scale = camera.scale(z)
    _post(canvas, x, 2.5, z, max(1.4, 0.08 * scale), canvas.paint((0.6, 0.6, 0.6), z, 0.4))
    cx, cy = camera.point(x, 2.55, z)
    radius = 0.34 * scale
    red, white, blue = (
        canvas.paint(colour, z, 0.6) for colour in ((0.80, 0.10, 0.10), (0.95, 0.95, 0.95), (0.10, 0.28, 0.70))
    )
    kind = rng.randrange(4)
    if kind == 0:
        canvas.oval((cx - radius, cy - radius, cx + radius, cy + radius), red, POLE)
        inner = radius * 0.72
        canvas.oval((cx - inner, cy - inner, cx + inner, cy + inner), white, None)
    elif kind == 1:
        canvas.shape([(cx, cy - radius), (cx + radius, cy + radius * 0.8), (cx - radius, cy + radius * 0.8)], red, POLE)
        inner = radius * 0.6
        canvas.shape([(cx, cy - inner), (cx + inner, cy + inner * 0.8), (cx - inner, cy + inner * 0.8)], white, None)
    elif kind == 2:
        canvas.shape(
            [
                (cx - radius, cy - radius),
                (cx + radius, cy - radius),
                (cx + radius, cy + radius),
                (cx - radius, cy + radius),
            ],
            blue,
            POLE,
        )
        inner = radius * 0.5
        canvas.shape([(cx, cy - inner), (cx + inner, cy + inner), (cx - inner, cy + inner)], white, None)
    else:
        canvas.oval((cx - radius, cy - radius, cx + radius, cy + radius), blue, POLE)
        inner = radius * 0.55
        canvas.stroke([(cx, cy + inner), (cx, cy - inner)], max(1, radius * 0.25), white, None)


def glow(canvas: Canvas, centre: tuple[float, float], radius: float, colour: Colour, flat: float = 1.0) -> None:
    """Paint the glow of a lamp; `flat` is the height of the light's shape as a share of its width."""
    width = min(max(4, round(2 * radius)), canvas.camera.width)
    height = min(max(2, round(2 * radius * flat)), canvas.camera.height)
    canvas.glow(_halo().resize((width, height), Image.Resampling.BILINEAR), centre, colour)


def light_ground(canvas: Canvas, x: float, z: float, radius: float) -> None:
    """Paint the light of a lamp on the ground."""
    camera = canvas.camera
    centre, near, far = camera.point(x, 0, z), camera.point(x, 0, max(z - radius, 2.0)), camera.point(x, 0, z + radius)
    across = camera.scale(z) * radius
    glow(canvas, (centre[0], (near[1] + far[1]) / 2), across, dim(_LAMP, 0.55), (near[1] - far[1]) / (2 * across))


@cache
def _halo() -> Image.Image:
    axis = np.linspace(-1, 1, 96, dtype=np.float32)
    distance = np.hypot(axis[:, None], axis[None, :])
    light = np.clip(1 - distance, 0, 1) ** 2.2 * 0.75
    return Image.fromarray((light * 255).astype(np.uint8))


def _post(canvas: Canvas, x: float, height: float, z: float, width: float, colour: tuple[int, int, int]) -> None:
    foot, top = canvas.camera.point(x, 0, z), canvas.camera.point(x, height, z)
    half = width / 2
    canvas.shape(
        [
            (foot[0] - half * 1.3, foot[1]),
            (top[0] - half * 0.8, top[1]),
            (top[0] + half * 0.8, top[1]),
            (foot[0] + half * 1.3, foot[1]),
        ],
        colour,
        POLE,
    )
