"""The plan of a street, seen from above: what lies where, in metres."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

FAR = 170.0


@dataclass(frozen=True)
class Street:
    """A straight street along Z.

    Attributes
    ----------
    left, right : float
        X of the road's edges; the camera stands at X = 0.
    left_walk, right_walk : float
        X of the house fronts.
    middle : float
        X of the line between the directions.
    crossing : (float, float) or None
        From where to where along Z another street crosses.
    zebra : float or None
        Z of a pedestrian crossing.
    """

    left: float
    right: float
    left_walk: float
    right_walk: float
    middle: float
    crossing: tuple[float, float] | None
    zebra: float | None

    def in_crossing(self, z: float, margin: float = 0.0) -> bool:
        """Whether a place along the street lies within the crossing street."""
        return self.crossing is not None and self.crossing[0] - margin < z < self.crossing[1] + margin


def draw_street(rng: Random) -> Street:
    """Draw a street: two or four lanes, with the camera in one of the right-hand ones, now and then on the pavement."""
    lane = rng.uniform(3.0, 3.6)
    lanes = rng.choice((1, 1, 1, 2))
    parking = rng.choice((0.0, 2.1, 2.1))
    half = lanes * lane + parking
    eye_x = rng.uniform(0.3, 0.7) * lane * lanes if rng.random() < 0.85 else half + rng.uniform(0.3, 1.2)
    crossing = None
    zebra = None
    if rng.random() < 0.5:
        start = rng.uniform(14, 55)
        crossing = (start, start + rng.uniform(7, 12))
        zebra = start - 4.5 if rng.random() < 0.7 else None
    elif rng.random() < 0.3:
        zebra = rng.uniform(9, 30)
    return Street(
        left=-half - eye_x,
        right=half - eye_x,
        left_walk=-half - eye_x - rng.uniform(2.4, 5.0),
        right_walk=half - eye_x + rng.uniform(2.4, 5.0),
        middle=-eye_x,
        crossing=crossing,
        zebra=zebra,
    )
