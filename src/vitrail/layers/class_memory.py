"""Memory of class features across the training set (MCIBI)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.labels import ignore_index
from vitrail.layers.processes import sum_over_processes
from vitrail.layers.resize import resize


class ClassMemory(nn.Module):
    """One feature vector per class, an exponential moving average of the class's pixels in the training batches.

    A pixel is weighted by one minus its cosine similarity to the stored vector. A class that occurs for the first time
    is initialised with the mean of its pixels. In distributed training the sums are taken over the pixels of all
    processes.

    Parameters
    ----------
    num_classes : int
        K, the number of classes.
    channels : int
        C, the channels of the features.

    Attributes
    ----------
    features : Tensor
        [K, C], a buffer, so it is saved in the state dict; zero for classes that have not occurred yet.

    References
    ----------
    Jin et al., "Mining Contextual Information Beyond Image for Semantic Segmentation", ICCV 2021, arXiv:2108.11819.
    """

    features: Tensor

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(num_classes, channels))

    def forward(self, probabilities: Tensor) -> Tensor:
        """Return the class vectors averaged by probability, [B, C, h, w], for class probabilities [B, K, h, w]."""
        memory = self.features.clone().to(probabilities.dtype)  # a copy, since `update` runs before the backward pass
        return torch.einsum("kc,bkhw->bchw", memory, probabilities)

    @torch.no_grad()
    def update(self, features: Tensor, targets: Tensor, momentum: Tensor, *, align_corners: bool = False) -> None:
        """Update the memory with the features of a batch.

        Parameters
        ----------
        features : Tensor
            [B, C, h, w]; resized to the size of the targets, one image at a time to save memory.
        targets : Tensor
            Class indices [B, H, W], 255 ignored.
        momentum : Tensor
            Scalar in 0…1: the weight of the new vector in the moving average.
        align_corners : bool
            How the features are resized.
        """
        memory = self.features
        sums = memory.new_zeros(memory.shape[0], memory.shape[1] + 1)
        with torch.autocast(memory.device.type, enabled=False):
            for feature, target in zip(features, targets, strict=True):
                pixels = resize(feature[None].to(memory.dtype), target.shape, align_corners=align_corners)
                sums += self._sums(pixels[0].flatten(1), target.flatten())
        sums = sum_over_processes(sums)
        total, weight = sums[:, :-1], sums[:, -1:]
        found = total / torch.where(weight > 0, weight, 1.0)
        share = torch.where(memory.any(dim=1, keepdim=True), momentum.to(memory.dtype), 1.0)
        memory.copy_(torch.where(weight > 0, (1 - share) * memory + share * found, memory))

    def _sums(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted sums of features and the sums of weights, [K, C + 1], for pixels [C, P]."""
        valid = labels != ignore_index(len(self.features))
        labels = labels.masked_fill(~valid, 0).long()[None]  # [1, P]
        norms = self.features.norm(dim=1).clamp(min=1e-8)
        similarity = (self.features @ pixels).gather(0, labels) / (norms[labels] * _norms(pixels).clamp(min=1e-8))
        weight = (1 - similarity) * valid
        by_class = pixels.new_zeros(len(self.features), pixels.shape[1]).scatter_(0, labels, weight)  # [K, P]
        return torch.cat([by_class @ pixels.T, by_class.sum(dim=1, keepdim=True)], dim=1)


def _norms(pixels: Tensor) -> Tensor:
    """Return the norms [P] of features [C, P], accumulated over rows: `torch.norm` over dim 0 is slower."""
    squares = pixels.new_zeros(pixels.shape[1])
    for rows in pixels.split(64):
        squares += rows.square().sum(dim=0)
    return squares.sqrt()
