"""Windows for images that are too large to go through a model whole."""

from __future__ import annotations

from torch import Tensor

from vitrail.recipes import EvalConfig

WINDOW_SIDES = (2048, 1024, 512, 256)
MAX_SCORE_BYTES = 10 << 30  # that the scores of one row of windows may take, on a machine with 24 GB


def window_side(image: Tensor, settings: EvalConfig, num_classes: int, whole_pixels: int) -> int:
    """Return the side of the windows that an image needs, or 0 when it goes through the model as the settings say.

    Parameters
    ----------
    image : Tensor [3, h, w]
        The image as the model gets it, before scaling.
    settings : EvalConfig
        Windows of the user's own are kept.
    num_classes : int
        K.
    whole_pixels : int
        Largest number of pixels that go through the model whole, at the largest of the scales.
    """
    height, width = (side * max(settings.scales) for side in image.shape[1:])
    if settings.mode == "slide" or height * width <= whole_pixels:
        return 0
    bytes_per_row = 4 * num_classes * width
    fitting = [side for side in WINDOW_SIDES if (side + _stride(side)) * bytes_per_row <= MAX_SCORE_BYTES]
    return fitting[0] if fitting else WINDOW_SIDES[-1]


def in_windows(settings: EvalConfig, side: int) -> EvalConfig:
    """Return settings with square windows that overlap by a quarter, one at a time."""
    stride = _stride(side)
    return settings.model_copy(
        update={"mode": "slide", "window": (side, side), "stride": (stride, stride), "batch_size": 1}
    )


def _stride(side: int) -> int:
    return side * 3 // 4
