"""EncNet: channels weighted by how the image's features spread over a dictionary (Zhang et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers import resize
from vitrail.losses import resized_loss
from vitrail.losses.pixels import classes_present
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head


class Encoding(nn.Module):
    """Residuals of the pixels to learned codewords, summed with soft assignments.

    Parameters
    ----------
    channels : int
        Channels of pixels and codewords.
    num_codes : int
        Number of codewords.

    References
    ----------
    Zhang, Xue and Dana, "Deep TEN: Texture Encoding Network", CVPR 2017, arXiv:1612.02844.
    """

    def __init__(self, channels: int, num_codes: int) -> None:
        super().__init__()
        bound = (num_codes * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(num_codes, channels).uniform_(-bound, bound))
        self.scale = nn.Parameter(torch.empty(num_codes).uniform_(-1, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, num_codes, C]."""
        # in full precision: distances are small differences of large squares
        with torch.autocast(x.device.type, enabled=False):
            pixels = x.flatten(2).transpose(1, 2).to(self.codewords.dtype)  # [B, N, C]
            squares = pixels.square().sum(dim=2, keepdim=True) + self.codewords.square().sum(dim=1)
            distances = squares - 2 * pixels @ self.codewords.T  # [B, N, num_codes]
            assignment = (self.scale * distances).softmax(dim=2)
            # sums the residuals without creating the [B, N, num_codes, C] tensor of all residuals
            return assignment.transpose(1, 2) @ pixels - assignment.sum(dim=1).unsqueeze(2) * self.codewords


@register_segmentor("encnet", output_stride=8, auxiliary=Auxiliary())
class EncHead(Head):
    """EncNet (Zhang, Dana, Shi, Zhang, Wang, Tyagi and Agrawal, CVPR 2018, arXiv:1803.08904).

    An encoding of the whole image weights the channels of each pixel and predicts which classes are in the image.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last, and with `lateral` the two before it.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels inside the head.
    num_codes : int
        Number of codewords.
    presence_weight : float
        Weight of the loss on which classes are in the image; 0 leaves it out.
    lateral : bool
        Whether the two maps before the last are fused with it.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How maps and logits are resized.

    Raises
    ------
    ModelError
        For `lateral` on a backbone with fewer than three maps.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        num_codes: int = 32,
        presence_weight: float = 0.2,
        lateral: bool = False,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        if lateral:
            maps.check_index(-3, "lateral")
        in_channels = maps.channels[-3:]
        self.presence_weight = presence_weight
        self.reduce = ConvNormAct(in_channels[-1], channels, 3)
        self.laterals = nn.ModuleList(ConvNormAct(width, channels, 1) for width in in_channels[:-1] if lateral)
        self.lateral_fuse = ConvNormAct(channels * len(in_channels), channels, 3) if lateral else None
        self.project = ConvNormAct(channels, channels, 1)
        self.encode = nn.Sequential(Encoding(channels, num_codes), nn.BatchNorm1d(num_codes), nn.ReLU(inplace=True))
        self.gate = nn.Linear(channels, channels)
        self.presence = nn.Linear(channels, num_classes) if presence_weight else None
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        return self._decode(features)[0]

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses `seg`, and `presence` on which classes are in each image."""
        logits, code = self._decode(features)
        losses = {"seg": resized_loss(criterion, logits, targets, align_corners=self.align_corners)}
        if self.presence is not None:
            present = classes_present(targets, self.num_classes)
            predicted = self.presence(code)
            losses["presence"] = self.presence_weight * F.binary_cross_entropy_with_logits(
                predicted, present.to(predicted.dtype)
            )
        return losses

    def _decode(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits [B, K, h, w] and the encodings of the images [B, C]."""
        x = self.reduce(features[-1])
        if self.lateral_fuse is not None:
            maps = [lateral(f) for lateral, f in zip(self.laterals, features[-3:-1], strict=True)]
            maps = [resize(m, x.shape[-2:], align_corners=self.align_corners) for m in maps]
            x = self.lateral_fuse(torch.cat([x, *maps], dim=1))
        code = self.encode(self.project(x)).mean(dim=1)
        gate = self.gate(code).sigmoid()[:, :, None, None]
        return self.classifier(self.dropout(F.relu(x + x * gate))), code
