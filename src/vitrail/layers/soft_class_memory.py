"""Memory of the distribution of each class's features across the training set (MCIBI++)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.layers.class_context import class_sums
from vitrail.layers.processes import sum_over_processes


class SoftClassMemory(nn.Module):
    """Mean and standard deviation of each class's feature vector over its channels; vectors are drawn from them.

    The noise of a class's vector is always the same, so predictions are reproducible: standard normal numbers of
    PyTorch's CPU generator, seeded with the index of the class, as SSSegmentation draws them. In distributed training
    the memory is what one process with all images would make it; SSSegmentation averages those of the processes.

    Parameters
    ----------
    num_classes : int
        K, the number of classes.
    channels : int
        C, the channels of the features.
    momentum : float
        Weight of a batch in the moving averages.

    Attributes
    ----------
    statistics : Tensor
        [K, 2], mean and standard deviation: a buffer, so it is saved in the state dict; 0 and 1 at first.

    References
    ----------
    Jin et al., "MCIBI++: Soft Mining Contextual Information Beyond Image for Semantic Segmentation", TPAMI 2022,
    arXiv:2209.04471.
    """

    statistics: Tensor
    noise: Tensor

    def __init__(self, num_classes: int, channels: int, *, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("statistics", torch.tensor([0.0, 1.0]).repeat(num_classes, 1))
        noise = torch.cat([_noise(index, channels) for index in range(num_classes)])
        self.register_buffer("noise", noise, persistent=False)

    def forward(self, probabilities: Tensor) -> Tensor:
        """Return the class vectors averaged by probability, [B, C, h, w], for class probabilities [B, K, h, w]."""
        mean, deviation = self.statistics.unsqueeze(2).unbind(1)  # [K, 1] each
        vectors = (mean + deviation * self.noise).to(probabilities.dtype)
        return torch.einsum("kc,bkhw->bchw", vectors, probabilities)

    @torch.no_grad()
    def update(self, features: Tensor, targets: Tensor, *, align_corners: bool = False) -> None:
        """Move the memory towards the mean features of the classes of a batch.

        Parameters
        ----------
        features : Tensor
            [B, C, h, w]; resized to the size of the targets.
        targets : Tensor
            Class indices [B, H, W], 255 ignored.
        align_corners : bool
            How the features are resized.
        """
        sums = sum_over_processes(class_sums(features, targets, len(self.statistics), align_corners=align_corners))
        count = sums[:, -1:]
        vectors = sums[:, :-1] / torch.where(count > 0, count, 1.0)
        found = torch.stack([vectors.mean(dim=1), vectors.std(dim=1)], dim=1).to(self.statistics.dtype)
        moved = (1 - self.momentum) * self.statistics + self.momentum * found
        self.statistics.copy_(torch.where(count > 0, moved, self.statistics))


def _noise(seed: int, channels: int) -> Tensor:
    """Return standard normal numbers [1, channels], made on the CPU on whichever device models are built."""
    return torch.randn(1, channels, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")
