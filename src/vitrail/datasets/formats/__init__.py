"""Formats of other programs, each read in place by a dataset of its own name."""

from vitrail.datasets.formats.recognise import Recognised, recognise_format
from vitrail.registry import import_submodules

__all__ = ["Recognised", "recognise_format"]

import_submodules(__name__, list(__path__))
