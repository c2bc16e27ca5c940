"""The built-in scenes: deterministic, labelled to the pixel, and of any size."""

import hashlib

import numpy as np
import pytest
import torch

from vitrail.datasets import create_dataset
from vitrail.datasets.scenes import SCENES
from vitrail.datasets.scenes.scene import render
from vitrail.datasets.write import write_dataset
from vitrail.errors import DatasetError

SIZE = (96, 160)


def test_a_scene_depends_on_its_id_alone():
    torch.manual_seed(1)
    first, first_mask = render("train_00003", *SIZE)
    render("train_00004", *SIZE)
    torch.manual_seed(2)
    again, again_mask = render("train_00003", *SIZE)
    assert np.array_equal(first, again)
    assert np.array_equal(first_mask, again_mask)


def test_no_two_scenes_are_alike():
    datasets = [create_dataset("scenes", None, split, size=SIZE, train=6, val=6) for split in ("train", "val")]
    digests = {
        hashlib.sha256(dataset[index]["image"].numpy().tobytes()).hexdigest()
        for dataset in datasets
        for index in range(6)
    }
    assert len(digests) == 12


def test_all_classes_occur_and_none_rules():
    counts = sum(np.bincount(render(f"train_{i:05d}", *SIZE)[1].ravel(), minlength=8) for i in range(24))
    shares = counts / counts.sum()
    assert len(shares) == len(SCENES.classes) == 8
    assert (shares > 0.004).all(), dict(zip(SCENES.classes, shares.round(4), strict=True))
    assert shares.max() < 0.5


@pytest.mark.parametrize("size", [(64, 64), (64, 200), (200, 64), (97, 131)])
def test_any_size(size):
    for index in range(4):
        image, mask = render(f"val_{index:05d}", *size)
        assert image.shape == (*size, 3)
        assert mask.shape == size
        assert mask.max() < 8
        assert image.std() > 5, "not a blank picture"


def test_the_mask_fits_the_picture():
    """Colours jump where classes change: several times as much as elsewhere."""
    jumps = {True: [], False: []}
    for index in range(6):
        image, mask = render(f"train_{index:05d}", *SIZE)
        steps = np.abs(np.diff(image.astype(int), axis=1)).sum(-1)
        borders = np.diff(mask.astype(int), axis=1) != 0
        jumps[True].append(steps[borders].mean())
        jumps[False].append(steps[~borders].mean())
    assert np.mean(jumps[True]) > 3 * np.mean(jumps[False])


def test_samples_are_those_of_any_dataset():
    dataset = create_dataset("scenes", None, "val", size=list(SIZE), val=3)
    sample = dataset[2]
    assert dataset.ids == ["val_00000", "val_00001", "val_00002"]
    assert sample["image"].shape == (3, *SIZE)
    assert sample["image"].dtype == torch.uint8
    assert sample["size"] == SIZE
    assert dataset.benchmark is SCENES


@pytest.mark.parametrize(
    ("split", "options", "says"),
    [
        ("trian", {}, "Did you mean 'train'?"),
        ("train", {"size": (10, 20)}, "64 or more"),
        ("train", {"size": (100,)}, "height and width"),
        ("train", {"train": 0}, "1 or more"),
        ("train", {"count": 3}, "no argument 'count'"),
    ],
)
def test_wrong_options_are_explained(split, options, says):
    with pytest.raises(DatasetError, match=says.replace("?", r"\?")):
        create_dataset("scenes", None, split, **options)


def test_scenes_on_disk_are_the_same_scenes(tmp_path):
    root = tmp_path / "demo"
    write_dataset("scenes", None, ["train", "val"], root, options={"size": SIZE, "train": 2, "val": 1})
    for split, count in (("train", 2), ("val", 1)):
        stored = create_dataset("folder", root, split)
        made = create_dataset("scenes", None, split, size=SIZE)
        assert stored.benchmark.classes == made.benchmark.classes
        assert stored.benchmark.palette == made.benchmark.palette
        assert len(stored) == count
        for index in range(count):
            assert stored.ids[index] == made.ids[index]
            assert torch.equal(stored[index]["image"], made[index]["image"])
            assert torch.equal(stored[index]["mask"], made[index]["mask"])
