"""Random splits, and the choice of one by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitrail.datasets.splits import complete_splits, pick_split
from vitrail.errors import DatasetError

ROOT = Path("data")


def test_splits_that_are_there_are_kept() -> None:
    given = {"train": [1, 2], "val": [3], "test": [4]}
    assert complete_splits(given, 0.5, 0) == {**given, "all": [1, 2, 3, 4]}
    assert complete_splits({"val": [3, 4]}, 0.5, 0) == {"val": [3, 4], "all": [3, 4]}


def test_validation_is_taken_from_training_and_never_from_the_test_split() -> None:
    given = {"train": list(range(10)), "test": [100, 101]}
    assert complete_splits(given, None, 0) == {**given, "all": [*range(10), 100, 101]}, "a given split is drawn again"
    found = complete_splits(given, 0.2, 0)
    assert len(found["val"]) == 2 and sorted(found["train"] + found["val"]) == list(range(10))
    assert found["test"] == [100, 101] and len(found["all"]) == 12
    assert complete_splits({"test": [1, 2]}, None, 0) == {"test": [1, 2], "all": [1, 2]}
    found = complete_splits({"first": [1, 2, 3], "second": [4, 5], "test": [6]}, None, 0)
    assert sorted(found["train"] + found["val"]) == [1, 2, 3, 4, 5] and found["first"] == [1, 2, 3]


def test_a_split_that_is_missing_or_empty() -> None:
    with pytest.raises(DatasetError, match=r"data has no split 'vall'. Did you mean 'val'\? It has: val, all"):
        pick_split(ROOT, {"val": [1], "all": [1]}, "vall")
    with pytest.raises(DatasetError, match=r"has no split 'val'\. .*: train, all\. data\.options\.val_fraction=0\.2 "):
        pick_split(ROOT, complete_splits({"train": [1, 2]}, None, 0), "val")
    with pytest.raises(DatasetError, match=r"the split 'val' of data is empty: 1 images are too few\. Add some"):
        pick_split(ROOT, complete_splits({"train": [1]}, 0.2, 0), "val")
