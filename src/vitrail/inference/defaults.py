"""Defaults: what a predictor takes from the recipe and the card of a model where its arguments leave something out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vitrail.checkpoints.exported import ExportedSegmentor
from vitrail.datasets import benchmarks
from vitrail.datasets.remap import remap_benchmark
from vitrail.errors import DeviceError, ModelError, PredictionError
from vitrail.inference.resolve import resolve_recipe
from vitrail.precision import Precision
from vitrail.recipes import EvalConfig, Recipe, ResizeConfig
from vitrail.segmentors import ModelCard, Segmentor
from vitrail.transforms import EvalTransform, Normalize


def find_recipe(recipe: Recipe | str | Path | None, overrides: Sequence[str], card: ModelCard | None) -> Recipe | None:
    """Return the recipe to use; None when none is given and the card's describes only how the model is built."""
    if recipe is None and not overrides and (card is None or "data" not in card.recipe):
        return None
    return resolve_recipe(recipe, overrides, card=card)


def find_settings(
    settings: EvalConfig | None, recipe: Recipe | None, overrides: Sequence[str], batch_size: int | None
) -> EvalConfig:
    """Return the given settings or the recipe's, with the given batch size, if any.

    Raises
    ------
    PredictionError
        For a batch size below 1, and for overrides of settings that are given.
    """
    if settings is None:
        settings = recipe.evaluation if recipe else EvalConfig()
    else:
        ignored = [override for override in overrides if override.startswith("evaluation.")]
        if ignored:
            raise PredictionError(f"settings are given, so the override {ignored[0]} has no effect: give one of them")
    if batch_size is None:
        return settings
    if batch_size < 1:
        raise PredictionError(f"batch_size must be at least 1, not {batch_size}")
    return settings.model_copy(update={"batch_size": batch_size})


def find_precision(model: Segmentor, amp: Precision | None, settings: EvalConfig) -> Precision:
    """Return the given precision or that of the settings.

    Raises
    ------
    DeviceError
        When one is given for an exported file, which has its own.
    """
    if not isinstance(model, ExportedSegmentor):
        return settings.amp if amp is None else amp
    if amp not in (None, "none"):
        raise DeviceError(f"{model.path} is an exported model, whose precision is fixed: amp={amp} has no effect")
    return "none"


def find_resize(resize: ResizeConfig | Literal["recipe"] | None, recipe: Recipe | None) -> EvalTransform:
    """Return the test-time resize; without a recipe, "recipe" keeps the size of the image."""
    if resize == "recipe":
        resize = recipe.data.eval_resize if recipe else None
    return EvalTransform.from_config(resize)


def find_flip_pairs(flip_pairs: Sequence[tuple[int, int]] | None, recipe: Recipe | None) -> tuple[tuple[int, int], ...]:
    """Return the given pairs of classes or those of the recipe's dataset; none where that is not registered."""
    if flip_pairs is not None:
        return tuple(flip_pairs)
    benchmark = benchmarks().get(recipe.data.dataset) if recipe is not None else None
    if recipe is None or benchmark is None:
        return ()
    return tuple(remap_benchmark(benchmark, recipe.data.classes)[0].flip_pairs)


def find_normalisation(
    mean: Sequence[float] | None, std: Sequence[float] | None, card: ModelCard | None, recipe: Recipe | None
) -> Normalize:
    """Return the normalisation by the given figures, those of the card, or those of the recipe, in this order.

    Raises
    ------
    ModelError
        When none of them has any.
    """
    known = card or (recipe.data if recipe else None)
    mean, std = mean or (known.mean if known else None), std or (known.std if known else None)
    if mean is None or std is None:
        raise ModelError("the model has no card: set model.card, or pass the mean and std of its training images")
    return Normalize(mean, std)
