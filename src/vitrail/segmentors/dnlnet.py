"""DNLNet: a non-local block split into pairs and single pixels (Yin et al., ECCV 2020, arXiv:2006.06668)."""

from __future__ import annotations

from torch import Tensor, nn

from vitrail.layers.attention import attend
from vitrail.layers.non_local import NonLocalBlock
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.context_head import ContextHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps


class DisentangledNonLocalBlock(NonLocalBlock):
    """Disentangled non-local block: a whitened pairwise and a unary term, each with its own softmax.

    The pairwise term compares queries and keys from which their means over the image are taken away; the unary one
    weights the pixels of the image in the same way for all.

    Parameters
    ----------
    channels : int
        C, the channels of the map.
    reduction, scale
        As in `NonLocalBlock`.
    temperature : float
        Divides the pairwise scores.
    """

    def __init__(self, channels: int, *, reduction: int, scale: bool, temperature: float) -> None:
        super().__init__(channels, reduction=reduction, scale=scale)
        self.scale /= temperature
        self.unary = nn.Conv2d(channels, 1, 1)

    def gather(self, x: Tensor) -> Tensor:
        """Return the sum of both terms for every pixel of [B, C, h, w]: [B, C / reduction, h, w]."""
        query, key = (each - each.mean(dim=(2, 3), keepdim=True) for each in (self.query(x), self.key(x)))
        value = self.value(x)
        weights = self.unary(x).flatten(2).softmax(dim=2)  # [B, 1, N]
        unary = value.flatten(2) @ weights.transpose(1, 2)  # [B, D, 1]
        return attend(query, key, value, scale=self.scale) + unary.unsqueeze(3)


@register_segmentor("dnlnet", output_stride=8, auxiliary=Auxiliary())
class DNLHead(ContextHead):
    """Disentangled non-local network (Yin, Yao, Cao, Li, Zhang, Lin and Hu, ECCV 2020, arXiv:2006.06668).

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions and of the block.
    reduction, scale, temperature
        As in `DisentangledNonLocalBlock`.
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
        reduction: int = 2,
        scale: bool = True,
        temperature: float = 0.05,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        context = DisentangledNonLocalBlock(channels, reduction=reduction, scale=scale, temperature=temperature)
        super().__init__(maps, num_classes, context, channels=channels, dropout=dropout, align_corners=align_corners)
