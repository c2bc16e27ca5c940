"""Temporal smoothing: an exponential mean of the class probabilities of a video's frames."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vitrail.errors import PredictionError
from vitrail.inference.score_map import DenseMap, Labels, best_labels


class Smoothing:
    """The exponential mean q_t = w q_{t-1} + (1 - w) p_t of the probabilities p_t of all classes.

    Parameters
    ----------
    weight : float
        w, at least 0 and below 1: of what came before. 0.5 halves the influence of a frame with every later one.
    threshold : float, optional
        As in `best_labels`.

    Raises
    ------
    PredictionError
        For another weight.
    """

    def __init__(self, weight: float, threshold: float | None = None) -> None:
        if not 0 <= weight < 1:
            raise PredictionError(f"smoothing must be at least 0 and below 1, not {weight}")
        self.weight = weight
        self.threshold = threshold
        self._mean: Tensor | None = None

    def labels(self, probabilities: Tensor) -> Labels:
        """Return the best classes of the mean and their probabilities, [H, W], after one more frame [K, H, W].

        A frame of another size begins anew.
        """
        if self._mean is None or self._mean.shape != probabilities.shape:
            self._mean = probabilities
        else:
            self._mean = torch.lerp(probabilities, self._mean, self.weight)
        return best_labels(DenseMap(self._mean, output="probabilities"), with_scores=True, threshold=self.threshold)


class Flicker:
    """The mean share of pixels whose class changes from one mask to the next."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._sum = 0.0
        self._count = 0

    def add(self, mask: np.ndarray) -> None:
        """Take the next mask [H, W]; one of another size begins anew."""
        if self._last is not None and self._last.shape == mask.shape:
            self._sum += float((mask != self._last).mean())
            self._count += 1
        self._last = mask

    @property
    def share(self) -> float:
        """The share, 0…1; 0 for fewer than two masks."""
        return self._sum / self._count if self._count else 0.0
