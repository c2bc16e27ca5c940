"""Trained models: loading from any source, saving in one self-describing file."""

from vitrail.zoo.build import build_model
from vitrail.zoo.listing import list_weights, weights_table
from vitrail.zoo.load import convert_file, load, shipped_models
from vitrail.zoo.modelfile import load_model, save_model
from vitrail.zoo.torchfile import read_pickle

__all__ = [
    "build_model",
    "convert_file",
    "list_weights",
    "load",
    "load_model",
    "read_pickle",
    "save_model",
    "shipped_models",
    "weights_table",
]
