"""What a model of smp is in vitrail's terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.smp.encoders import DEEPEST, SmpEncoder

BLOCK: Names = {"0": "conv", "1": "bn"}  # of a convolution with its norm and activation


@dataclass(frozen=True)
class Translation:
    """The decoder of a model of smp in vitrail's terms.

    Attributes
    ----------
    options : dict
        Arguments of the method's head.
    renaming : Renaming
        Of everything but the encoder.
    """

    options: dict[str, Any]
    renaming: Renaming


@dataclass(frozen=True)
class ModelRecord:
    """A class of models of smp.

    Attributes
    ----------
    segmentor : str
        The method's name.
    translate : callable
        From its configuration and its encoder to the decoder in vitrail's terms.
    depth, stride : int
        How many stages the encoder has, and its output stride, where the configuration does not say.
    reads : callable
        Which maps the decoder reads of those with these strides, as indices.
    encoder : callable or None
        From its configuration to the encoder, where that is no hierarchical one.
    """

    segmentor: str
    translate: Callable[[Settings, SmpEncoder], Translation]
    depth: int = DEEPEST
    stride: int = 32
    reads: Callable[[tuple[int, ...]], list[int]] = field(default=lambda strides: list(range(len(strides))))
    encoder: Callable[[Settings], SmpEncoder] | None = None


def from_stride_four(strides: tuple[int, ...]) -> list[int]:
    """Return the maps without that at stride 2."""
    return [index for index, stride in enumerate(strides) if stride >= 4]


def must_have_batch_norm(settings: Settings) -> None:
    """Refuse a decoder with another norm, under either of the names that the setting has had."""
    for key in ("decoder_use_norm", "decoder_use_batchnorm", "psp_use_batchnorm"):
        settings.must_be(key, "batchnorm", True, {"type": "batchnorm"})


def must_resize_by(settings: Settings, factor: int, encoder: SmpEncoder) -> None:
    """Refuse logits that are not brought to the size of the image."""
    upsampling = settings.take("upsampling", factor)
    if upsampling != factor:
        raise UnsupportedError(
            f"{settings.where}.upsampling is {upsampling!r}: on {encoder.encoder.name} its logits would not have the "
            f"size of the image, as they have with {factor}"
        )


def interpolation(settings: Settings, default: str = "nearest") -> str:
    """Return how maps are enlarged."""
    mode = str(settings.take("decoder_interpolation", default))
    if mode not in ("nearest", "bilinear"):
        raise UnsupportedError(f"{settings.where}.decoder_interpolation is {mode!r}, not nearest or bilinear")
    return mode
