"""Confusion matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.errors import DatasetError
from vitrail.labels import IGNORE
from vitrail.layers.processes import sum_over_processes

_MASK_VALUES = 256
_CHUNK = 2**22  # pixels counted at a time, which bounds the memory of the index


class ConfusionMatrix:
    """Confusion matrix that is accumulated on the device: rows are true classes, columns predicted classes.

    Parameters
    ----------
    num_classes : int
        K; at most 255, since 255 means ignored.
    device : torch.device
        The device of the matrix.

    Attributes
    ----------
    matrix : Tensor [K, K]
        Pixel counts so far, int64; those of this process only until `reduce`.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        if not 1 <= num_classes <= IGNORE:
            raise DatasetError(f"masks of {num_classes} classes cannot be evaluated: 1 to {IGNORE} are possible")
        self.num_classes = num_classes
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)

    def update(self, prediction: Tensor, mask: Tensor) -> Tensor:
        """Add the pixels of an image.

        Parameters
        ----------
        prediction : Tensor [H, W]
            Class indices below K, of any integer type.
        mask : Tensor [H, W]
            True class indices, 255 ignored.

        Returns
        -------
        Tensor [K, K]
            The counts of this image alone.

        Raises
        ------
        DatasetError
            When the sizes differ or a mask holds a value that is neither a class nor 255.
        ValueError
            When a prediction is not below K.
        """
        if prediction.shape != mask.shape:
            raise DatasetError(f"a prediction of {tuple(prediction.shape)} for a mask of {tuple(mask.shape)}")
        counts = torch.zeros(_MASK_VALUES * self.num_classes, dtype=torch.int64, device=self.matrix.device)
        predictions, truths = prediction.reshape(-1), mask.reshape(-1)
        for start in range(0, len(truths), _CHUNK):
            truth = truths[start : start + _CHUNK].to(self.matrix.device, torch.int32)
            guess = predictions[start : start + _CHUNK].to(self.matrix.device)
            if guess.max() >= self.num_classes:
                raise ValueError(f"a prediction of class {int(guess.max())} among {self.num_classes} classes")
            counts += torch.bincount(truth * self.num_classes + guess, minlength=len(counts))
        by_value = counts.view(_MASK_VALUES, self.num_classes)
        unknown = by_value[self.num_classes : IGNORE].sum(dim=1)
        if unknown.any():
            value = self.num_classes + int(unknown.argmax())
            raise DatasetError(
                f"the mask holds {int(unknown.max())} pixels of value {value}; "
                f"classes are 0 to {self.num_classes - 1}, and {IGNORE} is ignored"
            )
        image = by_value[: self.num_classes]
        self.matrix += image
        return image

    def reduce(self) -> Tensor:
        """Sum `matrix` over all processes and return it; call it once, at the end."""
        self.matrix = sum_over_processes(self.matrix)
        return self.matrix
