"""The factorization of a map: what it finds, and when it is random."""

from __future__ import annotations

import pytest
import torch

from vitrail.layers.hamburger import NonNegativeFactorization


def test_a_map_of_low_rank_is_found_again() -> None:
    torch.manual_seed(0)
    x = torch.einsum("bcr,bruv->bcuv", torch.rand(2, 8, 2), torch.rand(2, 2, 5, 6))
    again = NonNegativeFactorization(8, 4, eval_steps=300).eval()(x)
    torch.testing.assert_close(again, x, rtol=0.05, atol=0.02)
    assert again.min() >= 0


def test_it_begins_alike_in_evaluation_and_anew_in_training() -> None:
    x = torch.rand(1, 8, 4, 4)
    first, second = NonNegativeFactorization(8, 3), NonNegativeFactorization(8, 3)
    assert not torch.equal(first(x), first(x))
    torch.manual_seed(5)
    assert torch.equal(first.eval()(x), second.eval()(x))
    assert not first.state_dict(), "the numbers are those of every model"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    x = torch.rand(1, 8, 4, 4).to(dtype)
    again = NonNegativeFactorization(8, 3).eval()(x)
    assert again.dtype == dtype and again.isfinite().all()
