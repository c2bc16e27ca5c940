"""Sizes that images are resized to."""

from __future__ import annotations

Size = tuple[int, int]


def target_size(size: Size, bounds: Size, keep_ratio: bool) -> Size:
    """Return the size an image should get.

    Parameters
    ----------
    size : (int, int)
        (height, width) of the image.
    bounds : (int, int)
        With `keep_ratio` two lengths in any order: the image gets the largest size of its own shape whose long side is
        within the longer and whose short side is within the shorter. Without, the (height, width) it gets.
    keep_ratio : bool
        Whether the image keeps its shape.

    Notes
    -----
    Rounds as `mmcv.rescale_size` does, so that published models see the sizes they were trained on.
    """
    if not keep_ratio:
        return bounds
    factor = min(max(bounds) / max(size), min(bounds) / min(size))
    return max(1, int(size[0] * factor + 0.5)), max(1, int(size[1] * factor + 0.5))


def scaled(bounds: Size, factor: float) -> Size:
    """Return bounds times a factor, rounded down as MMSegmentation and SSSegmentation do."""
    return max(1, int(bounds[0] * factor)), max(1, int(bounds[1] * factor))
