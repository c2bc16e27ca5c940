"""Base of the heads whose queries each predict a class and a mask (MaskFormer, Mask2Former)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.layers import resize
from vitrail.losses.mask_classification import MaskClassificationLoss, QueryPrediction
from vitrail.segmentors.segmentor import Criterion, Head


class MaskClassificationHead(Head):
    """A head with a set of queries and losses of its own: the segmentor's criterion is not used.

    Subclasses set `loss` and define `queries`.

    Parameters
    ----------
    num_classes : int
        K, the number of classes.
    deep_supervision : bool
        Whether to apply the losses to all predictions of the queries, or to the last alone.
    align_corners : bool
        How predicted masks are resized.

    Attributes
    ----------
    loss : MaskClassificationLoss
        Matches queries with classes and compares them.
    """

    output = "scores"
    resizes_late = False
    loss: MaskClassificationLoss

    def __init__(self, num_classes: int, *, deep_supervision: bool, align_corners: bool) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.deep_supervision = deep_supervision

    @abstractmethod
    def queries(self, features: Sequence[Tensor]) -> list[QueryPrediction]:
        """Return the predictions of the queries, the final one last; unless training, that one is enough."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into scores [B, K, h, w] at the size of the finest map."""
        last = self.queries(features)[-1]
        return semantic_scores(last.classes, last.masks)

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses of the last layer, and those of the ones before under `layer0_…`, `layer1_…`."""
        return self.losses_of(self.queries(features), targets)

    def losses_of(self, predictions: Sequence[QueryPrediction], targets: Tensor) -> dict[str, Tensor]:
        """Return the losses of the predictions of the queries, by name."""
        *early, last = self.loss(predictions if self.deep_supervision else predictions[-1:], targets)
        named = {f"layer{index}_{name}": value for index, terms in enumerate(early) for name, value in terms.items()}
        return {**last, **named}

    def predict(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return scores [B, K, H, W] at `size`: the queries' masks, resized as logits, weighted by their classes."""
        last = self.queries(features)[-1]
        return semantic_scores(last.classes, resize(last.masks, size, align_corners=self.align_corners))


def semantic_scores(classes: Tensor, masks: Tensor) -> Tensor:
    """Return per-pixel class scores [B, K, H, W] of queries with class logits [B, Q, K + 1] and masks [B, Q, H, W]."""
    return torch.einsum("bqk,bqhw->bkhw", classes.softmax(-1)[..., :-1], masks.sigmoid())
