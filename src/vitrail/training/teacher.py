"""The teacher of a run: a trained model that a method learns from, beside the masks."""

from __future__ import annotations

from vitrail.checkpoints import load
from vitrail.datasets import Benchmark
from vitrail.errors import TrainingError
from vitrail.recipes import Recipe
from vitrail.runtime.distributed import main_first
from vitrail.segmentors import Segmentor


def give_teacher(model: Segmentor, recipe: Recipe, benchmark: Benchmark) -> None:
    """Load `train.teacher`, if a run has one, and hand it to the model, on the CPU.

    Raises
    ------
    TrainingError
        When the teacher was trained on other classes, or for images that are normalised otherwise.
    CheckpointError
        When it cannot be loaded.
    ModelError
        When the model's method cannot learn from it.
    """
    given = recipe.train.teacher
    if given is None:
        return
    with main_first():
        teacher = load(given)
    card = teacher.card
    assert card is not None  # as every loaded model has one
    if tuple(card.classes) != tuple(benchmark.classes):
        raise TrainingError(
            f"train.teacher={given} knows {len(card.classes)} classes ({', '.join(card.classes[:3])}, …), which are "
            f"not the {len(benchmark.classes)} of {benchmark.name} ({', '.join(benchmark.classes[:3])}, …): give a "
            "model that was trained on the same classes, in the same order"
        )
    ours, theirs = (recipe.data.mean, recipe.data.std), (tuple(card.mean), tuple(card.std))
    if ours != theirs:
        raise TrainingError(
            f"train.teacher={given} expects images with mean={list(theirs[0])} and std={list(theirs[1])}: set "
            "data.mean and data.std to these, since both models see the same images"
        )
    model.head.set_teacher(teacher)
