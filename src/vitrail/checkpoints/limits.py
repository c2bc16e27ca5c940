"""Limits on the model that a file describes, checked before memory is allocated for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from vitrail.checkpoints.state import check_state
from vitrail.errors import CheckpointError, VitrailError
from vitrail.layers.skip_init import shapes_only
from vitrail.recipes import ModelConfig
from vitrail.segmentors import build_model

LARGEST = 2**16  # of a number among the options: channels, image sizes, numbers of blocks
LONGEST = 2**10  # of a list among the options
# What a model may have while it is built beyond twice what the file holds: classifiers that are dropped, for instance.
SPARE_PARAMETERS = 1000
SPARE_VALUES = 2**25


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
        with shapes_only(), no_more_than(state, source):
            described = build_model(config, num_classes)
    except VitrailError:
        raise
    except (RuntimeError, NotImplementedError):  # not buildable on the meta device: the caller checks it once built
        return
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(
            f"{source}: the model that it describes cannot be built ({type(error).__name__}: {error})"
        ) from error
    check_state(described, state, source)


@contextlib.contextmanager
def no_more_than(state: Mapping[str, Tensor], source: str) -> Iterator[None]:
    """Context in which a model may be built that is not much larger than the weights in a file.

    Parameters
    ----------
    state : mapping from str to Tensor
        The weights.
    source : str
        The file, for messages.

    Raises
    ------
    CheckpointError
        Before the memory of a parameter is written that makes the model larger than this.
    """
    thread, parameters, values = threading.get_ident(), 0, 0
    most = SPARE_PARAMETERS + 2 * len(state)
    largest = SPARE_VALUES + 2 * sum(getattr(tensor, "numel", int)() for tensor in state.values())

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal parameters, values
        if parameter is None or threading.get_ident() != thread:
            return
        parameters += 1
        values += parameter.numel() if type(parameter) is nn.Parameter else 0  # lazy ones have no size yet
        if parameters > most or values > largest:
            raise CheckpointError(f"{source} describes a much larger model than the one whose weights it holds")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


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
