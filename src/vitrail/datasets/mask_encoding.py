"""Finding out what the masks of a folder encode classes by: values, 0 and 255, colours, or colour tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitrail.datasets.class_file import ClassFile, Colour
from vitrail.datasets.image_files import decode_array, load_pixels, open_image
from vitrail.datasets.mask_files import decode_colours, decode_values, stored_values
from vitrail.datasets.matlab import MATLAB_HEADER
from vitrail.datasets.storage import Files
from vitrail.labels import IGNORE, WIDE_IGNORE_IN_FILES

SAMPLED = 32  # masks that are looked at when a dataset is opened; the check before training looks at all of them


@dataclass(frozen=True)
class MaskLook:
    """What one mask looks like.

    Attributes
    ----------
    mode : str
        Pillow's name of the kind of image.
    colours : frozenset of (int, int, int)
        The colours in it; empty for grey masks.
    values : frozenset of int
        The values in it; empty for RGB masks.
    table : dict
        For a palette image, the colour of each value in it.
    """

    mode: str
    colours: frozenset[Colour] = frozenset()
    values: frozenset[int] = frozenset()
    table: tuple[tuple[int, Colour], ...] = ()

    @property
    def in_colour(self) -> bool:
        """Whether it is an RGB image whose channels differ."""
        return self.mode in ("RGB", "RGBA") and any(len(set(colour)) > 1 for colour in self.colours)


def sampled(names: Sequence[str]) -> list[str]:
    """Return up to 32 names, evenly spaced."""
    step = max(1, -(-len(names) // SAMPLED))
    return list(names[::step])


def look_at(files: Files, name: str) -> MaskLook:
    """Decode one mask and return what it looks like.

    Raises
    ------
    DatasetError
        When it cannot be read.
    """
    data, where = files.read(name), files.locate(name)
    if data.startswith(MATLAB_HEADER):
        return MaskLook("L")
    if decode_array(data, where) is not None:
        return MaskLook("L", values=frozenset(np.unique(decode_values(data, where)).tolist()))
    with open_image(data, where) as image:
        mode = image.mode
        if mode in ("RGB", "RGBA"):
            return MaskLook(mode, frozenset(map(as_colour, np.unique(decode_colours(data, where)).tolist())))
        load_pixels(image, where)
        stored = np.asarray(image.getchannel("L")) if mode == "LA" else stored_values(image, data)
        values = [int(value) for value in np.unique(stored)]
        if mode != "P":
            return MaskLook(mode, values=frozenset(values))
        colours = image.getpalette("RGB") or []
        table = tuple(
            (v, (colours[3 * v], colours[3 * v + 1], colours[3 * v + 2])) for v in values if 3 * v < len(colours)
        )
    return MaskLook(mode, frozenset(colour for _, colour in table), frozenset(values), table)


def as_colour(code: int) -> Colour:
    """Return the colour 65536·red + 256·green + blue as (red, green, blue)."""
    return code >> 16, code >> 8 & 255, code & 255


def masks_are_coloured(looks: Sequence[MaskLook], classes: ClassFile | None) -> bool:
    """Return whether the colours of masks stand for classes, rather than their values.

    They do in RGB images whose channels differ. With a palette in classes.yaml they also do in other RGB images of
    those colours alone, such as black and white, and in palette images that number the colours in another order.
    """
    if any(look.in_colour for look in looks):
        return True
    if classes is None or classes.palette is None or classes.values is not None:
        return False
    known = set(classes.colours())
    rgb = [look for look in looks if look.mode in ("RGB", "RGBA")]
    if rgb:
        return all(look.colours <= known for look in rgb)
    indexed = [look for look in looks if look.mode == "P"]
    if not indexed or _tables_agree(indexed, classes.palette):
        return False
    seen = {colour for look in indexed for colour in look.colours}
    return len(seen) > 1 and seen <= known


def binary_values(looks: Sequence[MaskLook], classes: ClassFile) -> ClassFile:
    """Return a description of two classes with the values 0 and 255, or 0 and 65535, where masks hold just these."""
    values = {value for look in looks for value in look.values} or _greys(looks)
    if len(classes.classes) == 2 and classes.values is None and not classes.ignore:
        white = next((white for white in (IGNORE, WIDE_IGNORE_IN_FILES) if values == {0, white}), None)
        return classes if white is None else replace_values(classes, (0, white))
    return classes


def replace_values(classes: ClassFile, values: tuple[int, ...]) -> ClassFile:
    """Return a description with other mask values."""
    return classes.model_copy(update={"values": values})


def _greys(looks: Sequence[MaskLook]) -> set[int]:
    return {colour[0] for look in looks for colour in look.colours if len(set(colour)) == 1}


def _tables_agree(looks: Sequence[MaskLook], palette: Sequence[Colour]) -> bool:
    """Return whether the colour of every value that is a class is the class's colour."""
    return all(colour == palette[value] for look in looks for value, colour in look.table if value < len(palette))
