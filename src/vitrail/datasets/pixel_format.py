"""What a model expects of an image: the number of channels, and the range of values that becomes 0…255."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrail.errors import DatasetError

Array = npt.NDArray[Any]
_BIT_DEPTHS = (8, 10, 12, 14, 16)
_LUMINANCE = (19595, 38470, 7471)  # of 65536: ITU-R 601-2, as Pillow's conversion to "L"


@dataclass(frozen=True)
class PixelFormat:
    """How the values of an image become the model's input, uint8 [C, H, W].

    Attributes
    ----------
    channels : int
        Number of channels of the model's input. One grey channel is repeated for three, RGB becomes its luminance for
        one, and an alpha channel is dropped for three. Any other difference is an error.
    value_range : (float, float), optional
        The values that become 0 and 255; values beyond are clipped, and NaN becomes 0. None takes 8-bit values as they
        are, floating-point values in 0…1, and integers of more bits in the range of the least of 8, 10, 12, 14 and
        16 bits that holds the image's largest value.
    """

    channels: int = 3
    value_range: tuple[float, float] | None = None

    @property
    def halved(self) -> PixelFormat:
        """The format of each of two images whose channels follow one another."""
        return replace(self, channels=self.channels // 2)

    def convert(self, values: Array, where: str) -> Array:
        """Return an image of any number type, [H, W] or [H, W, C], as contiguous uint8 [C, H, W].

        Parameters
        ----------
        values : ndarray
            The image.
        where : str
            Its name for messages.

        Raises
        ------
        DatasetError
            When the number of channels or the values do not fit.
        """
        if values.ndim not in (2, 3) or 0 in values.shape:
            raise DatasetError(
                f"the image {where} has the shape {list(values.shape)}: it should be [H, W] or [H, W, C]"
            )
        planes = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
        return np.ascontiguousarray(self._to_channels(self._to_8_bits(planes, where), where))

    def _to_8_bits(self, values: Array, where: str) -> Array:
        if self.value_range is not None:
            low, high = self.value_range
            scaled = (values.astype(np.float32) - low) * (255 / (high - low))
            return np.nan_to_num(scaled + 0.5, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255).astype(np.uint8)
        if values.dtype == np.uint8:
            return values
        if values.dtype == np.bool_:
            return values.astype(np.uint8) * 255
        low, high = float(values.min()), float(values.max())
        if values.dtype.kind == "f" and low >= 0 and high <= 1:
            return (values * 255 + 0.5).astype(np.uint8)
        if values.dtype.kind in "iu" and low >= 0 and high < 1 << _BIT_DEPTHS[-1]:
            bits = next(bits for bits in _BIT_DEPTHS if high < 1 << bits)
            return (values.astype(np.uint32) >> (bits - 8)).astype(np.uint8)
        raise DatasetError(
            f"the image {where} holds the values {low:g} to {high:g} ({values.dtype}): say which of them are black and "
            f"white, as in data.value_range=[{low:g}, {high:g}]"
        )

    def _to_channels(self, planes: Array, where: str) -> Array:
        have = planes.shape[0]
        if have == self.channels:
            return planes
        if self.channels == 3 and have <= 2:  # grey, with or without alpha
            return planes[:1].repeat(3, axis=0)
        if self.channels == 3 and have == 4:
            return planes[:3]
        if self.channels == 1 and have == 2:
            return planes[:1]
        if self.channels == 1 and have in (3, 4):
            red, green, blue = (
                plane.astype(np.uint32) * share for plane, share in zip(planes, _LUMINANCE, strict=False)
            )
            return ((red + green + blue + 0x8000) >> 16).astype(np.uint8)[None]
        raise DatasetError(
            f"the image {where} has {have} channels, but the model takes {self.channels}: give it images of as many, "
            f"or train one with model.in_channels={have} and as many values in data.mean and data.std"
        )


RGB = PixelFormat()
