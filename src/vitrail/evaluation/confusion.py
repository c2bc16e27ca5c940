"""Confusion matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.errors import DatasetError
from vitrail.labels import IGNORE, MAX_CLASSES, WIDE_IGNORE, ignore_index, is_wide
from vitrail.layers.processes import sum_over_processes

_MASK_VALUES = 256
_CHUNK = 2**22  # pixels counted at a time, which bounds the memory of the index


class ConfusionMatrix:
    """Confusion matrix that is accumulated on the device: rows are true classes, columns predicted classes.

    Parameters
    ----------
    num_classes : int
        K; at most 8192.
    device : torch.device
        The device of the matrix.

    Attributes
    ----------
    matrix : Tensor [K, K]
        Pixel counts so far, int64; those of this process only until `reduce`.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        if not 1 <= num_classes <= MAX_CLASSES:
            raise DatasetError(f"masks of {num_classes} classes cannot be evaluated: 1 to {MAX_CLASSES} are possible")
        self.num_classes = num_classes
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)

    def update(self, prediction: Tensor, mask: Tensor) -> Tensor:
        """Add the pixels of an image.

        Parameters
        ----------
        prediction : Tensor [H, W]
            Class indices below K, of any integer type.
        mask : Tensor [H, W]
            True class indices; 255 is ignored, or -1 where there are more than 255 classes.

        Returns
        -------
        Tensor [K, K]
            The counts of this image alone.

        Raises
        ------
        DatasetError
            When the sizes differ or a mask holds a value that is neither a class nor ignored.
        ValueError
            When a prediction is not below K.
        """
        if prediction.shape != mask.shape:
            raise DatasetError(f"a prediction of {tuple(prediction.shape)} for a mask of {tuple(mask.shape)}")
        counts = torch.zeros(self._rows * self.num_classes, dtype=torch.int64, device=self.matrix.device)
        predictions, truths = prediction.reshape(-1), mask.reshape(-1)
        for start in range(0, len(truths), _CHUNK):
            truth = truths[start : start + _CHUNK].to(self.matrix.device, torch.int32)
            if is_wide(self.num_classes):
                truth = self._checked(truth)
            guess = predictions[start : start + _CHUNK].to(self.matrix.device)
            if guess.max() >= self.num_classes:
                raise ValueError(f"a prediction of class {int(guess.max())} among {self.num_classes} classes")
            counts += torch.bincount(truth * self.num_classes + guess, minlength=len(counts))
        by_value = counts.view(self._rows, self.num_classes)
        unknown = by_value[self.num_classes : IGNORE].sum(dim=1)
        if not is_wide(self.num_classes) and unknown.any():
            raise self._unknown(int(unknown.max()), self.num_classes + int(unknown.argmax()))
        image = by_value[: self.num_classes]
        self.matrix += image
        return image

    @property
    def _rows(self) -> int:
        """The number of values that are counted in masks: all of 8 bits, or the classes and what is ignored."""
        return self.num_classes + 1 if is_wide(self.num_classes) else _MASK_VALUES

    def _checked(self, truth: Tensor) -> Tensor:
        """Return labels of more than 255 classes with K in place of what is ignored, or raise for other values."""
        unknown = (truth >= self.num_classes) | (truth < WIDE_IGNORE)
        if unknown.any():
            raise self._unknown(int(unknown.sum()), int(truth[unknown][0]))
        return truth.masked_fill(truth == WIDE_IGNORE, self.num_classes)

    def _unknown(self, pixels: int, value: int) -> DatasetError:
        return DatasetError(
            f"the mask holds {pixels} pixels of value {value}; classes are 0 to {self.num_classes - 1}, "
            f"and {ignore_index(self.num_classes)} is ignored"
        )

    def reduce(self) -> Tensor:
        """Sum `matrix` over all processes and return it; call it once, at the end."""
        self.matrix = sum_over_processes(self.matrix)
        return self.matrix
