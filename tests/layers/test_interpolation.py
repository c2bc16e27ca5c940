"""Matrices that resize and average an axis for programs of any size: equal to PyTorch's operations."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vitrail.layers.interpolation import cubic_matrix, linear_matrix, window_matrix


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("source", [1, 2, 9, 14])
@pytest.mark.parametrize("target", [1, 2, 5, 14, 33])
def test_linear_matrix_resizes_as_interpolate(source: int, target: int, align_corners: bool) -> None:
    x = torch.randn(2, 3, source, 4, dtype=torch.float64)
    expected = F.interpolate(x, (target, 4), mode="bilinear", align_corners=align_corners)
    found = linear_matrix(source, target, int(align_corners), x) @ x
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("side", [1, 6, 7, 8, 20, 21])
@pytest.mark.parametrize("stride", [1, 3, 10])
def test_window_matrix_averages_as_avg_pool2d_and_shorter_axes_whole(side: int, stride: int) -> None:
    x = torch.randn(2, 3, side, 4, dtype=torch.float64)
    expected = F.avg_pool2d(x, (min(7, side), 1), (stride, 1))
    torch.testing.assert_close(window_matrix(side, 7, stride, x) @ x, expected, rtol=0, atol=1e-14)


def test_positions_are_exact_in_half_precision() -> None:
    half, single = torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1)
    for matrix in (lambda like: linear_matrix(700, 1400, 0, like), lambda like: cubic_matrix(700, 1400, like)):
        torch.testing.assert_close(matrix(half).float(), matrix(single), rtol=0, atol=2**-8)
