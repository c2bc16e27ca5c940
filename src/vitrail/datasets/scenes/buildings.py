"""House fronts along the street: brick, plaster, glass, and houses with gardens between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from vitrail.datasets.scenes.camera import NEAR, Point
from vitrail.datasets.scenes.canvas import BUILDING, TREE, Canvas, shaded, to_rgb
from vitrail.datasets.scenes.street import FAR, Street
from vitrail.datasets.scenes.weather import Colour, dim, mix, vary

_WALLS: tuple[Colour, ...] = (
    (0.66, 0.40, 0.31),
    (0.56, 0.33, 0.27),
    (0.80, 0.72, 0.58),
    (0.85, 0.80, 0.70),
    (0.72, 0.69, 0.65),
    (0.62, 0.64, 0.66),
    (0.78, 0.58, 0.43),
    (0.83, 0.70, 0.50),
    (0.58, 0.60, 0.52),
    (0.74, 0.76, 0.80),
    (0.88, 0.86, 0.82),
    (0.52, 0.44, 0.41),
)
_AWNINGS: tuple[Colour, ...] = ((0.70, 0.16, 0.16), (0.13, 0.38, 0.28), (0.15, 0.27, 0.52), (0.80, 0.62, 0.20))
_ROOFS: tuple[Colour, ...] = ((0.48, 0.25, 0.19), (0.35, 0.33, 0.34), (0.30, 0.27, 0.25))
_TINY = 3.0  # pixels; windows narrower than this are not worth drawing one by one

Quad = Callable[[float, float, float, float], list[Point]]


@dataclass(frozen=True)
class House:
    """One house of a row: from `near` to `far` along the street, with its front at X."""

    near: float
    far: float
    x: float
    height: float
    wall: Colour
    style: str


def draw_houses(street: Street, side: int, rng: Random) -> list[House]:
    """Draw a row of houses on the left (side -1) or the right (1), from near to far."""
    front = street.left_walk if side < 0 else street.right_walk
    tall = rng.choice((7.0, 11.0, 15.0, 20.0))
    houses = []
    z = rng.uniform(-14, 1)
    while z < FAR:
        length = rng.uniform(8, 20)
        if street.in_crossing(z, 2) or street.in_crossing(z + length, 2):
            z = street.crossing[1] + 2.2 if street.crossing and z + length > street.crossing[0] else z + 1
            length = rng.uniform(8, 16)
            if street.in_crossing(z, 2):
                continue
        height = tall * rng.uniform(0.65, 1.4)
        style = (
            "glass" if height > 17 and rng.random() < 0.5 else rng.choice(("flats", "flats", "shop", "shop", "gable"))
        )
        setback = side * rng.choice((0.0, 0.0, 0.0, 0.6, 1.5))
        if style == "gable":
            height = min(height, rng.uniform(5.5, 9))
        wall = vary(rng.choice(_WALLS), rng, 0.1)
        if z + length > NEAR:
            houses.append(House(max(z, NEAR), z + length, front + setback, height, wall, style))
        z += length + rng.choice((0.0, 0.0, 0.0, 0.0, rng.uniform(3, 9)))
    return houses


def paint_houses(canvas: Canvas, houses: list[House], side: int, rng: Random) -> None:
    """Paint a row of houses from far to near."""
    for house in reversed(houses):
        _paint_house(canvas, house, side, rng)


def _paint_house(canvas: Canvas, house: House, side: int, rng: Random) -> None:
    camera = canvas.camera
    z = (house.near + house.far) / 2
    lit_side = 0.25 + 0.75 * max(0.0, -side * canvas.sun_side)  # a front on the left faces the right
    wall = canvas.paint(house.wall, z, lit_side)
    end = canvas.paint(dim(house.wall, 0.92), house.near, 0.12)
    outer = house.x + side * 14
    if house.style == "gable":
        _paint_gable(canvas, house, side, lit_side, rng)
    gable_end = [(house.x, 0.0), (house.x, house.height), (outer, house.height), (outer, 0.0)]
    canvas.shape([camera.point(x, y, house.near) for x, y in gable_end], end, BUILDING)
    _paint_end_windows(canvas, house, side, end, rng)

    def quad(z0: float, z1: float, y0: float, y1: float) -> list[Point]:
        return [
            camera.point(house.x, y0, z0),
            camera.point(house.x, y1, z0),
            camera.point(house.x, y1, z1),
            camera.point(house.x, y0, z1),
        ]

    canvas.shape(quad(house.near, house.far, 0, house.height), wall, BUILDING)
    _paint_front(canvas, house, quad, wall, lit_side, rng)
    if house.near > 2.5:
        corner = [camera.point(house.x, 0, house.near), camera.point(house.x, house.height, house.near)]
        canvas.stroke(corner, camera.scale(house.near) * 0.05, shaded(wall, 1.08), None)


def _paint_end_windows(canvas: Canvas, house: House, side: int, wall: tuple[int, int, int], rng: Random) -> None:
    z = house.near
    if z < 4 or rng.random() < 0.25:
        return
    columns = [2.0 + 2.9 * column for column in range(rng.choice((1, 2, 4)))]
    curtain = vary((0.72, 0.70, 0.66), rng, 0.2)
    for level in range(1 if house.height > 5 else 0, int((house.height - 0.8) / 3.1)):
        for offset in columns:
            x0, y0 = house.x + side * offset, 0.9 + level * 3.1
            box = [(x0, y0), (x0, y0 + 1.6), (x0 + side * 1.1, y0 + 1.6), (x0 + side * 1.1, y0)]
            pane = _pane(canvas, z, 0.12, False, curtain, rng)
            canvas.shape([canvas.camera.point(x, y, z) for x, y in box], pane, None)
            lintel = [(x0, y0 + 1.45), (x0, y0 + 1.6), (x0 + side * 1.1, y0 + 1.6), (x0 + side * 1.1, y0 + 1.45)]
            canvas.shape([canvas.camera.point(x, y, z) for x, y in lintel], shaded(wall, 0.6), None)


def _paint_gable(canvas: Canvas, house: House, side: int, lit_side: float, rng: Random) -> None:
    camera = canvas.camera
    ridge, ridge_x = house.height + rng.uniform(2.2, 3.6), house.x + side * 5
    roof = vary(rng.choice(_ROOFS), rng, 0.12)
    eaves = house.x - side * 0.4
    outline = [
        camera.point(eaves, house.height - 0.1, house.near),
        camera.point(ridge_x, ridge, house.near),
        camera.point(ridge_x, ridge, house.far),
        camera.point(eaves, house.height - 0.1, house.far),
    ]
    triangle = [
        camera.point(house.x, house.height, house.near),
        camera.point(ridge_x, ridge, house.near),
        camera.point(house.x + side * 10, house.height, house.near),
    ]
    canvas.shape(triangle, canvas.paint(dim(house.wall, 0.92), house.near, 0.12), BUILDING)
    canvas.shape(outline, canvas.paint(roof, house.near, 0.3 + 0.7 * lit_side), BUILDING)
    if rng.random() < 0.6:
        z = house.near + (house.far - house.near) * rng.uniform(0.2, 0.8)
        base = [
            (ridge_x - 0.5, ridge - 1),
            (ridge_x - 0.5, ridge + 1.1),
            (ridge_x + 0.5, ridge + 1.1),
            (ridge_x + 0.5, ridge - 1),
        ]
        canvas.shape([camera.point(x, y, z) for x, y in base], canvas.paint((0.5, 0.32, 0.26), z, 0.3), BUILDING)


def _paint_front(
    canvas: Canvas, house: House, quad: Quad, wall: tuple[int, int, int], lit_side: float, rng: Random
) -> None:
    floor = 3.1 if house.style != "glass" else 3.5
    floors = max(1, int((house.height - 0.8) / floor))
    length = house.far - house.near
    bay = rng.uniform(2.2, 3.2) if house.style != "glass" else rng.uniform(1.4, 2.0)
    bays = max(1, int(length / bay))
    bay = length / bays
    ground = house.height - floors * floor if house.style != "glass" else 0.0
    first = 1 if house.style == "shop" and floors > 1 else 0
    _paint_trim(canvas, house, quad, wall, floors, floor)
    share = 0.92 if house.style == "glass" else rng.uniform(0.38, 0.55)
    tall = 0.88 if house.style == "glass" else rng.uniform(0.45, 0.62)
    curtain = vary((0.72, 0.70, 0.66), rng, 0.2)
    frame = shaded(wall, rng.choice((0.72, 1.16)))
    for column in range(bays):
        z0 = house.near + (column + 0.5 - share / 2) * bay
        z1 = z0 + share * bay
        x0, x1 = quad(z0, z1, 0, 1)[0][0], quad(z0, z1, 0, 1)[2][0]
        width = abs(x0 - x1)
        if width < 0.8 or max(x0, x1) < 0 or min(x0, x1) > canvas.camera.width:
            continue
        for level in range(first, floors):
            y0 = min(ground, 0.6) + level * floor + floor * (1 - tall) * 0.5
            y1 = y0 + floor * tall
            if width > 2 * _TINY and house.style != "glass":
                canvas.shape(quad(z0 - 0.09, z1 + 0.09, y0 - 0.12, y1 + 0.09), frame, None)
            canvas.shape(quad(z0, z1, y0, y1), _pane(canvas, z0, lit_side, house.style == "glass", curtain, rng), None)
            if width > 4 * _TINY and house.style != "glass":
                middle = (z0 + z1) / 2
                canvas.shape(quad(middle - 0.035, middle + 0.035, y0, y1), frame, None)
                canvas.shape(quad(z0, z1, y1 - 0.14, y1), shaded(wall, 0.55), None)
    if first:
        _paint_shops(canvas, house, quad, floor, rng)
    elif house.style != "glass":
        _paint_door(canvas, house, quad, rng)


def _paint_trim(
    canvas: Canvas, house: House, quad: Quad, wall: tuple[int, int, int], floors: int, floor: float
) -> None:
    near, far, top = house.near, house.far, house.height
    canvas.shape(quad(near, far, 0, 0.5), shaded(wall, 0.72), None)
    if house.style == "gable":
        return
    canvas.shape(quad(near, far, top - 0.35, top), shaded(wall, 1.14), None)
    canvas.shape(quad(near, far, top - 0.48, top - 0.35), shaded(wall, 0.70), None)
    if house.style == "flats":
        for level in range(1, floors):
            canvas.shape(quad(near, far, level * floor + 0.3, level * floor + 0.42), shaded(wall, 0.88), None)


def _pane(canvas: Canvas, z: float, lit_side: float, glass: bool, curtain: Colour, rng: Random) -> tuple[int, int, int]:
    weather = canvas.weather
    draw = rng.random()
    if draw < weather.lit:
        warm: Colour = (1.0, 0.80, 0.46) if rng.random() < 0.8 else (0.85, 0.92, 1.0)
        return canvas.through_air(dim(warm, rng.uniform(0.55, 1.0)), z * 0.5)
    if glass:
        mirrored = mix(weather.skyline, weather.zenith, rng.uniform(0.2, 0.9))
        return canvas.through_air(dim(mirrored, rng.uniform(0.55, 0.8)), z)
    if draw > 0.86:
        return canvas.paint(dim(curtain, 0.8), z, lit_side)
    dark: Colour = mix((0.12, 0.14, 0.18), weather.zenith, rng.uniform(0.05, 0.35))
    return canvas.through_air(dim(dark, 0.35 + 0.65 * canvas.light(lit_side)[1]), z)


def _paint_shops(canvas: Canvas, house: House, quad: Quad, floor: float, rng: Random) -> None:
    z = house.near
    while z < house.far - 2:
        end = min(house.far - 0.2, z + rng.uniform(3.5, 6))
        glow = canvas.weather.lit > 0 and rng.random() < max(0.6, canvas.weather.lit)
        if glow and canvas.weather.lamps:
            glass = to_rgb(dim((1.0, 0.86, 0.58), rng.uniform(0.75, 1.0)))
        else:
            glass = canvas.paint((0.20, 0.24, 0.28), z, 0.3)
        canvas.shape(quad(z + 0.2, end, 0.45, floor - 0.75), canvas.paint((0.24, 0.22, 0.22), z), None)
        panes = max(1, int((end - z) / 1.6))
        width = (end - z - 0.2) / panes
        for pane in range(panes):
            start = z + 0.2 + pane * width
            canvas.shape(
                quad(start + 0.1, start + width - 0.1, 0.6, floor - 0.9), shaded(glass, rng.uniform(0.85, 1.1)), None
            )
        sign = rng.choice(_AWNINGS)
        canvas.shape(quad(z + 0.2, end, floor - 0.75, floor - 0.1), canvas.paint(vary(sign, rng, 0.2), z, 0.5), None)
        if rng.random() < 0.5:
            _paint_awning(canvas, house, z + 0.2, end, floor, rng)
        z = end + 0.4


def _paint_awning(canvas: Canvas, house: House, near: float, far: float, floor: float, rng: Random) -> None:
    camera = canvas.camera
    out = house.x - (1.1 if house.x > 0 else -1.1)
    colour = canvas.paint(vary(rng.choice(_AWNINGS), rng, 0.15), near, 0.7)
    light = canvas.paint((0.88, 0.86, 0.80), near, 0.7)
    stripes = max(2, int((far - near) / 0.7))
    step = (far - near) / stripes
    for stripe in reversed(range(stripes)):
        z0, z1 = near + stripe * step, near + (stripe + 1) * step
        corners = [
            camera.point(house.x, floor - 0.3, z0),
            camera.point(house.x, floor - 0.3, z1),
            camera.point(out, floor - 1.0, z1),
            camera.point(out, floor - 1.0, z0),
        ]
        canvas.shape(corners, colour if stripe % 2 else light, BUILDING)


def _paint_door(canvas: Canvas, house: House, quad: Quad, rng: Random) -> None:
    z = house.near + (house.far - house.near) * rng.uniform(0.15, 0.75)
    canvas.shape(quad(z - 0.1, z + 1.3, 0, 2.5), canvas.paint((0.80, 0.78, 0.74), z, 0.3), None)
    door: Colour = rng.choice(((0.35, 0.20, 0.13), (0.15, 0.28, 0.22), (0.16, 0.20, 0.34), (0.45, 0.12, 0.12)))
    canvas.shape(quad(z, z + 1.2, 0, 2.4), canvas.paint(door, z, 0.3), None)


def paint_hedge(canvas: Canvas, house: House, side: int, rng: Random) -> None:
    """Paint a hedge in front of a house, as rows of round bushes."""
    camera = canvas.camera
    z = house.far
    while z > house.near:
        radius = rng.uniform(0.5, 0.75)
        x, y = camera.point(house.x - side * 0.5, 0.55, z)
        size = camera.scale(z) * radius
        colour = canvas.paint(vary((0.20, 0.36, 0.15), rng, 0.2), z, 0.5)
        canvas.oval((x - size, y - size * 0.9, x + size, y + size), shaded(colour, 0.8), TREE)
        canvas.oval((x - size * 0.8, y - size * 0.85, x + size * 0.7, y + size * 0.4), colour, TREE)
        z -= radius * 1.1
