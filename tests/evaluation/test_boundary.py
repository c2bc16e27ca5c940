"""Boundary IoU, as the authors' code computes it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny_training as tiny

from vitrail.evaluation.boundary import BoundaryCounts, boundary_iou, boundary_region
from vitrail.evaluation.result import Evaluation
from vitrail.training import train


def eroded(mask: np.ndarray) -> np.ndarray:
    """Erode a mask once by a square of 3 × 3 pixels; what is outside of it does not count."""
    height, width = mask.shape
    result = mask.copy()
    for y in range(height):
        for x in range(width):
            result[y, x] = mask[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].min()
    return result


def by_the_authors(mask: np.ndarray) -> np.ndarray:
    """Pad by a pixel of 0, erode as often as 2 % of the diagonal, and take the difference."""
    height, width = mask.shape
    padded = np.pad(mask, 1)
    for _ in range(max(round(0.02 * math.sqrt(height**2 + width**2)), 1)):
        padded = eroded(padded)
    return (mask - padded[1:-1, 1:-1]).astype(bool)


@pytest.mark.parametrize("size", [(20, 30), (60, 110), (1, 1)])
def test_the_region_is_that_of_repeated_erosion(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros(size, np.uint8)
    mask[: size[0] * 2 // 3, size[1] // 4 :] = 1
    mask[rng.random(size) < 0.002] ^= 1
    distance = max(round(0.02 * math.hypot(*size)), 1)
    assert np.array_equal(boundary_region(torch.from_numpy(mask).bool(), distance).numpy(), by_the_authors(mask))


def test_counts_are_summed_over_images_and_ignored_pixels_belong_to_no_class() -> None:
    rng = np.random.default_rng(1)
    counts = BoundaryCounts(4)
    expected = np.zeros((3, 4), int)
    for _ in range(2):
        truth, guess = (np.kron(rng.integers(0, 3, (4, 5)), np.ones((12, 12), int)) for _ in range(2))
        truth[:10, :17] = 255
        counts.update(torch.from_numpy(guess), torch.from_numpy(truth))
        for label in range(3):
            true = by_the_authors((truth == label).astype(np.uint8))
            predicted = by_the_authors(((guess == label) & (truth != 255)).astype(np.uint8))
            expected[:, label] += [(true & predicted).sum(), true.sum(), predicted.sum()]
    assert np.array_equal(counts.reduce().numpy(), expected)
    values = boundary_iou(counts.counts)
    assert values[:3] == pytest.approx(expected[0, :3] / (expected[1] + expected[2] - expected[0])[:3])
    assert math.isnan(values[3])


def test_a_shifted_edge_costs_more_than_in_the_iou() -> None:
    truth, guess = torch.zeros(100, 100, dtype=torch.long), torch.zeros(100, 100, dtype=torch.long)
    truth[20:80, 20:80], guess[20:80, 22:82] = 1, 1
    counts = BoundaryCounts(2)
    counts.update(guess, truth)
    assert boundary_iou(counts.counts)[1] < 0.7 < 58 / 62
    counts = BoundaryCounts(2)
    counts.update(truth, truth)
    assert boundary_iou(counts.counts) == (1.0, 1.0)


def test_the_figures_are_in_the_table_and_in_the_json() -> None:
    plain = Evaluation(torch.eye(2, dtype=torch.long), ("a", "b"), ((0, 0, 0), (1, 1, 1)))
    assert plain.boundary_iou is None and "boundary" not in plain.table() + str(plain.to_dict())
    counted = Evaluation(plain.confusion, plain.classes, plain.palette, boundary=torch.tensor([[1, 3], [2, 4], [2, 3]]))
    assert counted.boundary_iou == pytest.approx((1 / 3, 3 / 4))
    assert "boundary IoU" in counted.table() and "75.00" in counted.table() and "54.17" in counted.table()
    data = counted.to_dict()
    assert data["mean_boundary_iou"] == pytest.approx(13 / 24) and data["classes"][1]["boundary_iou"] == 0.75


def test_a_recipe_can_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)
    recipe = tiny.recipe(train__iterations=1, train__loggers=[], evaluation__boundary_iou=True)
    result = train(recipe, output_dir=tmp_path, device="cpu").evaluation
    assert result.boundary is not None and result.boundary.shape == (3, 3)
    both, true, predicted = result.boundary
    assert (true > 0).all() and (both <= torch.minimum(true, predicted)).all()
    assert (true <= result.confusion.sum(dim=1)).all() and (predicted <= result.confusion.sum(dim=0)).all()
