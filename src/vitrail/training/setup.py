"""Setting up a run: the recipe, the model with its card, frozen parts, the random state."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitrail.backbones import Backbone
from vitrail.datasets import Benchmark
from vitrail.errors import RecipeError, TrainingError, VitrailError
from vitrail.inference.resolve import resolve_recipe
from vitrail.layers.skip_init import shapes_only
from vitrail.recipes import ModelConfig, Recipe, TrainConfig
from vitrail.runtime.device import memory_layout
from vitrail.runtime.distributed import Strategy, main_first, world_size
from vitrail.segmentors import Head, ModelCard, Segmentor, build_model
from vitrail.segmentors.build import has_one_output
from vitrail.training.freeze import freeze_by_name


def training_recipe(
    recipe: Recipe | str | Path,
    overrides: Sequence[str],
    data_root: str | Path | None,
    start_from: str | Path | None = None,
) -> Recipe:
    """Return the recipe of a run with its overrides.

    `data_root` takes precedence over `data.root`, `start_from` over `train.start_from`.
    """
    resolved = resolve_recipe(recipe, overrides)
    if data_root is not None:
        resolved = resolved.model_copy(update={"data": resolved.data.model_copy(update={"root": str(data_root)})})
    if start_from is not None:
        resolved = resolved.model_copy(
            update={"train": resolved.train.model_copy(update={"start_from": str(start_from)})}
        )
    return resolved


def build_training_model(recipe: Recipe, benchmark: Benchmark, *, pretrained: bool) -> Segmentor:
    """Build the recipe's model; the main process downloads first.

    Parameters
    ----------
    recipe : Recipe
        Of the run.
    benchmark : Benchmark
        Of the training data.
    pretrained : bool
        False leaves pretrained weights out: a run that is resumed has its own.

    Raises
    ------
    RecipeError
        When the recipe's number of classes is not the dataset's.
    """
    count = len(benchmark.classes)
    if recipe.model.num_classes not in (None, count) and not has_one_output(recipe.model, count):
        raise RecipeError(
            f"model.num_classes is {recipe.model.num_classes}, but dataset {benchmark.name!r} has {count} classes: "
            "leave it out"
        )
    with main_first():
        return build_model(recipe.model if pretrained else _without_pretrained(recipe.model), count)


def make_card(recipe: Recipe, benchmark: Benchmark) -> ModelCard:
    """Return the card of the model of a run."""
    return ModelCard(
        classes=tuple(benchmark.classes),
        palette=tuple(benchmark.palette),
        mean=recipe.data.mean,
        std=recipe.data.std,
        recipe=recipe.model_dump(mode="json"),
        name=recipe.name,
    )


def check_model(model: Segmentor, recipe: Recipe, benchmark: Benchmark) -> None:
    """Check a model that was built outside against the data, and warn when its files could not be loaded by name.

    Raises
    ------
    TrainingError
        When its number of classes is not the dataset's.

    Warns
    -----
    UserWarning
        When the recipe's model section does not build a model with the same weights: `vitrail.load` could not read the
        files of the run.
    """
    count = len(benchmark.classes)
    if model.num_classes != count:
        raise TrainingError(
            f"the model has {model.num_classes} classes, but dataset {benchmark.name!r} has {count}: "
            f"build it with num_classes={count}"
        )
    try:
        with shapes_only():
            rebuilt = build_model(_without_pretrained(recipe.model), count)
        same = _shapes(rebuilt) == _shapes(model)
    except VitrailError:
        same = False
    if not same:
        warnings.warn(
            "the model is not the one that the recipe's model section describes: vitrail.load will not be able to "
            "rebuild it from best.safetensors and last.safetensors. Register its method (register_segmentor) and name "
            "it in the recipe, or keep the code that builds it",
            stacklevel=2,
        )


def _without_pretrained(model: ModelConfig) -> ModelConfig:
    return model.model_copy(update={"pretrained": False})


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def prepare_model(
    model: Segmentor, recipe: Recipe, benchmark: Benchmark, strategy: Strategy, device: torch.device
) -> Segmentor:
    """Return a model on its device, in training mode, with its card, its memory format and what the recipe freezes.

    Raises
    ------
    VitrailError
        When the model has no such parts to freeze; see `save_memory` and `vitrail.training.freeze`. Where its method
        cannot use the names of the classes; see `Head.name_classes`.
    """
    train = recipe.train
    model.card = make_card(recipe, benchmark)
    model.head.name_classes(benchmark.classes)
    model = model.to(device)
    if train.sync_norms:
        model = strategy.synchronise_norms(model)
    model = model.to(memory_format=memory_layout(train.channels_last, device))
    model.train()
    save_memory(model.backbone, train)
    freeze_by_name(model, train.freeze)
    return model


def save_memory(backbone: Backbone, train: TrainConfig) -> None:
    """Apply `train.freeze_stages`, `train.freeze_norms` and `train.activation_checkpointing` to a backbone.

    Raises
    ------
    TrainingError
        When there are fewer stages than should be frozen.
    ModelError
        When the backbone does not define its stages.
    """
    if train.freeze_stages is not None:
        stages = max(backbone.parameter_stages().values())
        if train.freeze_stages > stages:
            raise TrainingError(
                f"train.freeze_stages is {train.freeze_stages}, but the backbone has {stages} stages: lower it"
            )
        backbone.freeze_stages(train.freeze_stages)
    if train.freeze_norms:
        freeze_norms(backbone)
    if train.activation_checkpointing:
        backbone.set_grad_checkpointing()


def no_graph_because(model: Segmentor, train: TrainConfig, device: torch.device) -> str | None:
    """Return why a training step cannot be recorded once and replayed as a CUDA graph, or None where it can."""
    if device.type != "cuda":
        return f"it needs a CUDA device, not {device.type}"
    if world_size() > 1:
        return "it is for a single process"
    if train.accumulate > 1:
        return "it needs train.accumulate=1"
    heads = [type(head) for head in (model.head, *model.auxiliary)]
    changing = [head.__name__ for head in heads if head.set_progress is not Head.set_progress]
    return f"the training step of {', '.join(changing)} changes during the run" if changing else None


def freeze_norms(backbone: nn.Module) -> None:
    """Put a backbone's batch norms in evaluation mode and freeze their weights.

    The modules are kept, so that the names in the state dict stay the same. (timm's `freeze_batch_norm_2d` replaces
    them by modules without `num_batches_tracked`.)
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
    """Explain PyTorch's error about a batch norm with one value per channel: one image, pooled to one pixel."""
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
    """Silence PyTorch's warning about the order of steps when float16 overflows and the scaler skips the first one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler\.step\(\)`")
        yield
