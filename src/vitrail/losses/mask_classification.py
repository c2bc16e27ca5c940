"""Set prediction loss: Hungarian matching, then classification, mask and Dice losses (MaskFormer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.assignment import assign
from vitrail.layers.processes import mean_over_processes
from vitrail.layers.resize import resize
from vitrail.losses.pixels import classes_present, in_full_precision

_ALPHA, _GAMMA = 0.25, 2.0  # of the focal loss (Lin et al., ICCV 2017), as in DETR and MaskFormer


@dataclass(frozen=True)
class QueryPrediction:
    """Class and mask logits of one decoder layer.

    Attributes
    ----------
    classes : Tensor
        Class logits [B, Q, K + 1]; the last class is "no object".
    masks : Tensor
        Mask logits [B, Q, h, w].
    """

    classes: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Matches:
    """Matched pairs: int64 [N] each, the index of the image in the batch, of the query, and of the class."""

    image: Tensor
    query: Tensor
    label: Tensor


class MaskClassificationLoss(nn.Module):
    """Classification, mask and Dice losses after matching queries with the classes present in each image.

    Parameters
    ----------
    class_weight, mask_weight, dice_weight : float
        Weights of the cross entropy, of the focal loss of masks and of the Dice loss, both in the loss and in the
        matching cost.
    no_object_weight : float
        Class weight of "no object" in the cross entropy.

    Notes
    -----
    An ignored pixel belongs to no target mask, so it is a negative for every mask; the reference implementations do
    the same.

    References
    ----------
    Cheng, Schwing and Kirillov, "Per-Pixel Classification is Not All You Need for Semantic Segmentation", NeurIPS 2021,
    arXiv:2107.06278.
    """

    def __init__(
        self,
        *,
        class_weight: float = 1.0,
        mask_weight: float = 20.0,
        dice_weight: float = 1.0,
        no_object_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.no_object_weight = no_object_weight

    def forward(self, layers: Sequence[QueryPrediction], targets: Tensor) -> list[dict[str, Tensor]]:
        """Return the weighted losses `class`, `mask` and `dice` of each layer, for targets [B, H, W], 255 ignored."""
        layers = [QueryPrediction(in_full_precision(x.classes), in_full_precision(x.masks)) for x in layers]
        num_classes = layers[0].classes.shape[-1] - 1
        present = classes_present(targets, num_classes)
        num_masks = mean_over_processes(present.sum().float()).clamp(min=1)
        matches = self.match(layers, targets, present)
        return [self._losses(x, found, targets, num_masks) for x, found in zip(layers, matches, strict=True)]

    @torch.no_grad()
    def match(self, layers: Sequence[QueryPrediction], targets: Tensor, present: Tensor) -> list[Matches]:
        """Match the classes `present` (bool [B, K]) with queries at the least cost, for each layer.

        The costs of all layers and images are copied to the CPU together: one host synchronisation per step.
        """
        costs = self.costs(layers, targets, present.shape[1])
        counted = costs.nan_to_num(nan=1e6, posinf=1e6, neginf=-1e6).cpu().double().numpy()
        labels_of = [row.nonzero()[0] for row in present.cpu().numpy()]
        found = []
        for layer in counted:
            image, query, label = [], [], []
            for index, (cost, own) in enumerate(zip(layer, labels_of, strict=True)):
                rows, columns = assign(cost[:, own])
                image += [index] * len(rows)
                query += rows.tolist()
                label += own[columns].tolist()
            found.append(Matches(*torch.tensor([image, query, label], dtype=torch.long, device=targets.device)))
        return found

    def costs(self, layers: Sequence[QueryPrediction], targets: Tensor, num_classes: int) -> Tensor:
        """Return the matching costs [L, B, Q, K] of every query and class, for each layer."""
        size = layers[0].masks.shape[-2:]
        small = F.interpolate(targets[:, None].float(), size, mode="nearest")  # [B, 1, h, w]
        labels = torch.arange(num_classes, device=targets.device)[:, None, None]
        one_hot = (small == labels).flatten(2).to(layers[0].masks.dtype)  # [B, K, h·w]
        return torch.stack([self.cost(x.classes, x.masks.flatten(2), one_hot) for x in layers])

    def cost(self, classes: Tensor, masks: Tensor, one_hot: Tensor) -> Tensor:
        """Return the matching cost [B, Q, K] of every query and class.

        Parameters
        ----------
        classes : Tensor
            Class logits [B, Q, K + 1].
        masks : Tensor
            Mask logits [B, Q, P] at P positions.
        one_hot : Tensor
            The masks [B, K, P] of the classes there.
        """
        probability = masks.sigmoid()
        if_inside, if_outside = self.binary_costs(masks)
        columns = one_hot.transpose(1, 2)  # [B, P, K]
        binary = (if_inside - if_outside) @ columns + if_outside.sum(-1, keepdim=True)
        area = probability.sum(-1)[:, :, None] + one_hot.sum(-1)[:, None]
        dice = 1 - (2 * probability @ columns + 1) / (area + 1)
        probabilities = classes.softmax(-1)[..., :-1]
        return self.mask_weight * binary / masks.shape[-1] + self.dice_weight * dice - self.class_weight * probabilities

    def binary_costs(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mask loss of each logit if the position is inside of the mask, and if it is outside."""
        probability = logits.sigmoid()
        if_inside = _ALPHA * (1 - probability) ** _GAMMA * F.softplus(-logits)
        if_outside = (1 - _ALPHA) * probability**_GAMMA * F.softplus(logits)
        return if_inside, if_outside

    def _losses(
        self, prediction: QueryPrediction, matches: Matches, targets: Tensor, num_masks: Tensor
    ) -> dict[str, Tensor]:
        masks = prediction.masks[matches.image, matches.query]  # [N, h, w]
        logits, target_masks = self.matched(masks, matches, targets) if len(masks) else (masks, masks)
        logits, target_masks = logits.flatten(1), target_masks.flatten(1)
        return {
            "class": self.class_weight * self._class_loss(prediction.classes, matches),
            "mask": self.mask_weight * self.mask_loss(logits, target_masks) / num_masks,
            "dice": self.dice_weight * _dice_loss(logits, target_masks) / num_masks,
        }

    def matched(self, masks: Tensor, matches: Matches, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mask logits of matched queries and their target masks where the losses compare them, [N, …].

        Parameters
        ----------
        masks : Tensor
            Mask logits [N, h, w] of the matched queries.
        matches : Matches
            What they are matched with.
        targets : Tensor
            [B, H, W].
        """
        large = resize(masks[:, None], targets.shape[-2:])[:, 0]
        return large, (targets[matches.image] == matches.label[:, None, None]).to(masks.dtype)

    def mask_loss(self, logits: Tensor, target_masks: Tensor) -> Tensor:
        """Return the loss of mask logits [N, P]: the mean over positions, summed over masks."""
        return _focal_loss(logits, target_masks)

    def _class_loss(self, logits: Tensor, matches: Matches) -> Tensor:
        no_object = logits.shape[-1] - 1
        labels = torch.full(logits.shape[:2], no_object, device=logits.device)
        labels[matches.image, matches.query] = matches.label
        weights = torch.ones(no_object + 1, device=logits.device, dtype=logits.dtype)
        weights[no_object] = self.no_object_weight
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weights)


def _focal_loss(logits: Tensor, target_masks: Tensor) -> Tensor:
    """Return the focal loss of mask logits [N, P]: the mean over pixels, summed over masks."""
    wrong = logits.sigmoid() * (1 - 2 * target_masks) + target_masks  # the probability of the wrong binary label
    entropy = F.binary_cross_entropy_with_logits(logits, target_masks, reduction="none")
    alpha = _ALPHA * target_masks + (1 - _ALPHA) * (1 - target_masks)
    return (alpha * wrong**_GAMMA * entropy).sum() / max(logits.shape[1], 1)


def _dice_loss(logits: Tensor, target_masks: Tensor) -> Tensor:
    """Return the Dice loss of mask logits [N, P], summed over masks; 1 is added to numerator and denominator."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * target_masks).sum(-1) + 1
    return (1 - overlap / (probability.sum(-1) + target_masks.sum(-1) + 1)).sum()
