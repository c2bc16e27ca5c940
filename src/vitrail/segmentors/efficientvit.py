"""EfficientViT's head for segmentation: three maps of an encoder are added at stride 8 (Cai et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import GELUTanh
from timm.models.efficientvit_mit import ConvNormAct, FusedMBConv, LiteMLA, MBConv, ResidualBlock
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones import Backbone
from vitrail.errors import ModelError
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head

_FINEST = 8  # the finest stride that the head reads
_ATTENTION_EPS = 1e-15  # added to what attention is divided by; timm's encoders add 1e-5


@register_segmentor("efficientvit", backbone="efficientvit_b1")
class EfficientViTHead(Head):
    """EfficientViT (Cai, Li, Hu, Gan and Han, ICCV 2023, arXiv:2205.14756).

    Each map is projected to the same channels and resized to the finest one; their sum goes through inverted
    bottlenecks and is classified. Maps, and the logits of predictions, are resized by bicubic interpolation, as in the
    authors' code; the losses resize logits bilinearly, as those of all methods.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads those of stride 8 and coarser.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels inside the head.
    num_blocks : int
        Blocks behind the sum.
    expand_ratio : float
        How many times as many channels a block has inside.
    fused : bool
        Whether a block widens by one 3×3 convolution, as on the large encoders (L1, L2), instead of by a pointwise and
        a depthwise one.
    classifier_ratio : int or None
        How many times as many channels the map has that is classified; None classifies what the blocks return.
    gelu : bool
        Whether activations are GELU in its approximation by tanh, as on the large encoders, instead of hard swish.
    norm_eps : float
        Of the batch norms: 1e-5 for B0 to B3, 1e-7 for L1 and L2.

    Raises
    ------
    ModelError
        For a backbone without a map of stride 8 or coarser.
    """

    resizes_late = False

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 64,
        num_blocks: int = 3,
        expand_ratio: float = 4.0,
        fused: bool = False,
        classifier_ratio: int | None = 4,
        gelu: bool = False,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(num_classes)
        self.first = next((index for index, stride in enumerate(maps.strides) if stride >= _FINEST), None)
        if self.first is None:
            raise ModelError(
                f"efficientvit reads maps of stride {_FINEST} and coarser; the backbone's have strides {maps.strides}"
            )
        act = GELUTanh if gelu else nn.Hardswish

        def block() -> nn.Module:
            if fused:
                return FusedMBConv(channels, channels, expand_ratio=expand_ratio, act_layer=(act, None))
            return MBConv(channels, channels, expand_ratio=expand_ratio, act_layer=(act, act, None))

        self.projections = nn.ModuleList(
            ConvNormAct(width, channels, 1, act_layer=None) for width in maps.channels[self.first :]
        )
        self.blocks = nn.Sequential(*(ResidualBlock(block(), nn.Identity()) for _ in range(num_blocks)))
        width = channels * (classifier_ratio or 1)
        self.widen = nn.Identity() if classifier_ratio is None else ConvNormAct(channels, width, 1, act_layer=act)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = norm_eps

    @classmethod
    def wrap_backbone(cls, backbone: Backbone) -> Backbone:
        """Let the linear attention of EfficientViT's encoders compute as in the authors' code."""
        for module in backbone.modules():
            if isinstance(module, LiteMLA):
                module.eps = _ATTENTION_EPS
        return backbone

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] at the size of the finest map that is read."""
        finest, *others = features[self.first :]
        finest_projection, *projections = self.projections
        x = finest_projection(finest)
        for project, feature in zip(projections, others, strict=True):
            x = x + _bicubic(project(feature), finest.shape[-2:]).to(x.dtype)
        return self.classifier(self.widen(self.blocks(x)))

    def predict(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return logits [B, K, H, W] at `size`."""
        return _bicubic(self(features), size)


def _bicubic(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps [B, C, h, w] to [B, C, H, W] in float32, or in float64 where they are."""
    return F.interpolate(x if x.dtype.itemsize > 2 else x.float(), tuple(size), mode="bicubic", align_corners=False)
