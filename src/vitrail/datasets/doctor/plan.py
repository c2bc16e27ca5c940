"""What of a training run bears on whether its data fit it."""

from __future__ import annotations

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
    warmup : int
        Iterations of the warm-up of the learning rate.
    """

    crop: tuple[int, int] | None
    resized: bool
    largest_scale: float
    iterations: int
    per_epoch: int
    batch_size: int
    warmup: int
