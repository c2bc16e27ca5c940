"""Cars, vans, trucks and buses: bodies swept along a side profile."""

from __future__ import annotations

import math
from random import Random

from vitrail.datasets.scenes.camera import NEAR, Point
from vitrail.datasets.scenes.canvas import VEHICLE, Canvas, shaded, to_rgb
from vitrail.datasets.scenes.poles import glow
from vitrail.datasets.scenes.vehicle_models import BUS, Model
from vitrail.datasets.scenes.weather import Colour, dim, mix, vary

_PAINTS: tuple[Colour, ...] = (
    (0.85, 0.86, 0.88),
    (0.16, 0.17, 0.19),
    (0.55, 0.57, 0.60),
    (0.70, 0.10, 0.10),
    (0.13, 0.25, 0.50),
    (0.10, 0.35, 0.30),
    (0.80, 0.62, 0.18),
    (0.45, 0.30, 0.20),
    (0.35, 0.50, 0.62),
    (0.88, 0.88, 0.84),
)
_TYRE: Colour = (0.09, 0.09, 0.10)
_STEPS = 14


def paint_vehicle(canvas: Canvas, model: Model, x: float, z: float, oncoming: bool, rng: Random) -> None:
    """Paint a vehicle whose nearer end is `z` metres away and whose middle is at `x`."""
    body = vary(rng.choice(_PAINTS), rng, 0.1)
    if model is BUS:
        body = vary(rng.choice(_PAINTS[3:7]), rng, 0.1)
    profile = (
        [(model.length - a, y, half) for a, y, half in reversed(model.profile)] if oncoming else list(model.profile)
    )
    count = len(profile) - 1
    glass = frozenset(count - 1 - i for i in model.glass) if oncoming else model.glass
    end = _End(canvas, model, x, z, oncoming)
    end.paint_tyres()
    _paint_body(canvas, profile, glass, body, x, z)
    side = -1 if x - model.half_width > 0 else 1 if x + model.half_width < 0 else 0
    if side:
        _paint_side(canvas, model, profile, body, x, z, side, oncoming)
    end.paint_face(body, rng)


def _paint_body(
    canvas: Canvas,
    profile: list[tuple[float, float, float]],
    glass: frozenset[int],
    body: Colour,
    x: float,
    z: float,
) -> None:
    camera = canvas.camera
    segments = sorted(range(len(profile) - 1), key=lambda i: -(profile[i][0] + profile[i + 1][0]))
    for i in segments:
        (a0, y0, w0), (a1, y1, w1) = profile[i], profile[i + 1]
        corners = [
            camera.point(x - w0, y0, z + a0),
            camera.point(x + w0, y0, z + a0),
            camera.point(x + w1, y1, z + a1),
            camera.point(x - w1, y1, z + a1),
        ]
        slope = math.atan2(y1 - y0, a1 - a0)  # 0: faces up, pi/2: faces the camera
        facing = 0.25 + 0.75 * math.cos(slope) if abs(slope) < math.pi / 2 else 0.15
        canvas.shape(corners, canvas.paint(dim(body, 0.62 + 0.5 * max(0.0, math.cos(slope))), z, facing), VEHICLE)
        if i in glass:
            canvas.shape(_inset(corners), _glass(canvas, z, 0.75 if abs(slope) < 1.2 else 0.45), None)


def _paint_side(
    canvas: Canvas,
    model: Model,
    profile: list[tuple[float, float, float]],
    body: Colour,
    x: float,
    z: float,
    side: int,
    oncoming: bool,
) -> None:
    camera = canvas.camera
    facing = 0.2 + 0.8 * max(0.0, side * canvas.sun_side)
    outline = [camera.point(x + side * half, y, z + a) for a, y, half in profile]
    colour = canvas.paint(dim(body, 0.95), z, facing)
    canvas.shape(outline, colour, VEHICLE)
    width = model.half_width

    def along(a: float) -> float:
        return z + (model.length - a if oncoming else a)

    low, high = 0.30, 0.52
    sill = [
        camera.point(x + side * width, y, along(a))
        for a, y in ((0.1, low), (model.length - 0.1, low), (model.length - 0.1, high), (0.1, high))
    ]
    canvas.shape(sill, shaded(colour, 0.72), None)
    for window in model.side_windows:
        slim = width - 0.06 if model.height > 2 else width - 0.14
        points = [camera.point(x + side * slim, y, along(a)) for a, y in window]
        canvas.shape(points, _glass(canvas, z, 0.55), None)
    for axle in model.wheels:
        _paint_wheel(canvas, x + side * (width + 0.01), along(axle), model.radius)


def _paint_wheel(canvas: Canvas, x: float, z: float, radius: float) -> None:
    if z - radius < NEAR:
        return
    for share, colour in ((1.0, _TYRE), (0.58, (0.52, 0.53, 0.55)), (0.22, (0.25, 0.25, 0.26))):
        points: list[Point] = []
        for step in range(_STEPS):
            angle = 2 * math.pi * step / _STEPS
            points.append(
                canvas.camera.point(x, radius + share * radius * math.sin(angle), z + share * radius * math.cos(angle))
            )
        canvas.shape(points, canvas.paint(colour, z, 0.3), VEHICLE)


def _inset(corners: list[Point]) -> list[Point]:
    """A pane within a quadrilateral, with a frame around it."""
    x = sum(point[0] for point in corners) / 4
    y = sum(point[1] for point in corners) / 4
    return [(x + (px - x) * 0.86, y + (py - y) * 0.80) for px, py in corners]


def _glass(canvas: Canvas, z: float, mirrored: float) -> tuple[int, int, int]:
    sky = mix(canvas.weather.skyline, canvas.weather.zenith, 0.5)
    return canvas.through_air(mix((0.05, 0.06, 0.08), dim(sky, 0.75), mirrored * 0.6), z)


class _End:
    """The end of a vehicle that faces the camera: its rear, or its front when it is oncoming."""

    def __init__(self, canvas: Canvas, model: Model, x: float, z: float, oncoming: bool) -> None:
        self.canvas = canvas
        self.model = model
        self.x = x
        self.z = z
        self.oncoming = oncoming

    def _box(self, x0: float, x1: float, y0: float, y1: float) -> list[Point]:
        point = self.canvas.camera.point
        return [point(self.x + x, y, self.z) for x, y in ((x0, y0), (x0, y1), (x1, y1), (x1, y0))]

    def paint_tyres(self) -> None:
        """Paint the tyres below the body."""
        half = self.model.half_width - 0.05
        for x0, x1 in ((-half, -half + 0.24), (half - 0.24, half)):
            self.canvas.shape(self._box(x0, x1, 0.0, 0.55), self.canvas.paint(_TYRE, self.z, 0.2), VEHICLE)

    def paint_face(self, body: Colour, rng: Random) -> None:
        """Paint bumper, lights and number plate."""
        canvas, half, z = self.canvas, self.model.half_width - 0.04, self.z
        large = self.model.height > 2
        bottom = 0.42 if not large else 0.62
        canvas.shape(self._box(-half, half, bottom - 0.1, bottom + 0.13), canvas.paint(dim(body, 0.42), z, 0.2), None)
        canvas.shape(self._box(-0.26, 0.26, bottom + 0.16, bottom + 0.27), canvas.paint((0.9, 0.9, 0.86), z, 0.4), None)
        if self.oncoming:
            canvas.shape(
                self._box(-half * 0.5, half * 0.5, bottom + 0.3, bottom + 0.42), canvas.paint((0.1, 0.1, 0.11), z), None
            )
        braking = rng.random() < 0.3
        for side in (-1, 1):
            self._paint_lights(side, half, bottom, braking, large)

    def _paint_lights(self, side: int, half: float, bottom: float, braking: bool, large: bool) -> None:
        canvas, z, lamps = self.canvas, self.z, self.canvas.weather.lamps
        inner, outer = side * (half - 0.30), side * (half - 0.03)
        y0, y1 = bottom + (0.22 if not large else 0.3), bottom + (0.40 if not large else 0.52)
        box = self._box(min(inner, outer), max(inner, outer), y0, y1)
        centre = ((box[0][0] + box[2][0]) / 2, (box[0][1] + box[2][1]) / 2)
        size = canvas.camera.scale(z)
        if self.oncoming:
            canvas.shape(box, to_rgb((1.0, 0.98, 0.90)) if lamps else canvas.paint((0.88, 0.90, 0.92), z, 0.8), None)
            if lamps:
                glow(canvas, centre, size * 0.95, (1.0, 0.96, 0.85))
        else:
            bright = lamps or braking
            canvas.shape(box, to_rgb((0.95, 0.12, 0.08)) if bright else canvas.paint((0.60, 0.07, 0.06), z, 0.5), None)
            if bright:
                glow(canvas, centre, size * (0.55 if lamps else 0.3), (1.0, 0.15, 0.10))
