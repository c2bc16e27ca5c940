"""Trained models: loading from any source, saving in one self-describing file."""

from vitrail.checkpoints.listing import list_weights, weights_table
from vitrail.checkpoints.loading import convert_file, load, shipped_models
from vitrail.checkpoints.native import load_model, save_model

__all__ = [
    "convert_file",
    "list_weights",
    "load",
    "load_model",
    "save_model",
    "shipped_models",
    "weights_table",
]
