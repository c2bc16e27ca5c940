"""The plan of a run: its length, and when it logs, evaluates and saves, in iterations."""

from __future__ import annotations

from dataclasses import dataclass

from torch.optim.lr_scheduler import LRScheduler

from vitrail.errors import TrainingError
from vitrail.recipes import TrainConfig
from vitrail.runtime.distributed import world_size
from vitrail.segmentors import Progress

MIN_SAVES = 10  # in a run whose recipe sets no save_every
AUTO_EPOCHS, AUTO_AT_LEAST, AUTO_AT_MOST = 40, 400, 20_000
AUTO_EVALUATIONS = 10


@dataclass(frozen=True)
class Plan:
    """When a run logs, evaluates and saves, in iterations (optimizer steps, counted from 1)."""

    iterations: int
    per_epoch: int
    log_every: int
    eval_every: int
    save_every: int

    def logs(self, iteration: int) -> bool:
        """Return whether the losses are logged after `iteration`."""
        return iteration % self.log_every == 0 or iteration == self.iterations

    def evaluates(self, iteration: int) -> bool:
        """Return whether the model is evaluated after `iteration`."""
        return iteration % self.eval_every == 0 or iteration == self.iterations

    def saves(self, iteration: int) -> bool:
        """Return whether the run is saved after `iteration`: with every evaluation, at least."""
        return iteration % self.save_every == 0 or self.evaluates(iteration)


def make_plan(train: TrainConfig, images: int) -> Plan:
    """Convert epochs to iterations for a dataset of `images` images.

    Raises
    ------
    TrainingError
        When a batch is larger than the dataset, or cannot be split equally between processes and parts.
    """
    if train.images_per_step > images:
        raise TrainingError(
            f"train.batch_size={train.batch_size} is larger than the dataset of {images} images: "
            f"lower it to {images} or less"
        )
    parts = world_size() * train.accumulate
    if train.images_per_step % parts:
        raise TrainingError(
            f"train.batch_size={train.batch_size} is the batch of one optimizer step and must be a multiple of {parts} "
            f"(processes × train.accumulate = {world_size()} × {train.accumulate})"
        )
    per_epoch = images // train.images_per_step
    unit = per_epoch if train.epochs is not None else 1
    if train.iterations == "auto":
        iterations = auto_iterations(per_epoch)
    else:
        iterations = train.iterations or (train.epochs or 0) * per_epoch
    evaluations = AUTO_EVALUATIONS if train.iterations == "auto" else 1
    eval_every = train.eval_every * unit if train.eval_every else -(-iterations // evaluations)
    save_every = train.save_every * unit if train.save_every else min(eval_every, -(-iterations // MIN_SAVES))
    return Plan(iterations, per_epoch, train.log_every, eval_every, save_every)


def auto_iterations(per_epoch: int) -> int:
    """Return the length of a run with `train.iterations=auto`: 40 epochs, but 400 iterations at least, 20,000 at most.

    So a dozen images are seen often enough to learn from, and a large dataset does not take for ever.
    """
    return min(max(AUTO_EPOCHS * per_epoch, AUTO_AT_LEAST), AUTO_AT_MOST)


def progress_at(iteration: int, plan: Plan, schedule: LRScheduler) -> Progress:
    """Return the progress at the step `iteration`, counted from 1, before it is taken; for `Head.set_progress`."""
    rate, full = max(schedule.get_last_lr()), max(schedule.base_lrs)
    return Progress(
        epoch=(iteration - 1) // plan.per_epoch + 1,
        lr_factor=float(rate / full) if full else 0.0,
        done=(iteration - 1) / plan.iterations,
    )
