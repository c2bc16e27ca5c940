"""GCNet: one vector of context per image, added to every pixel (Cao et al., 2019, arXiv:1904.11492)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from timm.layers import ConvMlp, GlobalContext, LayerNorm2d

from vitrail.errors import ModelError
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.context_head import ContextHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps

FUSIONS = ("add", "multiply")


@register_segmentor("gcnet", output_stride=8, auxiliary=Auxiliary())
class GCHead(ContextHead):
    """GCNet (Cao, Xu, Lin, Wei and Hu, ICCV workshop 2019 and TPAMI 2020, arXiv:1904.11492).

    The pixels are summed with a softmax over the image, transformed, and added to all pixels, between two convolutions.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions and of the block.
    ratio : float
        Hidden channels of the transform, as a share of `channels`.
    pooling : {"attention", "average"}
        How the pixels of the image become one vector.
    fusions : sequence of {"add", "multiply"}
        How pixels and vector are joined; both first multiply, through a sigmoid.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.

    Raises
    ------
    ModelError
        For another pooling or another fusion, and for no fusion at all.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        ratio: float = 0.25,
        pooling: Literal["attention", "average"] = "attention",
        fusions: Sequence[str] = ("add",),
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        if pooling not in ("attention", "average"):
            raise ModelError(f'pooling must be "attention" or "average", not {pooling!r}')
        if not fusions or not set(fusions) <= set(FUSIONS):
            raise ModelError(f"fusions must be some of {', '.join(FUSIONS)}, not {list(fusions)}")
        context = GlobalContext(
            channels,
            use_attn=pooling == "attention",
            fuse_add="add" in fusions,
            fuse_scale="multiply" in fusions,
            rd_channels=int(channels * ratio),
        )
        for transform in context.children():
            if isinstance(transform, ConvMlp) and isinstance(transform.norm, LayerNorm2d):
                transform.norm.eps = 1e-5  # as published; timm's own is 1e-6
        super().__init__(maps, num_classes, context, channels=channels, dropout=dropout, align_corners=align_corners)
