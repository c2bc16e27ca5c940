"""Sliding windows: where they lie and how they are averaged."""

from __future__ import annotations

import pytest
import torch

from vitrail.inference.score_map import DenseMap
from vitrail.inference.sliding import SlidingMap, window_starts


@pytest.mark.parametrize(
    ("length", "window", "stride", "starts"),
    [
        (10, 4, 3, [0, 3, 6]),
        (11, 4, 3, [0, 3, 6, 7]),
        (4, 4, 3, [0]),
        (5, 4, 4, [0, 1]),
        (3, 4, 3, [0]),
        (8, 4, 4, [0, 4]),
    ],
)
def test_windows_cover_the_image_and_the_last_ends_at_its_border(length, window, stride, starts):
    assert window_starts(length, window, stride) == starts


@pytest.mark.parametrize(
    ("size", "window", "stride"), [((23, 31), (8, 9), (5, 4)), ((8, 20), (8, 8), (8, 8)), ((5, 6), (9, 9), (2, 2))]
)
@pytest.mark.parametrize("band", [1, 4, 100])
def test_rows_are_the_mean_of_the_windows(size, window, stride, band):
    height, width = min(window[0], size[0]), min(window[1], size[1])
    corners = [
        (top, left)
        for top in window_starts(size[0], window[0], stride[0])
        for left in window_starts(size[1], window[1], stride[1])
    ]
    windows = torch.randn(len(corners), 3, height, width)
    total, count = torch.zeros(3, *size), torch.zeros(size)
    for (top, left), scores in zip(corners, windows, strict=True):
        total[:, top : top + height, left : left + width] += scores
        count[top : top + height, left : left + width] += 1
    scores = SlidingMap(
        size, window, stride, map(DenseMap, windows), num_classes=3, device=torch.device("cpu"), output="logits"
    )
    # Bands overlap by a row, as those of a resized map do.
    bands = [scores.rows(max(a - 1, 0), min(a + band, size[0]))[:, a > 0 :] for a in range(0, size[0], band)]
    torch.testing.assert_close(torch.cat(bands, dim=1), total / count)


def test_only_windows_over_the_rows_are_held():
    size, window, stride = (400, 16), (20, 16), (10, 16)
    made = []

    def windows():
        for _ in range(39):
            made.append(len(made))
            yield DenseMap(torch.ones(2, 20, 16))

    scores = SlidingMap(size, window, stride, windows(), num_classes=2, device=torch.device("cpu"), output="logits")
    for start in range(0, 400, 5):
        rows = scores.rows(start, start + 5)
        assert torch.equal(rows, torch.ones(2, 5, 16))
        assert len(scores._placed) <= 2
        assert len(made) <= start // 10 + 1
    assert len(made) == 39
