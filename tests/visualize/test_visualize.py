from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.errors import PredictionError
from vitrail.visualize import class_counts, colour_mask, distinct_colours, index_mask, legend, overlay, with_legend

PALETTE = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
NAMES = ("red", "green", "blue")
MASK = np.array([[0, 1, 1], [2, 2, 255]], np.uint8)


def test_colour_masks_show_each_class_and_ignored_pixels_black() -> None:
    picture = np.asarray(colour_mask(MASK, PALETTE))
    assert picture.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 255], [0, 0, 0]]]
    assert np.array_equal(picture, np.asarray(colour_mask(torch.from_numpy(MASK), PALETTE)))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_masks_of_many_classes_have_colours(dtype) -> None:
    palette = distinct_colours(600)
    mask = np.array([[0, 256, 599], [-1, 600, 300]], dtype)
    picture = np.asarray(colour_mask(mask, palette))
    assert [tuple(colour) for colour in picture[0]] == [palette[0], palette[256], palette[599]]
    assert not picture[1, :2].any()
    assert tuple(picture[1, 2]) == palette[300]


def test_an_overlay_mixes_image_and_colours_by_alpha() -> None:
    image, mask = torch.full((3, 4, 6), 100, dtype=torch.uint8), torch.zeros(4, 6, dtype=torch.uint8)
    assert np.asarray(overlay(image, mask, PALETTE, 0))[2, 3].tolist() == [100, 100, 100]
    assert np.asarray(overlay(image, mask, PALETTE, 1))[2, 3].tolist() == [255, 0, 0]
    half = np.asarray(overlay(image, mask, PALETTE, 0.5))[2, 3].astype(int)
    assert np.abs(half - [177, 50, 50]).max() <= 1


def test_an_overlay_leaves_ignored_pixels_alone_and_takes_any_kind_of_image() -> None:
    array = np.random.default_rng(0).integers(0, 255, (2, 3, 3), np.uint8)
    kinds = [array, torch.from_numpy(array).permute(2, 0, 1), Image.fromarray(array)]
    pictures = [np.asarray(overlay(image, MASK, PALETTE)) for image in kinds]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
    assert np.array_equal(pictures[0][1, 2], array[1, 2])
    assert not np.array_equal(pictures[0][0, 0], array[0, 0])


@pytest.mark.parametrize(
    ("image", "mask", "alpha", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), MASK, 0.5, "cannot carry a mask"),
        (np.zeros((2, 3, 3), np.uint8), MASK, 1.5, "between 0 and 1"),
        (np.zeros((2, 3, 3), np.float32), MASK, 0.5, "uint8"),
        (np.zeros((2, 3, 3), np.uint8), MASK.astype(float), 0.5, "must be integers"),
    ],
)
def test_what_does_not_fit_together_is_refused(image, mask, alpha, message) -> None:
    with pytest.raises(PredictionError, match=message):
        overlay(image, mask, PALETTE, alpha)


@pytest.mark.parametrize("classes", [2, 11, 150])
def test_index_masks_keep_every_value_through_a_png(tmp_path, classes: int) -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mask[(mask >= classes) & (mask < 255)] = 0
    index_mask(mask, distinct_colours(classes)).save(tmp_path / "x.png")
    again = Image.open(tmp_path / "x.png")
    assert np.array_equal(np.asarray(again), mask)
    assert again.convert("RGB").getpixel((1, 0)) == distinct_colours(classes)[1]


def test_index_masks_of_many_classes_have_16_bits(tmp_path) -> None:
    mask = np.array([[0, 255, 300, 40000]], np.int32)
    index_mask(mask, distinct_colours(4)).save(tmp_path / "x.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), mask)


def test_pixels_are_counted_without_the_ignored_ones() -> None:
    assert class_counts(MASK, 4) == [1, 2, 2, 0]


@pytest.mark.parametrize("width", [40, 300, 1000])
def test_a_legend_shows_the_colours_of_present_classes_only(width: int) -> None:
    mask = np.where(np.arange(100).reshape(10, 10) < 70, 0, 2).astype(np.uint8)
    picture = legend(mask, NAMES, PALETTE, width)
    colours = {colour for _, colour in picture.getcolors(1 << 20)}
    assert picture.width >= width
    assert PALETTE[0] in colours
    assert PALETTE[2] in colours
    assert PALETTE[1] not in colours


def test_the_largest_class_comes_first_in_a_legend() -> None:
    mask = np.array([[2, 2, 2, 1, 1, 0]], np.uint8)
    picture = np.asarray(legend(mask, NAMES, PALETTE, 200))
    rows = [np.argwhere((picture == colour).all(-1)).min(axis=0) for colour in (PALETTE[2], PALETTE[1], PALETTE[0])]
    places = [(int(column), int(row)) for row, column in rows]
    assert places == sorted(places)


def test_long_names_and_no_class_at_all_fit() -> None:
    long = legend(np.zeros((2, 2), np.uint8), ("a very long name of a class " * 5,), PALETTE, 100)
    assert long.width > 100
    legend(np.full((2, 2), 255, np.uint8), NAMES, PALETTE, 100)


def test_a_legend_hangs_below_the_picture() -> None:
    picture = overlay(np.zeros((2, 3, 3), np.uint8), MASK, PALETTE)
    sheet = with_legend(picture.resize((300, 200)), MASK, NAMES, PALETTE)
    assert sheet.width == 300
    assert sheet.height > 200


def test_palettes_are_stable_distinct_and_never_black() -> None:
    palette = distinct_colours(1000)
    assert len(set(palette)) == 1000
    assert distinct_colours(20) == palette[:20]
    assert min(max(colour) for colour in palette) > 60
    first = np.array(palette[:12], float)
    distance = np.linalg.norm(first[:, None] - first[None], axis=-1) + 1000 * np.eye(12)
    assert distance.min() > 45
