"""STDC: a light head whose early maps are supervised with classes and details (Fan et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.losses import BinaryCrossEntropyLoss, DiceLoss, resized_loss
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps

# How much edges found at strides 1, 2 and 4 count.
_EDGE_WEIGHTS = (0.6, 0.3, 0.1)


@register_segmentor("stdc", backbone="stdc1")
class STDCHead(FCNHead):
    """STDC (Fan, Lai, Huang, Wei, Chai, Luo and Wei, CVPR 2021, arXiv:2104.13188).

    One convolution and a classifier on the map that fuses details and context. In training the two maps of the context
    are classified too, and the map of details predicts where the labels change. As in MMSegmentation, the logits of the
    context are resized without aligned corners.

    Parameters
    ----------
    maps : FeatureMaps
        The encoder's maps: details, context twice, and the fused map last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolution before the classifier.
    early_channels : int
        Channels of those on the other maps.
    early_weight : float
        Weight of the criterion on the two maps of the context.
    detail_weight : float
        Weight of the two losses of the details, binary cross entropy and Dice.
    edge_threshold : float
        A pixel belongs to the details where the Laplacian of the labels is larger than this.
    dropout : float
        Probability of dropping a channel before a classifier.
    align_corners : bool
        How the logits, and those of the details, are resized to the image.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 256,
        early_channels: int = 64,
        early_weight: float = 1.0,
        detail_weight: float = 1.0,
        edge_threshold: float = 0.1,
        dropout: float = 0.1,
        align_corners: bool = True,
    ) -> None:
        super().__init__(
            maps, num_classes, channels=channels, num_convs=1, dropout=dropout, align_corners=align_corners
        )

        def early(index: int, outputs: int, *, corners: bool) -> FCNHead:
            return FCNHead(
                maps,
                outputs,
                index=index,
                channels=early_channels,
                num_convs=1,
                dropout=dropout,
                align_corners=corners,
            )

        self.early = nn.ModuleList([early(index, num_classes, corners=False) for index in (-2, -3)])
        self.detail = early(-4, 2, corners=align_corners)  # "no edge" and "edge", each told by its own sigmoid
        self.early_weight = early_weight
        self.detail_weight = detail_weight
        self.edge_threshold = edge_threshold
        self.detail_losses = nn.ModuleDict(
            {
                "detail": BinaryCrossEntropyLoss(ignored_in_mean=True),
                "detail_dice": DiceLoss(sigmoid=True, squared=True, per_class=False, eps=1e-3, ignored_in_mass=True),
            }
        )

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses of the logits, of both maps of the context (`aux0`, `aux1`), and of the details."""
        losses = super().losses(features, targets, criterion)
        for index, head in enumerate(self.early):
            (term,) = head.losses(features, targets, criterion).values()  # type: ignore[operator]
            losses[f"aux{index}"] = self.early_weight * term
        edges, logits = detail_targets(targets, self.edge_threshold), self.detail(features)
        for name, loss in self.detail_losses.items():
            term = resized_loss(loss, logits, edges, align_corners=self.align_corners)
            losses[name] = self.detail_weight * term
        return losses


def detail_targets(targets: Tensor, threshold: float) -> Tensor:
    """Return where labels change, [B, H, W] of 0 and 1, for class indices [B, H, W].

    A Laplacian of the labels, as numbers, at strides 1, 2 and 4; each is compared with the threshold, and so is their
    weighted sum (arXiv:2104.13188, section 3.3). By the published weights and threshold, an edge that is only found at
    stride 4 does not count.
    """
    labels = targets[:, None].float()
    kernel = labels.new_full((1, 1, 3, 3), -1.0)
    kernel[..., 1, 1] = 8.0
    found = torch.zeros_like(labels)
    with torch.autocast(labels.device.type, enabled=False):  # half precision does not tell all numbers of classes apart
        for weight, stride in zip(_EDGE_WEIGHTS, (1, 2, 4), strict=True):
            edges = (F.conv2d(labels, kernel, stride=stride, padding=1) > threshold).float()
            found = found + weight * F.interpolate(edges, size=labels.shape[-2:], mode="nearest")
    return (found > threshold)[:, 0].long()
