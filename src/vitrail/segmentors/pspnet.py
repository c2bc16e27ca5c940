"""PSPNet: context from a pyramid of pooled regions (Zhao et al., CVPR 2017, arXiv:1612.01105)."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers import PyramidPooling
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor("pspnet", output_stride=8, auxiliary=Auxiliary())
class PSPHead(Head):
    """Pyramid scene parsing network (Zhao et al., CVPR 2017, arXiv:1612.01105).

    Pyramid pooling on the last feature map, a convolution, and a classifier.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of each pooled map and of the convolution that fuses them.
    pool_sizes : sequence of int
        Sides of the grids that the feature map is averaged over.
    pool_channels : int, optional
        Channels of each pooled map, where they are others than `channels`.
    pool_norm_of_mean : bool
        Whether batch norm follows the convolution of the mean of the whole map: False in segmentation_models_pytorch.
    fuse_kernel_size, classifier_kernel_size : int
        Sides of the kernels of the last two convolutions: 1 and 3 in segmentation_models_pytorch.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How pooled maps and logits are resized.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        pool_channels: int | None = None,
        pool_norm_of_mean: bool = True,
        fuse_kernel_size: int = 3,
        classifier_kernel_size: int = 1,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.pyramid = PyramidPooling(
            maps.channels[-1],
            channels if pool_channels is None else pool_channels,
            pool_sizes,
            align_corners=align_corners,
            norm_of_mean=pool_norm_of_mean,
        )
        self.fuse = ConvNormAct(self.pyramid.out_channels, channels, fuse_kernel_size)
        self.dropout = nn.Dropout2d(dropout)
        padding = classifier_kernel_size // 2
        self.classifier = nn.Conv2d(channels, num_classes, classifier_kernel_size, padding=padding)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        return self.classifier(self.dropout(self.pre_logits(features)))

    def pre_logits(self, features: Sequence[Tensor]) -> Tensor:
        """Return the map [B, C, h, w] that is classified."""
        return self.fuse(self.pyramid(features[-1]))
