"""U-shaped heads, which decode up to the size of the image: the base class, and the steps up that an encoder needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from vitrail.errors import ModelError
from vitrail.layers import resize
from vitrail.losses import resized_loss
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head


class Step(NamedTuple):
    """One step from a coarser map to a finer one: the channels of the encoder's map there (0: none), and the stride."""

    skip_channels: int
    stride: int


def steps_up(maps: FeatureMaps, method: str, most: int | None = None) -> list[Step]:
    """Return the steps from the coarsest map to each finer one, and then by factors of two to the size of the image.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps, finest first.
    method : str
        The method's name, for messages.
    most : int, optional
        How many steps to return at most.

    Raises
    ------
    ModelError
        For maps that are not in the order from the finest to the coarsest.
    """
    if list(maps.strides) != sorted(maps.strides):
        raise ModelError(
            f"{method} reads maps from the finest to the coarsest; the backbone's have the strides {maps.strides}"
        )
    finer = zip(reversed(maps.channels[:-1]), reversed(maps.strides[:-1]), strict=True)
    steps = [Step(channels, stride) for channels, stride in finer]
    stride = maps.strides[0]
    while stride > 1:
        stride //= 2
        steps.append(Step(0, stride))
    return steps[:most]


def gates_of(step: Step, *, gates: bool) -> Literal["none", "result", "both"]:
    """Return which maps of a step are gated: the last one, to the size of the image, joins nothing."""
    if not gates:
        return "none"
    return "both" if step.stride > 1 else "result"


def sizes_up(features: Sequence[Tensor], steps: Sequence[Step], size: Sequence[int]) -> list[tuple[int, int]]:
    """Return (h, w) of the result of each step, for images of `size` (H, W)."""
    skips: list[Tensor] = list(reversed(features[:-1]))
    sizes = [(skip.shape[-2], skip.shape[-1]) for skip in skips[: len(steps)]]
    rest = steps[len(sizes) :]
    return [*sizes, *((size[0] // step.stride, size[1] // step.stride) for step in rest)]


class FullSizeHead(Head):
    """Base class of heads whose last maps have the size of the image, which they therefore have to know."""

    resizes_late = False
    one_output = True

    def __init__(self, maps: FeatureMaps, num_classes: int) -> None:
        super().__init__(num_classes)
        self.finest_stride = maps.strides[0]

    def decode(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Decode the backbone's maps of images of `size` (H, W) into logits [B, K, H, W], or less where steps end."""
        raise NotImplementedError

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits of images that are as large as their strides say."""
        height, width = features[0].shape[-2:]
        return self.decode(features, (height * self.finest_stride, width * self.finest_stride))

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the loss of the logits; see `Head`."""
        logits = self.decode(features, targets.shape[-2:])
        return {"seg": resized_loss(criterion, logits, targets, align_corners=self.align_corners)}

    def predict(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return logits [B, K, H, W]; see `Head`."""
        return resize(self.decode(features, size), size, align_corners=self.align_corners)
