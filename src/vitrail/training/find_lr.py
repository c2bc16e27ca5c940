"""Learning-rate range test: train a few iterations at a rate that rises, and see where the loss falls.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, arXiv:1506.01186, section 3.3.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from vitrail.errors import TrainingError
from vitrail.optim import create_optimizer
from vitrail.recipes import Recipe
from vitrail.runtime.distributed import world_size
from vitrail.training.loop import TrainingRun
from vitrail.training.setup import explain_single_images, own_random_state, training_recipe

SMOOTHING = 0.9  # of the moving average of the loss
BURST = 4.0  # the test ends where the average is so many times its minimum


@dataclass(frozen=True)
class RangeTest:
    """The result of a learning-rate range test.

    Attributes
    ----------
    rates, losses : tuple of float
        The value of `optimizer.lr` in each iteration, and the moving average of the loss up to it.
    suggested : float
        A tenth of the rate at which the average is lowest: there the loss falls fast, with a margin to where it bursts.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float

    def table(self, lines: int = 12) -> str:
        """Return a table of rates and losses, and the suggestion."""
        step = max(len(self.rates) // lines, 1)
        pairs = list(zip(self.rates, self.losses, strict=True))[::step]
        rows = [f"{rate:10.2e} {loss:10.4f}" for rate, loss in pairs]
        return "\n".join([f"{'rate':>10} {'loss':>10}", *rows, "", f"suggested: optimizer.lr={self.suggested:.1e}"])


def find_learning_rate(
    recipe: Recipe | str | Path,
    *,
    overrides: Sequence[str] = (),
    data_root: str | Path | None = None,
    start_from: str | Path | None = None,
    device: str | torch.device | None = None,
    iterations: int = 100,
    lowest: float = 1e-6,
    highest: float = 1.0,
) -> RangeTest:
    """Suggest a learning rate for a recipe; nothing is written.

    Parameters
    ----------
    recipe, overrides, data_root, start_from, device
        As `vitrail.train` takes them.
    iterations : int
        Length of the test.
    lowest, highest : float
        The rate rises from one to the other by the same factor in each iteration.

    Raises
    ------
    TrainingError
        For an impossible range, in several processes, and when the loss is never finite.
    VitrailError
        As `vitrail.train` does.
    """
    if not 0 < lowest < highest or iterations < 2:
        raise TrainingError(
            f"no range test from {lowest:g} to {highest:g} in {iterations} iterations: give two rates above 0, the "
            "lower one first, and 2 iterations or more"
        )
    resolved = training_recipe(recipe, overrides, data_root, start_from)
    changes = {"iterations": iterations, "epochs": None, "eval_every": None, "early_stopping": None, "loggers": ()}
    resolved = resolved.model_copy(update={"train": resolved.train.model_copy(update=changes)})
    with tempfile.TemporaryDirectory() as folder:
        run = _RisingRate(resolved, folder=folder, device=device, factor=(highest / lowest) ** (1 / (iterations - 1)))
        return run.measure(lowest)


class _RisingRate(TrainingRun):
    """A run whose learning rate rises by a factor in each iteration; it ends where the loss bursts."""

    def __init__(self, recipe: Recipe, *, folder: str, device: str | torch.device | None, factor: float) -> None:
        super().__init__(recipe, output_dir=folder, device=device)
        self._factor = factor
        self._values: list[float] = []

    def measure(self, lowest: float) -> RangeTest:
        """Run the test from a rate on."""
        if world_size() > 1:
            raise TrainingError("a learning-rate range test runs in one process: leave torchrun out")
        self.recipe = self.recipe.model_copy(
            update={"optimizer": self.recipe.optimizer.model_copy(update={"lr": lowest})}
        )
        rates: list[float] = []
        losses: list[float] = []
        average = 0.0
        with own_random_state(self.device, self.recipe.train.seed), explain_single_images():
            self.setup()
            with contextlib.closing(self.batches()) as batches:
                for number in range(1, self.plan.iterations + 1):
                    self._values.clear()
                    self.train_step(*next(batches))
                    self.optimizer_step()
                    loss = sum(self._values) / len(self._values)
                    average = SMOOTHING * average + (1 - SMOOTHING) * loss
                    smooth = average / (1 - SMOOTHING**number)
                    if not math.isfinite(smooth) or (losses and smooth > BURST * min(losses)):
                        break
                    rates.append(lowest * self._factor ** (number - 1))
                    losses.append(smooth)
        if not losses:
            raise TrainingError(
                "the loss is not finite at the lowest rate: look for the fault in the model or the data"
            )
        return RangeTest(tuple(rates), tuple(losses), rates[losses.index(min(losses))] / 10)

    def create_optimizer(self) -> tuple[Optimizer, LRScheduler]:
        """Return the recipe's optimizer, with a rate that rises."""
        optimizer = create_optimizer(self.model, self.recipe.optimizer)
        return optimizer, LambdaLR(optimizer, lambda iteration: self._factor**iteration)

    def compute_losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the losses, and keep their sum."""
        losses = super().compute_losses(images, targets)
        self._values.append(float(sum(value.detach() for value in losses.values())))
        return losses
