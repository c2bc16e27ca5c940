"""NYU Depth V2 from its labelled file, made small in the official form."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from vitrail.datasets import create_dataset
from vitrail.errors import DatasetError
from vitrail.labels import IGNORE

HEIGHT, WIDTH, COUNT = 12, 16, 4
FILE, MAPPING, SPLITS = "nyu_depth_v2_labeled.mat", "classMapping40.mat", "splits.mat"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    # as MATLAB writes images [H, W, 3, N] and labels [H, W, N]: the last dimension first
    images = generator.integers(0, 256, (HEIGHT, WIDTH, 3, COUNT)).astype(np.uint8)
    labels = generator.integers(0, 895, (HEIGHT, WIDTH, COUNT)).astype(np.uint16)
    labels[0, 0], labels[0, 1] = 0, 894
    with h5py.File(tmp_path / FILE, "w") as file:
        file["images"], file["labels"] = images.T, labels.T
    mapping = np.arange(894) % 40 + 1
    savemat(tmp_path / MAPPING, {"mapClass": mapping[None].astype(np.uint8)})
    savemat(tmp_path / SPLITS, {"trainNdxs": np.array([[2], [4]]), "testNdxs": np.array([[1], [3]])})
    np.savez(tmp_path / "made.npz", images=images, labels=labels)
    return tmp_path


def message(folder: Path, split: str = "train") -> str:
    with pytest.raises(DatasetError) as caught:
        create_dataset("nyuv2", folder, split)[0]
    return str(caught.value)


def test_images_and_classes_are_those_of_the_file(folder: Path) -> None:
    made = np.load(folder / "made.npz")
    dataset = create_dataset("nyuv2", folder, "train")
    assert (len(dataset), len(create_dataset("nyuv2", folder, "trainval"))) == (2, 4)
    sample = pickle.loads(pickle.dumps(dataset))[1]
    assert sample["id"] == "4"
    assert np.array_equal(sample["image"], made["images"][..., 3].transpose(2, 0, 1))
    kinds = made["labels"][..., 3].astype(int)
    assert np.array_equal(sample["mask"], np.where(kinds == 0, IGNORE, (kinds - 1) % 40))
    assert [create_dataset("nyuv2", folder, "val")[i]["id"] for i in (0, 1)] == ["1", "3"]


def test_what_is_missing_or_damaged_is_named(folder: Path) -> None:
    assert "no split 'test'" in message(folder, "test")
    savemat(folder / MAPPING, {"mapClass": np.ones((1, 3))})
    assert "mapClass has 3 numbers, not one for each of 894 kinds" in message(folder)
    savemat(folder / MAPPING, {"mapClass": np.full((1, 894), 41)})
    assert "mapClass should hold integers from 1 to 40" in message(folder)
    (folder / MAPPING).write_bytes(b"nothing")
    assert "cannot read mapClass" in message(folder)
    (folder / MAPPING).unlink()
    assert "needs classMapping40.mat and splits.mat beside it" in message(folder)
    savemat(folder / MAPPING, {"mapClass": np.arange(894) % 40 + 1})
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:900])
    assert "is the download complete?" in message(folder)


def test_a_file_that_leads_to_another_is_refused(folder: Path) -> None:
    with h5py.File(folder / "elsewhere.mat", "w") as file:
        file["images"] = np.zeros((COUNT, 3, WIDTH, HEIGHT), np.uint8)
    with h5py.File(folder / FILE, "a") as file:
        del file["images"]
        file["images"] = h5py.ExternalLink("elsewhere.mat", "images")
    assert "holds no array 'images'" in message(folder)
    with h5py.File(folder / FILE, "a") as file:
        del file["images"]
        file["images"] = np.zeros((COUNT, 4, WIDTH, HEIGHT), np.uint8)
    assert "images is uint8 [4, 4, 16, 12], not integers [None, 3, None, None]" in message(folder)
