"""Target sizes of resized images."""

from __future__ import annotations

Size = tuple[int, int]


def target_size(size: Size, bounds: Size, keep_ratio: bool, multiple_of: int = 1) -> Size:
    """Return the (height, width) to which an image is resized.

    Parameters
    ----------
    size : (int, int)
        (height, width) of the image.
    bounds : (int, int)
        With `keep_ratio`, limits of the long and the short side, in any order: the image gets the largest size of its
        own aspect ratio within both. Otherwise the (height, width) to return.
    keep_ratio : bool
        Whether the image keeps its aspect ratio.
    multiple_of : int
        Both sides are rounded up to multiples of this number.

    Notes
    -----
    Rounds like `mmcv.rescale_size`, so that published models get the sizes that they were trained with.
    """
    factor = min(max(bounds) / max(size), min(bounds) / min(size))
    height, width = (max(1, int(side * factor + 0.5)) for side in size) if keep_ratio else bounds
    return -(-height // multiple_of) * multiple_of, -(-width // multiple_of) * multiple_of


def scaled(bounds: Size, factor: float) -> Size:
    """Return bounds times a factor, rounded down as in MMSegmentation and SSSegmentation."""
    return max(1, int(bounds[0] * factor)), max(1, int(bounds[1] * factor))
