"""Vectors of the classes: of what an image's pixels are predicted to be, and of what a batch's pixels are."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.layers.layout import in_layout_of
from vitrail.layers.resize import resize


def predicted_classes(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class of every pixel, and which pixels each class has.

    Parameters
    ----------
    logits : Tensor [B, K, h, w]

    Returns
    -------
    classes : Tensor [B, h * w]
        int64, the class of the largest logit.
    members : Tensor [B, K, h * w]
        bool, whether a pixel has a class.
    """
    classes = logits.flatten(2).argmax(dim=1)
    every = torch.arange(logits.shape[1], device=logits.device)
    return classes, classes[:, None] == every[None, :, None]


def class_vectors(features: Tensor, logits: Tensor, members: Tensor) -> Tensor:
    """Return one vector for each class of an image: the mean of its pixels, the surer ones weighted more.

    Parameters
    ----------
    features : Tensor [B, C, h, w]
    logits : Tensor [B, K, h, w]
        A pixel's weight is the softmax of its class's logit over all pixels of the class.
    members : Tensor [B, K, h * w]
        Which pixels each class has; see `predicted_classes`.

    Returns
    -------
    Tensor [B, K, C]
        Zero for a class without pixels.

    References
    ----------
    Jin et al., "ISNet: Integrate Image-Level and Semantic-Level Context for Semantic Segmentation", ICCV 2021,
    arXiv:2108.12382, section 3.3.
    """
    scores = logits.flatten(2)
    weights = scores.masked_fill(~members, torch.finfo(scores.dtype).min).softmax(dim=2) * members
    return weights.to(features.dtype) @ features.flatten(2).transpose(1, 2)


def of_each_pixel(vectors: Tensor, classes: Tensor, like: Tensor) -> Tensor:
    """Return the vector of every pixel's class.

    Parameters
    ----------
    vectors : Tensor [B, K, C]
        One for each class.
    classes : Tensor [B, h * w]
        The class of every pixel.
    like : Tensor [B, any, h, w]
        A map of the size and in the memory format of the result.

    Returns
    -------
    Tensor [B, C, h, w]
    """
    index = classes[:, None].expand(-1, vectors.shape[2], -1)
    return in_layout_of(vectors.transpose(1, 2).gather(2, index).unflatten(2, like.shape[-2:]), like)


@torch.no_grad()
def class_sums(features: Tensor, targets: Tensor, num_classes: int, *, align_corners: bool = False) -> Tensor:
    """Return the sum of the features of every class's pixels, and how many these are.

    It is what resizing the features to the targets and adding them up gives. Instead each class's pixels are added up
    at the size of the features first, which is the transposed resize of a map of zeros and ones: of K channels, not C,
    and no resized features are kept.

    Parameters
    ----------
    features : Tensor [B, C, h, w]
    targets : Tensor [B, H, W]
        Class indices; 255 is ignored.
    num_classes : int
        K.
    align_corners : bool
        How the features are resized.

    Returns
    -------
    Tensor [K, C + 1]
        At least float32; the last column is the number of pixels.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    sums = features.new_zeros(num_classes, features.shape[1] + 1, dtype=dtype)
    every = torch.arange(num_classes, device=targets.device)[:, None, None]
    with torch.autocast(features.device.type, enabled=False):
        for feature, target in zip(features, targets, strict=True):
            shares = _transposed_resize((target == every).to(dtype), feature.shape[-2:], align_corners)  # [K, h, w]
            pixels = feature.to(dtype).flatten(1)
            sums[:, :-1] += shares.flatten(1) @ pixels.t()
            sums[:, -1] += shares.sum(dim=(1, 2))
    return sums


def _transposed_resize(masks: Tensor, size: torch.Size, align_corners: bool) -> Tensor:
    """Return [K, h, w] of which a map's resize to the size of masks [K, H, W] has the same products with them."""
    with torch.enable_grad():
        small = masks.new_zeros(1, len(masks), *size).requires_grad_()
        large = resize(small, masks.shape[-2:], align_corners=align_corners)
        (gradient,) = torch.autograd.grad(large, small, masks[None])
    return gradient[0]
