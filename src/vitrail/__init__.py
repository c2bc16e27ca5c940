"""vitrail: semantic segmentation in PyTorch.

Every public name is imported on first use, so that `import vitrail` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vitrail.backbones import Backbone, create_backbone, list_backbones, register_backbone
    from vitrail.checkpoints.loading import load
    from vitrail.datasets import create_dataset, list_datasets
    from vitrail.errors import (
        CheckpointError,
        DatasetError,
        DeviceError,
        ModelError,
        PredictionError,
        RecipeError,
        TrainingError,
        VitrailError,
    )
    from vitrail.evaluation.evaluator import evaluate
    from vitrail.evaluation.result import Evaluation
    from vitrail.inference.api import predict
    from vitrail.inference.prediction import Prediction
    from vitrail.recipes import Recipe, list_recipes, load_recipe
    from vitrail.segmentors import Head, ModelCard, Segmentor, create_model, list_segmentors, register_segmentor
    from vitrail.training.loop import TrainingResult, TrainingRun, train

_ROOMS = {
    "vitrail.backbones": ("Backbone", "create_backbone", "list_backbones", "register_backbone"),
    "vitrail.datasets": ("create_dataset", "list_datasets"),
    "vitrail.evaluation": ("Evaluation", "evaluate"),
    "vitrail.inference": ("Prediction", "predict"),
    "vitrail.training": ("TrainingResult", "TrainingRun", "train"),
    "vitrail.errors": (
        "CheckpointError",
        "DatasetError",
        "DeviceError",
        "ModelError",
        "PredictionError",
        "RecipeError",
        "TrainingError",
        "VitrailError",
    ),
    "vitrail.recipes": ("Recipe", "list_recipes", "load_recipe"),
    "vitrail.segmentors": (
        "Head",
        "ModelCard",
        "Segmentor",
        "create_model",
        "list_segmentors",
        "register_segmentor",
    ),
    "vitrail.checkpoints": ("load",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [  # noqa: PLE0604 - the names are those of _ROOMS
    "__version__",
    *_ROOM_OF,
]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'vitrail' has no attribute {name!r}")
    return getattr(importlib.import_module(_ROOM_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
