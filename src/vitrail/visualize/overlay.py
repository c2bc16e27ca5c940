"""Masks drawn in colour, alone or blended over their image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from vitrail.errors import PredictionError

Palette = Sequence[Sequence[int]]


def as_rgb(image: Tensor) -> Tensor:
    """Return an image [C, H, W] as three channels to look at: the first three, or the first one as grey."""
    return image[:3] if image.shape[0] >= 3 else image[:1].expand(3, *image.shape[1:])


def as_picture(image: Tensor | np.ndarray | Image.Image) -> Image.Image:
    """Return an image (uint8 tensor [C, H, W], uint8 array [H, W, 3] or PIL image) as an RGB PIL image."""
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if isinstance(image, Tensor) and image.ndim == 3:
        image = as_rgb(image)
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if isinstance(image, Tensor) and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        raise PredictionError(
            f"an image must be a uint8 tensor [3, H, W] or a uint8 array [H, W, 3], not {array.dtype} {array.shape}"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def as_indices(mask: Tensor | np.ndarray) -> np.ndarray:
    """Return a mask [H, W] of class indices as a NumPy array; raises PredictionError for anything else."""
    array = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise PredictionError(f"a mask must be integers [H, W], not {array.dtype} {array.shape}")
    return array


def colour_mask(mask: Tensor | np.ndarray, palette: Palette) -> Image.Image:
    """Return a mask as an RGB image in the colours of its classes.

    Parameters
    ----------
    mask : Tensor or ndarray
        Class indices [H, W]; values outside the palette, such as 255 (ignored), become black.
    palette : sequence of (int, int, int)
        One RGB colour per class.

    Returns
    -------
    PIL.Image.Image
        RGB, of the size of the mask.
    """
    indices = as_indices(mask)
    table = np.zeros((max(256, len(palette) + 1), 3), np.uint8)
    table[: len(palette)] = np.asarray(palette, dtype=np.uint8).reshape(-1, 3)
    if indices.dtype != np.uint8:
        outside = (indices < 0) | (indices >= len(palette))
        indices = np.where(outside, len(table) - 1, indices)
    return Image.fromarray(table[indices])


def index_mask(mask: Tensor | np.ndarray, palette: Palette) -> Image.Image:
    """Return a mask as an image whose pixel values are the class indices.

    Parameters
    ----------
    mask : Tensor or ndarray
        Class indices [H, W].
    palette : sequence of (int, int, int)
        One RGB colour per class.

    Returns
    -------
    PIL.Image.Image
        For uint8 a palette image (mode P) in the colours of the classes, otherwise a 16-bit grey image.
    """
    indices = as_indices(mask)
    if indices.dtype != np.uint8:
        return Image.fromarray(indices.astype(np.uint16))
    picture = Image.fromarray(indices)
    # All 256 entries: with fewer, PNG files use fewer bits per pixel and 255 (ignored) changes its value.
    colours = [channel for colour in palette for channel in colour]
    picture.putpalette(colours + [0] * (768 - len(colours)))
    return picture


def overlay(
    image: Tensor | np.ndarray | Image.Image, mask: Tensor | np.ndarray, palette: Palette, alpha: float = 0.5
) -> Image.Image:
    """Blend the colours of a mask with its image.

    Parameters
    ----------
    image : Tensor, ndarray or PIL.Image.Image
        RGB: uint8 [3, H, W] as a tensor, uint8 [H, W, 3] as an array.
    mask : Tensor or ndarray
        Class indices [H, W]; where they lie outside the palette, as 255 (ignored) does, the image is not changed.
    palette : sequence of (int, int, int)
        One RGB colour per class.
    alpha : float
        Opacity of the mask, 0…1. Borders between classes are drawn a little more opaque.

    Returns
    -------
    PIL.Image.Image
        RGB, of the size of the image.

    Raises
    ------
    PredictionError
        When image and mask have different sizes, or alpha lies outside 0…1.
    """
    picture, indices = as_picture(image), as_indices(mask)
    if picture.size != indices.shape[::-1]:
        raise PredictionError(
            f"an image of (height, width) {picture.size[::-1]} cannot carry a mask of {indices.shape}"
        )
    if not 0 <= alpha <= 1:
        raise PredictionError(f"alpha must lie between 0 and 1, not be {alpha}")
    colours = colour_mask(indices, palette)
    mixed = Image.blend(picture, colours, alpha)
    if alpha > 0:
        mixed.paste(Image.blend(picture, colours, (1 + alpha) / 2), mask=_binary(_borders(indices)))
    ignored = (indices < 0) | (indices >= len(palette))
    if ignored.any():
        mixed.paste(picture, mask=_binary(ignored))
    return mixed


def _borders(indices: np.ndarray) -> np.ndarray:
    border = np.zeros(indices.shape, bool)
    border[:, 1:] = indices[:, 1:] != indices[:, :-1]
    border[1:] |= indices[1:] != indices[:-1]
    return border


def _binary(chosen: np.ndarray) -> Image.Image:
    return Image.fromarray(chosen.astype(np.uint8) * 255)


def class_counts(mask: Tensor | np.ndarray, num_classes: int) -> list[int]:
    """Return the number of pixels of each class in a mask [H, W], without ignored pixels."""
    indices = as_indices(mask)
    counts = np.bincount(indices[(indices >= 0) & (indices < num_classes)].reshape(-1), minlength=num_classes)
    return counts.tolist()
