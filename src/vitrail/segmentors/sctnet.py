"""SCTNet: a light head on an encoder with conv-former blocks, supervised early too (Xu et al., AAAI 2024)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vitrail.losses import resized_loss
from vitrail.segmentors.ddrnet import PreNormDecoder
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head

EARLY_WEIGHT = 0.4


@register_segmentor("sctnet", backbone="sctnet_s")
class SCTNetHead(Head):
    """SCTNet (Xu, Wu, Yu, Chu, Sang and Gao, AAAI 2024, arXiv:2312.17071).

    A convolution and a classifier on the last map of the encoder, and in training the same on the first map.

    Parameters
    ----------
    maps : FeatureMaps
        The encoder's maps; the head reads the last, the early one the first.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolution: 128 for SCTNet-S, 256 for SCTNet-B.
    early_channels : int
        Channels of the early convolution: 64 for SCTNet-S, 128 for SCTNet-B.
    early_weight : float
        Weight of the loss of the early logits; 0 leaves that classifier out.

    Notes
    -----
    The alignment with a transformer, which the authors also train with, is not part of it.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 128,
        early_channels: int = 64,
        early_weight: float = EARLY_WEIGHT,
    ) -> None:
        super().__init__(num_classes)
        self.decoder = PreNormDecoder(maps.channels[-1], channels, num_classes, bias=True)
        self.early = PreNormDecoder(maps.channels[0], early_channels, num_classes, bias=True) if early_weight else None
        self.early_weight = early_weight

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the last map into logits [B, K, h, w]."""
        return self.decoder(features[-1])

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the loss `seg`, and the weighted one of the early logits, `early`."""
        losses = super().losses(features, targets, criterion)
        if self.early is not None:
            early = resized_loss(criterion, self.early(features[0]), targets, align_corners=self.align_corners)
            losses["early"] = self.early_weight * early
        return losses
