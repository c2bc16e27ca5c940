"""Check of an exported file: the same images through the file and through the model."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vitrail.datasets import create_dataset
from vitrail.errors import ExportError
from vitrail.export.exporter import Runner
from vitrail.export.graph import ExportGraph
from vitrail.transforms.resize import resize_image

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Limits:
    """What an exported file may differ from its model.

    Attributes
    ----------
    difference : float
        Largest difference, as a share of the largest magnitude.
    equal : float
        Smallest share of pixels with the same class.
    """

    difference: float
    equal: float


# int8 changes every value; what counts is how many pixels of the user's own images change their class.
LIMITS = {
    "float32": Limits(1e-4, 0.999),
    "float16": Limits(0.02, 0.99),
    "bfloat16": Limits(0.1, 0.95),
    "int8": Limits(math.inf, 0.0),
}
MIN_EQUAL_INT8 = 0.9  # of the user's images


@dataclass(frozen=True)
class Agreement:
    """How well a file agrees with the model on one batch of images.

    Attributes
    ----------
    shape : (int, int, int)
        Number of images, height, width.
    difference : float
        Largest difference of what both return, as a share of the largest magnitude: of logits (or what else the head
        returns) in a raw export, of the probabilities of the best class where the file returns them. Otherwise the
        largest amount by which the model's value of the class that the file chose falls short of the best class, or
        its probability of the threshold.
    equal : float
        Share of the pixels with the same class, 0…1.
    """

    shape: Shape
    difference: float
    equal: float


@dataclass(frozen=True)
class ExportCheck:
    """Agreement of an exported file with its model, on several batches of images.

    Attributes
    ----------
    agreements : tuple of Agreement
        One for each batch.
    limits : Limits
        The limits for each of them.
    images : ImagesCheck, optional
        Agreement on images of the user's.
    """

    agreements: tuple[Agreement, ...]
    limits: Limits = LIMITS["float32"]
    images: ImagesCheck | None = None

    @property
    def passed(self) -> bool:
        """Whether every batch, and the user's images, are within the limits."""
        return (self.images is None or self.images.passed) and all(
            each.difference <= self.limits.difference and each.equal >= self.limits.equal for each in self.agreements
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON-ready data."""
        limits = {name: value for name, value in asdict(self.limits).items() if math.isfinite(value)}
        return {**asdict(self), "limits": limits, "passed": self.passed}

    def __str__(self) -> str:
        """Return a line for each batch, and one for the user's images."""
        lines = [
            f"{count} × {height} × {width}: largest difference {each.difference:.1e}, {each.equal:.4%} of pixels equal"
            for each in self.agreements
            for count, height, width in [each.shape]
        ]
        return "\n".join([*lines, str(self.images)] if self.images else lines)

    def describe_limits(self) -> str:
        """Return the limits in words."""
        words = []
        if math.isfinite(self.limits.difference):
            words.append(f"difference {self.limits.difference:.0e}, {self.limits.equal:.1%} of pixels equal")
        if self.images is not None:
            words.append(f"{self.images.min_equal:.1%} of the pixels of the given images equal")
        return "; ".join(words)


@dataclass(frozen=True)
class ImagesCheck:
    """How well a file agrees with the model on images of the user's.

    Attributes
    ----------
    count : int
        Number of images.
    equal : float
        Share of the pixels with the same class, 0…1.
    miou : float
        Mean IoU of the file's masks with the model's as the truth, 0…1, over the classes that occur in either.
    min_equal : float
        The limit for `equal`.
    """

    count: int
    equal: float
    miou: float
    min_equal: float

    @property
    def passed(self) -> bool:
        """Whether enough pixels are equal."""
        return self.equal >= self.min_equal

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"{self.count} images: {self.equal:.4%} of pixels equal, mIoU {100 * self.miou:.2f} with the masks of the "
            "model as the truth"
        )


class FailedRunError(ExportError):
    """An exported file that does not run for images of some size.

    Attributes
    ----------
    size : (int, int)
        Height and width of the images.
    """

    def __init__(self, size: tuple[int, ...], error: Exception) -> None:
        super().__init__(f"the exported file fails for images of {size[0]} × {size[1]}: {str(error)[:300]}")
        self.size = size


def check_export(
    graph: ExportGraph,
    run: Runner,
    shapes: Sequence[Shape],
    *,
    precision: str = "float32",
    images: Sequence[Tensor] = (),
) -> ExportCheck:
    """Compare what a file computes with what the model computes without any of the changes made for export.

    Parameters
    ----------
    graph : ExportGraph
        What was exported.
    run : callable
        Runs the file.
    shapes : sequence of (int, int, int)
        Number of images, height and width of each batch.
    precision : {"float32", "bfloat16", "float16", "int8"}
        Of the file; it decides what may differ.
    images : sequence of Tensor [1, 3, H, W]
        Images of the user's, uint8, that are compared too.

    Raises
    ------
    FailedRunError
        When the file does not run for one of the batches.
    """
    limits = LIMITS[precision]
    agreements = tuple(_compare(graph, run, shape) for shape in shapes)
    own = _compare_images(graph, run, images, max(limits.equal, MIN_EQUAL_INT8)) if images else None
    return ExportCheck(agreements, limits, own)


def street_images(shape: Shape) -> Tensor:
    """Return images [B, 3, H, W], uint8, of the built-in dataset of street scenes."""
    count, height, width = shape
    return torch.stack([resize_image(_street_image(index), (height, width)) for index in range(count)])


@functools.lru_cache(maxsize=4)
def _street_image(index: int) -> Tensor:
    image: Tensor = create_dataset("scenes", None, "val")[index]["image"]
    return image.as_subclass(Tensor)


def _compare_images(graph: ExportGraph, run: Runner, images: Sequence[Tensor], min_equal: float) -> ImagesCheck:
    matrix = torch.zeros(graph.model.num_classes, graph.model.num_classes, dtype=torch.int64)
    for image in images:
        expected, found = (graph.returned.classes(outputs) for outputs in (graph(image), _run(run, image)))
        pairs = expected * len(matrix) + found
        matrix += torch.bincount(pairs.flatten(), minlength=matrix.numel()).view_as(matrix)
    equal = matrix.diag()
    union = matrix.sum(dim=0) + matrix.sum(dim=1) - equal
    miou = (equal[union > 0] / union[union > 0]).mean()
    return ImagesCheck(len(images), float(equal.sum() / matrix.sum()), float(miou), min_equal)


def _run(run: Runner, images: Tensor) -> tuple[Tensor, ...]:
    try:
        return run(images)
    except Exception as error:  # of whatever runs the format
        raise FailedRunError(tuple(images.shape[-2:]), error) from error


def _compare(graph: ExportGraph, run: Runner, shape: Shape) -> Agreement:
    images = street_images(shape)
    outputs = _run(run, images)
    with torch.no_grad():
        values = graph.model(graph.normalize(images))
    found, expected = graph.returned.classes(outputs), graph.returned.decision(values)[0]
    if found.shape != expected.shape:
        problem = ValueError(f"it returns classes {list(found.shape)} in place of {list(expected.shape)}")
        raise FailedRunError(shape[1:], problem)
    equal = (found == expected).float().mean()
    return Agreement(shape, float(graph.returned.difference(outputs, values)), float(equal))
