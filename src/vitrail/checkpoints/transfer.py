"""Transfer the weights of a trained model to another one: other classes, other input channels, another method."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.state import model_state
from vitrail.errors import CheckpointError
from vitrail.layers.skip_init import shapes_only
from vitrail.recipes import ModelConfig
from vitrail.segmentors import SEGMENTORS, Segmentor, build_model

Axes = Mapping[str, tuple[int, ...]]
_BACKBONE = "backbone."


@dataclass(frozen=True)
class Transfer:
    """The result of a transfer: which tensors of the new model got which weights, and what was not used.

    Attributes
    ----------
    taken : tuple of str
        Tensors of the new model that were taken whole.
    by_class : tuple of str
        Those that have a row for each class: the rows of the classes that both models have were taken.
    adapted : tuple of str
        Weights of first convolutions, converted to another number of input channels.
    new : tuple of str
        Those that keep the values they were initialised with.
    left_out : tuple of str
        Tensors of the trained model that were not used, with both shapes where only the shape was in the way.
    kept, added, dropped : tuple of str
        Names of the classes that both models have, that the new one has alone, and that the trained one had alone.
    """

    taken: tuple[str, ...]
    by_class: tuple[str, ...]
    adapted: tuple[str, ...]
    new: tuple[str, ...]
    left_out: tuple[str, ...]
    kept: tuple[str, ...]
    added: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class _Classes:
    """How the classes of two models correspond: indices of the same classes, in the order of the new model."""

    new: Sequence[int]
    old: Sequence[int]
    new_count: int
    old_count: int

    @property
    def identical(self) -> bool:
        """Whether both models have the same classes in the same order."""
        return list(self.new) == list(self.old) == list(range(self.new_count)) and self.new_count == self.old_count


def transfer(
    model: Segmentor, config: ModelConfig, classes: Sequence[str], source: Segmentor, source_name: str
) -> Transfer:
    """Fill a model with every tensor of a trained one that fits it.

    Tensors are matched by name and shape. Between models of the same method all are; between two methods the backbones
    are. In tensors that grow with the number of classes (classifiers, those of auxiliary heads, class memories, the
    class scores of queries) the rows of classes with the same name are taken, whatever their order; what such a tensor
    has beyond the classes, such as MaskFormer's row for "no object", comes behind them in the outputs (dimension 0) and
    before them in the inputs (other dimensions), and is taken too. Weights of first convolutions are converted to other
    numbers of input channels as timm does it.

    Parameters
    ----------
    model : Segmentor
        The new model, on the CPU or the meta device; changed in place.
    config : ModelConfig
        The section of a recipe that it was built from.
    classes : sequence of str
        The names of its classes.
    source : Segmentor
        The trained model, with its card.
    source_name : str
        What it is called in messages.

    Raises
    ------
    CheckpointError
        When less than half of the backbone's tensors fit: chance hits in another encoder are nothing learned.
    """
    if source.card is None:
        raise CheckpointError(f"{source_name} has no card, which says how it was built and what its classes are")
    theirs, ours = model_state(source), model_state(model)
    old_config = source.card.recipe["model"]
    same_method = old_config["segmentor"] == config.segmentor
    names = _matches(model, source, ours, theirs, same_method=same_method)
    pairs = _classes(classes, source.card.classes)
    # The row of a model of one output is that of both of its classes, and other than the row of one class elsewhere.
    by_class = same_method and not pairs.identical and not (model.one_output or source.one_output)
    class_axes = _axes(model, config, len(classes) + 1) if by_class else {}
    input_axes: Axes = {}
    if old_config.get("in_channels", 3) != config.in_channels:
        input_axes = _axes(model, config.model_copy(update={"in_channels": config.in_channels + 1}), len(classes))

    filled: dict[str, Tensor] = {}
    groups: dict[str, list[str]] = {"taken": [], "by_class": [], "adapted": []}
    for name, old_name in names.items():
        tensor, old = ours[name], theirs[old_name]
        if name in class_axes:
            kind, value = "by_class", _rows(tensor, old, class_axes[name], pairs)
        elif tensor.shape == old.shape:
            kind, value = "taken", old
        else:
            kind, value = "adapted", _adapted(tensor, old, input_axes.get(name, ()))
        if value is not None:
            filled[name] = value
            groups[kind].append(name)
    wanted = [name for name in ours if name.startswith(_BACKBONE)]
    fitting = sum(name in filled for name in wanted)
    if 2 * fitting < len(wanted):
        raise CheckpointError(_does_not_fit(source_name, config, old_config, f"{fitting} of {len(wanted)}"))
    _fill(model, filled)
    used = {names[name] for name in filled}
    return Transfer(
        taken=tuple(groups["taken"]),
        by_class=tuple(groups["by_class"]),
        adapted=tuple(groups["adapted"]),
        new=tuple(name for name in ours if name not in filled),
        left_out=tuple(_left_out(theirs, used, {old: ours[name] for name, old in names.items()})),
        kept=tuple(classes[index] for index in pairs.new),
        added=tuple(name for index, name in enumerate(classes) if index not in pairs.new),
        dropped=tuple(name for index, name in enumerate(source.card.classes) if index not in pairs.old),
    )


def _matches(
    model: Segmentor,
    source: Segmentor,
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    *,
    same_method: bool,
) -> dict[str, str]:
    """Return which tensor of the source goes by which name in the model."""
    encoder = {_encoder_name(source, name): name for name in theirs if name.startswith(_BACKBONE)}
    matches = {}
    for name in ours:
        if name.startswith(_BACKBONE):
            old = name if same_method and name in theirs else encoder.get(_encoder_name(model, name))
        else:
            old = name if same_method and name in theirs else None
        if old is not None:
            matches[name] = old
    return matches


def _encoder_name(model: Segmentor, name: str) -> str:
    """Return the name of a backbone's tensor within the encoder, which a method may have wrapped in one of its own."""
    return name.removeprefix(_BACKBONE).removeprefix(model.backbone.inner_prefix)


def _classes(new: Sequence[str], old: Sequence[str]) -> _Classes:
    """Match classes by name, without regard to case and to what separates words; equal names in their order."""
    places: dict[str, list[int]] = {}
    for index, name in enumerate(old):
        places.setdefault(_plain(name), []).append(index)
    found = [(index, places[key].pop(0)) for index, name in enumerate(new) if places.get(key := _plain(name))]
    return _Classes([a for a, _ in found], [b for _, b in found], len(new), len(old))


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _axes(model: Segmentor, config: ModelConfig, num_classes: int) -> Axes:
    """Return the dimensions in which the tensors of a model with one class, or one input channel, more are larger."""
    with shapes_only():
        larger = build_model(config.model_copy(update={"pretrained": False}), num_classes)
    shapes = {name: tensor.shape for name, tensor in model_state(larger).items()}
    axes = {}
    for name, tensor in model_state(model).items():
        pairs = enumerate(zip(tensor.shape, shapes[name], strict=True))
        growing = tuple(axis for axis, (size, other) in pairs if other == size + 1)
        if growing:
            axes[name] = growing
    return axes


def _rows(tensor: Tensor, old: Tensor, axes: Sequence[int], classes: _Classes) -> Tensor | None:
    """Return the new tensor with the rows and columns of the classes that both have, or None where there are none."""
    if tensor.dim() != old.dim():
        return None
    ours, theirs = [], []
    for axis, (size, old_size) in enumerate(zip(tensor.shape, old.shape, strict=True)):
        if axis in axes:
            extra = size - classes.new_count
            if extra < 0 or extra != old_size - classes.old_count:
                return None
            ours.append(_indices(classes.new, classes.new_count, extra, first=axis == 0))
            theirs.append(_indices(classes.old, classes.old_count, extra, first=axis == 0))
        elif size == old_size:
            ours.append(torch.arange(size))
            theirs.append(torch.arange(size))
        else:
            return None
    if not all(map(len, ours)):
        return None
    result = tensor.clone()
    result[torch.meshgrid(*ours, indexing="ij")] = old[torch.meshgrid(*theirs, indexing="ij")].to(result.dtype)
    return result


def _indices(classes: Sequence[int], count: int, extra: int, *, first: bool) -> Tensor:
    """Return the indices of classes along a dimension, and of the `extra` entries behind (before) them."""
    if first:
        return torch.tensor([*classes, *range(count, count + extra)], dtype=torch.long)
    return torch.tensor([*range(extra), *(extra + index for index in classes)], dtype=torch.long)


def _adapted(tensor: Tensor, old: Tensor, axes: Sequence[int]) -> Tensor | None:
    """Convert the weight [O, I, kH, kW] of a first convolution to other input channels, as timm's adapt_input_conv.

    One channel gets the sum over the channels, more than one get the channels in turn, scaled so that the sum over the
    inputs stays the same.
    """
    if tuple(axes) != (1,) or old.dim() != 4 or old.shape[0] != tensor.shape[0] or old.shape[2:] != tensor.shape[2:]:
        return None
    before, now = old.shape[1], tensor.shape[1]
    if now == 1:
        return old.sum(dim=1, keepdim=True)
    return old.repeat(1, -(-now // before), 1, 1)[:, :now] * (before / now)


def _fill(model: Segmentor, filled: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    with torch.no_grad():
        for name, value in filled.items():
            own[name].copy_(value)


def _left_out(theirs: Mapping[str, Tensor], used: set[str], wanted: Mapping[str, Tensor]) -> Iterable[str]:
    for name, tensor in theirs.items():
        if name in used:
            continue
        other = wanted.get(name)
        shapes = "" if other is None or other.shape == tensor.shape else f" {tuple(tensor.shape)}→{tuple(other.shape)}"
        yield f"{name}{shapes}"


def _does_not_fit(source_name: str, config: ModelConfig, old: Mapping[str, Any], share: str) -> str:
    ours, theirs = _backbone(config.model_dump()), _backbone(old)
    return (
        f"{source_name} does not fit: it is {old['segmentor']} on {theirs}, the new model is {config.segmentor} on "
        f"{ours}, and of its backbone {share} tensors have the same name and shape. Start from a model with the same "
        "backbone, or give the recipe the backbone of the trained one (model.backbone, model.backbone_options)"
    )


def _backbone(model: Mapping[str, Any]) -> str:
    return str(model.get("backbone") or SEGMENTORS[model["segmentor"]].backbone)


def grouped(names: Sequence[str], all_names: Sequence[str]) -> list[str]:
    """Shorten a list of tensors: a module of which all tensors are listed stands for them, as in "head.* (12)".

    Parameters
    ----------
    names : sequence of str
        Names of tensors, each with an optional note behind a space; those with one are never grouped.
    all_names : sequence of str
        The names of all tensors of the model.
    """
    listed = set(names)
    return [text for _, text in _grouped("", sorted(set(all_names)), listed)] + sorted(listed - set(all_names))


def _grouped(prefix: str, below: Sequence[str], listed: set[str]) -> list[tuple[str, str]]:
    if prefix and len(below) > 1 and all(name in listed for name in below):
        return [(prefix, f"{prefix}* ({len(below)})")]
    found = []
    start = len(prefix)
    for part, group in itertools.groupby(below, key=lambda name: name[start:].partition(".")[0]):
        members = list(group)
        if members == [f"{prefix}{part}"]:
            found += [(members[0], members[0])] if members[0] in listed else []
        else:
            found += _grouped(f"{prefix}{part}.", members, listed)
    return found
