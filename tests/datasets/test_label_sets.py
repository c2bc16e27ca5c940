"""Class names and colours of datasets."""

from __future__ import annotations

import pytest

from vitrail.datasets import benchmarks
from vitrail.datasets.label_sets import LabelSet, label_set, list_label_sets
from vitrail.errors import DatasetError


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


def test_benchmarks_are_label_sets() -> None:
    assert sorted(list_label_sets()) == sorted(benchmarks())
    for name, benchmark in benchmarks().items():
        assert label_set(name) == LabelSet(name, benchmark.title, benchmark.classes, benchmark.palette)


@pytest.mark.parametrize(
    ("origin", "borrower"),
    [
        ("cityscapes", "bdd100k"),
        ("cityscapes", "dark_zurich"),
        ("cityscapes", "nighttime_driving"),
        ("voc", "voc_coco"),
        ("coco_stuff", "coco_stuff_10k_171"),
        ("potsdam", "vaihingen"),
    ],
)
def test_classes_stand_under_the_dataset_that_they_come_from_first(origin: str, borrower: str) -> None:
    assert label_set(origin).classes == label_set(borrower).classes and benchmarks()[borrower].classes_of == origin
    assert list_label_sets().index(origin) < list_label_sets().index(borrower)


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
