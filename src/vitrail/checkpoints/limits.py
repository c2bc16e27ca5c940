"""Limits on the model that a file describes, checked before memory is allocated for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.state import check_state
from vitrail.errors import CheckpointError, VitrailError
from vitrail.recipes import ModelConfig
from vitrail.segmentors import build_model

LARGEST = 2**16  # of a number among the options: channels, image sizes, numbers of blocks
LONGEST = 2**10  # of a list among the options


def check_described_model(config: ModelConfig, num_classes: int, state: Mapping[str, Tensor], source: str) -> None:
    """Check that a model which a file describes is the one whose weights the file holds, without allocating it.

    Parameters
    ----------
    config : ModelConfig
        The model section in the file.
    num_classes : int
        K, the number of classes.
    state : mapping from str to Tensor
        The weights under our names.
    source : str
        The file, for messages.

    Raises
    ------
    CheckpointError
        For numbers beyond all models, and for weights of other names or shapes than the described model's.
    VitrailError
        As `build_model`.
    """
    for section, options in (("options", config.options), ("backbone_options", config.backbone_options)):
        _check_numbers(options, f"{source}: model.{section}")
    try:
        with torch.device("meta"):
            described = build_model(config, num_classes)
    except VitrailError:
        raise
    except (RuntimeError, NotImplementedError):  # not buildable on the meta device: the caller checks it once built
        return
    check_state(described, state, source)


def _check_numbers(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_numbers(item, f"{where}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > LONGEST:
            raise CheckpointError(f"{where} has {len(value):,} entries, more than any model: the file is refused")
        for item in value:
            _check_numbers(item, where)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise CheckpointError(f"{where} is {value:,}, beyond any model: the file is refused")
