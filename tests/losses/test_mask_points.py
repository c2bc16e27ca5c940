"""The losses of Mask2Former at sampled points: what they draw, and what they are of a perfect prediction."""

from __future__ import annotations

import torch

from vitrail.losses.mask_classification import Matches, QueryPrediction
from vitrail.losses.mask_points import PointMaskLoss


def perfect(targets: torch.Tensor, num_classes: int) -> QueryPrediction:
    """Query i is sure of class i and of its mask."""
    classes = torch.full((len(targets), num_classes, num_classes + 1), -20.0)
    classes[:, range(num_classes), range(num_classes)] = 20.0
    masks = torch.stack([(targets == label).float() * 40 - 20 for label in range(num_classes)], 1)
    return QueryPrediction(classes, masks)


def test_a_perfect_prediction_costs_next_to_nothing_and_is_matched_with_itself() -> None:
    targets = torch.arange(3).repeat_interleave(16 * 4).view(1, 12, 16)  # bands of four rows
    loss = PointMaskLoss(num_points=2000, importance_ratio=0.0)
    present = torch.ones(1, 3, dtype=torch.bool)
    (matches,) = loss.match([perfect(targets, 3)], targets, present)
    assert matches.query.tolist() == matches.label.tolist()
    (terms,) = loss([perfect(targets, 3)], targets)
    assert terms["class"] < 1e-6
    assert terms["mask"] < 4 and terms["dice"] < 1  # of points between the bands
    shifted = QueryPrediction(perfect(targets, 3).classes, perfect(targets.roll(2, 1), 3).masks)
    (worse,) = loss([shifted], targets)
    assert worse["mask"] > 20 and worse["dice"] > 2


def test_points_are_drawn_where_the_mask_is_uncertain() -> None:
    torch.manual_seed(0)
    masks = torch.full((1, 8, 8), 9.0)
    masks[:, :, :2] = 0.1
    loss = PointMaskLoss(num_points=64, oversample=8.0, importance_ratio=1.0)
    matches = Matches(*(torch.zeros(1, dtype=torch.long),) * 3)
    logits, inside = loss.matched(masks, matches, torch.zeros(1, 16, 16, dtype=torch.long))
    assert logits.shape == inside.shape == (1, 64)
    assert logits.max() < 1.0
    # the target is inside everywhere but where the interpolation reaches beyond the border
    assert inside.median() == 1.0


def test_an_image_without_a_class_leaves_only_the_loss_of_unmatched_queries() -> None:
    targets = torch.full((1, 6, 6), 255)
    (terms,) = PointMaskLoss(num_points=16)([perfect(targets.clamp(max=2), 3)], targets)
    assert terms["mask"] == terms["dice"] == 0.0
    assert terms["class"] > 0
