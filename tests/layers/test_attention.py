"""Attention blocks against loops over pixels, and what they keep in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vitrail.errors import ModelError
from vitrail.layers import CrissCrossAttention, NonLocalBlock, attend
from vitrail.segmentors.dmnet import DynamicConvolution
from vitrail.segmentors.isanet import GroupedAttention


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest result of any operation has."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return result


def test_attention_is_a_weighted_mean_of_values() -> None:
    query, key, value = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 7), torch.randn(2, 6, 7)
    result = attend(query, key, value, scale=0.3)
    for row in range(3):
        for column in range(5):
            scores = (query[:, :, row, column].unsqueeze(2) * key).sum(dim=1) * 0.3  # [B, 7]
            expected = (scores.softmax(dim=1).unsqueeze(1) * value).sum(dim=2)
            torch.testing.assert_close(result[:, :, row, column], expected)


def test_a_pixel_attends_to_its_row_and_column_and_once_to_itself() -> None:
    block = CrissCrossAttention(16, recurrence=1)
    nn.init.ones_(block.scale.weight)
    x = torch.randn(1, 16, 4, 5)
    query, key, value = block.query(x)[0], block.key(x)[0], block.value(x)[0]
    result = block(x)[0]
    for row in range(4):
        for column in range(5):
            seen = [(row, j) for j in range(5)] + [(i, column) for i in range(4) if i != row]
            scores = torch.stack([query[:, row, column] @ key[:, i, j] for i, j in seen]).softmax(dim=0)
            context = sum(score * value[:, i, j] for score, (i, j) in zip(scores, seen, strict=True))
            torch.testing.assert_close(result[:, row, column], x[0, :, row, column] + context, rtol=1e-4, atol=1e-5)


def test_groups_are_places_of_windows_or_windows() -> None:
    x = torch.randn(1, 8, 4, 6)
    for distant in (True, False):
        block = GroupedAttention(8, 4, (2, 3), distant=distant, bias=True).eval()
        query, key, value = block.query(x)[0], block.key(x)[0], block.value(x)[0]
        context = torch.empty_like(value)
        for row in range(4):
            for column in range(6):
                if distant:
                    group = [(i, j) for i in range(row % 2, 4, 2) for j in range(column % 3, 6, 3)]
                else:
                    top, left = row // 2 * 2, column // 3 * 3
                    group = [(i, j) for i in range(top, top + 2) for j in range(left, left + 3)]
                scores = torch.stack([query[:, row, column] @ key[:, i, j] / 2 for i, j in group]).softmax(dim=0)
                context[:, row, column] = sum(s * value[:, i, j] for s, (i, j) in zip(scores, group, strict=True))
        torch.testing.assert_close(block(x), block.out(context[None]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: CrissCrossAttention(16),
        lambda: GroupedAttention(16, 8, (8, 8), distant=True, bias=False),
        lambda: GroupedAttention(16, 8, (8, 8), distant=False, bias=False),
        lambda: NonLocalBlock(16, pairwise="dot_product"),
    ],
    ids=["criss-cross", "distant", "near", "dot product"],
)
def test_no_matrix_of_all_pairs_of_pixels(build: Callable[[], nn.Module]) -> None:
    pixels = 32 * 32
    with LargestTensor() as largest:
        build()(torch.randn(1, 16, 32, 32)).sum().backward()
    assert 16 * pixels <= largest.numbers <= pixels**2 // 8


@pytest.mark.parametrize("size", [1, 3, 4])
def test_every_image_is_filtered_with_its_own_averages(size: int) -> None:
    block = DynamicConvolution(8, 6, size).eval()
    x = torch.randn(3, 8, 9, 7)
    filters, reduced = block.filters(x), block.reduce(x)
    before, after = size // 2, (size - 1) // 2
    padded = nn.functional.pad(reduced, (before, after, before, after))
    expected = sum(
        filters[:, :, i, j, None, None] * padded[:, :, i : i + 9, j : j + 7] for i in range(size) for j in range(size)
    )
    torch.testing.assert_close(block(x), block.norm(expected), rtol=1e-4, atol=1e-5)


def test_an_unknown_way_to_compare_pixels_is_refused() -> None:
    with pytest.raises(ModelError, match="embedded_gaussian, gaussian, dot_product, concatenation, not 'softmax'"):
        NonLocalBlock(8, pairwise="softmax")  # type: ignore[arg-type]
