"""Colours for classes that have none."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]

_GOLDEN = 0.6180339887498949  # the fractional step that spreads hues most evenly whatever their number
_TONES = ((0.80, 0.90), (0.55, 0.65), (0.40, 0.98), (0.95, 0.70), (0.65, 0.45))  # saturation, value


def distinct_colours(count: int) -> tuple[Colour, ...]:
    """Return different RGB colours for classes, the first ones easiest to tell apart.

    Parameters
    ----------
    count : int
        Number of colours.

    Returns
    -------
    tuple of (int, int, int)
        The same for every call; a longer palette starts with a shorter one. Black is never among them: it marks
        ignored pixels.
    """
    colours: dict[Colour, None] = {}
    step = 0
    while len(colours) < count:
        saturation, value = _TONES[(step // 7) % len(_TONES)]
        red, green, blue = colorsys.hsv_to_rgb((0.58 + step * _GOLDEN) % 1.0, saturation, value)
        colours[round(red * 255), round(green * 255), round(blue * 255)] = None
        step += 1
    return tuple(colours)
