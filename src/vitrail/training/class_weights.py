"""Class weights computed from the training masks, for losses whose option `class_weights` names a formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from vitrail.datasets import SegmentationDataset
from vitrail.errors import TrainingError
from vitrail.recipes import LossConfig, Recipe
from vitrail.training.class_counts import ClassCounts, cached_counts

_OPTION = "class_weights"
EFFECTIVE_BETA = 0.999


def balanced(counts: ClassCounts) -> list[float]:
    """Return `N / (K n_k)` for `n_k` of `N` labelled pixels and `K` classes.

    G. King and L. Zeng, "Logistic Regression in Rare Events Data", Political Analysis 2001; scikit-learn's
    `class_weight="balanced"`.
    """
    total = sum(counts.pixels)
    return [total / (len(counts.pixels) * pixels) for pixels in counts.pixels]


def enet(counts: ClassCounts) -> list[float]:
    """Return `1 / ln(1.02 + p_k)` for the share `p_k` of the labelled pixels: between 1.4 and 50.5.

    A. Paszke et al., "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation", arXiv:1606.02147,
    section 5.
    """
    total = sum(counts.pixels)
    return [1 / math.log(1.02 + pixels / total) for pixels in counts.pixels]


def effective_number(counts: ClassCounts) -> list[float]:
    """Return weights in proportion to `(1 - b) / (1 - b^n_k)`, of sum K, for `n_k` images with class k and b = 0.999.

    Y. Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, arXiv:1901.05555, equation 2
    and section 4. A sample is an image here: pixels of one object are anything but independent, and there are so many
    of them that all classes would weigh the same.
    """
    weights = [(1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA**images) for images in counts.images]
    return [weight * len(weights) / sum(weights) for weight in weights]


FORMULAS: dict[str, Callable[[ClassCounts], list[float]]] = {
    "balanced": balanced,
    "enet": enet,
    "effective_number": effective_number,
}


def with_class_weights(recipe: Recipe, dataset: SegmentationDataset, folder: Path) -> tuple[Recipe, list[str]]:
    """Return the recipe with numbers in place of the formulas of `class_weights`, and what the log should say.

    The masks are read once; the counts are kept in the output folder for a run that is resumed.

    Parameters
    ----------
    recipe : Recipe
        Of the run.
    dataset : SegmentationDataset
        The training data.
    folder : Path
        The output folder.

    Raises
    ------
    TrainingError
        For a class without a pixel, whose weight would be infinite.
    """
    losses = [*recipe.model.losses, *(recipe.model.auxiliary.losses or ())]
    named = [loss.options[_OPTION] for loss in losses if isinstance(loss.options.get(_OPTION), str)]
    if not named:
        return recipe, []
    counts = cached_counts(dataset, folder, recipe.data.workers)
    names = dataset.benchmark.classes
    missing = [name for name, pixels in zip(names, counts.pixels, strict=True) if not pixels]
    if missing:
        raise TrainingError(
            f"class_weights={named[0]} cannot be computed: no training mask has a pixel of {', '.join(missing)}. Take "
            "these classes out of the list of classes, label some, or give class_weights as numbers"
        )
    weights = {name: [round(weight, 4) for weight in FORMULAS[name](counts)] for name in named}
    notes = [
        f"class weights ({name}): "
        + ", ".join(f"{label} {weight:g}" for label, weight in zip(names, values, strict=True))
        for name, values in weights.items()
    ]
    return _replaced(recipe, weights), notes


def _replaced(recipe: Recipe, weights: dict[str, list[float]]) -> Recipe:
    model = recipe.model
    auxiliary = model.auxiliary
    if auxiliary.losses is not None:
        auxiliary = auxiliary.model_copy(update={"losses": _with_numbers(auxiliary.losses, weights)})
    losses = _with_numbers(model.losses, weights)
    return recipe.model_copy(update={"model": model.model_copy(update={"losses": losses, "auxiliary": auxiliary})})


def _with_numbers(losses: Sequence[LossConfig], weights: dict[str, list[float]]) -> tuple[LossConfig, ...]:
    return tuple(
        loss.model_copy(update={"options": {**loss.options, _OPTION: weights[str(loss.options[_OPTION])]}})
        if isinstance(loss.options.get(_OPTION), str)
        else loss
        for loss in losses
    )
