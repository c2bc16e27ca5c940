"""Class indices of image tensors from an exported file that returns nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.checkpoints.exported import ExportedSegmentor
from vitrail.errors import PredictionError
from vitrail.inference.score_map import Labels, label_dtype
from vitrail.inference.segmenter import Size, checked_sizes, chosen_threshold, equal_sizes
from vitrail.recipes import EvalConfig


@dataclass(frozen=True, eq=False)
class IndexSegmenter:
    """Runs an exported file that returns class indices, with or without their probabilities.

    It takes whole images at one scale: an average of several views or windows needs the values of all classes.

    Attributes
    ----------
    model : ExportedSegmentor
        The file.
    settings : EvalConfig
        How to predict.
    channels : int
        Number of channels of the images.

    Raises
    ------
    PredictionError
        When the settings ask for windows, flipped images or other scales, or for another threshold than the file's.
    """

    model: ExportedSegmentor
    settings: EvalConfig
    channels: int = 3

    def __post_init__(self) -> None:
        chosen = chosen_threshold(self.settings, self.model.num_classes)
        if chosen != self.model.threshold:
            raise PredictionError(
                f"{self.model.path} returns class indices, chosen with evaluation.threshold={self.model.threshold}, "
                f"not {chosen}: export the model again with it, or with raw=True (--raw)"
            )
        wishes = {
            "sliding windows (which images of many megapixels need too)": self.settings.mode == "slide",
            "flipped images": self.settings.flip,
            "other scales": tuple(self.settings.scales) != (1.0,),
        }
        wanted = " and ".join(wish for wish, active in wishes.items() if active)
        if wanted:
            raise PredictionError(
                f"{self.model.path} returns class indices, and {wanted} need the values of all classes: export the "
                "model with raw=True (--raw), or use evaluation.mode=whole evaluation.flip=false "
                "evaluation.scales=[1.0]"
            )

    def check_scores(self) -> None:
        """Raise a PredictionError unless the file returns probabilities."""
        if self.model.returns != "scores":
            raise PredictionError(
                f"{self.model.path} returns no probabilities: export the model with scores=True (--scores)"
            )

    def labels(self, images: Sequence[Tensor], sizes: Sequence[Size] | None, *, with_scores: bool) -> list[Labels]:
        """Return the class indices of images, as `Segmenter.labels` does.

        Where a result has another size than its image, it takes the class of the nearest pixel.
        """
        sizes = checked_sizes(images, sizes, self.channels)
        if with_scores:
            self.check_scores()
        result: dict[int, Labels] = {}
        with torch.no_grad():
            for group in equal_sizes(images, self.settings.batch_size):
                outputs = self.model.run(torch.stack([images[index].cpu() for index in group]))
                for position, index in enumerate(group):
                    mask, *scores = (_nearest(each[position], sizes[index]) for each in outputs)
                    mask = mask.to(label_dtype(self.model.num_classes))
                    result[index] = Labels(mask, scores[0] if with_scores else None)
        return [result[index] for index in range(len(images))]

    def scores(self, images: Sequence[Tensor], sizes: Sequence[Size] | None) -> NoReturn:
        """Raise a PredictionError: the file does not return the values of all classes."""
        raise PredictionError(
            f"{self.model.path} returns class indices, not the values of all classes: export the model with raw=True "
            "(--raw)"
        )

    def probabilities(self, images: Sequence[Tensor], sizes: Sequence[Size] | None) -> NoReturn:
        """Raise a PredictionError, as `scores` does."""
        self.scores(images, sizes)


def _nearest(values: Tensor, size: Size) -> Tensor:
    if tuple(values.shape) == size:
        return values
    dtype = values.dtype
    wide = values.to(torch.int32).float() if not values.dtype.is_floating_point else values
    return F.interpolate(wide[None, None], size=size, mode="nearest-exact")[0, 0].to(dtype)
