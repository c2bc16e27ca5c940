"""Colours for classes that came without any."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]

_GOLDEN = 0.6180339887498949  # the fractional step that spreads hues most evenly whatever their number
_TONES = ((0.80, 0.90), (0.55, 0.65), (0.40, 0.98), (0.95, 0.70), (0.65, 0.45))  # saturation, value


def generate_palette(num_classes: int) -> tuple[Colour, ...]:
    """Return `num_classes` different RGB colours, the first ones easiest to tell apart.

    Parameters
    ----------
    num_classes : int
        How many colours.

    Returns
    -------
    tuple of (int, int, int)
        The same for every call; a longer palette begins as a shorter one does. Black is never among them: it stands for
        ignored pixels.
    """
    colours: dict[Colour, None] = {}
    step = 0
    while len(colours) < num_classes:
        saturation, value = _TONES[(step // 7) % len(_TONES)]
        red, green, blue = colorsys.hsv_to_rgb((0.58 + step * _GOLDEN) % 1.0, saturation, value)
        colours[round(red * 255), round(green * 255), round(blue * 255)] = None
        step += 1
    return tuple(colours)
