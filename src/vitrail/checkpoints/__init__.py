"""Trained models: loading from any source, saving in one self-describing file, writing for other projects."""

from vitrail.checkpoints.best import best_table, best_weights
from vitrail.checkpoints.checkpoint import Checkpoint, read_checkpoint
from vitrail.checkpoints.listing import list_weights, weights_table
from vitrail.checkpoints.loading import convert_file, export_checkpoint, load, load_model, shipped_models
from vitrail.checkpoints.native import save_model
from vitrail.checkpoints.push import push_model
from vitrail.checkpoints.sources import SOURCES, Source, Writer, register_source

__all__ = [
    "SOURCES",
    "Checkpoint",
    "Source",
    "Writer",
    "best_table",
    "best_weights",
    "convert_file",
    "export_checkpoint",
    "list_weights",
    "load",
    "load_model",
    "push_model",
    "read_checkpoint",
    "register_source",
    "save_model",
    "shipped_models",
    "weights_table",
]
