"""DDRNet: two branches of different resolution that exchange their maps twice.

References
----------
Y. Hong et al., "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road Scenes",
arXiv:2101.06085.
"""

from __future__ import annotations

from pathlib import Path

from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.residual import Bottleneck, basic_stage, stem
from vitrail.backbones.weights import load_local
from vitrail.layers import resize
from vitrail.layers.aggregation_pyramid import AggregationPyramid


class DDRNet(Backbone):
    """Dual-resolution network with an aggregation pyramid over its coarse branch; see `ddrnet_23`.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    channels : int
        C, the channels of the stem.
    pyramid_channels : int
        Channels of the levels of the pyramid.
    """

    stage_prefixes = (
        ("stem.",),
        ("context.0.", "spatial.0.", "compress.0.", "down.0."),
        ("context.1.", "spatial.1.", "compress.1.", "down.1."),
        ("context.2.", "spatial.2.", "pyramid."),
    )

    def __init__(self, in_channels: int, channels: int, pyramid_channels: int) -> None:
        super().__init__()
        c = channels
        self.channels = (2 * c, 4 * c)
        self.strides = (8, 8)
        self.stem = stem(in_channels, c, 2)
        self.context = nn.ModuleList(
            [
                basic_stage(2 * c, 4 * c, 2, stride=2),
                basic_stage(4 * c, 8 * c, 2, stride=2),
                nn.Sequential(Bottleneck(8 * c, 8 * c, stride=2)),
            ]
        )
        self.spatial = nn.ModuleList(
            [basic_stage(2 * c, 2 * c, 2), basic_stage(2 * c, 2 * c, 2), nn.Sequential(Bottleneck(2 * c, 2 * c))]
        )
        self.compress = nn.ModuleList(ConvNormAct(width, 2 * c, 1, apply_act=False) for width in (4 * c, 8 * c))
        self.down = nn.ModuleList(
            [
                nn.Sequential(ConvNormAct(2 * c, 4 * c, 3, stride=2, apply_act=False)),
                nn.Sequential(
                    ConvNormAct(2 * c, 4 * c, 3, stride=2), ConvNormAct(4 * c, 8 * c, 3, stride=2, apply_act=False)
                ),
            ]
        )
        self.pyramid = AggregationPyramid(16 * c, pyramid_channels, 4 * c, parallel=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into the spatial branch's map after the first exchange, and the fused map."""
        context = spatial = self._through(self.stem, images)
        fused: list[Tensor] = []
        for index in range(2):
            context = self._through([self.context[index]], context.relu() if index else context)
            spatial = self._through([self.spatial[index]], spatial.relu() if index else spatial)
            passed = self.compress[index](context.relu())
            context = context + self.down[index](spatial.relu())
            spatial = spatial + resize(passed, spatial.shape[-2:])
            fused.append(spatial)
        spatial = self._through([self.spatial[2]], spatial.relu())
        context = self.pyramid(self._through([self.context[2]], context.relu()))
        return [fused[0], spatial + resize(context, spatial.shape[-2:])]


@register_backbone("ddrnet_23_slim")
def ddrnet_23_slim(*, pretrained: bool | str | Path = False, in_channels: int = 3) -> Backbone:
    """DDRNet-23-slim (arXiv:2101.06085): 64 and 128 channels, both at stride 8, the last map for the head.

    Parameters
    ----------
    pretrained : path, optional
        A local file of weights.
    in_channels : int
        Channels of the images.
    """
    backbone = DDRNet(in_channels, 32, 128)
    load_local(backbone, "ddrnet_23_slim", pretrained)
    return backbone


@register_backbone("ddrnet_23")
def ddrnet_23(*, pretrained: bool | str | Path = False, in_channels: int = 3) -> Backbone:
    """DDRNet-23 (arXiv:2101.06085): 128 and 256 channels at stride 8; the arguments are those of `ddrnet_23_slim`."""
    backbone = DDRNet(in_channels, 64, 128)
    load_local(backbone, "ddrnet_23", pretrained)
    return backbone
