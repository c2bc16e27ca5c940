"""Encoders: every timm encoder through one bridge, and one file for each encoder timm lacks."""

from vitrail.backbones.backbone import BACKBONES, Backbone, register_backbone
from vitrail.backbones.create import create_backbone
from vitrail.backbones.levels import BackboneName, list_backbones
from vitrail.registry import import_submodules

import_submodules(__name__, __path__)

__all__ = ["BACKBONES", "Backbone", "BackboneName", "create_backbone", "list_backbones", "register_backbone"]
