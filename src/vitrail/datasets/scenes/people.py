"""People who walk, stand and talk."""

from __future__ import annotations

import math
from random import Random

from vitrail.datasets.scenes.canvas import PERSON, Canvas, shaded
from vitrail.datasets.scenes.weather import Colour, vary

_SKIN: tuple[Colour, ...] = ((0.92, 0.74, 0.62), (0.80, 0.60, 0.46), (0.60, 0.42, 0.30), (0.40, 0.27, 0.20))
_HAIR: tuple[Colour, ...] = (
    (0.12, 0.10, 0.09),
    (0.28, 0.18, 0.11),
    (0.55, 0.40, 0.22),
    (0.62, 0.60, 0.58),
    (0.42, 0.16, 0.08),
)
_TOPS: tuple[Colour, ...] = (
    (0.75, 0.18, 0.20), (0.16, 0.32, 0.58), (0.90, 0.88, 0.84), (0.20, 0.21, 0.24), (0.85, 0.65, 0.20),
    (0.25, 0.48, 0.35), (0.55, 0.35, 0.55), (0.78, 0.48, 0.36), (0.45, 0.60, 0.75),
)  # fmt: skip
_LEGS: tuple[Colour, ...] = (
    (0.15, 0.18, 0.30),
    (0.22, 0.22, 0.23),
    (0.55, 0.48, 0.38),
    (0.30, 0.34, 0.42),
    (0.42, 0.26, 0.22),
)


def paint_person(canvas: Canvas, x: float, z: float, rng: Random) -> None:
    """Paint a person with feet at (x, z)."""
    _Person(canvas, x, z, rng).paint()


class _Person:
    """One person; lengths are in units of body height."""

    def __init__(self, canvas: Canvas, x: float, z: float, rng: Random) -> None:
        self.canvas = canvas
        self.rng = rng
        height = rng.uniform(1.05, 1.35) if rng.random() < 0.12 else rng.uniform(1.58, 1.88)
        self.unit = canvas.camera.scale(z) * height
        self.foot_x, self.foot_y = canvas.camera.point(x, 0, z)
        self.z = z
        self.turn = rng.choice((-1, 1))
        self.profile = rng.random()  # 0: seen from front or back, 1: from the side
        self.stride = rng.uniform(0.02, 0.15) * (0.35 + 0.65 * self.profile)
        self.facing = 0.35 + 0.4 * rng.random()
        self.skin = self._colour(rng.choice(_SKIN), 0.1)
        self.top = self._colour(rng.choice(_TOPS), 0.2)
        self.legs = self._colour(rng.choice(_LEGS), 0.2)
        self.hair = self._colour(rng.choice(_HAIR), 0.2)
        self.build = rng.uniform(0.9, 1.15)

    def paint(self) -> None:
        """Paint far limbs first, then the trunk and what is in front of it."""
        self._arm(-1)
        skirt = self.rng.random() < 0.15
        self._leg(-1, bare=skirt)
        self._leg(1, bare=skirt)
        if skirt:
            self._polygon([(-0.075, 0.56), (0.075, 0.56), (0.115, 0.30), (-0.115, 0.30)], shaded(self.top, 0.8))
        self._trunk()
        if self.rng.random() < 0.3:
            self._bag()
        self._arm(1)
        self._head()
        if self.canvas.weather.wet and self.rng.random() < 0.55:
            self._umbrella()

    def _colour(self, colour: Colour, amount: float) -> tuple[int, int, int]:
        return self.canvas.paint(vary(colour, self.rng, amount), self.z, self.facing)

    def _at(self, across: float, up: float) -> tuple[float, float]:
        return self.foot_x + across * self.turn * self.unit, self.foot_y - up * self.unit

    def _polygon(self, points: list[tuple[float, float]], colour: tuple[int, int, int]) -> None:
        self.canvas.shape([self._at(*point) for point in points], colour, PERSON)

    def _limb(self, points: list[tuple[float, float]], width: float, colour: tuple[int, int, int]) -> None:
        self.canvas.stroke([self._at(*point) for point in points], width * self.unit, colour, PERSON)

    def _ball(self, across: float, up: float, radius: float, tall: float, colour: tuple[int, int, int]) -> None:
        x, y = self._at(across, up)
        r = radius * self.unit
        self.canvas.oval((x - r, y - r * tall, x + r, y + r * tall), colour, PERSON)

    def _leg(self, which: int, bare: bool) -> None:
        spread = (1 - self.profile) * 0.045 * which
        foot = which * self.stride + spread
        knee = foot * 0.45 + 0.02 * self.profile
        colour = shaded(self.skin if bare else self.legs, 1.0 if which > 0 else 0.8)
        self._limb([(spread, 0.50), (knee, 0.27), (foot, 0.035)], 0.072 * self.build, colour)
        lift = 0.02 if which < 0 and self.stride > 0.08 else 0.0
        shoe = shaded(self.hair, 0.7)
        length = 0.035 + 0.035 * self.profile
        x, y = self._at(foot + 0.022 * self.profile, 0.018 + lift)
        r = self.unit
        self.canvas.oval((x - length * r, y - 0.02 * r, x + length * r, y + 0.02 * r), shoe, PERSON)

    def _trunk(self) -> None:
        shoulder = (0.125 - 0.045 * self.profile) * self.build
        hip = (0.085 - 0.015 * self.profile) * self.build
        outline = [
            (-shoulder * 0.55, 0.845), (shoulder * 0.55, 0.845), (shoulder, 0.80), (hip * 1.02, 0.60), (hip, 0.47),
            (-hip, 0.47), (-hip * 1.02, 0.60), (-shoulder, 0.80),
        ]  # fmt: skip
        self._polygon(outline, self.top)
        sun = 1 if self.canvas.sun_side * self.turn > 0 else -1
        self._polygon(
            [(-sun * shoulder * 0.3, 0.83), (-sun * shoulder, 0.80), (-sun * hip, 0.47), (-sun * hip * 0.3, 0.47)],
            shaded(self.top, 0.82),
        )

    def _arm(self, which: int) -> None:
        shoulder = which * (0.115 - 0.075 * self.profile) * self.build
        swing = -which * self.stride * 0.9
        hand = (shoulder + which * 0.03 * (1 - self.profile) + swing + 0.03 * self.profile, 0.45)
        elbow = (shoulder + which * 0.025 * (1 - self.profile) + swing * 0.35 - 0.01, 0.62)
        sleeve = shaded(self.top, 0.9 if which > 0 else 0.72)
        self._limb([(shoulder, 0.80), elbow, hand], 0.048 * self.build, sleeve)
        self._ball(hand[0], hand[1], 0.025, 1.0, self.skin)

    def _head(self) -> None:
        self._polygon([(-0.025, 0.87), (0.025, 0.87), (0.028, 0.82), (-0.028, 0.82)], shaded(self.skin, 0.85))
        self._ball(0.008 * self.profile, 0.925, 0.052, 1.28, self.skin)
        self._ball(-0.012 * self.profile, 0.955, 0.055, 0.85, self.hair)
        if self.rng.random() < 0.4:
            self._ball(-0.030 * self.profile, 0.91, 0.040, 1.6, self.hair)
            self._ball(0.02 * self.profile, 0.915, 0.042, 1.15, self.skin)

    def _bag(self) -> None:
        colour = self._colour(self.rng.choice(_TOPS), 0.3)
        if self.profile > 0.5:
            self._polygon([(-0.07, 0.80), (-0.15, 0.78), (-0.16, 0.58), (-0.07, 0.58)], colour)
        else:
            self._polygon([(0.08, 0.56), (0.17, 0.56), (0.18, 0.42), (0.07, 0.42)], colour)

    def _umbrella(self) -> None:
        colour = self._colour(self.rng.choice(_TOPS), 0.3)
        self._limb([(0.05, 0.62), (0.05, 1.12)], 0.012, shaded(colour, 0.4))
        arc = [(0.05 + 0.30 * math.cos(math.pi * i / 10), 1.02 + 0.16 * math.sin(math.pi * i / 10)) for i in range(11)]
        self._polygon(arc, colour)
        self._polygon([*arc[3:6], (0.05, 1.02), (0.13, 1.02)], shaded(colour, 0.85))
