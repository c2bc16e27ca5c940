"""One comparison: a model of another toolbox, the same model here, and what of the two is compared."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from parity.importing import import_model
from parity.narrow import narrowed
from parity.reference import Reference
from parity.references import without_dropout
from parity.weights import randomise
from vitrail.segmentors import Progress, Segmentor

SQUARE_WIDE_ODD = ((128, 128), (128, 192), (129, 161))
SMALL_SQUARE_WIDE_ODD = ((64, 64), (64, 96), (65, 81))
FULL_SIZE = ((97, 129),)
CLASSES = 9
Import = Callable[[Mapping[str, Tensor]], Segmentor]


@dataclass(frozen=True)
class Case:
    """A row of the table of comparisons.

    Attributes
    ----------
    name : str
        What tests and golden files are called: toolbox, slash, model.
    reference : Reference
        The other toolbox's model.
    terms : mapping from str to str
        The reference's name of each of our losses, on either side joined by "+" where several add up to one. Empty
        when only logits are compared.
    classes : int or None
        K; None where it is the number of the dataset that the model is published for.
    sizes : sequence of (int, int)
        Sizes of the images whose logits are compared.
    trained : (int, int)
        The size of the images whose losses and gradients are compared.
    at_image_size : bool
        Whether logits are compared after the resize to the size of the images instead of before.
    dtype : torch.dtype
        Of the training step: float64 shows differences that float32 hides, but some references cannot do it.
    model : mapping
        Keys of our recipe's model section that the importer cannot derive, such as `backbone_options` with the image
        size that position tables are laid out for.
    narrow : (str, mapping) or None
        A timm encoder and the arguments that make it narrow, for shapes that nobody publishes.
    imports : callable or None
        Makes our model of the reference's tensors, for toolboxes that vitrail has no importer for.
    keep : sequence of str
        How the names of the reference's tensors begin that are no weights, such as the class weights of a loss.
    blank : mapping from str to int
        Names of the reference's tensors, and the row that is zero in each: a class that a memory has not seen yet.
    fixed : mapping from str to nested sequences of numbers
        Names of the reference's tensors, and the values that they have instead of drawn ones, where not all are
        possible.
    seeded : bool
        Whether both draw random numbers in training, and have to draw the same.
    same_points : bool
        Whether both draw random points in training, in another order: every draw of as many gives the same then.
    progress : Progress or None
        How far training is, for methods that depend on it.
    moves : mapping from str to str
        Our buffers that a training step changes, and theirs.
    heavy : bool
        Whether the golden file is for the nightly run: a full-size model, or an encoder that takes seconds.
    """

    name: str
    reference: Reference
    terms: Mapping[str, str] = field(default_factory=dict)
    classes: int | None = CLASSES
    sizes: tuple[tuple[int, int], ...] = SQUARE_WIDE_ODD
    trained: tuple[int, int] = (97, 129)
    at_image_size: bool = False
    dtype: torch.dtype = torch.float64
    model: Mapping[str, Any] = field(default_factory=dict)
    narrow: tuple[str, Mapping[str, Any]] | None = None
    imports: Import | None = None
    keep: tuple[str, ...] = ()
    blank: Mapping[str, int] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    seeded: bool = False
    same_points: bool = False
    progress: Progress | None = None
    moves: Mapping[str, str] = field(default_factory=dict)
    heavy: bool = False

    def __str__(self) -> str:
        return self.name

    def small(self) -> Case:
        """Return the same comparison on images of a quarter of the area, for golden files."""
        sizes = SMALL_SQUARE_WIDE_ODD if self.sizes == SQUARE_WIDE_ODD else self.sizes
        trained = (49, 65) if self.trained == (97, 129) and self.sizes == SQUARE_WIDE_ODD else self.trained
        return replace(self, sizes=sizes, trained=trained)

    def build_reference(self) -> nn.Module:
        """Build the reference with drawn weights."""
        model = self.reference.build()
        randomise(model, self.keep)
        self.edit(model.state_dict())
        if self.seeded:
            seed_forward(getattr(model, self.reference.encoder))
        return model

    def drawing(self) -> AbstractContextManager[Any]:
        """Return the context in which either model is trained."""
        return same_points(self.dtype) if self.same_points else contextlib.nullcontext()

    def edit(self, tensors: Mapping[str, Tensor]) -> None:
        """Change drawn weights of the reference in place, where not every value is possible."""
        with torch.no_grad():
            for name, row in self.blank.items():
                tensors[name][row] = 0.0
            for name, values in self.fixed.items():
                tensors[name].copy_(torch.tensor(values))

    def build_ours(self, settings: str, tensors: Mapping[str, Tensor]) -> Segmentor:
        """Build our model of the reference's settings and tensors, without dropout."""
        name, shape = self.narrow or ("", {})
        with narrowed(name, **shape) if name else contextlib.nullcontext():
            if self.imports:
                model = self.imports(tensors)
            else:
                model = import_model(
                    self.reference.toolbox,
                    settings,
                    tensors,
                    name=self.name,
                    classes=self.classes,
                    changes=self.model,
                )
        if self.seeded:
            seed_forward(model.backbone)
        if self.progress:
            model.set_progress(self.progress)
        return without_dropout(model)


def seed_forward(module: nn.Module) -> None:
    """Let every forward pass of a module begin at the same point of the random sequence."""
    module.register_forward_pre_hook(lambda *_: (torch.manual_seed(3), None)[1])


def same_points(dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Let `torch.rand` give the same points in every row [N, 2] of what it returns, and at every call."""

    def rand(*size: int | tuple[int, ...], **_: Any) -> Tensor:
        rows, *shape = size[0] if isinstance(size[0], tuple) else size
        return torch.from_numpy(np.random.RandomState(4).random_sample(shape)).to(dtype).repeat(rows, 1, 1)

    return mock.patch.object(torch, "rand", rand)


def attribute(model: nn.Module, path: str) -> Tensor:
    """Return the buffer at a dotted path, without dimensions of one element."""
    value: Tensor = functools.reduce(getattr, path.split("."), model)
    return value.squeeze()


def images_of(size: tuple[int, int], count: int = 1) -> Tensor:
    """Return images [count, 3, H, W] in float64 that are the same on every machine."""
    return _uniform((count, 3, *size)).mul_(2 * 3**0.5).sub_(3**0.5)


def targets_of(size: tuple[int, int], classes: int = CLASSES) -> Tensor:
    """Return two targets with ignored pixels and without the last two classes, in blobs as real ones are."""
    coarse = (_uniform((2, 1, 9, 11)) * (classes - 2)).floor()
    targets = nn.functional.interpolate(coarse, size, mode="nearest")[:, 0].long()
    height, width = size
    targets[0, : height // 5] = 255
    targets[1, height // 2 : 3 * height // 5, width // 4 : width // 3] = 255
    return targets


def _uniform(shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.random.RandomState(1).random_sample(shape))
