"""The transforms beside MMSegmentation's and SSSegmentation's, given the same random choices."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from parity.references import require_mmseg, require_ssseg
from vitrail.transforms import crop as crop_module
from vitrail.transforms.crop import draw_crop
from vitrail.transforms.photometric import Distortion, distort
from vitrail.transforms.resize import ResizedMask, resize_image
from vitrail.transforms.sizes import scaled, target_size

pytestmark = pytest.mark.parity

CASES = [
    ((360, 480), (512, 2048), 0.5),
    ((360, 480), (512, 2048), 1.37),
    ((512, 683), (512, 2048), 1.0),
    ((231, 901), (512, 2048), 0.83),
    ((901, 231), (512, 2048), 1.99),
    ((256, 512), (1024, 2048), 0.71),
]


def photo(height, width):
    """A smooth picture with some noise, uint8 [H, W, 3]."""
    coarse = torch.rand(1, 3, 9, 13) * 255
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")[0].permute(1, 2, 0)
    return (smooth + 4 * torch.randn(height, width, 3)).clamp(0, 255).to(torch.uint8).numpy()


def mask(height, width):
    blocks = torch.randint(0, 19, (1, 1, 12, 17)).float()
    return F.interpolate(blocks, (height, width), mode="nearest")[0, 0].to(torch.uint8).numpy()


def ours(image, labels, bounds, ratio):
    size = target_size(image.shape[:2], scaled(bounds, ratio), keep_ratio=True)
    resized = resize_image(torch.from_numpy(image).permute(2, 0, 1), size)
    return resized.permute(1, 2, 0).numpy(), ResizedMask(torch.from_numpy(labels), size).crop(0, 0, size).numpy()


def assert_nearly(one, other):
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1  # OpenCV interpolates with 11-bit weights


@pytest.mark.parametrize(("size", "bounds", "ratio"), CASES)
def test_random_resize_of_mmseg(size, bounds, ratio):
    require_mmseg()
    transforms = importlib.import_module("mmcv.transforms")
    image, labels = photo(*size), mask(*size)
    step = transforms.RandomResize(scale=bounds, ratio_range=(ratio, ratio), keep_ratio=True)
    theirs = step({"img": image, "gt_seg_map": labels, "seg_fields": ["gt_seg_map"]})
    resized, resized_mask = ours(image, labels, bounds, ratio)
    assert_nearly(resized, theirs["img"])
    assert (resized_mask == theirs["gt_seg_map"]).mean() > 0.999  # OpenCV rounds some positions in floating point


@pytest.mark.parametrize(("size", "bounds", "ratio"), CASES)
def test_resize_of_ssseg(size, bounds, ratio):
    require_ssseg()
    transforms = importlib.import_module("ssseg.modules.datasets.pipelines.transforms")
    image, labels = photo(*size), mask(*size)
    step = transforms.Resize(output_size=bounds, keep_ratio=True, scale_range=(ratio, ratio))
    theirs = step({"image": image, "seg_target": labels})
    resized, resized_mask = ours(image, labels, bounds, ratio)
    assert_nearly(resized, theirs["image"])
    assert (resized_mask == theirs["seg_target"]).mean() > 0.999


@pytest.mark.parametrize("limit", [0.3, 0.5, 0.75, 1.0])
def test_random_crop_of_mmseg(monkeypatch, limit):
    require_mmseg()
    transforms = importlib.import_module("mmseg.datasets.transforms")
    step = transforms.RandomCrop((20, 30), cat_max_ratio=limit)
    places = np.random.default_rng(0)
    for _ in range(40):
        labels = mask(48, 64)
        labels[places.random((48, 64)) < 0.1] = 255
        corners = [(int(places.integers(29)), int(places.integers(35))) for _ in range(11)]
        flat = iter([offset for corner in corners for offset in corner])
        monkeypatch.setattr(np.random, "randint", lambda *_, flat=flat: next(flat))
        top, bottom, left, right = step.crop_bbox({"img": labels, "gt_seg_map": labels})
        pairs = iter(corners)
        monkeypatch.setattr(crop_module, "_draw_corner", lambda *_, pairs=pairs: next(pairs))
        our_top, our_left, part = draw_crop(ResizedMask(torch.from_numpy(labels), (48, 64)), (20, 30), limit)
        assert (our_top, our_left) == (top, left)
        assert np.array_equal(part, labels[top:bottom, left:right])


@pytest.mark.parametrize(
    ("draws", "distortion"),
    [
        ([0], Distortion()),
        ([1, 17.0], Distortion(brightness=17.0)),
        ([1, -25.0], Distortion(brightness=-25.0)),
        ([1, 1.37], Distortion(contrast=1.37)),
        ([1, 0.6], Distortion(contrast=0.6)),
        ([1, 0.55], Distortion(saturation=0.55)),
        ([1, 1.45], Distortion(saturation=1.45)),
        ([1, 18], Distortion(hue=36.0)),
        ([1, -7], Distortion(hue=-14.0)),
    ],
)
def test_photometric_distortion_of_mmseg(monkeypatch, draws, distortion):
    require_mmseg()
    transforms = importlib.import_module("mmseg.datasets.transforms")
    step = transforms.PhotoMetricDistortion()
    module = importlib.import_module("mmseg.datasets.transforms.transforms")
    name = next(
        (
            field
            for field in ("brightness", "contrast", "saturation", "hue")
            if vars(distortion)[field] not in (0.0, 1.0)
        ),
        "brightness",
    )
    values = iter(draws)
    monkeypatch.setattr(module.random, "randint", lambda *_: next(values))
    monkeypatch.setattr(module.random, "uniform", lambda *_: next(values))
    image = photo(60, 80)
    theirs = getattr(step, name)(image[..., ::-1].copy())[..., ::-1].astype(int)  # it works on BGR
    result = distort(torch.from_numpy(image).permute(2, 0, 1), distortion).permute(1, 2, 0).numpy().astype(int)
    difference = np.abs(result - theirs)
    if name in ("brightness", "contrast"):
        assert difference.max() <= 1  # it cuts decimals off, vitrail rounds
    else:
        assert difference.mean() < 1.5  # its hue has steps of 2°, its saturation of 1/255
        assert difference.max() <= 10
    if distortion != Distortion():
        assert np.abs(theirs - image).mean() > 3, "there was something to compare"
