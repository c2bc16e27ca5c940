"""Class names and colours: every file says what it should, once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import vitrail.datasets.label_sets
from vitrail.datasets import benchmarks
from vitrail.datasets.label_sets import LabelSet, label_set, list_label_sets
from vitrail.errors import DatasetError

FILES = sorted(Path(vitrail.datasets.label_sets.__file__).parent.glob("*.yaml"))


@pytest.mark.parametrize("name", list_label_sets())
def test_every_class_has_a_name_and_a_colour(name: str) -> None:
    labels = label_set(name)
    assert isinstance(labels, LabelSet)
    assert labels.name == name
    assert labels.title
    assert len(labels.classes) == len(labels.palette) >= 2
    assert all(isinstance(entry, str) and entry == entry.strip() != "" for entry in labels.classes)
    assert all(type(channel) is int and 0 <= channel <= 255 for colour in labels.palette for channel in colour)
    assert hash(labels) == hash(label_set(name)), "a label set cannot be a key: something in it can change"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_class_stands_twice_in_a_file(path: Path) -> None:
    """Reading alone would not notice: the later entry of a mapping quietly replaces the earlier one."""
    root = yaml.compose(path.read_text(encoding="utf-8"))
    entries = {key.value: value for key, value in root.value}
    assert list(entries) == ["title", "classes"]
    names = [key.value for key, _ in entries["classes"].value]
    assert tuple(names) == label_set(path.stem).classes
    assert len(set(names)) == len(names)


def test_the_numbers_of_classes_are_those_of_the_papers() -> None:
    counts = {
        "ade20k": 150,
        "atr": 18,
        "cihp": 20,
        "cityscapes": 19,
        "coco_stuff": 171,
        "coco_stuff_182": 182,
        "isaid": 16,
        "lip": 20,
        "loveda": 7,
        "mhp_v1": 19,
        "mhp_v2": 59,
        "pascal_context": 60,
        "pascal_context_59": 59,
        "vspw": 124,
        "voc": 21,
    }
    assert {name: len(label_set(name).classes) for name in counts} == counts


def test_benchmarks_are_label_sets_and_are_written_once() -> None:
    assert set(list_label_sets()) == {*benchmarks(), *(path.stem for path in FILES)}
    assert not set(benchmarks()) & {path.stem for path in FILES}
    for name, benchmark in benchmarks().items():
        assert label_set(name) == LabelSet(name, benchmark.title, benchmark.classes, benchmark.palette)


def test_the_variants_of_a_dataset_agree_where_they_should() -> None:
    context, context_59 = label_set("pascal_context"), label_set("pascal_context_59")
    assert context.classes == ("background", *context_59.classes)
    assert context.palette[1:] == context_59.palette
    stuff, labels = label_set("coco_stuff"), label_set("coco_stuff_182")
    assert tuple(name for name in labels.classes if name in set(stuff.classes)) == stuff.classes


@pytest.mark.parametrize("name", ["atr", "coco_stuff_182", "mhp_v1", "mhp_v2", "vspw"])
def test_colours_of_datasets_without_any_are_those_of_the_development_kit(name: str) -> None:
    palette = label_set(name).palette
    assert palette[:21] == label_set("voc").palette[: len(palette)]
    assert len(set(palette)) == len(palette)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(DatasetError, match=r"unknown label set 'pascal-context'\. Did you mean 'pascal_context'\?"):
        label_set("pascal-context")
    with pytest.raises(DatasetError, match=r"unknown label set '\.\./benchmark'"):
        label_set("../benchmark")
