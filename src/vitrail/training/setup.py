"""What the training loop needs before it can start: pieces made from a recipe."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vitrail.datasets import Benchmark
from vitrail.errors import RecipeError, TrainingError
from vitrail.inference.resolve import resolve_recipe
from vitrail.optim import create_optimizer, create_schedule
from vitrail.recipes import Recipe, TrainConfig
from vitrail.runtime.distributed import main_first, world_size
from vitrail.segmentors import ModelCard, Progress, Segmentor
from vitrail.segmentors.build import build_model

SAVES_AT_LEAST = 10  # in a run that does not say how often


@dataclass(frozen=True)
class Plan:
    """When things happen, in iterations (optimizer steps, counted from 1)."""

    iterations: int
    per_epoch: int
    log_every: int
    eval_every: int
    save_every: int

    def logs(self, iteration: int) -> bool:
        """Say whether the losses are logged after `iteration`."""
        return iteration % self.log_every == 0 or iteration == self.iterations

    def evaluates(self, iteration: int) -> bool:
        """Say whether the model is judged after `iteration`."""
        return iteration % self.eval_every == 0 or iteration == self.iterations

    def saves(self, iteration: int) -> bool:
        """Say whether the run is saved after `iteration`: whenever it is judged, at least."""
        return iteration % self.save_every == 0 or self.evaluates(iteration)


def progress_at(iteration: int, plan: Plan, schedule: LRScheduler) -> Progress:
    """Return what methods are told about the step `iteration`, counted from 1, before it is made."""
    rate, full = max(schedule.get_last_lr()), max(schedule.base_lrs)
    return Progress(epoch=(iteration - 1) // plan.per_epoch + 1, lr_factor=float(rate / full) if full else 0.0)


def training_recipe(recipe: Recipe | str | Path, overrides: Sequence[str], data_root: str | Path | None) -> Recipe:
    """Return the recipe of a run; `data_root` takes precedence over its own root."""
    resolved = resolve_recipe(recipe, overrides)
    if data_root is None:
        return resolved
    return resolved.model_copy(update={"data": resolved.data.model_copy(update={"root": str(data_root)})})


def make_plan(train: TrainConfig, images: int) -> Plan:
    """Turn epochs into iterations for a dataset of so many images.

    Raises
    ------
    TrainingError
        When a batch is larger than the dataset, or cannot be split equally between processes and parts.
    """
    if train.batch_size > images:
        raise TrainingError(
            f"train.batch_size={train.batch_size} is larger than the dataset of {images} images: "
            f"lower it to {images} or less"
        )
    parts = world_size() * train.accumulate
    if train.batch_size % parts:
        raise TrainingError(
            f"train.batch_size={train.batch_size} is the batch of one optimizer step and must be a multiple of {parts} "
            f"(processes × train.accumulate = {world_size()} × {train.accumulate})"
        )
    per_epoch = images // train.batch_size
    unit = per_epoch if train.epochs is not None else 1
    iterations = train.iterations or (train.epochs or 0) * per_epoch
    eval_every = train.eval_every * unit if train.eval_every else iterations
    save_every = train.save_every * unit if train.save_every else min(eval_every, -(-iterations // SAVES_AT_LEAST))
    return Plan(iterations, per_epoch, train.log_every, eval_every, save_every)


def training_model(recipe: Recipe, benchmark: Benchmark, *, pretrained: bool) -> Segmentor:
    """Build the model with its card; the main process downloads first.

    Parameters
    ----------
    recipe : Recipe
        Of the run.
    benchmark : Benchmark
        Of the training data.
    pretrained : bool
        False leaves pretrained weights out: a run that goes on has its own.

    Raises
    ------
    RecipeError
        When the recipe's number of classes is not the dataset's.
    """
    count = len(benchmark.classes)
    if recipe.model.num_classes not in (None, count):
        raise RecipeError(
            f"model.num_classes is {recipe.model.num_classes}, but dataset {benchmark.name!r} has {count} classes: "
            "leave it out"
        )
    settings = recipe.model.model_dump()
    if not pretrained:
        settings["pretrained"] = False
    with main_first():
        model = build_model(settings, count)
    model.card = ModelCard(
        classes=tuple(benchmark.classes),
        palette=tuple(benchmark.palette),
        mean=recipe.data.mean,
        std=recipe.data.std,
        recipe=recipe.model_dump(mode="json"),
        name=recipe.name,
    )
    return model


def training_optimizer(model: Segmentor, recipe: Recipe, iterations: int) -> tuple[Optimizer, LRScheduler]:
    """Make the optimizer and its learning-rate schedule over the run."""
    optimizer = create_optimizer(model, recipe.optimizer)
    return optimizer, create_schedule(optimizer, recipe.schedule, iterations)


def freeze_norms(backbone: nn.Module) -> None:
    """Keep the statistics and weights of a backbone's batch norms as they are, from now on and in every mode.

    The modules stay what they are, so that the names in the state dict do too. (timm's `freeze_batch_norm_2d` puts
    others in their place, which lack `num_batches_tracked`.)
    """
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            module.eval().requires_grad_(False)


@contextlib.contextmanager
def own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's global random state for the length of a block, then put it back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def explain_single_images() -> Iterator[None]:
    """Say what to do about a batch norm that gets one value per channel: one image, pooled to one pixel."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            "a batch norm gets a single value per channel, since one image at a time goes through this model in "
            "training: raise train.batch_size, or lower train.accumulate or the number of processes"
        ) from error


@contextlib.contextmanager
def quiet_about_skipped_steps() -> Iterator[None]:
    """Silence the advice that torch gives when float16 overflows in the first step, which the scaler then skips."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler\.step\(\)`")
        yield
