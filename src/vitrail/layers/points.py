"""Point sampling of feature maps, and selection of uncertain points (PointRend)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_points(x: Tensor, points: Tensor, *, mode: str = "bilinear", align_corners: bool = False) -> Tensor:
    """Sample a map [B, C, h, w] at points [B, N, 2] and return [B, C, N].

    The output is at least float32: half-precision coordinates would be off by whole pixels of the feature map.

    Parameters
    ----------
    x : Tensor
        The map.
    points : Tensor
        Coordinates (x, y) from 0 to 1, edge to edge of the map.
    mode : str
        "bilinear" or "nearest".
    align_corners : bool
        Passed to `torch.nn.functional.grid_sample`.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    grid = (2 * points - 1).to(dtype).unsqueeze(2)
    return F.grid_sample(x.to(dtype), grid, mode=mode, align_corners=align_corners).squeeze(3)


def neighbours(points: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the four pixels around points, and their weights in bilinear interpolation, for sampling many classes.

    Parameters
    ----------
    points : Tensor
        Coordinates (x, y) [..., N, 2] from 0 to 1, edge to edge of the map.
    size : (int, int)
        (height, width) of the map.

    Returns
    -------
    indices : Tensor
        Flat indices [..., N, 4] into height·width.
    weights : Tensor
        [..., N, 4]; 0 for pixels outside of the map, as with the zero padding of `sample_points`.
    """
    height, width = size
    x, y = points[..., 0] * width - 0.5, points[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    columns = torch.stack([left, left + 1, left, left + 1], -1)
    rows = torch.stack([top, top, top + 1, top + 1], -1)
    weights = (1 - (x.unsqueeze(-1) - columns).abs()) * (1 - (y.unsqueeze(-1) - rows).abs())
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    indices = rows.clamp(0, height - 1).long() * width + columns.clamp(0, width - 1).long()
    return indices, weights * inside


def uncertainty(logits: Tensor) -> Tensor:
    """Return the second-highest minus the highest logit, [B, …], for logits [B, K, …]: at most 0, and 0 for a tie.

    With a single class (K = 1) it is the negative absolute logit.
    """
    if logits.shape[1] == 1:
        return -logits[:, 0].abs()
    first, second = logits.topk(2, dim=1).values.unbind(1)
    return second - first


def uncertain_points(logits: Tensor, count: int, *, oversample: float, importance_ratio: float) -> Tensor:
    """Draw training points [B, count, 2]: a share where the logits are most uncertain, the others uniformly.

    Parameters
    ----------
    logits : Tensor
        The coarse prediction [B, K, h, w].
    count : int
        Points per image.
    oversample : float
        The uncertain points are chosen from `oversample * count` uniform candidates.
    importance_ratio : float
        Share of uncertain points, 0…1.

    References
    ----------
    Kirillov et al., "PointRend: Image Segmentation as Rendering", CVPR 2020, arXiv:1912.08193, section 3.3.
    """
    candidates = torch.rand(len(logits), int(count * oversample), 2, device=logits.device)
    num_chosen = int(importance_ratio * count)
    chosen = uncertainty(sample_points(logits, candidates)).topk(num_chosen, dim=1).indices
    points = candidates.gather(1, chosen.unsqueeze(2).expand(-1, -1, 2))
    uniform = torch.rand(len(logits), count - num_chosen, 2, device=logits.device)
    return torch.cat([points, uniform], dim=1)


def uncertain_pixels(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` most uncertain pixels of logits [B, K, h, w].

    Returns
    -------
    indices : Tensor
        Flat indices [B, N] into h·w, where N is the smaller of `count` and h·w.
    points : Tensor
        The pixels' centres [B, N, 2]: (x, y) from 0 to 1, edge to edge.
    """
    height, width = logits.shape[-2:]
    indices = uncertainty(logits).flatten(1).topk(torch.sym_min(height * width, count), dim=1).indices
    rows = indices // width
    columns = indices - rows * width  # ONNX has no indices % width for a width that varies
    x = columns.float() / width + 0.5 / width
    y = rows.float() / height + 0.5 / height
    return indices, torch.stack([x, y], dim=2)
