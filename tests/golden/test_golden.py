"""Every method and its importer against what other toolboxes computed, without having them: see `parity.golden`."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from parity.case import Case
from parity.cases import CASES
from parity.comparison import Expected, compare
from parity.golden import FOLDER, path_of, read, tensors_of
from vitrail import list_segmentors

SMALL = [case.small() for case in CASES]


def method_of(case: Case) -> str:
    """Return the method in the name of a case, or else the name."""
    found = [method for method in list_segmentors() if re.search(rf"[_/]{method}(_|$)", case.name)]
    return max(found, key=len, default=case.name)


def in_short() -> list[Case]:
    """Return one case for each method and set of losses; `make parity` compares the others as well, live."""
    chosen: dict[tuple[str, tuple[str, ...]], Case] = {}
    for case in SMALL:
        if not case.heavy:
            chosen.setdefault((method_of(case), tuple(sorted(case.terms))), case)
    return list(chosen.values())


SHORT = in_short()


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in SHORT else [pytest.mark.nightly]) for case in SMALL], ids=str
)
def test_the_same_function(case: Case) -> None:
    expected = read(path_of(case))
    compare(case, case.build_ours(expected.settings, tensors_of(case, expected)), expected)


def test_every_file_belongs_to_a_case() -> None:
    assert set(FOLDER.rglob("*.npz")) == {path_of(case) for case in CASES}


def test_no_two_cases_have_one_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("method", list_segmentors())
def test_every_method_is_compared_with_its_losses(method: str) -> None:
    compared = [case for case in SHORT if case.terms]
    assert any(re.search(rf"[_/]{method}(_|$)", case.name) for case in compared), f"no case is called …_{method}_…"


@pytest.fixture(scope="module")
def small_case() -> Case:
    return next(case for case in SMALL if case.name == "mmseg/fastscnn")


@pytest.fixture
def expected(small_case: Case) -> Expected:
    return read(path_of(small_case))


def test_a_wrong_weight_is_noticed(small_case: Case, expected: Expected) -> None:
    tensors = tensors_of(small_case, expected)
    model = small_case.build_ours(expected.settings, tensors)
    with torch.no_grad():
        next(model.backbone.parameters())[0, 0, 0, 0] += 0.1
    with pytest.raises(AssertionError, match="logits at"):
        compare(small_case, model, expected)


def test_a_missing_tensor_is_noticed(small_case: Case, expected: Expected) -> None:
    tensors = tensors_of(small_case, expected)
    del tensors["backbone.learning_to_downsample.conv.conv.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: .*downsample"):
        small_case.build_ours(expected.settings, tensors)


@pytest.mark.parametrize("name", ["decode.loss_ce", "aux_0.loss_ce"])
def test_a_wrong_loss_is_noticed(small_case: Case, expected: Expected, name: str) -> None:
    model = small_case.build_ours(expected.settings, tensors_of(small_case, expected))
    losses = {**expected.losses, name: expected.losses[name] * 1.001}
    with pytest.raises(AssertionError, match=r"is .*, not"):
        compare(small_case, model, dataclasses.replace(expected, losses=losses))


def test_a_wrong_gradient_is_noticed(small_case: Case, expected: Expected) -> None:
    assert expected.gradient is not None
    model = small_case.build_ours(expected.settings, tensors_of(small_case, expected))
    wrong = dataclasses.replace(expected.gradient, values=expected.gradient.values.flip(0))
    with pytest.raises(AssertionError, match="gradient of the first convolution"):
        compare(small_case, model, dataclasses.replace(expected, gradient=wrong))
