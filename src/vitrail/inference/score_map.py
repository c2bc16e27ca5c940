"""Score maps that are computed a few rows at a time, so that no [K, H, W] copy of a large image is ever made.

A map of 150 classes over 8192 × 8192 pixels fills 40 GB in float32; its argmax fills 64 MB. The maps here are built
from one another (a resized map of a flipped map of logits) and read in bands of rows from top to bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.layers import resize
from vitrail.layers.interpolation import Neighbours, mixing, neighbours
from vitrail.layers.operators import has_triton

CPU_BAND_BYTES = 4 * 2**20  # near the size of a core's caches
DEVICE_BAND_BYTES = 256 * 2**20
_MIN_BAND_ROWS = 16  # a band reads the source rows around it, so very thin bands would read each row many times

Output: TypeAlias = Literal["logits", "probabilities", "scores"]  # the values of `Head.output`


class ScoreMap(Protocol):
    """Scores [K, H, W] of one image.

    Attributes
    ----------
    num_classes : int
        K.
    size : (int, int)
        H and W.
    output : {"logits", "probabilities", "scores"}
        What the values are; see `to_probabilities`.
    """

    num_classes: int
    size: tuple[int, int]
    output: Output

    @property
    def device(self) -> torch.device:
        """The device of the rows."""
        ...

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [K, stop - start, W]; `start` never decreases from one call to the next."""
        ...


def to_probabilities(scores: Tensor, output: Output) -> Tensor:
    """Return the probability of every class.

    Parameters
    ----------
    scores : Tensor [K, ...]
        Values of all classes.
    output : {"logits", "probabilities", "scores"}
        Logits go through a softmax over the classes. Scores, which are not negative, are divided by their sum over the
        classes; where all of them are 0, every class is equally likely. Probabilities are returned as they are.

    Returns
    -------
    Tensor [K, ...]
    """
    if output == "logits":
        return scores.softmax(dim=0)
    if output == "scores":
        total = scores.sum(dim=0, keepdim=True)
        return torch.where(total > 0, scores / total, 1 / len(scores))
    return scores


class DenseMap:
    """Scores that are in memory.

    Parameters
    ----------
    scores : Tensor [K, H, W]
    output : {"logits", "probabilities", "scores"}
        What the values are.
    """

    def __init__(self, scores: Tensor, *, output: Output = "logits") -> None:
        self.scores = scores
        self.num_classes = scores.shape[0]
        self.size = (scores.shape[1], scores.shape[2])
        self.output = output

    @property
    def device(self) -> torch.device:
        """The device of the rows."""
        return self.scores.device

    def rows(self, start: int, stop: int) -> Tensor:
        """Return a view of rows [K, stop - start, W]."""
        return self.scores[:, start:stop]


class ResizedMap:
    """A map resized bilinearly: what `torch.nn.functional.interpolate` would return, a band at a time.

    Parameters
    ----------
    source : ScoreMap
    size : (int, int)
        Height and width.
    align_corners : bool
        The meaning it has in `interpolate`.
    """

    def __init__(self, source: ScoreMap, size: tuple[int, int], *, align_corners: bool) -> None:
        self.source = source
        self.size = size
        self.align_corners = align_corners
        self.num_classes = source.num_classes
        self.output = source.output
        self._table = neighbours(source.size[0], size[0], align_corners)

    @property
    def device(self) -> torch.device:
        """The device of the rows."""
        return self.source.device

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [K, stop - start, W]."""
        part = Neighbours(*(values[start:stop] for values in self._table))
        first, last = int(part.first[0]), int(part.second[-1]) + 1
        wide = self.source.rows(first, last)
        if wide.shape[-1] != self.size[1]:
            # A height that stays as it is gets weights of exactly 1 and 0: only the width is interpolated.
            size = (last - first, self.size[1])
            wide = F.interpolate(wide[None], size=size, mode="bilinear", align_corners=self.align_corners)[0]
        if self.source.size[0] == self.size[0]:
            return wide
        return torch.matmul(mixing(part, first, last).to(wide), wide)


class FlippedMap:
    """A map flipped left to right, with the classes of each left-right pair exchanged.

    Parameters
    ----------
    source : ScoreMap
    flip_pairs : sequence of (int, int)
        Classes that are exchanged when an image is flipped, such as the left and the right arm.
    """

    def __init__(self, source: ScoreMap, flip_pairs: Sequence[tuple[int, int]] = ()) -> None:
        self.source = source
        self.size = source.size
        self.num_classes = source.num_classes
        self.output = source.output
        self._order = list(range(source.num_classes))
        for left, right in flip_pairs:
            self._order[left], self._order[right] = right, left
        self._paired = bool(flip_pairs)

    @property
    def device(self) -> torch.device:
        """The device of the rows."""
        return self.source.device

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [K, stop - start, W]."""
        rows = self.source.rows(start, stop).flip(-1)
        return rows[self._order] if self._paired else rows


class ProbabilityMap:
    """The probabilities of a map of logits or scores."""

    output: Output = "probabilities"

    def __init__(self, source: ScoreMap) -> None:
        self.source = source
        self.size = source.size
        self.num_classes = source.num_classes

    @property
    def device(self) -> torch.device:
        """The device of the rows."""
        return self.source.device

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [K, stop - start, W]."""
        return to_probabilities(self.source.rows(start, stop), self.source.output)


class MeanMap:
    """The mean of maps of one size and one kind of output."""

    def __init__(self, sources: Sequence[ScoreMap]) -> None:
        self.sources = sources
        self.size = sources[0].size
        self.num_classes = sources[0].num_classes
        self.output = sources[0].output

    @property
    def device(self) -> torch.device:
        """The device of the rows."""
        return self.sources[0].device

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [K, stop - start, W]."""
        total = self.sources[0].rows(start, stop).clone()
        for source in self.sources[1:]:
            total += source.rows(start, stop)
        return total / len(self.sources)


class Labels(NamedTuple):
    """The best class of each pixel.

    Attributes
    ----------
    mask : Tensor [H, W]
        Class indices in the smallest of uint8, int16 and int32 that leaves room for the ignored index.
    scores : Tensor [H, W] or None
        The probability of that class, float32, where requested.
    """

    mask: Tensor
    scores: Tensor | None


def label_dtype(num_classes: int) -> torch.dtype:
    """Return the smallest integer type for class indices; 255 stays free in uint8, where it means ignored."""
    if num_classes <= 255:
        return torch.uint8
    return torch.int16 if num_classes <= 2**15 else torch.int32


def best_labels(
    scores: ScoreMap, *, with_scores: bool = False, band_rows: int | None = None, threshold: float | None = None
) -> Labels:
    """Return the best class of each pixel, and its probability if requested, in one pass over bands of rows.

    The mask is the argmax of the scores as they are, so that it does not depend on `with_scores`.

    Parameters
    ----------
    scores : ScoreMap
        Scores [K, H, W].
    with_scores : bool
        Return the probability of the best class too.
    band_rows : int, optional
        Number of rows in a band; None chooses it for the device.
    threshold : float, optional
        Of two classes: take the second one where its probability is higher than this; None takes the argmax.
    """
    plain = scores.device.type == "cuda" and band_rows is None and threshold is None
    if plain and (found := _best_labels_cuda(scores, with_scores)):
        return found
    height, width = scores.size
    device = scores.device
    step = band_rows or _band_rows(scores)
    mask = torch.empty(height, width, dtype=label_dtype(scores.num_classes), device=device)
    probability = torch.empty(height, width, device=device) if with_scores else None
    for start in range(0, height, step):
        stop = min(start + step, height)
        rows = scores.rows(start, stop)
        if threshold is not None:
            mask[start:stop], likely = above_threshold(rows, scores.output, threshold)
            if probability is not None:
                probability[start:stop] = likely
            continue
        best, labels = rows.max(dim=0)
        mask[start:stop] = labels
        if probability is not None:
            probability[start:stop] = _probability_of_best(rows, best, scores.output)
    return Labels(mask, probability)


def above_threshold(rows: Tensor, output: Output, threshold: float) -> tuple[Tensor, Tensor]:
    """Return where the second of two classes is more likely than a threshold, and the probability of the class taken.

    Parameters
    ----------
    rows : Tensor [2, ...]
        Values of both classes.
    output : {"logits", "probabilities", "scores"}
        What they are.
    threshold : float
        0…1.

    Returns
    -------
    Tensor [...], Tensor [...]
        True for the second class; the probability of the class that is taken.
    """
    first, second = to_probabilities(rows, output)
    chosen = second > threshold
    return chosen, torch.where(chosen, second, first)


def _best_labels_cuda(scores: ScoreMap, with_scores: bool) -> Labels | None:
    """Return the best labels of logits that are only resized, by one kernel; None where it does not apply."""
    if not isinstance(scores, ResizedMap) or not isinstance(scores.source, DenseMap) or scores.output != "logits":
        return None
    if not has_triton():
        return None
    from vitrail.inference import best_class_triton

    logits = scores.source.scores
    if not best_class_triton.supports(logits):
        return None
    height, width = scores.size
    rows = resize(logits[None], (logits.shape[1], width), align_corners=scores.align_corners)[0]
    dtype = label_dtype(scores.num_classes)
    mask, probability = best_class_triton.best_class(
        rows, height, align_corners=scores.align_corners, dtype=dtype, with_probability=with_scores
    )
    return Labels(mask, probability)


def _probability_of_best(rows: Tensor, best: Tensor, output: Output) -> Tensor:
    """Return the probability [h, W] of the largest of the values [K, h, W], given that value as `best` [h, W]."""
    if output == "logits":  # exp(best) / sum(exp(rows)), without overflow
        return (rows - best).exp_().sum(dim=0).reciprocal_()
    if output == "scores":
        total = rows.sum(dim=0)
        return torch.where(total > 0, best / total, 1 / len(rows))
    return best


def _band_rows(scores: ScoreMap) -> int:
    band = CPU_BAND_BYTES if scores.device.type == "cpu" else DEVICE_BAND_BYTES
    return max(_MIN_BAND_ROWS, band // (4 * scores.num_classes * scores.size[1]))


def resized(source: ScoreMap, size: tuple[int, int], *, align_corners: bool) -> ScoreMap:
    """Return `source` at `size`; a map that already has the size is returned as it is."""
    return source if source.size == size else ResizedMap(source, size, align_corners=align_corners)


def materialise(scores: ScoreMap) -> Tensor:
    """Return a map as one tensor [K, H, W], filled a band at a time: resizing a band reads few rows of its source."""
    height, width = scores.size
    step = _band_rows(scores)
    first = scores.rows(0, min(step, height))
    if step >= height:
        return first
    values = first.new_empty(scores.num_classes, height, width)
    values[:, :step] = first
    for start in range(step, height, step):
        stop = min(start + step, height)
        values[:, start:stop] = scores.rows(start, stop)
    return values
