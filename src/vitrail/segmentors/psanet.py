"""PSANet: every pixel attends to every other by their relative position (Zhao et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.errors import ModelError
from vitrail.layers.interpolation import larger
from vitrail.layers.resize import resize_variable
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head

Direction = Literal["collect", "distribute"]


def relative_attention(scores: Tensor, mask_size: tuple[int, int]) -> Tensor:
    """Return the score that each pixel gives to every other, by the position of the other relative to its own.

    Parameters
    ----------
    scores : Tensor
        [B, m n, h, w]: for each pixel, a mask of m × n scores, whose centre stands for the pixel itself.
    mask_size : (int, int)
        (m, n), both odd.

    Returns
    -------
    Tensor
        [B, h w, h w]: at [b, j, i] the score that pixel i gives to pixel j; 0 where j lies outside the mask of i.
    """
    height, width = scores.shape[-2:]
    rows, down = _offsets(height, mask_size[0], scores.device)
    columns, along = _offsets(width, mask_size[1], scores.device)
    places = rows[:, None, :, None] * mask_size[1] + columns[None, :, None, :]  # [h, w, h, w]: other, own
    inside = torch.logical_and(down[:, None, :, None], along[None, :, None, :]).flatten(0, 1).flatten(1)
    index = places.flatten(0, 1).flatten(1).expand(scores.shape[0], -1, -1)
    return scores.flatten(2).gather(1, index).masked_fill(torch.logical_not(inside), 0.0)


def _offsets(size: int, mask: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return where in a mask each position is, seen from each, [size (other), size (own)], and whether it is in it."""
    positions = torch.arange(size, device=device)
    offsets = positions[:, None] - positions[None, :] + (mask - 1) // 2
    return offsets.clamp(0, mask - 1), torch.logical_and(offsets >= 0, offsets < mask)


class PointwiseAttention(nn.Module):
    """One direction of point-wise spatial attention, on a reduced map.

    Parameters
    ----------
    in_channels, channels : int
        Channels of the input and of the output.
    mask_size : (int, int)
        Height and width of the mask of scores of each pixel.
    direction : {"collect", "distribute"}
        Whether a pixel's mask says what it takes from the others, or what it gives to them.
    compact : bool
        Whether the scores are for the pixels of the map in their order instead of for relative positions.
    transposed : bool
        With `compact`: whether the scores of a pixel are those that the others give to it.
    softmax : bool
        Whether a softmax over the sources of each pixel follows.
    scale : float
        What the sums are divided by.

    Raises
    ------
    ModelError
        In `forward`, with `compact`, for a map of another size than the mask.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        mask_size: tuple[int, int],
        direction: Direction,
        *,
        compact: bool,
        transposed: bool,
        softmax: bool,
        scale: float,
    ) -> None:
        super().__init__()
        self.reduce = ConvNormAct(in_channels, channels, 1)
        self.hidden = ConvNormAct(channels, channels, 1)
        self.scores = nn.Conv2d(channels, mask_size[0] * mask_size[1], 1, bias=False)
        self.mask_size = mask_size
        self.direction = direction
        self.compact = compact
        self.transposed = transposed
        self.softmax = softmax
        self.scale = scale

    def forward(self, x: Tensor, size: tuple[int, int], *, align_corners: int) -> Tensor:
        """Map [B, C, h, w] to [B, channels, *size], computed at that size."""
        x = resize_variable(self.reduce(x), size, align_corners=align_corners)
        attention = self._attention(self.scores(self.hidden(x)))
        attention = attention.softmax(dim=1) if self.softmax else attention
        return (x.flatten(2) @ attention / self.scale).unflatten(2, size)

    def _attention(self, scores: Tensor) -> Tensor:
        """Return [B, h w (source), h w (target)]."""
        if not self.compact:
            given = relative_attention(scores, self.mask_size)
            return given if self.direction == "collect" else given.transpose(1, 2)
        pixels = scores.shape[-2] * scores.shape[-1]
        if scores.shape[1] != pixels:
            raise ModelError(
                f"compact attention has masks of {self.mask_size[0]} × {self.mask_size[1]} scores for a map of "
                f"{scores.shape[-2]} × {scores.shape[-1]} pixels: set mask_size to the size of the (shrunk) map of "
                "images of one size, or compact to false"
            )
        return scores.flatten(2).transpose(1, 2) if self.transposed else scores.flatten(2)


@register_segmentor("psanet", output_stride=8, auxiliary=Auxiliary())
class PSAHead(Head):
    """Point-wise spatial attention network (Zhao, Zhang, Liu, Shi, Loy, Lin and Jia, ECCV 2018).

    Each pixel predicts how much it takes from every other by relative position (collect), and how much it gives
    (distribute); what is gathered is fused with the map. Memory grows with the square of the map's pixels.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels inside the head.
    mask_size : (int, int)
        Height and width of each pixel's mask of scores, odd: twice the shrunk map less one reaches every pixel.
    directions : sequence of str
        "collect", "distribute", or both.
    compact : bool
        Whether the scores are for the pixels of the map in their order: the mask has the size of the shrunk map then.
    shrink : int
        Factor by which the map is made smaller for the attention.
    softmax : bool
        Whether a softmax over the sources of each pixel follows.
    scale : float
        What the sums over the sources are divided by.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image, and maps if they are not shrunk.

    Raises
    ------
    ModelError
        For other directions.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        mask_size: tuple[int, int] = (97, 97),
        directions: Sequence[str] = ("collect", "distribute"),
        compact: bool = False,
        shrink: int = 2,
        softmax: bool = True,
        scale: float = 1.0,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        if tuple(directions) not in (("collect",), ("distribute",), ("collect", "distribute")):
            raise ModelError(f"directions are 'collect', 'distribute', or both in this order, not {list(directions)}")
        width = maps.channels[-1]
        # As in both projects: alone, it is collecting whose compact scores are transposed, of both it is distributing.
        transposed = "collect" if len(directions) == 1 else "distribute"
        self.attentions = nn.ModuleList(
            PointwiseAttention(
                width,
                channels,
                (mask_size[0], mask_size[1]),
                direction,  # type: ignore[arg-type]
                compact=compact,
                transposed=direction == transposed,
                softmax=softmax,
                scale=scale,
            )
            for direction in directions
        )
        self.shrink = shrink
        # the published weights have a border of zeros here
        self.project = ConvNormAct(channels * len(directions), width, 1, padding=1)
        self.fuse = ConvNormAct(2 * width, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        x = features[-1]
        size, align_corners = self._shrunk(x.shape[-2], x.shape[-1])
        gathered = [attention(x, size, align_corners=align_corners) for attention in self.attentions]
        context = self.project(torch.cat(gathered, dim=1))
        context = resize_variable(context, x.shape[-2:], align_corners=align_corners)
        return self.classifier(self.dropout(self.fuse(torch.cat([x, context], dim=1))))

    def _shrunk(self, height: int, width: int) -> tuple[tuple[int, int], int]:
        """Return the size for the attention, and whether maps are resized to it by their corners: where both are odd.

        Variable sizes of a program that is exported have a variable answer, 0 or 1.
        """
        if self.shrink == 1:
            return (height, width), self.align_corners
        odd = [(side % self.shrink + self.shrink - 1) // self.shrink for side in (height, width)]  # 0 or 1
        by_corners = odd[0] * odd[1]
        height, width = (larger((side - by_corners) // self.shrink + by_corners, 1) for side in (height, width))
        return (height, width), by_corners
