"""Colours of classes: distinct ones for classes that have none, and colours that are written as "#rrggbb"."""

from __future__ import annotations

import colorsys
import re

Colour = tuple[int, int, int]

_GOLDEN = 0.6180339887498949  # the step (golden ratio) that spreads any number of hues evenly over the circle
_TONES = ((0.80, 0.90), (0.55, 0.65), (0.40, 0.98), (0.95, 0.70), (0.65, 0.45))  # saturation, value

_HEX = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


def parse_hex_colour(text: str) -> Colour | None:
    """Return the colour that is written as "#rrggbb" or "rrggbb"; None for any other text."""
    digits = _HEX.fullmatch(text.strip())
    if digits is None:
        return None
    red, green, blue = (int(pair, 16) for pair in digits.groups())
    return red, green, blue


def distinct_colours(num_classes: int) -> tuple[Colour, ...]:
    """Return `num_classes` different RGB colours; the first ones are the easiest to tell apart.

    Parameters
    ----------
    num_classes : int
        Number of colours.

    Returns
    -------
    tuple of (int, int, int)
        Deterministic; a longer palette starts with the colours of a shorter one. Black, the colour of ignored pixels,
        is never used.
    """
    colours: dict[Colour, None] = {}
    step = 0
    while len(colours) < num_classes:
        saturation, value = _TONES[(step // 7) % len(_TONES)]
        red, green, blue = colorsys.hsv_to_rgb((0.58 + step * _GOLDEN) % 1.0, saturation, value)
        colours[round(red * 255), round(green * 255), round(blue * 255)] = None
        step += 1
    return tuple(colours)
