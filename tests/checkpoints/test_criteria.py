"""The losses of other projects' heads as the criteria of a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from vitrail.checkpoints.sources.losses import auxiliary_losses
from vitrail.checkpoints.sources.settings import UnsupportedError


def term(name: str = "cross_entropy", weight: float = 1.0, **options: Any) -> dict[str, Any]:
    return {"name": name, "weight": weight, "options": options}


def test_losses_that_differ_in_the_weight_of_the_head_are_said_once() -> None:
    assert auxiliary_losses([term()], [], "x") is None
    assert auxiliary_losses([term()], [[term(weight=0.4)], [term(weight=0.2)]], "x") is None
    assert auxiliary_losses([term(), term("dice", 3.0)], [[term(weight=0.5), term("dice", 1.5)]], "x") is None


def test_other_losses_of_auxiliary_heads_are_kept_without_the_weight_of_the_head() -> None:
    main = [term(), term("dice", 3.0)]
    assert auxiliary_losses(main, [[term(weight=0.4)]], "x") == [term()]
    assert auxiliary_losses([term("ohem")], [[term(weight=0.4)], [term(weight=0.0)]], "x") == [term()]
    assert auxiliary_losses([term(weight=2.0)], [[term(weight=0.4)]], "x") == [term()]


def test_auxiliary_heads_with_losses_of_their_own_each_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="somewhere: the auxiliary heads"):
        auxiliary_losses([term()], [[term()], [term("dice")]], "somewhere")
