"""The result of an evaluation: the confusion matrix and the metrics computed from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from vitrail.evaluation.boundary import boundary_iou
from vitrail.evaluation.calibration import Calibration


@dataclass(frozen=True)
class ImageScore:
    """Metrics of one image.

    Attributes
    ----------
    id : str
        The image.
    miou : float
        Mean IoU over the classes that the image's mask holds; nan when it holds none.
    accuracy : float
        Share of the pixels that are right; nan when every pixel is ignored.
    """

    id: str
    miou: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class ImageResult:
    """One image that was segmented.

    Attributes
    ----------
    id : str
        The image.
    image : Tensor [3, h, w]
        RGB, uint8, as it is given to the model, before normalisation.
    mask, prediction : Tensor [H, W]
        True and predicted class indices, on the device; 255 in the mask is ignored, or -1 where there are
        more than 255 classes.
    confusion : Tensor [K, K]
        Pixel counts of this image, on the device: rows are true classes, columns predicted ones.
    score : ImageScore
        The metrics of the image.
    """

    id: str
    image: Tensor
    mask: Tensor
    prediction: Tensor
    confusion: Tensor
    score: ImageScore


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of an evaluation.

    Metrics are fractions, 0…1. Those of a class that occurs neither in the masks nor in the predictions are nan, and
    so is the accuracy of a class that does not occur in the masks; means leave nan out. A class that is predicted but
    occurs in no mask has an IoU and a Dice score of 0, which count. (MMSegmentation's `IoUMetric` does the same.)

    Attributes
    ----------
    confusion : Tensor [K, K]
        Pixel counts, int64, on the CPU: rows are true classes, columns predicted ones.
    classes : tuple of str
        Class names.
    palette : tuple of (int, int, int)
        One RGB colour per class.
    images : int
        Number of images.
    seconds : float
        Duration, loading included.
    scores : tuple of ImageScore
        One per image, in the order of the dataset's ids.
    boundary : Tensor [3, K] or None
        Pixel counts of the classes' boundary regions, where `evaluation.boundary_iou` asked for them; see
        `vitrail.evaluation.boundary`.
    calibration : Calibration or None
        How often pixels are right, by the probability of their class, where `evaluation.calibration` asked for it.
    threshold : float or None
        The threshold of two classes that the figures are for, given or found; None is the argmax.
    """

    confusion: Tensor
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    images: int = 0
    seconds: float = 0.0
    scores: tuple[ImageScore, ...] = field(default=(), repr=False)
    boundary: Tensor | None = None
    calibration: Calibration | None = None
    threshold: float | None = None

    @property
    def iou(self) -> tuple[float, ...]:
        """Intersection over union of each class."""
        return tuple((self._right / (self._true + self._predicted - self._right)).tolist())

    @property
    def acc(self) -> tuple[float, ...]:
        """Share of each class's pixels that are right (recall)."""
        return tuple((self._right / self._true).tolist())

    @property
    def dice(self) -> tuple[float, ...]:
        """Dice coefficient (F1 score) of each class."""
        return tuple((2 * self._right / (self._true + self._predicted)).tolist())

    @property
    def boundary_iou(self) -> tuple[float, ...] | None:
        """Boundary IoU of each class (Cheng et al., CVPR 2021), or None when it was not computed."""
        return None if self.boundary is None else boundary_iou(self.boundary)

    @property
    def miou(self) -> float:
        """Mean intersection over union."""
        return mean(self.iou)

    @property
    def macc(self) -> float:
        """Mean accuracy of the classes."""
        return mean(self.acc)

    @property
    def mdice(self) -> float:
        """Mean Dice coefficient."""
        return mean(self.dice)

    @property
    def aacc(self) -> float:
        """Share of all pixels that are right."""
        return float(self._right.sum() / self._true.sum())

    @property
    def images_per_second(self) -> float:
        """Throughput, loading included; nan when no time was taken."""
        return self.images / self.seconds if self.seconds else math.nan

    def table(self) -> str:
        """Return a table of the classes, then the means: percentages, and each class's share of the pixels.

        Where no pixel has a true class, one line says so.
        """
        if not self.confusion.any():
            return f"{self.images} images without masks{self._speed()}: there is nothing to compare with"
        width = max(len(name) for name in (*self.classes, "class"))
        total = float(self._true.sum()) or math.nan
        lines = [_line("class", ("IoU", "Acc", "Dice", "pixels"), width)]
        rule = "─" * len(lines[0])
        lines.append(rule)
        for name, iou, acc, dice, pixels in zip(
            self.classes, self.iou, self.acc, self.dice, self._true.tolist(), strict=True
        ):
            lines.append(_line(name, [_percent(value) for value in (iou, acc, dice, pixels / total)], width))
        lines.append(rule)
        lines.append(_line("mean", [_percent(value) for value in (self.miou, self.macc, self.mdice)], width))
        lines.append("")
        if self.boundary_iou is not None:
            named = [*zip(self.classes, self.boundary_iou, strict=True), ("mean", mean(self.boundary_iou))]
            lines += ["boundary IoU", *(_line(name, [_percent(value)], width) for name, value in named), ""]
        if self.calibration is not None:
            lines += [f"expected calibration error {_percent(self.calibration.ece)}", ""]
        if self.threshold is not None:
            lines += [f"{self.classes[1]} where its probability is above {self.threshold:g}", ""]
        lines.append(
            f"mIoU {_percent(self.miou)}   mAcc {_percent(self.macc)}   aAcc {_percent(self.aacc)}   "
            f"mDice {_percent(self.mdice)}   ({self.images} images{self._speed()})"
        )
        return "\n".join(lines)

    def to_dict(self, *, images: bool = False) -> dict[str, Any]:
        """Return the evaluation as JSON-ready data; a figure that does not exist (nan) is None.

        Parameters
        ----------
        images : bool
            Add the score of every image.
        """
        pixels = self.confusion.sum(dim=1).tolist()
        rows = zip(self.classes, self.iou, self.acc, self.dice, pixels, strict=True)
        data: dict[str, Any] = {
            "miou": _number(self.miou),
            "macc": _number(self.macc),
            "aacc": _number(self.aacc),
            "mdice": _number(self.mdice),
            "images": self.images,
            "images_per_second": _number(self.images_per_second),
            "classes": [
                {"name": name, "iou": _number(iou), "acc": _number(acc), "dice": _number(dice), "pixels": count}
                for name, iou, acc, dice, count in rows
            ],
            "confusion": self.confusion.tolist(),
        }
        if self.boundary_iou is not None:
            data["mean_boundary_iou"] = _number(mean(self.boundary_iou))
            for row, value in zip(data["classes"], self.boundary_iou, strict=True):
                row["boundary_iou"] = _number(value)
        if self.calibration is not None:
            data["calibration"] = {"ece": _number(self.calibration.ece), **asdict(self.calibration)}
        if self.threshold is not None:
            data["threshold"] = self.threshold
        if images:
            data["scores"] = [
                {"id": score.id, "miou": _number(score.miou), "accuracy": _number(score.accuracy)}
                for score in self.scores
            ]
        return data

    @property
    def _right(self) -> Tensor:
        return self.confusion.diagonal().double()

    @property
    def _true(self) -> Tensor:
        return self.confusion.sum(dim=1).double()

    @property
    def _predicted(self) -> Tensor:
        return self.confusion.sum(dim=0).double()

    def _speed(self) -> str:
        return f", {self.images_per_second:.2f} images/s" if self.seconds else ""


def score_image(image_id: str, confusion: Tensor) -> ImageScore:
    """Return the score of one image from its confusion matrix [K, K].

    The mean is over the classes in the image's mask, as in Wang et al., "Revisiting Evaluation Metrics for Semantic
    Segmentation", NeurIPS 2023 (arXiv:2310.19252): a few stray pixels of another class lower the IoU of the classes
    they were taken from, and do not bring in a zero of their own.
    """
    matrix = confusion.cpu().double()
    right, true, predicted = matrix.diagonal(), matrix.sum(dim=1), matrix.sum(dim=0)
    iou = (right / (true + predicted - right))[true > 0]
    return ImageScore(image_id, mean(iou.tolist()), float(right.sum() / true.sum()))


def mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are not nan, or nan when there is none."""
    return float(torch.tensor(values, dtype=torch.float64).nanmean()) if values else math.nan


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f}"


def _line(name: str, cells: Sequence[str], width: int) -> str:
    return f"{name:<{width}}" + "".join(f"{cell:>9}" for cell in cells)
