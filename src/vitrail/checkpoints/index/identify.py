"""Finding the published model that a checkpoint, or a model of ours, is built like."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.complete import complete_section, section_of
from vitrail.checkpoints.index import Entry, find_by_file, find_by_fingerprint, index
from vitrail.checkpoints.plain import as_tuples
from vitrail.errors import CheckpointError
from vitrail.recipes import ModelConfig
from vitrail.segmentors import SEGMENTORS, ModelCard
from vitrail.segmentors.build import has_one_output

# What decides about the tensors of a model and the function that it computes.
_BUILT_BY = ("segmentor", "backbone", "output_stride", "in_channels", "backbone_options", "options", "auxiliary")
# Options that many methods and encoders have; heads declare their own, see `Head.training_options`.
_TRAINING_ONLY = ("dropout", "drop_path_rate", "momentum", "early_weight", "coarse_weight", "deep_supervision")
_SHOWN = 6


def card_from_index(checkpoint: Checkpoint, project: str, title: str) -> ModelCard:
    """Return the card of a checkpoint that does not say itself how its model is built.

    The name of the file may be that of a published model, or its tensors those of one.

    Parameters
    ----------
    checkpoint : Checkpoint
        The checkpoint.
    project : str
        The registered name of the source that recognised it.
    title : str
        The project's name, for messages.

    Raises
    ------
    CheckpointError
        When no published model has these tensors, or several that compute different functions.
    """
    entry = find_by_file(checkpoint.origin.name)
    if entry is not None and entry.project == project:
        return entry.card()
    alike = find_by_fingerprint(checkpoint.tensors, project)
    unknown = f"{checkpoint.origin} is a checkpoint of {title} that does not say how its model is built"
    if not alike:
        raise CheckpointError(
            f"{unknown}, and no published model has these tensors: say which it is built like (like=…, --like on the "
            "command line; `vitrail weights` lists them), and which classes it has if they are others"
        )
    if any(_differ(entry, alike[0]) for entry in alike):
        names = ", ".join(entry.name for entry in alike[:_SHOWN])
        raise CheckpointError(
            f"{unknown}; published models with these tensors that compute different functions are "
            f"{names}{' and more' if len(alike) > _SHOWN else ''}: say which it is built like (like=…, --like on the "
            "command line)"
        )
    return alike[0].card()


def config_of(card: ModelCard, model: ModelConfig, project: str, title: str) -> str:
    """Return a sentence that names the published config which builds the same model, or says that there is none.

    Parameters
    ----------
    card : ModelCard
        Of the model.
    model : ModelConfig
        How it is built.
    project, title : str
        The registered name of the project's source, and its name for messages.
    """
    alike = [entry for entry in index().values() if _same_model(entry, project, model)]
    if not alike:
        return f"only the weights are written: no published config of {title} builds this model"
    own = next((entry for entry in alike if entry.name.partition("/")[2] == card.name), alike[0])
    outputs = 1 if has_one_output(model, len(card.classes)) else len(card.classes)
    classes = f", with num_classes={outputs} in every head" if own.recipe["model"]["num_classes"] != outputs else ""
    mean, std = (_numbers(own.recipe["data"].get(key)) for key in ("mean", "std"))
    images = (
        ""
        if (mean, std) == (_numbers(card.mean), _numbers(card.std))
        else f"; its images are normalised with mean={list(card.mean)} and std={list(card.std)}"
    )
    return f"goes with {title}'s config {own.name.partition('/')[2]}{classes}{images}"


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(map(float, values or ()))


def _same_model(entry: Entry, project: str, model: ModelConfig) -> bool:
    if entry.project != project or entry.unsupported or entry.method != model.segmentor:
        return False
    return not differences(complete_section(section_of(entry.card(), entry.name)), model)


def differences(one: ModelConfig, other: ModelConfig) -> list[str]:
    """Return in what two models, described with every option of their methods, differ apart from their training."""
    found = []
    for key in _BUILT_BY:
        first, second = _built(one, key), _built(other, key)
        if key in ("options", "backbone_options"):
            found += [f"{key}.{name}" for name in first | second if first.get(name) != second.get(name)]
        elif first != second:
            found.append(key)
    return found


def _built(model: ModelConfig, key: str) -> Any:
    """Return a value without what concerns training alone."""
    value = getattr(model, key)
    if key == "backbone":
        return (value or "").partition(".")[0]
    if key == "auxiliary":
        heads = value.model_dump(exclude={"weight", "losses", "dropout"})
        return heads if value.weight else None
    if key in ("backbone_options", "options"):
        head = SEGMENTORS[model.segmentor].head
        left_out = {*_TRAINING_ONLY, *head.file_options, *head.training_options}
        return {name: as_tuples(one) for name, one in value.items() if name not in left_out}
    return value


def _differ(one: Entry, other: Entry) -> bool:
    """Return whether two models of the same tensors differ in what they compute or in what their classes are."""
    keys = (*_BUILT_BY, "num_classes")
    ours, theirs = (
        {**model, "auxiliary": {**model.get("auxiliary", {}), "losses": None}}
        for model in (one.recipe["model"], other.recipe["model"])
    )
    return one.dataset != other.dataset or any(ours.get(key) != theirs.get(key) for key in keys)
