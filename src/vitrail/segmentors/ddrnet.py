"""DDRNet: a two-branch encoder with a light head, supervised early too (Hong et al., arXiv:2101.06085)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vitrail.layers.aggregation_pyramid import NormActConv
from vitrail.losses import resized_loss
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head


class PreNormDecoder(nn.Module):
    """Norm, ReLU and 3×3 convolution, norm and ReLU, and a classifier.

    Parameters
    ----------
    in_channels, channels, num_classes : int
        Channels of the map, of the convolution, and of the logits.
    dropout : float
        Probability of dropping a channel before the classifier.
    bias : bool
        Whether the 3×3 convolution has a bias.
    """

    def __init__(
        self, in_channels: int, channels: int, num_classes: int, *, dropout: float = 0.0, bias: bool = False
    ) -> None:
        super().__init__()
        self.conv = NormActConv(in_channels, channels, 3, bias=bias)
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Decode a map [B, C, h, w] into logits [B, K, h, w]."""
        return self.classifier(self.dropout(self.norm(self.conv(x)).relu()))


@register_segmentor("ddrnet", backbone="ddrnet_23_slim")
class DDRNetHead(Head):
    """DDRNet (Hong, Pan, Sun and Jia, 2021, arXiv:2101.06085).

    A convolution and a classifier on the last map of the encoder, and in training the same on the map before it.

    Parameters
    ----------
    maps : FeatureMaps
        The encoder's maps; the head reads the last, the early one the map before it.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions: 64 for DDRNet-23-slim, 128 for DDRNet-23.
    early_weight : float
        Weight of the loss of the early logits; 0 leaves that classifier out.
    dropout : float
        Probability of dropping a channel before the last classifier.
    align_corners : bool
        How the logits are resized to the image.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 64,
        early_weight: float = 0.4,
        dropout: float = 0.0,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        if early_weight:
            maps.check_index(-2, "early_weight")
        self.decoder = PreNormDecoder(maps.channels[-1], channels, num_classes, dropout=dropout)
        self.early = PreNormDecoder(maps.channels[-2], channels, num_classes) if early_weight else None
        self.early_weight = early_weight

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the last map into logits [B, K, h, w]."""
        return self.decoder(features[-1])

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the loss `seg`, and the weighted one of the early logits, `early`."""
        losses = super().losses(features, targets, criterion)
        if self.early is not None:
            early = resized_loss(criterion, self.early(features[-2]), targets, align_corners=self.align_corners)
            losses["early"] = self.early_weight * early
        return losses
