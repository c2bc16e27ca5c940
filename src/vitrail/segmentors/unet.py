"""U-Net: an encoder's maps, joined from the coarsest to the finest (Ronneberger et al., MICCAI 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from vitrail.layers.up_block import UpBlock, initialise_decoder
from vitrail.segmentors.full_size import FullSizeHead, gates_of, sizes_up, steps_up
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps


@register_segmentor("unet", backbone="resnet34", backbone_options={"out_indices": [0, 1, 2, 3, 4]})
class UNetHead(FullSizeHead):
    """U-Net on any encoder (Ronneberger, Fischer and Brox, MICCAI 2015, arXiv:1505.04597).

    The coarsest map is enlarged step by step up to the size of the image, joined with the encoder's map of each size
    and convolved twice. This is the decoder of segmentation_models_pytorch.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps, finest first; the head reads all. Encoders with a map at stride 2 have one more
        map to join than those that begin at stride 4.
    num_classes : int
        K, the number of classes.
    channels : sequence of int
        Channels after each step, the coarsest first; there are no more steps than these.
    gates : bool
        Whether maps are weighted by channel and by pixel (scSE, arXiv:1803.02579) when they are joined and convolved.
    interpolation : {"nearest", "bilinear"}
        How maps are enlarged.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: Sequence[int] = (256, 128, 64, 32, 16),
        gates: bool = False,
        interpolation: Literal["nearest", "bilinear"] = "nearest",
    ) -> None:
        super().__init__(maps, num_classes)
        self.steps = steps_up(maps, "unet", len(channels))
        widths = [maps.channels[-1], *channels]
        self.blocks = nn.ModuleList(
            UpBlock(
                widths[i],
                step.skip_channels,
                widths[i + 1],
                gates=gates_of(step, gates=gates),
                interpolation=interpolation,
            )
            for i, step in enumerate(self.steps)
        )
        self.classifier = nn.Conv2d(widths[len(self.steps)], num_classes, 3, padding=1)
        initialise_decoder(self, self.classifier)

    def decode(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """See `FullSizeHead`."""
        x, *skips = reversed(features)
        for i, (block, target) in enumerate(zip(self.blocks, sizes_up(features, self.steps, size), strict=True)):
            x = block(x, target, skips[i] if i < len(skips) else None)
        return self.classifier(x)
