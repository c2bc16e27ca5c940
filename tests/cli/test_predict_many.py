"""`vitrail predict` for many images, and for very large ones."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image

from vitrail.cli.predict import predict
from vitrail.errors import VitrailError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index in range(4):
        pixels = generator.integers(0, 255, (32, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
    return tmp_path / "photos"


def run(*arguments: object) -> str:
    given = [str(argument) for argument in ("fastscnn_camvid", *arguments, "--device", "cpu")]
    result = CliRunner().invoke(predict, given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_shards_print_json_lists_of_their_images(photos: Path, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "out", "--kind", "index", "--kind", "rle", "--json"]
    records = [json.loads(run(photos, *out, "--shard", f"{index}/3", "--readers", 2)) for index in range(3)]
    assert sorted(record["id"] for part in records for record in part) == ["0", "1", "2", "3"]
    again = json.loads(run(photos, *out, "--skip-existing", "--failures", tmp_path / "failures.jsonl"))
    assert all(record["skipped"] for record in again) and (tmp_path / "failures.jsonl").read_text() == ""
    (tmp_path / "list.txt").write_text("photos/0.png\n")
    assert run(tmp_path / "list.txt", "-o", tmp_path / "one").startswith("photos/0: ")


def test_results_are_named_by_their_address(photos: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    try:
        output = run(photos, "-o", "memory://bucket/out", "--kind", "index", "--shard", "0/1")
        assert output.endswith("4 images: results are in memory://bucket/out\n")
        output = run(photos, "-o", "memory://bucket/out", "--kind", "index", "--skip-existing")
        assert output == "4 images left out: their results were in memory://bucket/out already\n"
        assert len(memory.find("/bucket/out")) == 4 and not (tmp_path / "memory:").exists()
        with pytest.raises(VitrailError, match="a video is written to a disk"):
            run(photos, "-o", "memory://bucket/out.mp4")
    finally:
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]


def test_large_images_are_read_by_window(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 40, 56), np.uint8)
    place = {"crs": "EPSG:4326", "transform": rasterio.Affine(0.1, 0, 7, 0, -0.1, 50)}
    profile = {"driver": "GTiff", "width": 56, "height": 40, "count": 3, "dtype": "uint8", **place}
    with rasterio.open(tmp_path / "field.tif", "w", **profile) as target:
        target.write(pixels)
    keep_size = ["--set", "data.eval_resize=null"]
    output = run(tmp_path / "field.tif", "-o", tmp_path / "out", "--by-window", "--regions", "--json", *keep_size)
    (record,) = json.loads(output)
    assert record["width"] == 56
    with rasterio.open(record["files"]["index"]) as result:
        assert result.crs.to_epsg() == 4326
    regions = json.loads(Path(record["files"]["regions"]).read_text())
    assert regions["crs"]["properties"]["name"].endswith("CRS84") and regions["features"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by-window", "--kind", "rle"], "--kind does not go with --by-window"),
        (["--regions"], "--regions goes with --by-window"),
        (["--shard", "8/8"], "there is no shard 8/8"),
        (["--shard", "1"], "write I/N"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    photos: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(VitrailError, match=message):
        run(photos, "-o", tmp_path / "out", *options)
    with pytest.raises(VitrailError, match="--shard is for pictures"):
        run(photos, "-o", tmp_path / "out.mp4", "--shard", "0/2")
