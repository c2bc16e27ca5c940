"""Images that are read and written by windows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
import rasterio
import torch

from vitrail.errors import PredictionError
from vitrail.inference import Predictor, predict_rasters
from vitrail.inference.large_images import in_windows
from vitrail.recipes import EvalConfig

PLACE = rasterio.Affine(0.5, 0, 400_000, 0, -0.5, 5_000_000)
WINDOWS = EvalConfig(mode="slide", window=(64, 64), stride=(48, 48))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("fastscnn_camvid", WINDOWS, device="cpu", resize=None)


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A tiled GeoTIFF of 140 × 160 pixels, and its pixels [H, W, 3]."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 255, (10, 11, 3), np.uint8)
    pixels = coarse.repeat(15, 0).repeat(15, 1)[:140, :160]
    path = tmp_path / "place.tif"
    profile = {"driver": "GTiff", "width": 160, "height": 140, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    with rasterio.open(path, "w", transform=PLACE, **profile, **tiles) as target:
        target.write(np.moveaxis(pixels, -1, 0))
    return path, pixels


def written(path: Path) -> np.ndarray:
    with rasterio.open(path) as result:
        return result.read(1)


@pytest.mark.parametrize("block", [100, 1000])
def test_blocks_give_what_windows_over_the_whole_image_give(
    predictor: Predictor, image: tuple[Path, np.ndarray], tmp_path: Path, block: int
) -> None:
    path, pixels = image
    (whole,) = predictor.segment([torch.from_numpy(np.moveaxis(pixels, -1, 0).copy())])
    (record,) = predict_rasters(predictor, [path], tmp_path / "out", block=block)
    assert np.array_equal(written(tmp_path / "out" / "place_index.tif"), whole.numpy())
    assert sum(area["pixels"] for area in record["areas"]) == 140 * 160
    assert len(np.unique(whole)) > 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["place_index.tif"]
    with rasterio.open(record["files"]["index"]) as result:
        assert result.crs.to_epsg() == 32633 and result.transform.c == 400_000 and result.transform.a == 0.5
        assert result.colormap(1)[1][:3] == predictor.model.card.palette[1]


def test_an_interrupted_prediction_goes_on_with_the_next_block(
    predictor: Predictor, image: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = image
    computed: list = []
    segment = Predictor.segment

    def stop_after_three(self, images, sizes=None, *, settings=None):
        if len(computed) == 3:
            raise KeyboardInterrupt
        computed.append(images[0].shape)
        return segment(self, images, sizes, settings=settings)

    monkeypatch.setattr(Predictor, "segment", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        predict_rasters(predictor, [path], tmp_path / "out", block=96)
    assert not (tmp_path / "out" / "place_index.tif").exists()
    (part,) = (tmp_path / "out").glob(".place-*.parts")
    damaged = sorted(part.iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:-5])  # as a power failure may leave it
    computed.clear()
    monkeypatch.setattr(
        Predictor, "segment", lambda self, *given, **more: computed.append(1) or segment(self, *given, **more)
    )
    predict_rasters(predictor, [path], tmp_path / "out", block=96)
    assert len(computed) == 4 - 3 + 1
    predict_rasters(predictor, [path], tmp_path / "whole", block=1000)
    assert np.array_equal(
        written(tmp_path / "out" / "place_index.tif"), written(tmp_path / "whole" / "place_index.tif")
    )
    with pytest.raises(PredictionError, match=r"place_index\.tif exists"):
        predict_rasters(predictor, [path], tmp_path / "out")
    assert predict_rasters(predictor, [path], tmp_path / "out", existing="skip")[0]["skipped"]


def test_regions_cover_the_image_in_its_coordinates(
    predictor: Predictor, image: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    (record,) = predict_rasters(predictor, [image[0]], tmp_path / "out", regions=True, block=100)
    found = json.loads(Path(record["files"]["regions"]).read_text())
    assert found["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    areas: dict[str, float] = {}
    for feature in found["features"]:
        rings = [np.array(ring) for ring in feature["geometry"]["coordinates"]]
        name = feature["properties"]["name"]
        areas[name] = areas.get(name, 0) + sum(_area(ring) for ring in rings)
        assert (rings[0].min(0) >= (400_000, 5_000_000 - 70)).all() and (rings[0].max(0) <= (400_080, 5_000_000)).all()
    assert areas == {area["name"]: area["pixels"] / 4 for area in record["areas"]}


def _area(ring: np.ndarray) -> float:
    x, y = (ring - ring[0]).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def test_windows_of_an_image_in_object_storage(
    predictor: Predictor, image: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRAIL_HOME", str(tmp_path / "home"))
    fsspec.filesystem("memory").pipe("/bucket/place.tif", image[0].read_bytes())
    predict_rasters(predictor, ["memory://bucket/place.tif"], tmp_path / "far")
    predict_rasters(predictor, [image[0]], tmp_path / "near")
    assert np.array_equal(written(tmp_path / "far" / "place_index.tif"), written(tmp_path / "near" / "place_index.tif"))
    fsspec.filesystem("memory").store.clear()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of the image that is written here
def test_what_depends_on_the_whole_image_is_refused(
    predictor: Predictor, image: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path, pixels = image
    scales = Predictor("fastscnn_camvid", EvalConfig(scales=(0.5, 1.0)), device="cpu", resize=None)
    with pytest.raises(PredictionError, match=r"evaluation\.scales=\[1\]"):
        predict_rasters(scales, [path], tmp_path / "out")
    deep = tmp_path / "deep.tif"
    profile = {"driver": "GTiff", "width": 160, "height": 140, "count": 3, "dtype": "uint16"}
    with rasterio.open(deep, "w", **profile) as target:
        target.write(np.moveaxis(pixels.astype(np.uint16) * 4, -1, 0))
    overrides: list[str] = []
    for message, advice in (
        ("eval_resize=null", "data.eval_resize=null"),
        ("value_range=", "data.value_range=[0,1020]"),
    ):
        with pytest.raises(PredictionError, match=message):
            predict_rasters("fastscnn_camvid", [deep], tmp_path / "out", device="cpu", overrides=overrides)
        overrides.append(advice)
    predict_rasters("fastscnn_camvid", [deep], tmp_path / "out", device="cpu", overrides=overrides)
    (tmp_path / "no.tif").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    with pytest.raises(PredictionError, match=r"cannot open .*no\.tif"):
        predict_rasters(predictor, [tmp_path / "no.tif"], tmp_path / "out")
    with pytest.raises(PredictionError, match="two images are called 'place'"):
        predict_rasters(scales, [path, "other/place.tif"], tmp_path / "out")
    assert in_windows(EvalConfig(), 1024).stride == (768, 768)


LARGE = """
import resource, sys
from vitrail.inference import predict_rasters
predict_rasters("fastscnn_camvid", [sys.argv[1]], sys.argv[2], device="cpu", overrides=["data.eval_resize=null"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.nightly
def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    side = 12_288  # four blocks; more of them take longer, but no more memory
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    tiles = {"tiled": True, "compress": "deflate", "sparse_ok": True}
    with rasterio.open(tmp_path / "large.tif", "w", transform=PLACE, **profile, **tiles) as target:
        target.write(np.full((3, 512, 512), 99, np.uint8), window=((5000, 5512), (5000, 5512)))
    arguments = [sys.executable, "-c", LARGE, tmp_path / "large.tif", tmp_path / "out"]
    result = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert int(result.stdout.split()[-1]) < 4_000_000  # kilobytes
    with rasterio.open(tmp_path / "out" / "large_index.tif") as result:
        assert result.shape == (side, side) and result.overviews(1)
