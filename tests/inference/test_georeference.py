"""Masks of GeoTIFF images keep the coordinate reference system and the transform."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.evaluation_models import small_model
from PIL import Image

from vitrail.cli import cli
from vitrail.errors import PredictionError
from vitrail.inference import Prediction, Predictor
from vitrail.inference.files import predict_files
from vitrail.inference.georeference import read_georeference

tifffile = pytest.importorskip("tifffile")

KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32632)  # projected, pixels are areas, UTM zone 32N
TAGS: list[tuple[int, str, int, Any, bool]] = [
    (33550, "d", 3, (0.5, 0.5, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 691000.25, 5334000.75, 0.0), True),
    (34735, "H", len(KEYS), KEYS, True),
    (34737, "s", 0, "WGS 84 / UTM zone 32N|", True),
]


def image(path: Path, **options: Any) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", metadata=None, **options)
    return path


@pytest.mark.parametrize("big", [False, True])
def test_the_mask_lies_where_the_image_lies(tmp_path: Path, big: bool) -> None:
    file = image(tmp_path / "town.tif", extratags=TAGS, bigtiff=big)
    model = small_model()
    (record,) = predict_files(model, file, tmp_path / "out", kinds=["geotiff", "index"], device="cpu")
    written = tmp_path / "out/town_geotiff.tif"
    assert record["files"]["geotiff"] == str(written)
    with tifffile.TiffFile(file) as theirs, tifffile.TiffFile(written) as ours:
        for tag, *_ in TAGS:
            assert ours.pages[0].tags[tag].value == theirs.pages[0].tags[tag].value
            assert ours.pages[0].tags[tag].dtype == theirs.pages[0].tags[tag].dtype
        assert ours.geotiff_metadata == theirs.geotiff_metadata
    with Image.open(written) as mask, Image.open(tmp_path / "out/town_index.png") as index:
        assert mask.mode == "P" and np.array_equal(np.asarray(mask), np.asarray(index))
        assert np.array_equal(np.asarray(mask.convert("RGB")), np.asarray(index.convert("RGB")))


def test_a_transformation_is_kept_and_masks_of_16_bits_are(tmp_path: Path) -> None:
    matrix = (0.5, 0.1, 0.0, 691000.0, 0.1, -0.5, 0.0, 5334000.0, *(0.0,) * 7, 1.0)
    file = image(tmp_path / "a.tiff", extratags=[(34264, "d", 16, matrix, True)])
    prediction = Predictor(small_model(num_classes=300), device="cpu").predict(file)
    prediction.save(tmp_path / "a_mask.tif", "geotiff")
    with tifffile.TiffFile(tmp_path / "a_mask.tif") as ours:
        assert ours.pages[0].tags[34264].value == matrix
        assert np.array_equal(ours.asarray(), prediction.mask)


def test_images_without_a_place_are_told(tmp_path: Path) -> None:
    predictor = Predictor(small_model(), device="cpu")
    turned = image(tmp_path / "turned.tif", extratags=[*TAGS, (274, "H", 1, 6, True)])
    for file in (image(tmp_path / "plain.tif"), turned):
        prediction = predictor.predict(file)
        assert prediction.georeference is None
        with pytest.raises(PredictionError, match="has no georeference, so its mask has none: take the kind 'index'"):
            prediction.save(tmp_path / "mask.tif", "geotiff")
        prediction.save(tmp_path / "mask.png", "index")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "plain.tif").read_bytes()[:9])
    assert read_georeference(tmp_path / "cut.tif") is None
    with pytest.raises(PredictionError, match=r"a GeoTIFF is a \.tif file"):
        predictor.predict(image(tmp_path / "b.tif", extratags=TAGS)).save(tmp_path / "mask.png", "geotiff")
    result = CliRunner().invoke(cli, ["predict", "--help"])
    assert "geotiff" in result.stdout


def square(georeference: dict[int, Any]) -> dict[str, Any]:
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 2:5] = 1
    palette = ((0, 0, 0), (1, 2, 3))
    image = np.zeros((4, 6, 3), np.uint8)
    return Prediction(mask, ("a", "b"), palette, image, georeference=georeference).to_geojson()


@pytest.mark.parametrize(("points", "half"), [(False, 0.0), (True, 0.25)])
def test_geojson_lies_where_the_image_lies(points: bool, half: float) -> None:
    keys = (*KEYS[:8], 1025, 0, 1, 2 if points else 1, *KEYS[12:])
    found = square({tag: keys if tag == 34735 else value for tag, _, _, value, _ in TAGS})
    assert found["crs"] == {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    (ring,) = found["features"][1]["geometry"]["coordinates"]
    left, top = 691000.25 - half, 5334000.75 + half
    corners = {(left + 1, top - 0.5), (left + 2.5, top - 0.5), (left + 2.5, top - 1.5), (left + 1, top - 1.5)}
    assert {tuple(point) for point in ring} == corners
    assert signed_area(ring) == pytest.approx(1.5)  # counterclockwise


def test_geojson_of_a_mirrored_image_turns_as_the_standard_says() -> None:
    keys = (1, 1, 0, 1, 2048, 0, 1, 4326)
    found = square({34264: (2.0, 0.0, 0.0, 10.0, 0.0, 3.0, 0.0, 20.0, *(0.0,) * 7, 1.0), 34735: keys})
    assert found["crs"]["properties"]["name"] == "urn:ogc:def:crs:OGC:1.3:CRS84"
    (ring,) = found["features"][1]["geometry"]["coordinates"]
    assert {tuple(point) for point in ring} == {(14, 23), (20, 23), (20, 29), (14, 29)}
    assert signed_area(ring) == 36
    assert "crs" not in square({34264: (1.0,) * 16, 34735: (1, 1, 0, 1, 3072, 0, 1, 32767)})


def signed_area(ring: list[list[float]]) -> float:
    return sum(x * v - u * y for (x, y), (u, v) in itertools.pairwise(ring)) / 2
