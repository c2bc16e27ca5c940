"""Every row of the table of comparisons, live: logits, every loss, a gradient, and what is kept in the golden files."""

from __future__ import annotations

import pytest

from parity.case import Case
from parity.cases import CASES
from parity.comparison import compare, measure
from parity.golden import check, path_of, read

pytestmark = pytest.mark.parity
every_case = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.nightly] if case.heavy else []) for case in CASES], ids=str
)


@every_case
def test_the_same_function(case: Case) -> None:
    theirs = case.build_reference()
    tensors = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    expected = measure(case, theirs)
    del theirs
    compare(case, case.build_ours(expected.settings, tensors), expected)


@every_case
def test_the_golden_file_says_what_the_reference_computes(case: Case) -> None:
    small = case.small()
    check(read(path_of(case)), measure(small, small.build_reference()), small)
