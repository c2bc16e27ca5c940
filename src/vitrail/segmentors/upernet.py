"""UPerNet: pyramid pooling and a feature pyramid over all maps (Xiao et al., ECCV 2018, arXiv:1807.10221)."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import ConvNormAct, LayerNorm2d
from torch import Tensor, nn

from vitrail.layers import PyramidPooling
from vitrail.layers.feature_pyramid import merge_top_down
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor("upernet", auxiliary=Auxiliary())
class UPerHead(Head):
    """UPerNet (Xiao, Liu, Zhou, Jiang and Sun, ECCV 2018, arXiv:1807.10221).

    Pyramid pooling on the last map, added top-down to the finer ones; all maps are fused and classified.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads all.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of every map inside the head.
    pool_sizes : sequence of int
        Sides of the grids that the last map is averaged over.
    dropout : float
        Probability of dropping a channel before the classifier.
    norm_maps : bool
        Whether a layer norm over the channels is applied to every map first, as in segmentation_models_pytorch.
    align_corners : bool
        How maps and logits are resized.
    align_logits : bool, optional
        How logits are resized, where it is another way: True in segmentation_models_pytorch.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        norm_maps: bool = False,
        align_corners: bool = False,
        align_logits: bool | None = None,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners if align_logits is None else align_logits)
        self.align_maps = align_corners
        in_channels = maps.channels
        self.norms = nn.ModuleList(LayerNorm2d(width) if norm_maps else nn.Identity() for width in in_channels)
        self.pyramid = PyramidPooling(in_channels[-1], channels, pool_sizes, align_corners=align_corners)
        self.pyramid_fuse = ConvNormAct(self.pyramid.out_channels, channels, 3)
        self.laterals = nn.ModuleList(ConvNormAct(width, channels, 1) for width in in_channels[:-1])
        self.smooth = nn.ModuleList(ConvNormAct(channels, channels, 3) for _ in in_channels[:-1])
        self.fuse = ConvNormAct(channels * len(in_channels), channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] at the size of the finest map."""
        return self.classifier(self.dropout(self.pre_logits(features)))

    def pre_logits(self, features: Sequence[Tensor]) -> Tensor:
        """Return the map [B, C, h, w] that is classified."""
        features = [norm(x) for norm, x in zip(self.norms, features, strict=True)]
        coarse = self.pyramid_fuse(self.pyramid(features[-1]))
        x = merge_top_down(features[:-1], coarse, self.laterals, self.smooth, align_corners=self.align_maps)
        return self.fuse(x)
