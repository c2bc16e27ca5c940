"""PSANet's attention against the equations of its paper, written as plain loops over pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitrail.segmentors.psanet import relative_attention


def by_loops(scores: Tensor, mask_size: tuple[int, int]) -> Tensor:
    """Return [B, h w, h w]: what pixel i says of pixel j at the offset of j from i, counted from its mask's centre."""
    batch, _, height, width = scores.shape
    tall, wide = mask_size
    given = torch.zeros(batch, height * width, height * width)
    for row in range(height):
        for column in range(width):
            for other_row in range(height):
                for other_column in range(width):
                    down = other_row - row + tall // 2
                    along = other_column - column + wide // 2
                    if 0 <= down < tall and 0 <= along < wide:
                        place = (other_row * width + other_column, row * width + column)
                        given[:, place[0], place[1]] = scores[:, down * wide + along, row, column]
    return given


@pytest.mark.parametrize("mask_size", [(7, 9), (3, 5), (11, 11)])  # reaches every pixel, some, more than there are
def test_the_attention_is_that_of_the_paper(mask_size: tuple[int, int]) -> None:
    scores = torch.randn(2, mask_size[0] * mask_size[1], 4, 5)
    assert torch.equal(relative_attention(scores, mask_size), by_loops(scores, mask_size))
