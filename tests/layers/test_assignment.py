"""The assignment solver against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from vitrail.layers.assignment import assign


@pytest.mark.parametrize("shape", [(100, 12), (12, 100), (30, 30), (1, 1), (5, 0)])
def test_the_assignment_costs_as_little_as_scipys(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    for digits in (0, 1, 12):  # rounded costs have ties
        cost = random.normal(size=shape).round(digits)
        rows, columns = assign(cost)
        expected = linear_sum_assignment(cost)
        assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows) == min(shape)
        assert list(rows) == sorted(rows)
        assert cost[rows, columns].sum() == pytest.approx(cost[expected].sum(), abs=1e-9)
