"""Legends: colour, name and share of the area of each class in a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vitrail.visualize.overlay import Palette, class_counts

BACKGROUND = (250, 250, 248)
TEXT = (34, 34, 38)
FAINT = (120, 120, 126)
OUTLINE = (150, 150, 150)


class Entry(NamedTuple):
    """One row of a legend."""

    colour: tuple[int, int, int]
    name: str
    share: str


def legend(
    mask: Tensor | np.ndarray,
    classes: Sequence[str],
    palette: Palette,
    width: int = 640,
    *,
    font_size: int | None = None,
) -> Image.Image:
    """Draw the legend of a mask: its classes, the largest first, with their share of the area.

    Parameters
    ----------
    mask : Tensor or ndarray
        Class indices [H, W]; shares are relative to the non-ignored pixels.
    classes : sequence of str
        Class names.
    palette : sequence of (int, int, int)
        One RGB colour per class.
    width : int
        Width in pixels; the legend is wider only when a single entry needs it.
    font_size : int, optional
        Font size in pixels; None chooses it by the width.

    Returns
    -------
    PIL.Image.Image
        RGB; the entries stand in as many columns as fit.
    """
    entries = _entries(class_counts(mask, len(classes)), classes, palette)
    size = font_size or max(13, round(width / 55))
    font = ImageFont.load_default(size)
    gap, swatch, row = round(size * 0.6), round(size * 1.15), round(size * 1.75)
    names = max(round(font.getlength(entry.name)) for entry in entries)
    shares = max(round(font.getlength(entry.share)) for entry in entries)
    cell = swatch + gap + names + gap + shares + 2 * gap
    columns = max(1, min(len(entries), (width - 2 * gap) // cell))
    rows = -(-len(entries) // columns)
    columns = -(-len(entries) // rows)
    panel = Image.new("RGB", (max(width, columns * cell + 2 * gap), rows * row + 2 * gap), BACKGROUND)
    draw = ImageDraw.Draw(panel)
    step = max(cell, min(round(cell * 1.5), (panel.width - 2 * gap) // columns))
    for index, entry in enumerate(entries):
        left, middle = 2 * gap + (index // rows) * step, gap + (index % rows) * row + row // 2
        top = middle - swatch // 2
        box = (left, top, left + swatch, top + swatch)
        draw.rounded_rectangle(box, radius=swatch // 5, fill=entry.colour, outline=OUTLINE)
        draw.text((left + swatch + gap, middle), entry.name, TEXT, font, anchor="lm")
        draw.text((left + cell - 2 * gap, middle), entry.share, FAINT, font, anchor="rm")
    return panel


def with_legend(
    picture: Image.Image, mask: Tensor | np.ndarray, classes: Sequence[str], palette: Palette
) -> Image.Image:
    """Return a picture with the legend of its mask below it.

    Parameters
    ----------
    picture : PIL.Image.Image
        An overlay or a colour mask.
    mask : Tensor or ndarray
        Class indices [H, W].
    classes, palette
        Class names and RGB colours, one per class.
    """
    below = legend(mask, classes, palette, picture.width)
    sheet = Image.new("RGB", (max(picture.width, below.width), picture.height + below.height), BACKGROUND)
    sheet.paste(picture, ((sheet.width - picture.width) // 2, 0))
    sheet.paste(below, (0, picture.height))
    return sheet


def _entries(counts: Sequence[int], classes: Sequence[str], palette: Palette) -> list[Entry]:
    total = sum(counts)
    present = sorted((index for index, count in enumerate(counts) if count), key=lambda index: -counts[index])
    if not present:
        return [Entry(BACKGROUND, "no class", "")]
    return [Entry(_rgb(palette[index]), classes[index], _share(counts[index] / total)) for index in present]


def _rgb(colour: Sequence[int]) -> tuple[int, int, int]:
    return int(colour[0]), int(colour[1]), int(colour[2])


def _share(fraction: float) -> str:
    return "< 0.1 %" if fraction < 0.001 else f"{fraction:.1%}".replace("%", " %")
