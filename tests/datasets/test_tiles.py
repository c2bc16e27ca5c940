"""Images cut into tiles while they are read."""

import pickle

import numpy as np
import pytest
import torch
from helpers.image_makers import mask, picture, save

from vitrail.datasets import create_dataset
from vitrail.datasets.image_files import read_image
from vitrail.datasets.storage import Folder
from vitrail.datasets.tiles import image_size
from vitrail.errors import DatasetError


@pytest.fixture
def root(tmp_path):
    for seed, (name, size) in enumerate((("a", (45, 70)), ("b", (20, 64)))):
        save(tmp_path / "train/A" / f"{name}.png", picture(*size, seed=seed))
        save(tmp_path / "images" / f"{name}.png", picture(*size, seed=seed))
        save(tmp_path / "masks" / f"{name}.png", mask(*size, classes=3, seed=seed))
    return tmp_path


@pytest.mark.parametrize(("size", "overlap"), [(32, 0), (32, 12), (64, 1), (100, 0)])
def test_tiles_cover_an_image_and_hold_its_pixels(root, size, overlap):
    whole = create_dataset("folder", root, "all")
    tiles = create_dataset("folder", root, "all", tile_size=size, tile_overlap=overlap)
    for index, name in enumerate(whole.ids):
        image, labels = whole[index]["image"], whole[index]["mask"]
        seen = torch.zeros(labels.shape, dtype=torch.int)
        for place, tile in enumerate(tiles.ids):
            if not tile.startswith(f"{name}_"):
                continue
            left, top, right, bottom = map(int, tile.split("_")[1:])
            assert (bottom - top, right - left) == (min(size, labels.shape[0]), min(size, labels.shape[1]))
            assert torch.equal(tiles[place]["image"], image[:, top:bottom, left:right])
            assert torch.equal(tiles[place]["mask"], labels[top:bottom, left:right])
            seen[top:bottom, left:right] += 1
        assert (seen > 0).all()
    assert len(set(tiles.ids)) == len(tiles.ids)
    assert (pickle.loads(pickle.dumps(tiles))[1]["image"] == tiles[1]["image"]).all()


def test_a_tile_does_not_hold_on_to_its_image(root):
    tile = create_dataset("folder", root, "all", tile_size=32)[0]["image"]
    assert tile.untyped_storage().nbytes() == 3 * 32 * 32


@pytest.mark.parametrize(("size", "overlap"), [(-1, 0), (32, 32), (32, -1)])
def test_sizes_that_make_no_tiles_are_refused(root, size, overlap):
    with pytest.raises(DatasetError, match="tile_size should be positive"):
        create_dataset("folder", root, "all", tile_size=size, tile_overlap=overlap)


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "npy", "turned"])
def test_the_size_of_an_image_is_that_of_its_pixels(tmp_path, kind):
    name = f"a.{'jpg' if kind == 'turned' else kind}"
    image = picture(300, 200)
    if kind == "npy":
        np.save(tmp_path / name, np.asarray(image))
    elif kind == "turned":
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(tmp_path / name, exif=exif)
    else:  # the header of a TIFF file is behind its pixels
        image.save(tmp_path / name)
    assert image_size(Folder(tmp_path), name) == tuple(read_image(tmp_path / name).shape[1:])
