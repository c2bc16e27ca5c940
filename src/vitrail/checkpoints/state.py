"""Load tensors into a model strictly: every tensor used, every parameter filled, every shape right."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vitrail.errors import CheckpointError
from vitrail.segmentors import Segmentor

logger = logging.getLogger(__name__)

_CRITERIA = ("criterion.", "auxiliary_criterion.")
SHOWN = 5  # names in a message; the rest is counted


def few(names: Sequence[str]) -> str:
    """Return the first few names and how many more there are, for a message."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def model_state(model: Segmentor) -> dict[str, Tensor]:
    """Return the weights by name: the state of the model without that of its criteria, which the recipe rebuilds."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(_CRITERIA)}


def weights_digest(model: nn.Module) -> str:
    """Return a hash, of 64 hexadecimal digits, of the names and the values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_state(model: Segmentor, state: Mapping[str, Tensor], source: str) -> None:
    """Fill every tensor of `model` from `state`, using every tensor of `state`; see `check_state` and `check_values`.

    The model is filled in place, and untouched when an error is raised.
    """
    check_state(model, state, source)
    check_values(model, state, source)
    _say_lossy(model, state, source)
    own = model.state_dict()
    kept = {name: own[name] for name in own.keys() - model_state(model).keys()}
    model.load_state_dict({**kept, **state}, strict=True)


def check_state(model: Segmentor, state: Mapping[str, Tensor], source: str) -> None:
    """Check that the tensors of `state` are those of `model`, by name and shape.

    Parameters
    ----------
    model : Segmentor
        The model, on any device, the meta device included.
    state : mapping from str to Tensor
        Weights under the model's own names.
    source : str
        Where the weights come from, for messages.

    Raises
    ------
    CheckpointError
        When tensors are missing, left over, or have another shape; the message names the first few and counts the rest.
    """
    problems = _differences(model_state(model), state, model.num_classes)
    if problems:
        raise CheckpointError(f"{source} does not fit the model: " + "; ".join(problems))


def check_values(model: Segmentor, state: Mapping[str, Tensor], source: str) -> None:
    """Check that weights are numbers with which a model can compute.

    Parameters
    ----------
    model, state, source
        As `check_state`, which has passed.

    Raises
    ------
    CheckpointError
        For NaN and infinite values, negative variances, and numbers of another kind than the model's: integers or
        complex ones in place of floating-point weights. Any floating-point precision is converted.
    """
    problems: dict[str, list[str]] = {}
    for name, own in model_state(model).items():
        problem = _problem(name, state[name], own)
        if problem is not None:
            problems.setdefault(problem, []).append(name)
    if problems:
        said = "; ".join(f"{problem} in {few(names)}" for problem, names in problems.items())
        raise CheckpointError(f"{source} holds weights that no model can use: {said}")


def _say_lossy(model: Segmentor, state: Mapping[str, Tensor], source: str) -> None:
    lossy = [
        name
        for name, own in model_state(model).items()
        if own.is_floating_point() and torch.finfo(state[name].dtype).bits > torch.finfo(own.dtype).bits
    ]
    if lossy:
        given, kept = (str(each[lossy[0]].dtype).removeprefix("torch.") for each in (state, model_state(model)))
        logger.warning("%s: %d weights are converted from %s to %s (%s)", source, len(lossy), given, kept, few(lossy))


def _problem(name: str, tensor: Tensor, own: Tensor) -> str | None:
    if not own.is_floating_point():
        return None
    if not tensor.is_floating_point():
        return f"{str(tensor.dtype).removeprefix('torch.')} instead of floating-point numbers"
    # A sum is much faster to check, but may overflow where no value is infinite.
    if tensor.numel() and not tensor.sum().isfinite() and not tensor.isfinite().all():
        return "NaN or infinite values"
    if name.endswith("running_var") and (tensor < 0).any():
        return "negative variances"
    return None


def _differences(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], num_classes: int) -> list[str]:
    problems = []
    missing = [name for name in wanted if name not in state]
    unused = [name for name in state if name not in wanted]
    shaped = [name for name in wanted if name in state and wanted[name].shape != state[name].shape]
    if shaped and not missing and not unused:
        other = _other_class_count(wanted, state, shaped, num_classes)
        if other is not None:
            return [f"the weights are for {other} classes, the model has {num_classes} ({few(shaped)})"]
    if missing:
        problems.append(f"{len(missing)} of {len(wanted)} tensors are missing ({few(missing)})")
    if unused:
        problems.append(f"{len(unused)} are left over ({few(unused)})")
    if shaped:
        shapes = [f"{name}: {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}" for name in shaped]
        problems.append(f"{len(shaped)} have another shape ({few(shapes)})")
    return problems


def _other_class_count(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], shaped: Sequence[str], num_classes: int
) -> int | None:
    """Return the number of classes of `state` if that alone explains the tensors of another shape."""
    counts = set()
    for name in shaped:
        ours, theirs = wanted[name].shape, state[name].shape
        differing = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
        if len(ours) != len(theirs) or any(a != num_classes for a, _ in differing):
            return None
        counts |= {b for _, b in differing}
    return counts.pop() if len(counts) == 1 else None
