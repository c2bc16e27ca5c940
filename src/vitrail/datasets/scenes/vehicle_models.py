"""Kinds of vehicles, by their side profiles."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Model:
    """A kind of vehicle.

    Attributes
    ----------
    profile : tuple of (float, float, float)
        Along the vehicle from its rear: metres from the rear, height, and half the width there.
    glass : frozenset of int
        Segments of the profile (from point i to i + 1) that are windows.
    side_windows : tuple of tuple of (float, float)
        Window outlines on the side, as metres from the rear and height.
    wheels : tuple of float
        Where the axles are, in metres from the rear.
    radius : float
        Of the wheels.
    """

    profile: tuple[tuple[float, float, float], ...]
    glass: frozenset[int]
    side_windows: tuple[tuple[tuple[float, float], ...], ...]
    wheels: tuple[float, ...]
    radius: float

    @property
    def length(self) -> float:
        """Length in metres."""
        return max(z for z, _, _ in self.profile)

    @property
    def half_width(self) -> float:
        """Half the largest width."""
        return max(half for _, _, half in self.profile)

    @property
    def height(self) -> float:
        """Height in metres."""
        return max(y for _, y, _ in self.profile)


SEDAN = Model(
    profile=(
        (0.0, 0.32, 0.84),
        (0.0, 0.62, 0.88),
        (0.06, 0.93, 0.85),
        (0.62, 0.98, 0.82),
        (1.28, 1.40, 0.62),
        (2.45, 1.43, 0.62),
        (3.22, 1.00, 0.80),
        (4.20, 0.82, 0.82),
        (4.38, 0.58, 0.84),
        (4.38, 0.30, 0.82),
    ),
    glass=frozenset({3, 5}),
    side_windows=(
        ((0.82, 1.0), (1.32, 1.34), (1.85, 1.36), (1.85, 1.0)),
        ((1.95, 1.0), (1.95, 1.36), (2.42, 1.36), (3.0, 1.02)),
    ),
    wheels=(0.85, 3.45),
    radius=0.33,
)
HATCH = Model(
    profile=(
        (0.0, 0.32, 0.80),
        (0.0, 0.66, 0.85),
        (0.08, 0.96, 0.83),
        (0.50, 1.42, 0.64),
        (0.72, 1.48, 0.62),
        (2.10, 1.48, 0.62),
        (2.90, 1.02, 0.80),
        (3.70, 0.84, 0.80),
        (3.88, 0.58, 0.82),
        (3.88, 0.30, 0.80),
    ),
    glass=frozenset({2, 5}),
    side_windows=(
        ((0.55, 1.02), (0.72, 1.38), (1.45, 1.40), (1.45, 1.02)),
        ((1.55, 1.02), (1.55, 1.40), (2.08, 1.40), (2.70, 1.04)),
    ),
    wheels=(0.70, 3.10),
    radius=0.32,
)
SUV = Model(
    profile=(
        (0.0, 0.40, 0.90),
        (0.0, 0.80, 0.95),
        (0.06, 1.10, 0.93),
        (0.35, 1.62, 0.72),
        (0.55, 1.70, 0.70),
        (2.50, 1.70, 0.70),
        (3.20, 1.18, 0.90),
        (4.35, 1.02, 0.92),
        (4.52, 0.70, 0.93),
        (4.52, 0.36, 0.90),
    ),
    glass=frozenset({2, 5}),
    side_windows=(
        ((0.42, 1.18), (0.58, 1.58), (1.55, 1.60), (1.55, 1.18)),
        ((1.66, 1.18), (1.66, 1.60), (2.46, 1.60), (3.0, 1.20)),
    ),
    wheels=(0.90, 3.60),
    radius=0.38,
)
VAN = Model(
    profile=(
        (0.0, 0.40, 0.95),
        (0.0, 1.30, 0.98),
        (0.04, 2.05, 0.92),
        (0.12, 2.25, 0.88),
        (3.60, 2.25, 0.88),
        (4.55, 1.30, 0.95),
        (5.20, 1.05, 0.95),
        (5.32, 0.70, 0.96),
        (5.32, 0.38, 0.94),
    ),
    glass=frozenset({1, 4}),
    side_windows=(((3.10, 1.32), (3.10, 1.95), (3.75, 1.95), (4.35, 1.36)),),
    wheels=(1.0, 4.30),
    radius=0.36,
)
TRUCK = Model(
    profile=(
        (0.0, 0.75, 1.20),
        (0.0, 3.35, 1.20),
        (5.60, 3.35, 1.20),
        (5.62, 2.70, 1.15),
        (7.00, 2.65, 1.12),
        (7.40, 1.55, 1.16),
        (7.50, 0.50, 1.16),
    ),
    glass=frozenset({4}),
    side_windows=(((6.0, 1.60), (6.0, 2.35), (6.85, 2.35), (7.15, 1.60)),),
    wheels=(1.2, 2.3, 6.4),
    radius=0.50,
)
BUS = Model(
    profile=(
        (0.0, 0.35, 1.22),
        (0.0, 1.35, 1.24),
        (0.05, 2.60, 1.20),
        (0.15, 3.00, 1.12),
        (10.8, 3.00, 1.12),
        (11.0, 2.60, 1.20),
        (11.1, 1.0, 1.22),
        (11.1, 0.35, 1.20),
    ),
    glass=frozenset({1, 5}),
    side_windows=tuple(
        ((0.5 + i * 1.5, 1.35), (0.5 + i * 1.5, 2.45), (1.85 + i * 1.5, 2.45), (1.85 + i * 1.5, 1.35)) for i in range(7)
    ),
    wheels=(2.6, 8.6),
    radius=0.50,
)

_CARS = (SEDAN, HATCH, SUV)


def draw_model(rng: Random, big: bool = True) -> Model:
    """Draw a kind of vehicle; cars are the most frequent."""
    if big and rng.random() < 0.22:
        return rng.choice((VAN, VAN, TRUCK, BUS))
    return rng.choice(_CARS)
