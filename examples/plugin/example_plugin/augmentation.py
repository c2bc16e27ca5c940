"""An augmentation: the colour channels in another order."""

from __future__ import annotations

import torch
from torchvision import tv_tensors

from vitrail import register_augmentation


@register_augmentation("example_swap_channels")
class SwapChannels:
    """Permute the colour channels at random.

    Parameters
    ----------
    probability : float
        Share of the images that are changed.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        self.probability = probability

    def __call__(self, image: tv_tensors.Image, mask: tv_tensors.Mask) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return image, uint8 [3, H, W], and mask, uint8 [H, W]."""
        # torch's global random state is seeded for each sample, so the same images come after a resume.
        if float(torch.rand(())) < self.probability:
            image = tv_tensors.Image(image[torch.randperm(3)])
        return image, mask
