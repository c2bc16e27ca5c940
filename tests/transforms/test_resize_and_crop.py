"""Sizes, resizing, and where crops are taken."""

import numpy as np
import pytest
import torch

from vitrail.transforms.crop import draw_crop, is_varied
from vitrail.transforms.resize import ResizedMask, resize_image
from vitrail.transforms.sizes import scaled, target_size


@pytest.mark.parametrize(
    ("size", "bounds", "expected"),
    [
        ((360, 480), (512, 2048), (512, 683)),  # the short side decides
        ((200, 1000), (512, 2048), (410, 2048)),  # the long side decides
        ((1000, 200), (512, 2048), (2048, 410)),  # upright images as wide ones
        ((7, 5), (1, 1), (1, 1)),
    ],
)
def test_keeping_the_ratio_fits_both_bounds(size, bounds, expected):
    assert target_size(size, bounds, keep_ratio=True) == expected
    assert target_size(size, bounds[::-1], keep_ratio=True) == expected


def test_without_ratio_the_bounds_are_height_and_width():
    assert target_size((10, 20), (30, 40), keep_ratio=False) == (30, 40)


def test_scaled_bounds_are_rounded_down():
    assert scaled((2048, 512), 0.7) == (1433, 358)


@pytest.mark.parametrize("size", [(24, 36), (7, 5), (12, 18), (31, 9)])
def test_masks_are_resized_to_the_nearest_pixel(size):
    mask = torch.randint(0, 19, (12, 18), dtype=torch.uint8)
    expected = torch.nn.functional.interpolate(mask[None, None].double(), size=size, mode="nearest")[0, 0].byte()
    assert torch.equal(ResizedMask(mask, size).crop(0, 0, size), expected)


def test_a_crop_of_the_resized_mask_is_a_part_of_it():
    mask = ResizedMask(torch.randint(0, 19, (40, 50), dtype=torch.uint8), (60, 75))
    whole = mask.crop(0, 0, (60, 75))
    assert torch.equal(mask.crop(11, 23, (20, 30)), whole[11:31, 23:53])
    assert mask.crop(50, 60, (20, 30)).shape == (10, 15)


def test_resizing_keeps_a_constant_image_constant():
    image = torch.full((3, 20, 30), 77, dtype=torch.uint8)
    assert torch.equal(resize_image(image, (33, 41)), torch.full((3, 33, 41), 77, dtype=torch.uint8))


def test_a_varied_crop_has_two_classes_and_none_above_the_share():
    def mask(*counts):
        return torch.from_numpy(np.repeat(np.array([3, 7, 255], np.uint8), counts))[None]

    assert is_varied(mask(74, 26, 0), 0.75)
    assert not is_varied(mask(75, 25, 0), 0.75)
    assert not is_varied(mask(100, 0, 0), 0.75)
    assert not is_varied(mask(0, 0, 50), 0.75)
    assert not is_varied(mask(80, 20, 900), 0.75), "ignored pixels do not count"


def test_crops_avoid_what_is_nearly_one_class():
    mask = torch.zeros(40, 400, dtype=torch.uint8)
    mask[:, 190:210] = 1
    resized = ResizedMask(mask, (40, 400))
    shares = [(draw_crop(resized, (40, 40), limit)[2] == 1).float().mean().item() for limit in [0.75] * 60 + [1.0] * 60]
    limited, free = shares[:60], shares[60:]
    assert sum(share > 0.25 for share in limited) > 25 > sum(share > 0.25 for share in free)


def test_every_place_of_a_crop_is_drawn():
    resized = ResizedMask(torch.zeros(5, 7, dtype=torch.uint8), (5, 7))
    corners = {draw_crop(resized, (4, 5), 1.0)[:2] for _ in range(200)}
    assert corners == {(top, left) for top in range(2) for left in range(3)}
