"""One scene: a street is planned, then painted from far to near."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from vitrail.datasets.scenes.buildings import House, draw_houses, paint_hedge, paint_houses
from vitrail.datasets.scenes.camera import Camera
from vitrail.datasets.scenes.canvas import Canvas
from vitrail.datasets.scenes.finish import ByteArray, finish
from vitrail.datasets.scenes.ground import Shadows, paint_ground
from vitrail.datasets.scenes.people import paint_person
from vitrail.datasets.scenes.poles import light_ground, paint_lamp, paint_sign, paint_signal
from vitrail.datasets.scenes.sky import paint_sky, paint_skyline
from vitrail.datasets.scenes.street import Street, draw_street
from vitrail.datasets.scenes.trees import paint_tree
from vitrail.datasets.scenes.vehicle_models import Model, draw_model
from vitrail.datasets.scenes.vehicles import paint_vehicle
from vitrail.datasets.scenes.weather import draw_weather

_OVERSAMPLING = 2
_REACH = 75.0  # metres to the farthest things that stand in the street


def render(seed: str, height: int, width: int) -> tuple[ByteArray, ByteArray]:
    """Paint the scene of a seed.

    Parameters
    ----------
    seed : str
        Determines everything.
    height, width : int
        Size in pixels.

    Returns
    -------
    image : ndarray
        uint8 RGB [height, width, 3].
    mask : ndarray
        uint8 [height, width], class indices.
    """
    rng = Random(seed)
    canvas = Canvas(
        _draw_camera(height * _OVERSAMPLING, width * _OVERSAMPLING, rng), draw_weather(rng), rng.uniform(-1, 1)
    )
    street = draw_street(rng)
    rows = {side: draw_houses(street, side, rng) for side in (-1, 1)}
    things = _Things(canvas, street, rng)
    things.place()
    paint_sky(canvas, rng)
    paint_skyline(canvas, rng)
    paint_ground(canvas, street, rng)
    _cast_shadows(canvas, street, rows, things)
    for side, houses in rows.items():
        paint_houses(canvas, houses, side, rng)
        for house in reversed(houses):
            if house.style == "gable":
                paint_hedge(canvas, house, side, rng)
    things.paint()
    return finish(canvas, _OVERSAMPLING, rng)


def _draw_camera(height: int, width: int, rng: Random) -> Camera:
    return Camera(
        width=width,
        height=height,
        focal=max(width, 1.25 * height) * rng.uniform(0.62, 0.85),
        vanishing_x=width * rng.uniform(0.36, 0.64),
        horizon=height * rng.uniform(0.40, 0.52),
        eye=rng.uniform(1.35, 1.9),
    )


def _cast_shadows(canvas: Canvas, street: Street, rows: dict[int, list[House]], things: _Things) -> None:
    shadows = Shadows(canvas)
    for side, houses in rows.items():
        for house in houses:
            reach = house.height * shadows.sideways
            if reach * side < 0:
                shift = house.height * shadows.length * 0.25
                corners = [
                    (house.x, house.near),
                    (house.x, house.far),
                    (house.x + reach, house.far + shift),
                    (house.x + reach, house.near + shift),
                ]
                shadows.cast(corners)
            shadows.contact(
                [
                    (house.x, house.near),
                    (house.x, house.far),
                    (house.x - side * 0.5, house.far),
                    (house.x - side * 0.5, house.near),
                ],
                0.2,
            )
    things.cast(shadows)
    shadows.apply()
    things.light()


class _Things:
    """The objects in the street: planned first, so that their shadows can be painted before them."""

    def __init__(self, canvas: Canvas, street: Street, rng: Random) -> None:
        self.canvas = canvas
        self.street = street
        self.rng = rng
        self._painters: list[tuple[float, Callable[[Random], None]]] = []
        self._shadows: list[Callable[[Shadows], None]] = []
        self._lights: list[tuple[float, float, float]] = []

    def place(self) -> None:
        """Plan everything."""
        for side in (-1, 1):
            edge = self.street.left if side < 0 else self.street.right
            walk = self.street.left_walk if side < 0 else self.street.right_walk
            self._place_trees(edge, side)
            self._place_lamps(edge, side)
            self._place_signs(edge, side)
            self._place_parked(edge, side)
            self._place_walkers(edge, walk, side)
        self._place_traffic()
        self._place_crossers()
        if self.canvas.weather.lamps:
            self._lights.append((0.0, 9.0, 5.0))  # the camera's own headlights

    def paint(self) -> None:
        """Paint everything, from far to near."""
        for _, painter in sorted(self._painters, key=lambda item: -item[0]):
            painter(self.rng)

    def cast(self, shadows: Shadows) -> None:
        """Add the shadows of all objects to the ground."""
        for shadow in self._shadows:
            shadow(shadows)

    def light(self) -> None:
        """Paint the light of lamps and headlights on the ground."""
        for x, z, radius in sorted(self._lights, key=lambda light: -light[1]):
            light_ground(self.canvas, x, z, radius)

    def _add(self, z: float, painter: Callable[[Random], None]) -> None:
        self._painters.append((z, painter))

    def _place_trees(self, edge: float, side: int) -> None:
        rng = self.rng
        if rng.random() < 0.35:
            return
        gap = rng.uniform(6, 14)
        z = rng.uniform(3, 12)
        while z < _REACH:
            if not self.street.in_crossing(z, 3) and rng.random() < 0.8:
                x = edge + side * rng.uniform(0.8, 1.2)
                self._add(z, lambda r, x=x, z=z: paint_tree(self.canvas, x, z, r))  # type: ignore[misc]
                self._shadows.append(partial(_shade_tree, x=x, z=z))
            z += gap * rng.uniform(0.8, 1.3)

    def _place_lamps(self, edge: float, side: int) -> None:
        rng = self.rng
        if rng.random() < 0.25:
            return
        z, x = rng.uniform(6, 18), edge + side * 0.5
        while z < _REACH:
            self._add(z, lambda r, z=z: paint_lamp(self.canvas, x, z, -side, r))  # type: ignore[misc]
            self._shadows.append(partial(_shade_post, x=x, z=z, height=7.0))
            if self.canvas.weather.lamps:
                self._lights.append((x - side * 1.5, z, 5.0))
            z += rng.uniform(20, 28)

    def _place_signs(self, edge: float, side: int) -> None:
        rng, street = self.rng, self.street
        x = edge + side * 0.45
        if street.crossing and rng.random() < 0.75:
            z = street.crossing[0] - 0.8
            self._add(z, lambda r: paint_signal(self.canvas, x, z, r))
            self._shadows.append(partial(_shade_post, x=x, z=z, height=4.0))
        for _ in range(rng.randrange(3)):
            where = rng.uniform(6, 45)
            self._add(where, lambda r, where=where: paint_sign(self.canvas, x, where, r))  # type: ignore[misc]

    def _place_parked(self, edge: float, side: int) -> None:
        rng = self.rng
        share = rng.choice((0.0, 0.35, 0.75))
        z = rng.uniform(2.5, 8)
        while z < _REACH:
            model = draw_model(rng, big=False)
            if rng.random() < share and not self.street.in_crossing(z, 7) and not self._at_zebra(z, 6):
                self._add_vehicle(model, edge - side * (model.half_width + 0.3), z, side < 0)
            z += model.length + rng.uniform(0.9, 2.5)

    def _place_traffic(self) -> None:
        rng, street = self.rng, self.street
        for direction, low, high in ((1, street.middle, street.right), (-1, street.left, street.middle)):
            lane = (low + high) / 2 + (rng.uniform(-0.3, 0.3) - direction * 0.5)
            z = rng.uniform(9, 35)
            while z < _REACH:
                if rng.random() < 0.6:
                    model = draw_model(rng)
                    self._add_vehicle(model, lane, z, direction < 0)
                z += rng.uniform(13, 35)

    def _add_vehicle(self, model: Model, x: float, z: float, oncoming: bool) -> None:
        self._add(z, lambda r: paint_vehicle(self.canvas, model, x, z, oncoming, r))
        self._shadows.append(partial(_shade_vehicle, model=model, x=x, z=z))
        if oncoming and self.canvas.weather.lamps:
            self._lights.append((x, max(z - 5, 3.0), 3.5))

    def _place_walkers(self, edge: float, walk: float, side: int) -> None:
        rng = self.rng
        for _ in range(rng.choice((0, 1, 2, 3, 5, 8))):
            z = rng.uniform(5, 15) if rng.random() < 0.4 else rng.uniform(5, 48)
            x = rng.uniform(min(edge, walk) + 0.5, max(edge, walk) - 0.6)
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                self._add_person(x, z)
                x, z = x + rng.uniform(0.45, 0.7), z + rng.uniform(-0.3, 0.3)

    def _place_crossers(self) -> None:
        rng, street = self.rng, self.street
        if street.zebra is not None:
            for _ in range(rng.randrange(5)):
                self._add_person(rng.uniform(street.left, street.right), street.zebra + rng.uniform(0.4, 2.8))
        elif rng.random() < 0.12:
            self._add_person(rng.uniform(street.left, street.right), rng.uniform(10, 30))

    def _add_person(self, x: float, z: float) -> None:
        self._add(z, lambda r: paint_person(self.canvas, x, z, r))
        self._shadows.append(partial(_shade_post, x=x, z=z, height=1.6, width=0.22))

    def _at_zebra(self, z: float, margin: float) -> bool:
        zebra = self.street.zebra
        return zebra is not None and zebra - margin < z < zebra + margin


def _shade_tree(shadows: Shadows, x: float, z: float) -> None:
    offset = shadows.sideways * 5
    for dx, dz, radius in ((0, 0, 1.7), (0.9, 0.8, 1.1), (-0.8, 1.0, 1.2), (0.4, -0.9, 1.0)):
        shadows.disc(x + offset + dx, z + shadows.length + dz, radius, shadows.depth * 0.75)
    shadows.disc(x, z, 0.4, 0.4)


def _shade_post(shadows: Shadows, x: float, z: float, height: float, width: float = 0.09) -> None:
    tip, far = x + shadows.sideways * height, z + shadows.length * height * 0.25
    shadows.cast([(x - width, z), (x + width, z), (tip + width, far), (tip - width, far)])
    shadows.disc(x, z, width * 1.6, 0.35)


def _shade_vehicle(shadows: Shadows, model: Model, x: float, z: float) -> None:
    half, reach = model.half_width, shadows.sideways * model.height
    left, right = min(x - half, x - half + reach), max(x + half, x + half + reach)
    shadows.cast(
        [(left, z + 0.2), (left, z + model.length + 0.4), (right, z + model.length + 0.4), (right, z + 0.2)], 0.9
    )
    shadows.contact(
        [(x - half, z - 0.12), (x - half, z + model.length), (x + half, z + model.length), (x + half, z - 0.12)], 0.6
    )
