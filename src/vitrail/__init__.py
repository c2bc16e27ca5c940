"""vitrail: semantic segmentation in PyTorch.

Every public name is imported on first use, so that `import vitrail` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vitrail.backbones import Backbone, create_backbone, list_backbones, register_backbone
    from vitrail.checkpoints import load
    from vitrail.checkpoints import save_model as save
    from vitrail.checkpoints.checkpoint import Checkpoint
    from vitrail.checkpoints.sources import register_source
    from vitrail.datasets import (
        Benchmark,
        Split,
        create_dataset,
        list_datasets,
        register_benchmark,
        register_dataset,
    )
    from vitrail.errors import (
        CheckpointError,
        DatasetError,
        DeviceError,
        ExportError,
        ModelError,
        PluginError,
        PredictionError,
        RecipeError,
        ServiceError,
        TrainingError,
        VitrailError,
    )
    from vitrail.evaluation import Evaluation, evaluate
    from vitrail.export import export_model, register_exporter
    from vitrail.inference import Prediction, Predictor, predict
    from vitrail.inference.sources import Frame, FrameSource, register_frame_source
    from vitrail.labels import IGNORE, ignore_index
    from vitrail.losses import register_loss
    from vitrail.optim import register_optimizer, register_schedule
    from vitrail.recipes import Recipe, list_recipes, load_recipe
    from vitrail.runtime.distributed import Strategy, register_strategy
    from vitrail.segmentors import (
        Auxiliary,
        FeatureMaps,
        Head,
        ModelCard,
        Segmentor,
        create_model,
        list_segmentors,
        register_segmentor,
    )
    from vitrail.training import TrainingResult, TrainingRun, train
    from vitrail.training.loggers import Logger, RunInfo, register_logger
    from vitrail.transforms import register_augmentation

_EXPORTS = {
    "vitrail.backbones": ("Backbone", "create_backbone", "list_backbones", "register_backbone"),
    "vitrail.checkpoints": ("load",),
    "vitrail.checkpoints.checkpoint": ("Checkpoint",),
    "vitrail.checkpoints.sources": ("register_source",),
    "vitrail.datasets": (
        "Benchmark",
        "Split",
        "create_dataset",
        "list_datasets",
        "register_benchmark",
        "register_dataset",
    ),
    "vitrail.errors": (
        "CheckpointError",
        "DatasetError",
        "DeviceError",
        "ExportError",
        "ModelError",
        "PluginError",
        "PredictionError",
        "RecipeError",
        "ServiceError",
        "TrainingError",
        "VitrailError",
    ),
    "vitrail.evaluation": ("Evaluation", "evaluate"),
    "vitrail.export": ("export_model", "register_exporter"),
    "vitrail.inference": ("Prediction", "Predictor", "predict"),
    "vitrail.inference.sources": ("Frame", "FrameSource", "register_frame_source"),
    "vitrail.labels": ("IGNORE", "ignore_index"),
    "vitrail.losses": ("register_loss",),
    "vitrail.optim": ("register_optimizer", "register_schedule"),
    "vitrail.recipes": ("Recipe", "list_recipes", "load_recipe"),
    "vitrail.runtime.distributed": ("Strategy", "register_strategy"),
    "vitrail.segmentors": (
        "Auxiliary",
        "FeatureMaps",
        "Head",
        "ModelCard",
        "Segmentor",
        "create_model",
        "list_segmentors",
        "register_segmentor",
    ),
    "vitrail.training": ("TrainingResult", "TrainingRun", "train"),
    "vitrail.training.loggers": ("Logger", "RunInfo", "register_logger"),
    "vitrail.transforms": ("register_augmentation",),
}
# Public name to (module, name there).
_HOMES = {name: (module, name) for module, names in _EXPORTS.items() for name in names}
_HOMES["save"] = ("vitrail.checkpoints", "save_model")

__all__ = [  # noqa: PLE0604 - the names are those of _HOMES
    "__version__",
    *_HOMES,
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vitrail' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
