"""Criss-cross attention: every pixel attends to its own row and column."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.layers.layout import in_layout_of
from vitrail.layers.scale import LearnedScale


class CrissCrossAttention(nn.Module):
    """Recurrent criss-cross attention of CCNet (Huang et al., ICCV 2019, arXiv:1811.11721).

    A pixel attends to the h + w - 1 pixels of its row and column, itself once; after two rounds with the same weights
    it has met every pixel. Memory is proportional to h w (h + w) instead of (h w)².

    Parameters
    ----------
    channels : int
        C, the channels of the map; queries and keys have an eighth of them.
    recurrence : int
        How often it is applied.
    """

    def __init__(self, channels: int, *, recurrence: int = 2) -> None:
        super().__init__()
        self.recurrence = recurrence
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.scale = LearnedScale()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        for _ in range(self.recurrence):
            x = x + in_layout_of(self.scale(self._gather(x)), x)
        return x

    def _gather(self, x: Tensor) -> Tensor:
        height = x.shape[2]
        query, key, value = (project(x).permute(0, 2, 3, 1) for project in (self.query, self.key, self.value))
        rows = query @ key.transpose(2, 3)  # [B, h, w, w]
        query, key = query.transpose(1, 2), key.transpose(1, 2)  # [B, w, h, D]
        columns = query @ key.transpose(2, 3)  # [B, w, h, h]
        itself = torch.eye(height, dtype=torch.bool, device=x.device)  # is in the row already
        columns = columns.masked_fill(itself, -torch.inf).transpose(1, 2)
        weights = torch.cat([columns, rows], dim=3).softmax(dim=3)  # [B, h, w, h + w]
        from_rows = weights[..., height:] @ value
        from_columns = weights[..., :height].transpose(1, 2) @ value.transpose(1, 2)  # [B, w, h, C]
        return (from_rows + from_columns.transpose(1, 2)).permute(0, 3, 1, 2)
