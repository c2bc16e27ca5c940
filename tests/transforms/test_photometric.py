"""Colour distortion against the textbook formulas of the standard library."""

import colorsys

import pytest
import torch

from vitrail.transforms.photometric import (
    BRIGHTNESS,
    HUE,
    Distortion,
    distort,
    draw_distortion,
    scale_saturation,
    shift_hue,
)


def colours() -> torch.Tensor:
    random = torch.rand(3, 11, 13) * 255
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 128.0, 255.0])] * 3).T.reshape(3, 3, 9)
    return torch.cat([random.flatten(1), corners.flatten(1)], dim=1).reshape(3, 2, -1)


def by_colorsys(pixels: torch.Tensor, degrees: float, saturation: float) -> torch.Tensor:
    turned = []
    for pixel in pixels.flatten(1).T.tolist():
        hue, chroma, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in pixel))
        turned.append(colorsys.hsv_to_rgb((hue + degrees / 360) % 1, min(1.0, chroma * saturation), value))
    return torch.tensor(turned).T.reshape(pixels.shape) * 255


@pytest.mark.parametrize("degrees", [-120.0, -36.0, -1.0, 17.5, 36.0, 120.0])
@pytest.mark.parametrize("saturation", [1.0, 0.5, 1.5])
def test_hue_turns_as_in_hsv(degrees, saturation):
    pixels = colours()
    torch.testing.assert_close(
        shift_hue(pixels.clone(), degrees, saturation), by_colorsys(pixels, degrees, saturation), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.5])
def test_saturation_scales_as_in_hsv(factor):
    pixels = colours()
    torch.testing.assert_close(
        scale_saturation(pixels.clone(), factor), by_colorsys(pixels, 0, factor), atol=2e-3, rtol=0
    )


def test_brightness_and_contrast_clip_and_round():
    image = torch.tensor([0, 10, 100, 250], dtype=torch.uint8).expand(3, 1, 4)
    assert distort(image, Distortion(brightness=10.6))[0, 0].tolist() == [11, 21, 111, 255]
    assert distort(image, Distortion(contrast=1.25))[0, 0].tolist() == [0, 13, 125, 255]
    assert distort(image, Distortion(brightness=20, contrast=0.5))[0, 0].tolist() == [10, 15, 60, 128]


def test_the_place_of_contrast_matters():
    image = torch.tensor([200, 100, 50], dtype=torch.uint8)[:, None, None]
    first = distort(image, Distortion(contrast=1.5, saturation=0.5, contrast_first=True))
    last = distort(image, Distortion(contrast=1.5, saturation=0.5, contrast_first=False))
    assert first.flatten().tolist() != last.flatten().tolist()


def test_strips_do_not_show():
    image = torch.randint(0, 256, (3, 300, 500), dtype=torch.uint8)  # higher than a strip
    whole = distort(image, Distortion(hue=20, brightness=5))
    part = distort(image[:, 250:260], Distortion(hue=20, brightness=5))
    assert torch.equal(whole[:, 250:260], part)


def test_draws_keep_to_their_ranges_and_odds():
    draws = [draw_distortion() for _ in range(400)]
    assert all(abs(d.brightness) <= BRIGHTNESS and abs(d.hue) <= HUE for d in draws)
    assert all(0.5 <= d.contrast <= 1.5 and 0.5 <= d.saturation <= 1.5 for d in draws)
    for changed in (
        [d.brightness != 0 for d in draws],
        [d.contrast != 1 for d in draws],
        [d.saturation != 1 for d in draws],
        [d.hue != 0 for d in draws],
        [d.contrast_first for d in draws],
    ):
        assert 0.4 < sum(changed) / len(draws) < 0.6
    assert max(abs(d.hue) for d in draws) > 30
    assert max(abs(d.brightness) for d in draws) > 28
