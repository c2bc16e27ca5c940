"""Starting a run from a trained model: the weights, what the log and the records say of it, and the model's card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitrail.checkpoints import load
from vitrail.checkpoints.state import model_state
from vitrail.checkpoints.transfer import Transfer, grouped, transfer
from vitrail.datasets import Benchmark
from vitrail.recipes import Recipe
from vitrail.runtime.distributed import main_first
from vitrail.segmentors import ModelCard, Segmentor
from vitrail.training.records import Record
from vitrail.training.setup import build_training_model


def create_start_model(recipe: Recipe, benchmark: Benchmark, *, resume: bool) -> tuple[Segmentor, Record | None]:
    """Build the recipe's model, with the weights of `train.start_from` that fit it.

    Parameters
    ----------
    recipe, benchmark
        Of the run.
    resume : bool
        A run that is resumed has weights of its own: nothing is downloaded or read.

    Returns
    -------
    Segmentor
        On the CPU.
    dict or None
        What was taken from which model, for the records; None for a run that starts from the recipe's own weights.

    Raises
    ------
    CheckpointError
        For a model that cannot be loaded, or does not fit.
    """
    given = None if resume else recipe.train.start_from
    model = build_training_model(recipe, benchmark, pretrained=not resume and given is None)
    if given is None:
        return model, None
    with main_first():
        source = load(given)
    name = _short(given)
    result = transfer(model, recipe.model, tuple(benchmark.classes), source, name)
    return model, _record(name, source, model, result)


def _short(given: str) -> str:
    """Return a name without the folders of this machine, which are nobody else's business."""
    return Path(given).name if Path(given).is_file() else given


def _record(name: str, source: Segmentor, model: Segmentor, result: Transfer) -> Record:
    card: Any = source.card
    return {
        "model": name,
        "name": card.name,
        "started_from": card.started_from,
        "source": card.source,
        "license": card.license,
        "tensors": len(model_state(model)),
        "taken": len(result.taken),
        "by_class": list(result.by_class),
        "adapted": list(result.adapted),
        "new": grouped(result.new, list(model_state(model))),
        "new_count": len(result.new),
        "left_out": grouped(result.left_out, list(model_state(source))),
        "left_out_count": len(result.left_out),
        "classes": {"kept": list(result.kept), "new": list(result.added), "dropped": list(result.dropped)},
    }


def with_origin(card: ModelCard, record: Record | None) -> ModelCard:
    """Return a card that says what the model was started from, with that model's licence."""
    if record is None:
        return card
    origin = " ".join([record["model"], *([f"({record['source']})"] if record["source"] else [])])
    if record["started_from"]:
        origin = f"{origin}, started from {record['started_from']}"
    return replace(card, started_from=origin, license=card.license or record["license"])


def with_threshold(card: ModelCard, history: Sequence[Record]) -> ModelCard:
    """Return a card whose recipe has the threshold that the last evaluation found, in place of "auto"."""
    found = next((record["threshold"] for record in reversed(history) if "threshold" in record), None)
    evaluation = card.recipe.get("evaluation", {})
    if evaluation.get("threshold") != "auto" or found is None:
        return card
    return replace(card, recipe={**card.recipe, "evaluation": {**evaluation, "threshold": found}})


def start_of(history: Sequence[Record]) -> Record | None:
    """Return what a run that is resumed was started from."""
    return next((record["started_from"] for record in history if record.get("started_from")), None)
