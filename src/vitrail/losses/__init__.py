"""Loss functions of logits [B, K, h, w] and targets [B, H, W], where 255 is ignored."""

from vitrail.losses.binary_cross_entropy import BinaryCrossEntropyLoss
from vitrail.losses.criterion import (
    LOSSES,
    ResizingLoss,
    WeightedSum,
    create_criterion,
    list_losses,
    register_loss,
    resized_loss,
)
from vitrail.losses.cross_entropy import CrossEntropyLoss
from vitrail.losses.dice import DiceLoss
from vitrail.losses.focal import FocalLoss
from vitrail.losses.lovasz import LovaszLoss
from vitrail.losses.ohem import OHEMCrossEntropyLoss
from vitrail.losses.one_output import OneOutputLoss, two_class_logits
from vitrail.losses.per_pixel import per_pixel_binary_cross_entropy, per_pixel_cross_entropy

__all__ = [
    "LOSSES",
    "BinaryCrossEntropyLoss",
    "CrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "LovaszLoss",
    "OHEMCrossEntropyLoss",
    "OneOutputLoss",
    "ResizingLoss",
    "WeightedSum",
    "create_criterion",
    "list_losses",
    "per_pixel_binary_cross_entropy",
    "per_pixel_cross_entropy",
    "register_loss",
    "resized_loss",
    "two_class_logits",
]
