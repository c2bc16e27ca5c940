"""Where classes meet, made from masks on their device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.labels import IGNORE


def class_edges(targets: Tensor, width: int = 3) -> Tensor:
    """Return 1 where two classes meet and 0 elsewhere, [B, H, W], for class indices [B, H, W], 255 ignored.

    Two neighbours, diagonal ones included, of different classes make an edge, which is widened to `width` pixels.
    Ignored pixels have no edges with anything.

    References
    ----------
    Ruan et al., "Devil in the Details: Towards Accurate Single and Multiple Human Parsing", AAAI 2019,
    arXiv:1809.05996.
    """

    def differ(a: Tensor, b: Tensor) -> Tensor:
        return (a != b) & (a != IGNORE) & (b != IGNORE)

    edges = torch.zeros_like(targets, dtype=torch.bool)
    edges[:, 1:] |= differ(targets[:, 1:], targets[:, :-1])
    edges[:, :, :-1] |= differ(targets[:, :, :-1], targets[:, :, 1:])
    edges[:, :-1, :-1] |= differ(targets[:, :-1, :-1], targets[:, 1:, 1:])
    edges[:, :-1, 1:] |= differ(targets[:, :-1, 1:], targets[:, 1:, :-1])
    return F.max_pool2d(edges.float(), width, stride=1, padding=width // 2).long()
