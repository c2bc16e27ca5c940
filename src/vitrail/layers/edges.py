"""Edge targets computed from masks (CE2P, PIDNet)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.labels import IGNORE


def class_edges(targets: Tensor, width: int = 3, *, ignore: int = IGNORE) -> Tensor:
    """Return the edge mask of a segmentation: 1 at the borders between classes, 0 elsewhere.

    Neighbouring pixels (8-connected) of different classes form an edge, which is then dilated to `width` pixels. There
    is no edge between an ignored pixel and its neighbours. Runs on the device of the targets.

    Parameters
    ----------
    targets : Tensor
        Class indices [B, H, W].
    width : int
        Width of the edges in pixels; an even one reaches one pixel further up and left than down and right.
    ignore : int
        Label of ignored pixels.

    Returns
    -------
    Tensor
        int64 [B, H, W].

    References
    ----------
    Ruan et al., "Devil in the Details: Towards Accurate Single and Multiple Human Parsing", AAAI 2019,
    arXiv:1809.05996.
    """

    def differ(a: Tensor, b: Tensor) -> Tensor:
        return (a != b) & (a != ignore) & (b != ignore)

    edges = torch.zeros_like(targets, dtype=torch.bool)
    edges[:, 1:] |= differ(targets[:, 1:], targets[:, :-1])
    edges[:, :, :-1] |= differ(targets[:, :, :-1], targets[:, :, 1:])
    edges[:, :-1, :-1] |= differ(targets[:, :-1, :-1], targets[:, 1:, 1:])
    edges[:, :-1, 1:] |= differ(targets[:, :-1, 1:], targets[:, 1:, :-1])
    wide = F.max_pool2d(edges.float(), width, stride=1, padding=width // 2)
    return wide[:, : targets.shape[1], : targets.shape[2]].long()  # one row and column more for an even width
