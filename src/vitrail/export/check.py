"""Check of an exported file: the same images through the file and through the model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vitrail.datasets import create_dataset
from vitrail.errors import ExportError
from vitrail.export.exporter import Runner
from vitrail.export.graph import ExportGraph, choose
from vitrail.inference.score_map import to_probabilities
from vitrail.transforms.resize import resize_image

TOLERANCE = 1e-4  # of the largest magnitude
MIN_EQUAL = 0.999  # share of the pixels whose class has to be equal

Shape = tuple[int, int, int]


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
    tolerance, min_equal : float
        The limits for `difference` and `equal`.
    """

    agreements: tuple[Agreement, ...]
    tolerance: float = TOLERANCE
    min_equal: float = MIN_EQUAL

    @property
    def passed(self) -> bool:
        """Whether every batch is within the limits."""
        return all(each.difference <= self.tolerance and each.equal >= self.min_equal for each in self.agreements)

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON-ready data."""
        return {**asdict(self), "passed": self.passed}

    def __str__(self) -> str:
        """Return a line for each batch."""
        return "\n".join(
            f"{count} × {height} × {width}: largest difference {each.difference:.1e}, {each.equal:.4%} of pixels equal"
            for each in self.agreements
            for count, height, width in [each.shape]
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


def check_export(graph: ExportGraph, run: Runner, shapes: Sequence[Shape]) -> ExportCheck:
    """Compare what a file computes with what the model computes without any of the changes made for export.

    Parameters
    ----------
    graph : ExportGraph
        What was exported.
    run : callable
        Runs the file.
    shapes : sequence of (int, int, int)
        Number of images, height and width of each batch.

    Raises
    ------
    FailedRunError
        When the file does not run for one of the batches.
    """
    return ExportCheck(tuple(_compare(graph, run, shape) for shape in shapes))


def street_images(shape: Shape) -> Tensor:
    """Return images [B, 3, H, W], uint8, of the built-in dataset of street scenes."""
    count, height, width = shape
    return torch.stack([resize_image(_street_image(index), (height, width)) for index in range(count)])


@functools.lru_cache(maxsize=4)
def _street_image(index: int) -> Tensor:
    image: Tensor = create_dataset("scenes", None, "val")[index]["image"]
    return image.as_subclass(Tensor)


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
    classes, expected = choose(values, graph.model.head.output, graph.threshold)
    if graph.output == "raw":
        difference, scale = (outputs[0] - values).abs().max(), values.abs().max()
        chosen, _ = choose(outputs[0], graph.model.head.output, graph.threshold)
    else:
        chosen = outputs[0].long()
        difference, scale = _shortfall(graph, values, chosen)
    if graph.output == "scores":
        difference, scale = torch.maximum(difference / scale, (outputs[1] - expected).abs().max()), torch.ones(())
    return Agreement(shape, float(difference / scale), float((chosen == classes).float().mean()))


def _shortfall(graph: ExportGraph, values: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much the classes [B, H, W] that a file chose fall short of being the right ones, and the scale."""
    if graph.threshold is None:
        own = values.gather(1, chosen.unsqueeze(1)).squeeze(1)
        return (values.amax(dim=1) - own).max(), values.abs().max()
    second = to_probabilities(values.transpose(0, 1), graph.model.head.output)[1]
    short = torch.where(chosen.bool(), graph.threshold - second, second - graph.threshold)
    return short.clamp(min=0).max(), torch.ones(())
