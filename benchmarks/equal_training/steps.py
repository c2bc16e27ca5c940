"""Whether a few optimizer steps on the same batches lead vitrail and another toolbox to the same weights.

Without chance, that is without dropout and augmentation, both should compute the same up to rounding: losses and their
sum, gradients, parameter groups, weight decay, momentum, clipping of gradients, and the statistics of batch norms.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.equal_training import by_mmseg, by_ssseg, by_vitrail
from benchmarks.equal_training.methods import CLASSES, Method
from benchmarks.equal_training.settings import Plan, Settings
from benchmarks.equal_training.start import Start, start
from parity.references import mmseg_losses, ssseg_losses, without_dropout
from vitrail.labels import IGNORE
from vitrail.optim import create_optimizer, create_schedule
from vitrail.recipes import Recipe
from vitrail.segmentors import ModelCard, Segmentor

STEPS, BATCH, SIZE = 3, 2, (64, 96)
# So long that the learning rate does not change over the steps: the schedules differ a little by design.
PLAN = Plan(Path(), "cpu", 10**8, BATCH, SIZE, SIZE, 1, 0)
SMALLEST_CHANGE = 1e-9
NEGLIGIBLE = 1e-9  # of the largest gradient: below, Adam makes steps of rounding errors
# Heads whose forward pass MMSegmentation repeats for the stage after them: their statistics move twice in a step.
RUN_TWICE = {("ocrnet", "mmseg"): "head.coarse."}
Step = Callable[[Tensor, Tensor], None]


@dataclass(frozen=True)
class Deviation:
    """How far a tensor ended from where the other toolbox's did.

    Attributes
    ----------
    name : str
        As in vitrail.
    share : float
        The norm of the difference, as a share of the norm of the change from the start.
    """

    name: str
    share: float


def deviations(method: Method, toolbox: str, *, steps: int = STEPS) -> list[Deviation]:
    """Return the deviation of every weight and statistic that the steps change, the largest first."""
    reference = method.reference(toolbox)
    assert reference is not None
    settings = replace(method.settings, warmup=0.0)
    begun = start(reference, 0, dropout=False)
    begun.model.double()
    ours, card = _imported(begun)
    first = copy.deepcopy(ours.state_dict())
    recipe = by_vitrail.recipe_of(card, settings, PLAN, seed=0, changes={})
    theirs = _theirs(begun, settings)
    gradients = _train(ours, recipe, steps)
    with reference.training(begun.model):
        for batch in _batches(steps):
            theirs(*batch)
    last = _imported(begun)[0].state_dict()
    found = []
    for name, tensor in ours.state_dict().items():
        repeated = "running_" in name and name.startswith(RUN_TWICE.get((method.name, toolbox), " "))
        if tensor.is_floating_point() and gradients.get(name, 1.0) > NEGLIGIBLE and not repeated:
            least = SMALLEST_CHANGE * tensor.numel() ** 0.5  # a mean of 0 in theory changes by rounding errors
            change = max(float((last[name] - first[name]).norm()), least)
            found.append(Deviation(name, float((tensor - last[name]).norm()) / change))
    return sorted(found, key=lambda deviation: -deviation.share)


def _imported(begun: Start) -> tuple[Segmentor, ModelCard]:
    """Return vitrail's model in float64 and without dropout, and its card."""
    torch.set_default_dtype(torch.float64)
    try:
        model, card = begun.imported()
    finally:
        torch.set_default_dtype(torch.float32)
    return without_dropout(model.double()), card


def _batches(steps: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(steps):
        images = torch.randn((BATCH, 3, *SIZE), generator=generator, dtype=torch.float64)
        coarse = torch.randint(0, CLASSES, (BATCH, 1, 4, 6), generator=generator).float()
        targets = F.interpolate(coarse, SIZE, mode="nearest")[:, 0].long()
        targets[:, : SIZE[0] // 8] = IGNORE
        found.append((images, targets))
    return found


def _train(model: Segmentor, recipe: Recipe, steps: int) -> dict[str, float]:
    """Train vitrail's model in place; return the largest gradient of each parameter, as a share of the largest."""
    model.train()
    optimizer = create_optimizer(model, recipe.optimizer)
    schedule = create_schedule(optimizer, recipe.schedule, PLAN.iterations)
    largest: dict[str, float] = {}
    for images, targets in _batches(steps):
        losses: dict[str, Tensor] = model(images, targets)
        torch.stack(list(losses.values())).sum().backward()
        for name, parameter in model.named_parameters():
            gradient = 0.0 if parameter.grad is None else float(parameter.grad.abs().max())
            largest[name] = max(largest.get(name, 0.0), gradient)
        if recipe.train.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.train.clip_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    top = max(largest.values())
    return {name: gradient / top for name, gradient in largest.items()}


def _theirs(begun: Start, settings: Settings) -> Step:
    model: Any = begun.model.train()
    return _mmseg_step(model, settings) if begun.reference.toolbox == "mmseg" else _ssseg_step(model, settings)


def _mmseg_step(model: Any, settings: Settings) -> Step:
    from mmengine.optim import build_optim_wrapper

    wrapper = build_optim_wrapper(model, by_mmseg.optim_wrapper(settings))

    def step(images: Tensor, targets: Tensor) -> None:
        losses = mmseg_losses(model, images, targets)
        wrapper.update_params(torch.stack([loss.sum() for loss in losses.values()]).sum())

    return step


def _ssseg_step(model: Any, settings: Settings) -> Step:
    from ssseg.modules import BuildOptimizer, BuildScheduler

    optimizer = BuildOptimizer(model, by_ssseg.optimizer_settings(settings))
    scheduler = BuildScheduler(optimizer=optimizer, scheduler_cfg=by_ssseg.schedule(settings, PLAN))

    def step(images: Tensor, targets: Tensor) -> None:
        scheduler.updatelr()
        optimizer.zero_grad()
        ssseg_losses(model, images, targets)[0].backward()
        scheduler.step()

    return step
