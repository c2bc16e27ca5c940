"""Loss functions of logits [B, K, H, W] and targets [B, H, W], where 255 is ignored."""

from vitrail.losses.binary_cross_entropy import BinaryCrossEntropyLoss
from vitrail.losses.criterion import LOSSES, WeightedSum, create_criterion, list_losses, register_loss
from vitrail.losses.cross_entropy import CrossEntropyLoss
from vitrail.losses.dice import DiceLoss
from vitrail.losses.focal import FocalLoss
from vitrail.losses.lovasz import LovaszLoss
from vitrail.losses.ohem import OHEMCrossEntropyLoss

__all__ = [
    "LOSSES",
    "BinaryCrossEntropyLoss",
    "CrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "LovaszLoss",
    "OHEMCrossEntropyLoss",
    "WeightedSum",
    "create_criterion",
    "list_losses",
    "register_loss",
]
