"""Methods: one file each, all keeping the contract in `segmentor.py`."""

from vitrail.registry import import_submodules
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.build import build_model, create_model, described_auxiliary
from vitrail.segmentors.card import ModelCard
from vitrail.segmentors.method import SEGMENTORS, Method, list_segmentors, register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head, Progress, Segmentor

import_submodules(__name__, __path__)

__all__ = [
    "SEGMENTORS",
    "Auxiliary",
    "FeatureMaps",
    "Head",
    "Method",
    "ModelCard",
    "Progress",
    "Segmentor",
    "build_model",
    "create_model",
    "described_auxiliary",
    "list_segmentors",
    "register_segmentor",
]
