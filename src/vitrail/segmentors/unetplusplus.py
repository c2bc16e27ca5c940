"""UNet++: a U-Net with nested, dense connections between its levels (Zhou et al., DLMIA 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vitrail.layers.up_block import UpBlock, initialise_decoder
from vitrail.segmentors.full_size import FullSizeHead, gates_of, sizes_up, steps_up
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps


@register_segmentor("unetplusplus", backbone="resnet34", backbone_options={"out_indices": [0, 1, 2, 3, 4]})
class UNetPlusPlusHead(FullSizeHead):
    """UNet++ on any encoder (Zhou, Siddiquee, Tajbakhsh and Liang, DLMIA 2018, arXiv:1807.10165).

    Every map of the encoder is enlarged and joined with all maps of the next finer size that were made before; the
    longest of these chains ends at the size of the image. This is the decoder of segmentation_models_pytorch.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps, finest first; the head reads all.
    num_classes : int
        K, the number of classes.
    channels : sequence of int
        Channels after each step of the longest chain, the coarsest first; there are no more steps than these. Maps of
        shorter chains have the channels of the encoder's map of their size.
    gates, interpolation
        As in `UNetHead`.
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
        self.steps = steps_up(maps, "unetplusplus", len(channels))
        skips = [step.skip_channels for step in self.steps]
        widths = [maps.channels[-1], *channels]
        blocks: dict[str, nn.Module] = {}
        for level, (skip, step) in enumerate(zip(skips, self.steps, strict=True)):
            for start in range(level + 1):  # the chain begins at the map of level `start`, 0 the coarsest
                longest = start == 0
                if not longest and not skip:
                    continue  # no map of the encoder has this size: only the longest chain goes on
                joined = skip * (level + 1 - start)
                inside, out = (widths[level], widths[level + 1]) if longest else (skips[level - 1], skip)
                blocks[_name(start, level)] = UpBlock(
                    inside, joined, out, gates=gates_of(step, gates=gates), interpolation=interpolation
                )
        self.blocks = nn.ModuleDict(blocks)
        self.classifier = nn.Conv2d(widths[len(self.steps)], num_classes, 3, padding=1)
        initialise_decoder(self, self.classifier)

    def decode(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """See `FullSizeHead`."""
        encoded = list(reversed(features))
        made: dict[str, Tensor] = {}
        for level, target in enumerate(sizes_up(features, self.steps, size)):
            for start in reversed(range(level + 1)):
                if _name(start, level) not in self.blocks:
                    continue
                x = encoded[start] if start == level else made[_name(start, level - 1)]
                joined = [
                    made[_name(later, level)] for later in range(start + 1, level + 1) if level + 1 < len(encoded)
                ]
                joined += encoded[level + 1 : level + 2]
                skip = torch.cat(joined, dim=1) if joined else None
                made[_name(start, level)] = self.blocks[_name(start, level)](x, target, skip)
        return self.classifier(made[_name(0, len(self.steps) - 1)])


def _name(start: int, level: int) -> str:
    return f"{start}_{level}"
