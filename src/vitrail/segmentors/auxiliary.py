"""Auxiliary heads: FCN heads on the backbone's feature maps that add to the training loss and are not used after it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from vitrail.errors import ModelError


@dataclass(frozen=True)
class Auxiliary:
    """Description of the auxiliary heads of a model, one `FCNHead` for each map in `maps`.

    Attributes
    ----------
    weight : float
        Weight of the loss of each head; 0 builds none.
    maps : tuple of int
        Indices of the feature maps, 0 for the finest; negative ones count from the coarsest.
    channels : tuple of int
        Channels of the heads' convolutions: one number for each map, or one for all.
    num_convs, kernel_size, concat_input, upsample, upsample_mode
        As in `FCNHead`.
    dropout, dilation, leaky : optional
        As in `FCNHead`. None takes the method's option of that name, or the default of `FCNHead` if it has none.

    Raises
    ------
    ModelError
        For a weight that is negative or not finite, no map, or another number of channels than one or one for each map.
    """

    weight: float = 0.4
    maps: tuple[int, ...] = (-2,)
    channels: tuple[int, ...] = (512,)
    num_convs: int = 1
    kernel_size: int = 3
    concat_input: bool = False
    upsample: int = 1
    upsample_mode: Literal["nearest", "bilinear"] = "nearest"
    dropout: float | None = None
    dilation: int | None = None
    leaky: bool | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ModelError(f"auxiliary.weight must be 0 or more, not {self.weight}")
        if not self.maps:
            raise ModelError("auxiliary.maps is empty: name a feature map, or set auxiliary.weight to 0 for no heads")
        if len(self.channels) not in (1, len(self.maps)):
            raise ModelError(
                f"auxiliary.channels has {len(self.channels)} numbers for {len(self.maps)} maps, {list(self.maps)}: "
                "give one number for each map, or one for all"
            )

    @property
    def heads(self) -> list[tuple[int, int]]:
        """The index of the map and the channels of each head; empty if `weight` is 0."""
        if self.weight == 0:
            return []
        channels = self.channels * len(self.maps) if len(self.channels) == 1 else self.channels
        return list(zip(self.maps, channels, strict=True))


NO_AUXILIARY = Auxiliary(weight=0.0)
