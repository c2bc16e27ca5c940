"""LinkNet: an encoder's maps, added from the coarsest to the finest (Chaurasia and Culurciello, VCIP 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers import resize
from vitrail.layers.up_block import initialise_decoder
from vitrail.segmentors.full_size import FullSizeHead, sizes_up, steps_up
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps


class TransposedUpBlock(nn.Module):
    """A transposed convolution that doubles the size, in a quarter of the channels.

    Parameters
    ----------
    in_channels, channels : int
        Of the map and of the result.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        inner = in_channels // 4
        self.reduce = ConvNormAct(in_channels, inner, 1)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(inner, inner, 4, stride=2, padding=1), nn.BatchNorm2d(inner), nn.ReLU()
        )
        self.expand = ConvNormAct(inner, channels, 1)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Map [B, C, h, w] to [B, D, *size]; where that is not twice as large, the doubled map is resized."""
        return resize(self.expand(self.up(self.reduce(x))), size)


@register_segmentor("linknet", backbone="resnet34", backbone_options={"out_indices": [0, 1, 2, 3, 4]})
class LinkNetHead(FullSizeHead):
    """LinkNet on any encoder (Chaurasia and Culurciello, VCIP 2017, arXiv:1707.03718).

    The coarsest map is enlarged step by step up to the size of the image, and the encoder's map of each size is added.
    This is the decoder of segmentation_models_pytorch.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps, finest first; the head reads all.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels after the last step; the others have those of the encoder's map of their size.
    """

    def __init__(self, maps: FeatureMaps, num_classes: int, *, channels: int = 32) -> None:
        super().__init__(maps, num_classes)
        self.steps = steps_up(maps, "linknet")
        widths = [maps.channels[-1]]
        for step in self.steps[:-1]:
            widths.append(step.skip_channels or widths[-1])
        widths.append(channels)
        self.blocks = nn.ModuleList(TransposedUpBlock(widths[i], widths[i + 1]) for i in range(len(self.steps)))
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        initialise_decoder(self, self.classifier)

    def decode(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """See `FullSizeHead`."""
        x, *skips = reversed(features)
        for i, (block, target) in enumerate(zip(self.blocks, sizes_up(features, self.steps, size), strict=True)):
            x = block(x, target)
            if i < len(skips):
                x = x + skips[i]
        return self.classifier(x)
