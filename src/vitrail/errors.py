"""Errors that a user can mend: each message says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VitrailError(Exception):
    """Base of every error caused by input; the command line prints it without a traceback.

    Attributes
    ----------
    exit_status : int
        With which the command line exits: 2, but for errors that a script has to tell apart.
    """

    exit_status = 2


class ModelError(VitrailError):
    """An unknown segmentor, backbone or loss, or an argument that its builder does not take."""


class RecipeError(VitrailError):
    """An unknown recipe, an unknown key, or a value of the wrong type in a recipe."""


class DatasetError(VitrailError):
    """Images or masks that are missing, unreadable or inconsistent with their description."""


class CheckpointError(VitrailError):
    """A checkpoint that is missing, damaged, unsafe, or made for another model."""


class TrainingError(VitrailError):
    """Training that cannot start or go on, such as a loss that is no longer finite."""


class DeviceError(VitrailError):
    """A device, or a precision on it, that is not there."""


class PluginError(VitrailError):
    """A plugin that is missing or cannot be imported."""


class PredictionError(VitrailError):
    """Images that cannot be segmented as asked."""


class ExportError(VitrailError):
    """A model that cannot be exported as asked, or an exported file that does not compute what the model computes."""


class ServiceError(VitrailError):
    """A service that cannot start as asked, or a request that it does not answer."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the known name nearest to `name`, or an empty string when none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
