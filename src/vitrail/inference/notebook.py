"""A prediction as HTML for notebooks: classes can be switched off and the opacity chosen, without a script."""

from __future__ import annotations

import base64
import html
import io
import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image

Colour = tuple[int, int, int]
Area = tuple[int, str, int, float]  # as `vitrail.inference.prediction.ClassArea`

OPACITIES = (25, 50, 75, 100)
MAX_LAYERS = 40  # classes that get a layer of their own, the largest first
_NUMBERS = itertools.count()  # one notebook shows several predictions, each with rules of its own


def interactive_html(
    image: np.ndarray, mask: np.ndarray, palette: Sequence[Colour], areas: Sequence[Area], side: int
) -> str:
    """Return a prediction as HTML that needs nothing else: the picture, a layer for each class, and their switches.

    Parameters
    ----------
    image : ndarray
        uint8 RGB [H, W, 3].
    mask : ndarray
        Class indices [H, W].
    palette : sequence of (int, int, int)
        One RGB colour per class.
    areas : sequence of (int, str, int, float)
        Index, name, pixels and share of the classes in the mask, the largest first.
    side : int
        Pixels of the longer side; larger pictures are made smaller.
    """
    name = f"vitrail-{next(_NUMBERS)}"
    shown = areas[:MAX_LAYERS]
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((side, side))
    small = np.asarray(Image.fromarray(mask.astype(np.int32)).resize(picture.size, Image.Resampling.NEAREST))
    layers = [_image(_layer(small, index, palette[index])) for index, *_ in shown]
    switches = [_switch(number, area, palette[area[0]]) for number, area in enumerate(shown)]
    choices = [
        f'<label><input type="radio" name="{name}" class="o{share}"{" checked" * (share == 50)}> {share} %</label>'
        for share in OPACITIES
    ]
    rest = f"<p>and {len(areas) - len(shown)} smaller classes</p>" if len(areas) > len(shown) else ""
    return (
        f'<div id="{name}">{_style(name, len(shown))}<p>Opacity: {" ".join(choices)}</p>'
        f'<div class="pictures">{_image(picture)}<div class="layers">{"".join(layers)}</div></div>'
        f"<p>{' '.join(switches)}</p>{rest}</div>"
    )


def _style(name: str, layers: int) -> str:
    """Return the rules by which the switches of a prediction act on its layers."""
    rules = [
        f"#{name} .pictures {{position:relative;display:inline-block;max-width:100%}}",
        f"#{name} .pictures img {{display:block;max-width:100%;margin:0}}",
        f"#{name} .layers {{opacity:.5}}",
        f"#{name} .layers img {{position:absolute;inset:0;width:100%;height:100%}}",
        f"#{name} label {{display:inline-block;margin-right:.8em}}",
        *(f"#{name}:has(.o{share}:checked) .layers {{opacity:{share / 100}}}" for share in OPACITIES),
        *(
            f"#{name}:has(.c{number}:not(:checked)) .layers img:nth-of-type({number + 1}) {{display:none}}"
            for number in range(layers)
        ),
    ]
    return f"<style>{''.join(rules)}</style>"


def _switch(number: int, area: Area, colour: Colour) -> str:
    _, name, _, share = area
    red, green, blue = colour
    swatch = f'<span style="color:rgb({red},{green},{blue})">&#9632;</span>'
    return f'<label><input type="checkbox" class="c{number}" checked> {swatch} {html.escape(name)} {share:.1%}</label>'


def _layer(mask: np.ndarray, index: int, colour: Colour) -> Image.Image:
    """Return a picture that has the colour where the mask is a class and is transparent elsewhere."""
    picture = Image.fromarray((mask == index).astype(np.uint8))
    picture.putpalette([0, 0, 0, *colour])
    picture.info["transparency"] = 0
    return picture


def _image(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'
