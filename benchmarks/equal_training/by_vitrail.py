"""Training by vitrail: its loop, optimizer, schedule, augmentation and losses."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

from benchmarks.equal_training.data import opened
from benchmarks.equal_training.recorder import Recorder
from benchmarks.equal_training.settings import Plan, Settings
from benchmarks.equal_training.start import Start
from vitrail.evaluation.result import Evaluation
from vitrail.recipes import Recipe, recipe_from_dict
from vitrail.segmentors import ModelCard
from vitrail.training.loop import TrainingRun


class RecordedRun(TrainingRun):
    """A training run that is evaluated by a recorder."""

    recorder: Recorder
    settings: Settings

    def setup(self) -> None:
        """Create everything, and describe the parameter groups."""
        super().setup()
        self.recorder.describe(self.optimizer.param_groups, self.settings.lr, self.settings.weight_decay)

    def evaluate(self) -> Evaluation:
        """Evaluate by the recorder, as the other toolboxes' weights are."""
        record = self.state.history[-1]  # the log of this iteration: it is logged where it is evaluated
        lr = float(max(self.schedule.get_last_lr()))
        return self.recorder.measure(self.eval_model, self.state.iteration, lr, float(record["loss"]))


def train(
    begun: Start, settings: Settings, plan: Plan, recorder: Recorder, *, seed: int, changes: Mapping[str, Any]
) -> Recorder:
    """Train vitrail's model from the weights of a start; `changes` are those to the train section of the recipe."""
    model, card = begun.imported()
    recipe = recipe_of(card, settings, plan, seed=seed, changes=changes)
    with tempfile.TemporaryDirectory() as folder:
        run = RecordedRun(
            recipe,
            output_dir=folder,
            device=plan.device,
            model=model,
            train_dataset=opened(plan.data, "train"),
            eval_dataset=opened(plan.data, "val"),
        )
        run.recorder, run.settings = recorder, settings
        run.run()
    return recorder


def recipe_of(card: ModelCard, settings: Settings, plan: Plan, *, seed: int, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe: model, losses and normalisation as imported, the rest from settings and plan."""
    warmup = plan.warmup(settings)
    return recipe_from_dict(
        {
            "model": card.recipe["model"],
            "data": {
                "dataset": "camvid",  # whose decoded files are opened here, not by name
                "mean": card.recipe["data"]["mean"],
                "std": card.recipe["data"]["std"],
                "augment": {
                    "resize": {"size": plan.size},
                    "scale": (0.5, 2.0),
                    "crop": plan.crop,
                    "max_class_share": 0.75,
                },
                "check": "skip",  # everyone reads the same files
                "workers": plan.workers,
            },
            "optimizer": {
                "name": settings.optimizer,
                "lr": settings.lr,
                "weight_decay": settings.weight_decay,
                **settings.groups.vitrail,
            },
            "schedule": {
                "name": "poly",
                "power": settings.power,
                "min_lr": settings.min_lr,
                "warmup": {"iterations": warmup, "ratio": settings.warmup_ratio} if warmup else None,
            },
            "train": {
                "iterations": plan.iterations,
                "batch_size": plan.batch,
                "seed": seed,
                "clip_grad_norm": settings.clip,
                "log_every": plan.every,
                "eval_every": plan.every,
                "save_every": plan.iterations,
                "loggers": (),
                **changes,
            },
            "evaluation": card.recipe["evaluation"],
        }
    )
