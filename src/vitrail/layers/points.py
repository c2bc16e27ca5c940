"""Maps seen at points between their cells, and the points where a prediction is least sure."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_points(x: Tensor, points: Tensor, *, mode: str = "bilinear", align_corners: bool = False) -> Tensor:
    """Return the values [B, C, N] of a map [B, C, h, w] at `points` [B, N, 2]: (x, y), 0…1 from edge to edge.

    The result has at least float32: coordinates in half precision would miss their place by whole cells.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    grid = (2 * points - 1).to(dtype).unsqueeze(2)
    return F.grid_sample(x.to(dtype), grid, mode=mode, align_corners=align_corners).squeeze(3)


def uncertainty(logits: Tensor) -> Tensor:
    """Return how near the second class is to the first, [B, …], for logits [B, K, …]: 0 at most, and there a tie.

    With one class there is no second; its logit's distance from 0 takes the place.
    """
    if logits.shape[1] == 1:
        return -logits[:, 0].abs()
    first, second = logits.topk(2, dim=1).values.unbind(1)
    return second - first


def uncertain_points(logits: Tensor, count: int, *, oversample: float, important: float) -> Tensor:
    """Draw points [B, count, 2] for training: some where logits [B, K, h, w] are least sure, the others anywhere.

    Parameters
    ----------
    logits : Tensor
        The coarse prediction.
    count : int
        How many points per image.
    oversample : float
        The uncertain ones are chosen among this many times `count`.
    important : float
        Their share, 0…1.

    References
    ----------
    Kirillov et al., "PointRend: Image Segmentation as Rendering", CVPR 2020, arXiv:1912.08193, section 3.3.
    """
    candidates = torch.rand(len(logits), int(count * oversample), 2, device=logits.device)
    num_chosen = int(important * count)
    chosen = uncertainty(sample_points(logits, candidates)).topk(num_chosen, dim=1).indices
    points = candidates.gather(1, chosen.unsqueeze(2).expand(-1, -1, 2))
    anywhere = torch.rand(len(logits), count - num_chosen, 2, device=logits.device)
    return torch.cat([points, anywhere], dim=1)


def uncertain_cells(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` cells of logits [B, K, h, w] that are least sure: flat indices [B, N], centres [B, N, 2]."""
    height, width = logits.shape[-2:]
    indices = uncertainty(logits).flatten(1).topk(min(height * width, count), dim=1).indices
    x = (indices % width).float() / width + 0.5 / width
    y = (indices // width).float() / height + 0.5 / height
    return indices, torch.stack([x, y], dim=2)
