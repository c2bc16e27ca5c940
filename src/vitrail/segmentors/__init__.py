"""Methods: one file each, all keeping the contract in `segmentor.py`."""

from vitrail.registry import import_submodules
from vitrail.segmentors.card import ModelCard
from vitrail.segmentors.segmentor import (
    SEGMENTORS,
    Head,
    Progress,
    Segmentor,
    create_model,
    list_segmentors,
    register_segmentor,
)

import_submodules(__name__, __path__)

__all__ = [
    "SEGMENTORS",
    "Head",
    "ModelCard",
    "Progress",
    "Segmentor",
    "create_model",
    "list_segmentors",
    "register_segmentor",
]
