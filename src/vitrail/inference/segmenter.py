"""Class indices of image tensors: whole images or sliding windows, several scales, flipped too, in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.errors import PredictionError
from vitrail.inference.score_map import (
    DenseMap,
    FlippedMap,
    Labels,
    MeanMap,
    Output,
    ProbabilityMap,
    ScoreMap,
    best_labels,
    materialise,
    resized,
)
from vitrail.inference.sliding import SlidingMap, window_starts
from vitrail.inference.small_images import pad_small
from vitrail.recipes import EvalConfig
from vitrail.segmentors import Segmentor

Size = tuple[int, int]
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Segmenter:
    """Computes the class indices of image tensors with a model, as an `EvalConfig` specifies.

    One view of an image (one scale, flipped or not) gives scores at the resolution of the head. They are resized to the
    view (unless `settings.resize_once`), then to the requested size, and averaged with the other views there. With
    sliding windows, the overlapping windows of a view are averaged first. Everything happens in bands of rows: the
    scores of all classes never exist for a whole large image at once, unless the head declares `resizes_late = False`,
    as mask classification does.

    What is averaged follows from `settings.average` and from what the head declares as its `output`:

    ================ ============================ ==========================================
    average          a head of logits             a head of scores or probabilities
    ================ ============================ ==========================================
    "logits"         logits; softmax of the mean  the values as they are; normalised after
    "probabilities"  softmax of each              each normalised to probabilities before
    ================ ============================ ==========================================

    Attributes
    ----------
    model : Segmentor
        On `device`. A model whose `forward` does more than resize what its head returns has to declare it by
        `head.resizes_late = False`.
    settings : EvalConfig
        Whole images or windows, scales, flip, what is averaged, and how many images or windows go through the model
        together. A scaled view is resized bilinearly, without antialiasing, to int(size × scale + 0.5).
    device : torch.device
        Where to compute.
    forward : callable
        From images [B, 3, H, W] in 0…255 to float32 scores, [B, K, h, w] at the resolution of the head where that
        declares `resizes_late` and [B, K, H, W] otherwise; see `vitrail.inference.network`.
    flip_pairs : sequence of (int, int)
        Classes that are exchanged when an image is flipped.
    channels : int
        Number of channels of the images.
    """

    model: Segmentor
    settings: EvalConfig
    device: torch.device
    forward: Callable[[Tensor], Tensor]
    flip_pairs: Sequence[tuple[int, int]] = ()
    channels: int = 3

    def labels(self, images: Sequence[Tensor], sizes: Sequence[Size] | None, *, with_scores: bool) -> list[Labels]:
        """Return the class indices of images, and the probability of each pixel's class if requested.

        Parameters
        ----------
        images : sequence of Tensor [3, h, w]
            RGB, uint8, on any device; images of equal size go through the model together, those of fewer than 32 pixels
            of height or width with their last row and column repeated.
        sizes : sequence of (int, int), optional
            Height and width of each result; None keeps those of the images.
        with_scores : bool
            Return the probabilities too.

        Raises
        ------
        PredictionError
            When an image is not uint8 [3, h, w], or a whole image does not fit into the memory of the device.
        """
        sizes = checked_sizes(images, sizes, self.channels)
        threshold = chosen_threshold(self.settings, self.model.num_classes)
        found = self._computed(
            images, sizes, lambda scores: best_labels(scores, with_scores=with_scores, threshold=threshold)
        )
        return [_corner(labels, size) for labels, size in zip(found, sizes, strict=True)]

    def scores(self, images: Sequence[Tensor], sizes: Sequence[Size] | None) -> list[Tensor]:
        """Return the averaged scores of all classes, [K, H, W] for each image; arguments as in `labels`."""
        return self._of_all_classes(images, sizes, materialise)

    def probabilities(self, images: Sequence[Tensor], sizes: Sequence[Size] | None) -> list[Tensor]:
        """Return the probabilities of all classes, [K, H, W] for each image; arguments as in `labels`."""
        return self._of_all_classes(images, sizes, lambda scores: materialise(ProbabilityMap(scores)))

    def _of_all_classes(
        self, images: Sequence[Tensor], sizes: Sequence[Size] | None, compute: Callable[[ScoreMap], Tensor]
    ) -> list[Tensor]:
        sizes = checked_sizes(images, sizes, self.channels)
        found = self._computed(images, sizes, compute)
        return [values[:, :height, :width] for values, (height, width) in zip(found, sizes, strict=True)]

    def _computed(
        self, images: Sequence[Tensor], sizes: Sequence[Size], compute: Callable[[ScoreMap], Result]
    ) -> list[Result]:
        """Return what `compute` makes of the score map of each image; that of a small image is of the padded one."""
        padded, enlarged = pad_small(images, sizes)
        result: dict[int, Result] = {}
        with evaluating(self.model), torch.no_grad(), _memory_hint(images, self.settings):
            for index, scores in self._maps(padded, enlarged):
                result[index] = compute(scores)
        return [result[index] for index in range(len(images))]

    def _maps(self, images: Sequence[Tensor], sizes: Sequence[Size]) -> Iterator[tuple[int, ScoreMap]]:
        """Yield the index and the score map of each image; a map must be read before the next one is requested."""
        for group in equal_sizes(images, 1 if self.settings.mode == "slide" else self.settings.batch_size):
            batch = torch.stack([images[index].to(self.device, non_blocking=True) for index in group])
            views = [view for scale in self.settings.scales for view in self._views(batch, scale)]
            for position, index in enumerate(group):
                yield index, self._mean([view[position] for view in views], sizes[index])

    def _views(self, images: Tensor, scale: float) -> Iterator[list[ScoreMap]]:
        """Yield the maps of a batch [B, 3, h, w] at one scale, then those of the flipped batch."""
        images = _scaled(images, scale)
        yield self._view(images)
        if self.settings.flip:
            yield [FlippedMap(scores, self.flip_pairs) for scores in self._view(images.flip(-1))]

    def _view(self, images: Tensor) -> list[ScoreMap]:
        if self.settings.mode == "slide":
            return [self._slide(image) for image in images]
        if self.settings.resize_once:
            return self._head_maps(images)
        size = (images.shape[-2], images.shape[-1])
        return [self._resized(scores, size) for scores in self._head_maps(images)]

    def _slide(self, image: Tensor) -> ScoreMap:
        window, stride = self.settings.window, self.settings.stride
        if window is None or stride is None:
            raise PredictionError("sliding windows need evaluation.window and evaluation.stride")
        return SlidingMap(
            (image.shape[-2], image.shape[-1]),
            window,
            stride,
            self._windows(image, window, stride),
            num_classes=self.model.num_classes,
            device=self.device,
            output=self._averaged_output,
        )

    def _windows(self, image: Tensor, window: Size, stride: Size) -> Iterator[ScoreMap]:
        """Yield the map of each window of an image [3, H, W], row by row."""
        height, width = min(window[0], image.shape[-2]), min(window[1], image.shape[-1])
        tops = window_starts(image.shape[-2], window[0], stride[0])
        lefts = window_starts(image.shape[-1], window[1], stride[1])
        corners = [(top, left) for top in tops for left in lefts]
        for start in range(0, len(corners), self.settings.batch_size):
            chunk = corners[start : start + self.settings.batch_size]
            crops = torch.stack([image[:, top : top + height, left : left + width] for top, left in chunk])
            for scores in self._head_maps(crops):
                yield self._as_averaged(self._resized(scores, (height, width)))

    def _head_maps(self, images: Tensor) -> list[ScoreMap]:
        """Return the maps of images [B, 3, H, W], at the resolution of the head where it declares `resizes_late`."""
        return [DenseMap(each, output=self.model.head.output) for each in self.forward(images)]

    @property
    def _averaged_output(self) -> Output:
        """What views and windows are averaged as."""
        return "probabilities" if self.settings.average == "probabilities" else self.model.head.output

    def _as_averaged(self, scores: ScoreMap) -> ScoreMap:
        return scores if scores.output == self._averaged_output else ProbabilityMap(scores)

    def _resized(self, scores: ScoreMap, size: Size) -> ScoreMap:
        return resized(scores, size, align_corners=self.model.head.align_corners)

    def _mean(self, views: Sequence[ScoreMap], size: Size) -> ScoreMap:
        """Return the mean of the views of one image at `size`."""
        views = [self._resized(view, size) for view in views]
        return views[0] if len(views) == 1 else MeanMap([self._as_averaged(view) for view in views])


def _corner(labels: Labels, size: Size) -> Labels:
    """Return the upper left part of labels, without what belongs to the padding of a small image."""
    height, width = size
    scores = None if labels.scores is None else labels.scores[:height, :width]
    return Labels(labels.mask[:height, :width], scores)


def chosen_threshold(settings: EvalConfig, num_classes: int) -> float | None:
    """Return `settings.threshold`, or None for the argmax, as long as "auto" has not been replaced by what was found.

    Raises
    ------
    PredictionError
        For a threshold for other than two classes.
    """
    if settings.threshold is None:
        return None
    if num_classes != 2:
        raise PredictionError(
            f"evaluation.threshold={settings.threshold} tells two classes apart, and the model has {num_classes}: "
            "leave it out"
        )
    return None if settings.threshold == "auto" else settings.threshold


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a block, and every module back into the mode it had before."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _scaled(images: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return images
    size = [int(side * scale + 0.5) for side in images.shape[-2:]]
    return F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False)


def equal_sizes(images: Sequence[Tensor], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of images of equal size, at most `batch_size` at a time."""
    groups: dict[torch.Size, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image.shape, []).append(index)
    for group in groups.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def checked_sizes(images: Sequence[Tensor], sizes: Sequence[Size] | None, channels: int) -> Sequence[Size]:
    """Return the sizes of the results: the given ones, or those of the images; arguments as in `Segmenter.labels`."""
    for image in images:
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != channels or 0 in image.shape:
            raise PredictionError(
                f"an image must be uint8{' RGB' if channels == 3 else ''} [{channels}, height, width], "
                f"not {image.dtype} {list(image.shape)}"
            )
    if sizes is None:
        return [(image.shape[1], image.shape[2]) for image in images]
    if len(sizes) != len(images):
        raise PredictionError(f"{len(images)} images but {len(sizes)} sizes")
    return sizes


@contextlib.contextmanager
def _memory_hint(images: Sequence[Tensor], settings: EvalConfig) -> Iterator[None]:
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        largest = max((tuple(image.shape[1:]) for image in images), key=lambda size: size[0] * size[1])
        remedy = (
            "evaluation.mode=slide with evaluation.window and evaluation.stride"
            if settings.mode == "whole"
            else "a smaller evaluation.window"
        )
        raise PredictionError(
            f"the device's memory does not hold an image of {largest[0]} × {largest[1]} at "
            f"evaluation.batch_size={settings.batch_size}: use a smaller batch, or {remedy}"
        ) from error
