"""A few optimizer steps without chance lead vitrail and the other toolboxes to the same weights."""

from __future__ import annotations

import pytest

from benchmarks.equal_training.jobs import TOOLBOXES
from benchmarks.equal_training.methods import METHODS, Method
from benchmarks.equal_training.steps import deviations

pytestmark = pytest.mark.parity
QUICK = ("segformer", "fastscnn", "cgnet")
every_method = pytest.mark.parametrize(
    "method",
    [pytest.param(method, marks=[] if method.name in QUICK else [pytest.mark.nightly]) for method in METHODS],
    ids=lambda method: method.name,
)


@every_method
@pytest.mark.parametrize("toolbox", list(TOOLBOXES))
def test_three_steps_lead_to_the_same_weights_and_statistics(method: Method, toolbox: str) -> None:
    found = deviations(method, toolbox)
    assert len(found) > 100
    assert found[0].share < 1e-3, found[:5]
