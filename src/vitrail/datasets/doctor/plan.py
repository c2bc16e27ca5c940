"""What of a training run bears on whether its data fit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RunPlan:
    """The lengths and sizes of a run.

    Attributes
    ----------
    crop : (int, int) or None
        Height and width of the training crop.
    resized : bool
        Whether images are resized before they are cropped.
    largest_scale : float
        The largest random scale.
    iterations, per_epoch : int
        Length of the run and of an epoch.
    batch_size : int
        Images of one iteration.
    warmups : mapping of str to (int, int)
        The first iteration of each warm-up of learning rates, and the first after it, by its key in the recipe.
    """

    crop: tuple[int, int] | None
    resized: bool
    largest_scale: float
    iterations: int
    per_epoch: int
    batch_size: int
    warmups: Mapping[str, tuple[int, int]]
