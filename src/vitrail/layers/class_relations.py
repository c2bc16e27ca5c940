"""Relations of classes, found by leaving one out and looking at the losses of the others (IDRNet)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.labels import ignore_index
from vitrail.layers.processes import alike_on_processes, gather_over_processes, own_share

_NO_RELATION = -1e16  # of what the softmax makes 0 unless there is nothing else


class ClassRelations(nn.Module):
    """How much the loss of each class grows when another class's features are left out: its mean and its variance.

    In distributed training they are what one process with all images would make them; SSSegmentation averages those of
    the processes.

    Parameters
    ----------
    num_classes : int
        K, the number of classes.
    momentum : float
        Weight of an image in the moving averages.

    Attributes
    ----------
    mean, variance : Tensor
        [K, K]: of the loss of the column's class when the row's is left out. Buffers, the identity at first.
    counts : Tensor
        [K], how often each class has been left out, and a little more. A buffer.

    References
    ----------
    Jin et al., "IDRNet: Intervention-Driven Relation Network for Semantic Segmentation", NeurIPS 2023,
    arXiv:2310.10755.
    """

    mean: Tensor
    variance: Tensor
    counts: Tensor

    def __init__(self, num_classes: int, *, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.eye(num_classes))
        self.register_buffer("variance", torch.eye(num_classes))
        self.register_buffer("counts", torch.full((num_classes,), 1e-6))

    def forward(self, vectors: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class vectors mixed by the relations of each class with those that are present.

        Parameters
        ----------
        vectors : Tensor [B, K, C]
        present : Tensor [B, K]
            bool.

        Returns
        -------
        by_mean, by_variance : Tensor [B, K, C]
            Zero for classes that are not present. Only positive means count, unless no class that is present has one.
        """
        positive = self.mean.masked_fill(self.mean <= 0, _NO_RELATION)
        return _mix(positive, vectors, present), _mix(self.variance, vectors, present)

    @torch.no_grad()
    def choose(self, present: Tensor) -> Tensor:
        """Choose the class to leave out of each image, the seldom chosen ones with more probability, and count it.

        Parameters
        ----------
        present : Tensor [B, K]
            bool; each image has at least one class.

        Returns
        -------
        Tensor [B]
            int64. A class is chosen with a probability that is inverse to its count, which the choice for an image
            changes before that for the next.
        """
        every = gather_over_processes(present)
        noise = alike_on_processes(torch.empty_like(every, dtype=self.counts.dtype).exponential_()).log()
        chosen = []
        for classes, shift in zip(every, noise, strict=True):
            # the class with the largest weight ÷ exponential noise is one drawn by the weights
            scores = (-self.counts.log() - shift).masked_fill(~classes, -torch.inf)
            chosen.append(scores.argmax())
            self.counts.index_add_(0, chosen[-1][None], self.counts.new_ones(1))
        return own_share(torch.stack(chosen))

    @torch.no_grad()
    def update(self, chosen: Tensor, found: Tensor, counts: Tensor) -> None:
        """Move the relations towards those found in a batch, image by image.

        Parameters
        ----------
        chosen : Tensor [B]
            The class that was left out of each image.
        found : Tensor [B, 2, K]
            By how much the mean and the variance of the loss over each class's pixels grew.
        counts : Tensor [B, K]
            How many pixels each class has: one is needed for a mean, two for a variance.
        """
        images = zip(*(gather_over_processes(table) for table in (chosen, found, counts)), strict=True)
        for row, (mean, variance), count in images:
            self._move(self.mean, row, mean, count > 0)
            self._move(self.variance, row, variance, count > 1)

    def _move(self, relations: Tensor, row: Tensor, found: Tensor, where: Tensor) -> None:
        old = relations[row]
        moved = self.momentum * found.to(old.dtype) + (1 - self.momentum) * old
        relations.index_copy_(0, row[None], torch.where(where, moved, old)[None])


def _mix(relations: Tensor, vectors: Tensor, present: Tensor) -> Tensor:
    scores = relations.expand(present.shape[0], -1, -1)
    scores = scores.masked_fill(~present[:, None], torch.finfo(scores.dtype).min)
    return (scores.softmax(dim=2).to(vectors.dtype) @ vectors) * present[:, :, None]


def loss_statistics(losses: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean and the variance of the loss over the pixels of each class of an image, and their number.

    Parameters
    ----------
    losses : Tensor [B, H, W]
    targets : Tensor [B, H, W]
        Class indices; ignored pixels do not count.
    num_classes : int
        K.

    Returns
    -------
    mean, variance, counts : Tensor [B, K]
        0 for classes without pixels.
    """
    flat, labels = losses.flatten(1), targets.flatten(1)
    valid = labels != ignore_index(num_classes)
    labels = labels.masked_fill(~valid, 0).long()

    def by_class(values: Tensor) -> Tensor:
        return flat.new_zeros(len(flat), num_classes).scatter_add_(1, labels, values * valid)

    counts = by_class(torch.ones_like(flat))
    divisor = counts.clamp(min=1)
    mean = by_class(flat) / divisor
    return mean, by_class((flat - mean.gather(1, labels)).square()) / divisor, counts
