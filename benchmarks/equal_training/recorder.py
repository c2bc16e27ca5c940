"""What is measured of a run, by vitrail's evaluator whoever trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.equal_training.data import opened
from benchmarks.equal_training.settings import Plan
from vitrail.evaluation.evaluator import evaluate_dataset
from vitrail.evaluation.result import Evaluation
from vitrail.recipes import EvalConfig
from vitrail.segmentors import Segmentor

ParameterGroups = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Point:
    """What is known of a run at one iteration.

    Attributes
    ----------
    iteration : int
        Optimizer steps so far.
    miou : float
        On the images of val, in percent.
    iou : tuple of float or None
        By class, in percent; None where a class is in neither the masks nor the predictions.
    loss : float
        The mean of the training objective since the point before.
    lr : float
        The largest learning rate.
    """

    iteration: int
    miou: float
    iou: tuple[float | None, ...]
    loss: float
    lr: float


class Recorder:
    """Evaluates a run.

    Parameters
    ----------
    plan : Plan
        The size of the run.
    mean, std : sequence of float
        Normalisation of the images.
    settings : EvalConfig
        How to predict.
    send : callable
        Takes every `Point`.
    """

    def __init__(
        self,
        plan: Plan,
        mean: Sequence[float],
        std: Sequence[float],
        settings: EvalConfig,
        send: Callable[[Point], None],
    ) -> None:
        self._plan, self._mean, self._std, self._settings, self._send = plan, tuple(mean), tuple(std), settings, send
        self._device = torch.device(plan.device)
        self._images = opened(plan.data, "val")
        self._losses: list[Tensor] = []
        self.groups: dict[str, int] = {}

    def describe(self, groups: ParameterGroups, lr: float, weight_decay: float) -> None:
        """Note how many weights learn how fast and decay how much, as multiples of the base values.

        Called before the first step, with the groups of the optimizer.
        """
        counts: dict[str, int] = {}
        for group in groups:
            rate = group.get("initial_lr", group["lr"]) / lr
            key = f"lr x{rate:.4g}, weight decay x{group['weight_decay'] / weight_decay:.4g}"
            counts[key] = counts.get(key, 0) + sum(parameter.numel() for parameter in group["params"])
        self.groups = dict(sorted(counts.items()))

    def add(self, loss: Tensor) -> None:
        """Take the objective of a step, of a loop that keeps no record of its own."""
        self._losses.append(loss.detach())

    def measure(self, model: Segmentor, iteration: int, lr: float, loss: float | None = None) -> Evaluation:
        """Evaluate a model of vitrail, and send the point; `loss` is by default the mean of those that were added."""
        evaluation = evaluate_dataset(
            model.to(self._device),
            self._images,
            self._settings,
            device=self._device,
            workers=0,
            mean=self._mean,
            std=self._std,
        )
        if loss is None:
            loss = torch.stack(self._losses).float().mean().item()
            self._losses.clear()
        ious = tuple(None if value != value else 100 * value for value in evaluation.iou)
        self._send(Point(iteration, 100 * evaluation.miou, ious, loss, lr))
        return evaluation
