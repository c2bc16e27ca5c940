"""DeepLabv3: atrous spatial pyramid pooling on the last feature map (Chen et al., 2017, arXiv:1706.05587)."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers import ASPP, default_dilations
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor("deeplabv3", output_stride=8, auxiliary=Auxiliary())
class DeepLabV3Head(Head):
    """DeepLabv3 (Chen, Papandreou, Schroff and Adam, 2017, arXiv:1706.05587).

    Atrous spatial pyramid pooling on the last feature map, and a classifier.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pyramid: 256 in the paper, 512 in SSSegmentation and MMSegmentation.
    dilations : sequence of int, optional
        One branch each; 1 stands for a 1 x 1 convolution. None takes the published ones for the map's stride:
        (1, 6, 12, 18) at 16, twice that at 8.
    fuse_kernel_size : int
        Side of the kernel of the convolution that fuses the branches: 3 in SSSegmentation and MMSegmentation, 1 in the
        paper and in torchvision.
    refine : bool
        Whether a 3×3 convolution with batch norm and ReLU follows, as in torchvision (whose dropout is before it).
    separable : bool
        Whether the dilated convolutions are separable, a depthwise and a 1×1 one without a norm between them, as
        segmentation_models_pytorch can have it.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        dilations: Sequence[int] | None = None,
        fuse_kernel_size: int = 3,
        refine: bool = False,
        separable: bool = False,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        dilations = default_dilations(maps.strides[-1]) if dilations is None else dilations
        self.pyramid = ASPP(
            maps.channels[-1],
            channels,
            dilations,
            separable=separable,
            depthwise_norm=False,
            fuse_kernel_size=fuse_kernel_size,
        )
        self.dropout = nn.Dropout2d(dropout)
        self.refine = ConvNormAct(channels, channels, 3) if refine else nn.Identity()
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        return self.classifier(self.dropout(self.pre_logits(features)))

    def pre_logits(self, features: Sequence[Tensor]) -> Tensor:
        """Return the map [B, C, h, w] that is classified."""
        return self.refine(self.pyramid(features[-1]))
