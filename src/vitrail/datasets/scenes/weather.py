"""Light and weather: the colours that a scene is lit with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Weather:
    """Light and haze of a scene. Colours are RGB, 0…1, and light may exceed 1.

    Attributes
    ----------
    name : str
        Descriptive name.
    zenith, skyline : colour
        Of the sky, above and at the horizon.
    cloud, cloud_shade : colour
        Of clouds, in and out of the light.
    cover : (float, float)
        Range of the share of the sky that is cloudy.
    ambient, sun : colour
        Light from everywhere, and from the sun (or the moon).
    sun_height : float
        How far above the horizon the sun stands, as a share of the sky's height in the picture.
    haze : float
        How much of the light is lost per metre.
    lit : float
        Share of the windows that are lit; above 0.2 street lamps and headlights are on, too.
    wet : float
        How much a wet road mirrors.
    stars : bool
    """

    name: str
    zenith: Colour
    skyline: Colour
    cloud: Colour
    cloud_shade: Colour
    cover: tuple[float, float]
    ambient: Colour
    sun: Colour
    sun_height: float
    haze: float
    lit: float = 0.0
    wet: float = 0.0
    stars: bool = False

    @property
    def lamps(self) -> bool:
        """Whether lamps are on."""
        return self.lit > 0.2


CLEAR = Weather(
    name="clear day",
    zenith=(0.22, 0.45, 0.80),
    skyline=(0.74, 0.85, 0.95),
    cloud=(1.0, 0.99, 0.97),
    cloud_shade=(0.72, 0.77, 0.85),
    cover=(0.1, 0.5),
    ambient=(0.60, 0.64, 0.72),
    sun=(0.66, 0.60, 0.48),
    sun_height=0.8,
    haze=0.0035,
)
OVERCAST = Weather(
    name="overcast",
    zenith=(0.60, 0.64, 0.70),
    skyline=(0.82, 0.84, 0.86),
    cloud=(0.86, 0.87, 0.89),
    cloud_shade=(0.58, 0.61, 0.66),
    cover=(0.75, 0.95),
    ambient=(0.88, 0.90, 0.93),
    sun=(0.08, 0.08, 0.07),
    sun_height=0.7,
    haze=0.006,
    lit=0.05,
)
GOLDEN = Weather(
    name="late afternoon",
    zenith=(0.33, 0.46, 0.70),
    skyline=(0.98, 0.82, 0.60),
    cloud=(1.0, 0.86, 0.70),
    cloud_shade=(0.68, 0.58, 0.62),
    cover=(0.15, 0.55),
    ambient=(0.58, 0.54, 0.58),
    sun=(0.88, 0.62, 0.34),
    sun_height=0.3,
    haze=0.005,
    lit=0.06,
)
DUSK = Weather(
    name="dusk",
    zenith=(0.13, 0.15, 0.36),
    skyline=(0.95, 0.52, 0.36),
    cloud=(0.93, 0.50, 0.42),
    cloud_shade=(0.30, 0.24, 0.40),
    cover=(0.2, 0.6),
    ambient=(0.46, 0.41, 0.52),
    sun=(0.30, 0.15, 0.10),
    sun_height=0.05,
    haze=0.005,
    lit=0.40,
)
NIGHT = Weather(
    name="night",
    zenith=(0.015, 0.025, 0.075),
    skyline=(0.11, 0.12, 0.22),
    cloud=(0.16, 0.16, 0.24),
    cloud_shade=(0.05, 0.06, 0.11),
    cover=(0.1, 0.5),
    ambient=(0.25, 0.26, 0.37),
    sun=(0.05, 0.06, 0.10),
    sun_height=0.75,
    haze=0.006,
    lit=0.5,
    stars=True,
)
FOG = Weather(
    name="fog",
    zenith=(0.72, 0.75, 0.78),
    skyline=(0.82, 0.83, 0.84),
    cloud=(0.84, 0.85, 0.86),
    cloud_shade=(0.76, 0.78, 0.80),
    cover=(0.5, 0.8),
    ambient=(0.82, 0.84, 0.87),
    sun=(0.04, 0.04, 0.04),
    sun_height=0.6,
    haze=0.022,
    lit=0.12,
)
RAIN = Weather(
    name="rain",
    zenith=(0.38, 0.42, 0.48),
    skyline=(0.62, 0.66, 0.70),
    cloud=(0.58, 0.61, 0.66),
    cloud_shade=(0.34, 0.37, 0.43),
    cover=(0.8, 0.95),
    ambient=(0.66, 0.69, 0.74),
    sun=(0.03, 0.03, 0.03),
    sun_height=0.6,
    haze=0.010,
    lit=0.25,
    wet=0.38,
)
_RAINY_NIGHT = replace(NIGHT, name="rainy night", wet=0.55, stars=False, cover=(0.7, 0.9), haze=0.009)

_ODDS = ((CLEAR, 30), (OVERCAST, 14), (GOLDEN, 18), (DUSK, 12), (NIGHT, 9), (FOG, 6), (RAIN, 7), (_RAINY_NIGHT, 4))


def draw_weather(rng: Random) -> Weather:
    """Draw the weather; fine days are the most frequent."""
    return rng.choices([weather for weather, _ in _ODDS], [odds for _, odds in _ODDS])[0]


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Mix two colours; a share of 1 is the other one."""
    rest = 1 - share
    return (
        one[0] * rest + other[0] * share,
        one[1] * rest + other[1] * share,
        one[2] * rest + other[2] * share,
    )


def times(one: Colour, other: Colour) -> Colour:
    """Multiply two colours."""
    return one[0] * other[0], one[1] * other[1], one[2] * other[2]


def dim(colour: Colour, factor: float) -> Colour:
    """Make a colour darker or lighter."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def vary(colour: Colour, rng: Random, amount: float) -> Colour:
    """Change a colour's brightness and, a little, its tint at random."""
    level = 1 + rng.uniform(-amount, amount)
    return (
        colour[0] * level * (1 + rng.uniform(-amount, amount) * 0.3),
        colour[1] * level,
        colour[2] * level * (1 + rng.uniform(-amount, amount) * 0.3),
    )
