"""Renaming by module paths, and differences of layout, there and back."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.checkpoints.sources.layouts import (
    Change,
    Join,
    OnlyTheirs,
    Split,
    UnnumberedWhenAlone,
    ZerosWhereMissing,
    as_convolution,
    as_matrix,
    from_unfolded,
    grid_positions,
    to_unfolded,
    window_positions,
)
from vitrail.checkpoints.sources.mmseg.heads import METHODS as MMSEG_METHODS
from vitrail.checkpoints.sources.mmseg.methods.deeplabv3 import average_first, average_last
from vitrail.checkpoints.sources.mmseg.methods.icnet import map_first, map_last
from vitrail.checkpoints.sources.renaming import Names, Renaming, State, combine, under
from vitrail.checkpoints.sources.ssseg.heads import METHODS as SSSEG_METHODS
from vitrail.errors import CheckpointError

ONE = torch.ones(1)


def named(*names: str) -> State:
    return {name: torch.tensor(float(index)) for index, name in enumerate(names)}


def there_and_back(renaming: Renaming, theirs: State) -> list[str]:
    """Rename to ours, check that the way back gives the same, and return our names."""
    ours = renaming.to_ours(theirs, "file")
    again = renaming.to_theirs(ours, "file")
    assert again.keys() == theirs.keys()
    assert all(torch.equal(again[name], theirs[name]) for name in theirs)
    return list(ours)


def test_the_longest_path_decides_whatever_the_order_of_the_table() -> None:
    names: Names = {"stem": "conv1", "stem.7": "bn1", "layer.*": "blocks.*", "layer.1.conv": "first"}
    theirs = named("stem.0.weight", "stem.7.bias", "layer.0.conv", "layer.1.conv", "layer.1.bn.weight", "other")
    expected = ["conv1.0.weight", "bn1.bias", "blocks.0.conv", "first", "blocks.1.bn.weight", "other"]
    assert there_and_back(Renaming(names), theirs) == expected
    assert there_and_back(Renaming(dict(reversed(names.items()))), theirs) == expected


def test_names_may_change_places() -> None:
    assert there_and_back(Renaming({"a.0": "a.1", "a.1": "a.0"}), named("a.0.w", "a.1.w")) == ["a.1.w", "a.0.w"]


def test_whole_modules_are_renamed_and_parts_of_their_names_are_not() -> None:
    assert there_and_back(Renaming({"conv": "fuse"}), named("conv.w", "conv1.w", "x.conv.w")) == [
        "fuse.w",
        "conv1.w",
        "x.conv.w",
    ]


def test_a_star_stands_for_a_number_and_keeps_it() -> None:
    renaming = Renaming({"a.*.b.*": "x.*.*"})
    assert there_and_back(renaming, named("a.1.b.22.w", "a.one.b.2.w")) == ["x.1.22.w", "a.one.b.2.w"]
    with pytest.raises(ValueError, match="the same number of"):
        Renaming({"a.*": "b"}).to_ours({}, "file")


def test_tables_nest() -> None:
    block: Names = {"0": "conv", "1": "bn"}
    renaming = Renaming({"": ("encoder", {"layers.*": ("blocks.*", block)}), "norm.1": "encoder.norm"})
    theirs = named("layers.3.0.weight", "layers.3.1.bias", "norm.1.weight", "cls")
    assert there_and_back(renaming, theirs) == [
        "encoder.blocks.3.conv.weight",
        "encoder.blocks.3.bn.bias",
        "encoder.norm.weight",
        "encoder.cls",
    ]


def test_a_module_that_stands_for_the_one_around_it() -> None:
    assert there_and_back(Renaming({"gap": ("average", {"1": ""})}), named("gap.1.conv.w")) == ["average.conv.w"]


def test_parts_are_put_together() -> None:
    encoder = Renaming({"stem": "conv1"}, (OnlyTheirs("index", "table", torch.zeros_like),))
    whole = combine(under("backbone", "encoder", encoder), Renaming({"decode_head": "head"}))
    theirs = {"backbone.stem.w": ONE, "backbone.table": ONE, "backbone.index": torch.zeros(1), "decode_head.w": ONE}
    assert there_and_back(whole, theirs) == ["head.w", "encoder.conv1.w", "encoder.table"]
    with pytest.raises(ValueError, match="rename 'decode_head'"):
        combine(whole, Renaming({"decode_head": "other"}))


def test_two_tensors_never_get_one_name() -> None:
    with pytest.raises(CheckpointError, match="file: both a and b would become b"):
        Renaming({"a": "b"}).to_ours(named("a", "b"), "file")
    with pytest.raises(ValueError, match="'c' is renamed twice"):
        Renaming({"a": "c", "b": "c"}).to_theirs({}, "file")


def test_weights_that_are_not_tensors_are_named() -> None:
    with pytest.raises(CheckpointError, match=r"file: 1 of its weights are not tensors \(a\)"):
        Renaming().to_ours({"a": "text", "b": ONE}, "file")


def test_a_single_module_of_a_list_stands_without_its_number() -> None:
    alone = Renaming(before=(UnnumberedWhenAlone("heads"),))
    assert there_and_back(alone, named("heads.conv.weight", "x")) == ["heads.0.conv.weight", "x"]
    assert there_and_back(alone, named("heads.0.weight", "heads.1.bias")) == ["heads.0.0.weight", "heads.0.1.bias"]
    numbered = named("heads.0.0.weight", "heads.1.0.weight")
    assert there_and_back(alone, numbered) == list(numbered)


def test_patch_merging_is_reordered_from_what_unfold_gives() -> None:
    channels = torch.arange(8.0)
    unfolded = F.unfold(channels.view(1, 2, 2, 2), 2).flatten()  # (channel, row, column)
    expected = channels.view(2, 2, 2).permute(2, 1, 0).flatten()  # (column, row, channel)
    assert torch.equal(from_unfolded(unfolded), expected)


@pytest.mark.parametrize(
    ("to", "back", "shape"),
    [
        (from_unfolded, to_unfolded, (5, 12)),
        (from_unfolded, to_unfolded, (12,)),
        (as_matrix, as_convolution, (3, 4, 1, 1)),
        (average_last, average_first, (2, 10, 3, 3)),
        (map_first, map_last, (2, 13, 3, 3)),
    ],
)
def test_layouts_have_inverses(to, back, shape: tuple[int, ...]) -> None:
    theirs = torch.randn(shape)
    assert not torch.equal(to(theirs), theirs) or to(theirs).shape != theirs.shape
    assert torch.equal(back(to(theirs)), theirs)
    assert there_and_back(Renaming(layouts=(Change("x.w", to, back),)), {"a.x.w": theirs, "b.y.w": ONE})


def test_what_is_joined_first_goes_last() -> None:
    fuse = torch.arange(6.0).view(1, 6, 1, 1).expand(2, -1, -1, -1)
    assert average_last(fuse)[0].flatten().tolist() == [2, 3, 4, 5, 0, 1]
    assert map_first(torch.arange(9.0).view(1, 9).expand(2, 9))[0].tolist() == [8, 0, 1, 2, 3, 4, 5, 6, 7]


def test_tensors_are_split_and_joined() -> None:
    theirs = {"a.qkv": torch.arange(6.0), "a.other": ONE}
    renaming = Renaming(layouts=(Split("qkv", (("q", 1), ("kv", 2))),))
    parts = renaming.to_ours(theirs, "file")
    assert {name: value.tolist() for name, value in parts.items()} == {
        "a.other": [1],
        "a.q": [0, 1],
        "a.kv": [2, 3, 4, 5],
    }
    assert there_and_back(renaming, theirs)
    assert there_and_back(Renaming(layouts=(Join((("q", 1), ("kv", 2)), "qkv"),)), parts) == ["a.other", "a.qkv"]


def test_a_missing_bias_is_one_of_zeros() -> None:
    renaming = Renaming(layouts=(ZerosWhereMissing("proj.bias", "proj.weight"),))
    ours = renaming.to_ours({"proj.weight": torch.ones(3, 2)}, "file")
    assert ours["proj.bias"].tolist() == [0, 0, 0]
    assert there_and_back(renaming, {"proj.weight": torch.ones(3, 2)})
    assert there_and_back(renaming, {"proj.weight": torch.ones(3, 2), "proj.bias": torch.ones(3)})


def offsets(pairs: Tensor, height: int, width: int) -> set[tuple[int, int, int]]:
    """Return (row difference, column difference, index) for every pair of pixels."""
    return {
        (a // width - b // width, a % width - b % width, int(pairs[a, b]))
        for a in range(height * width)
        for b in range(height * width)
    }


@pytest.mark.parametrize(("height", "width"), [(2, 3), (3, 3)])
def test_position_biases_are_indexed_by_the_difference_of_places(height: int, width: int) -> None:
    rows = (2 * height - 1) * (2 * width - 1)
    table = torch.zeros(rows + 3, 1)
    grid = partial(grid_positions, (height, width))(table)
    found = offsets(grid[1:, 1:], height, width)
    assert len(found) == rows  # one index for each difference, and each difference its own
    assert {index for _, _, index in found} == set(range(rows))
    assert (grid[0, 1:] == rows).all() and (grid[1:, 0] == rows + 1).all() and grid[0, 0] == rows + 2
    if height == width:
        assert torch.equal(window_positions(table[:rows]), grid[1:, 1:])


@pytest.mark.parametrize("project", ["mmseg", "ssseg"])
def test_the_names_of_every_method_can_be_read_in_both_directions(project: str) -> None:
    records = {"mmseg": MMSEG_METHODS, "ssseg": SSSEG_METHODS}[project]
    for name, record in records.items():
        if isinstance(record.renaming, Renaming):
            assert record.renaming.to_ours({}, name) == record.renaming.to_theirs({}, name) == {}
