"""Images of any number of channels and bits: a file, an array and a Pillow image of one picture give one result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.inference import predict
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import ModelCard, Segmentor, build_model

HEIGHT, WIDTH = 48, 64
TOP = 4000.0  # of a 12-bit camera


def model_of(channels: int, value_range: tuple[float, float] | None) -> Segmentor:
    torch.manual_seed(0)
    settings = {"segmentor": "fcn", "backbone": "resnet10t", "in_channels": channels, "options": {"channels": 8}}
    model = build_model(model_config_from_dict(settings), 3).eval()
    statistics = {"mean": (127.0,) * channels, "std": (60.0,) * channels}
    data = {"dataset": "folder", **statistics} | ({"value_range": value_range} if value_range else {})
    recipe = {"model": settings, "data": data, "train": {"epochs": 1}}
    model.card = ModelCard(("a", "b", "c"), ((0, 0, 0),) * 3, recipe=recipe, **statistics)
    return model


def scores(model: Segmentor, image: Any) -> np.ndarray:
    prediction = predict(model, image, scores=True)
    assert not isinstance(prediction, list) and prediction.scores is not None
    return prediction.scores


@pytest.mark.parametrize("value_range", [None, (0.0, TOP)])
def test_a_deep_grey_image(tmp_path: Path, value_range: tuple[float, float] | None) -> None:
    values = np.random.default_rng(0).integers(0, int(TOP), (HEIGHT, WIDTH)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    Image.fromarray(values).save(tmp_path / "x.tif")
    np.save(tmp_path / "x.npy", values)
    model = model_of(1, value_range)
    expected = scores(model, values)
    for name in ("x.png", "x.tif", "x.npy"):
        assert np.array_equal(scores(model, tmp_path / name), expected), name
    with Image.open(tmp_path / "x.png") as opened:
        assert np.array_equal(scores(model, opened), expected)


@pytest.mark.parametrize("bands", [2, 5])
def test_any_number_of_bands(tmp_path: Path, bands: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(1).integers(0, int(TOP), (HEIGHT, WIDTH, bands)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", np.moveaxis(values, -1, 0), planarconfig="separate", photometric="minisblack")
    np.save(tmp_path / "x.npy", values)
    model = model_of(bands, (0.0, TOP))
    expected = scores(model, values)
    assert np.array_equal(scores(model, tmp_path / "x.tif"), expected)
    assert np.array_equal(scores(model, tmp_path / "x.npy"), expected)


def test_transparency_as_the_fourth_channel(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "x.png")
    model = model_of(4, None)
    expected = scores(model, values)
    assert np.array_equal(scores(model, tmp_path / "x.png"), expected)
    assert np.array_equal(scores(model, Image.fromarray(values)), expected)
    assert np.array_equal(scores(model, torch.from_numpy(values).permute(2, 0, 1)), expected)
