"""Colours for classes that have none."""

from __future__ import annotations

import colorsys

_GOLDEN = 0.618033988749895


def distinct_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Return `count` RGB colours, neighbours in the list being far apart in hue; always the same ones."""
    colours = []
    for index in range(count):
        hue = index * _GOLDEN % 1
        saturation, value = (0.75, 0.95) if index % 2 == 0 else (0.9, 0.7)
        red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
        colours.append((round(red * 255), round(green * 255), round(blue * 255)))
    return tuple(colours)
