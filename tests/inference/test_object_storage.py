"""Predictions that are written to object storage: as on the disk, resumed by one listing, and whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet
import pytest
import rasterio
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from vitrail.errors import PredictionError
from vitrail.files import remote
from vitrail.inference import Predictor, Shard, UnreadableImagesError, predict_files, predict_rasters
from vitrail.recipes import EvalConfig


class Requests:
    """What is asked of a storage in memory, and the faults of the next uploads."""

    def __init__(self) -> None:
        self.listed = self.asked = 0
        self.faults: list[Exception] = []


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Requests]:
    """The storage memory://, empty; no pauses between attempts."""
    monkeypatch.setenv("VITRAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    requests = Requests()
    find, info, put_file = MemoryFileSystem.find, MemoryFileSystem.info, MemoryFileSystem.put_file

    def counted_find(self, path, *given, **options):
        requests.listed += 1
        return find(self, path, *given, **options)

    def counted_info(self, path, **options):
        requests.asked += 1
        return info(self, path, **options)

    def faulty_put_file(self, local, path, **options) -> None:
        if requests.faults:
            raise requests.faults.pop(0)
        put_file(self, local, path, **options)

    monkeypatch.setattr(MemoryFileSystem, "find", counted_find)
    monkeypatch.setattr(MemoryFileSystem, "info", counted_info)
    monkeypatch.setattr(MemoryFileSystem, "put_file", faulty_put_file)
    yield requests
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("fastscnn_camvid", device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for index in range(5):
        path = tmp_path / "photos" / f"{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (32, 40, 3), np.uint8)).save(path)
    return tmp_path / "photos"


def stored(address: str) -> dict[str, bytes]:
    """Return the objects below an address of the storage in memory."""
    memory, root = fsspec.filesystem("memory"), address.removeprefix("memory:/")
    return {path.removeprefix(f"{root}/"): memory.cat_file(path) for path in MemoryFileSystem.glob(memory, f"{root}/**")
            if memory.isfile(path)}  # fmt: skip


def test_shards_write_what_they_write_on_the_disk(
    predictor: Predictor, photos: Path, storage: Requests, tmp_path: Path
) -> None:
    out, kinds = "memory://bucket/out", ["index", "overlay", "rle"]
    for index in range(2):
        predict_files(predictor, photos, tmp_path / "out", kinds=kinds, shard=Shard(index, 2))
        records = predict_files(predictor, photos, out, kinds=kinds, shard=Shard(index, 2))
        for record in records:
            assert record["files"]["index"] == f"{out}/{record['id']}_index.png"
    here = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.*")}
    there = stored(out)
    assert there.keys() == here.keys() and len(there) == 12
    assert all(there[name] == path.read_bytes() for name, path in here.items() if name.endswith(".png"))
    for name in ("rle/00000-of-00002-000000.parquet", "rle/00001-of-00002-000000.parquet"):
        assert pyarrow.parquet.read_table(io.BytesIO(there[name])).equals(pyarrow.parquet.read_table(here[name]))


def test_an_interrupted_prediction_goes_on_after_one_listing(
    predictor: Predictor, photos: Path, storage: Requests
) -> None:
    out, kinds = Path("memory://bucket/out"), ["index", "rle"]

    def stop(record: dict) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(predictor, photos, out, kinds=kinds, writers=0, on_record=stop)
    fsspec.filesystem("memory").pipe("/bucket/out/1/1_index.png", b"")  # as a storage that was full may leave it
    assert set(stored("memory://bucket/out")) == {
        *("0/0_index.png", "1/1_index.png", "rle/00000-of-00001-000000.parquet")
    }
    with pytest.raises(PredictionError, match=r"memory://bucket/out/rle/00000-of-00001-000000\.parquet exists"):
        predict_files(predictor, photos, out, kinds=kinds)
    with pytest.raises(PredictionError, match=r"memory://bucket/out/0/0_index\.png exists, and 1 more"):
        predict_files(predictor, photos, out, kinds=["index"])
    storage.listed = storage.asked = 0
    records = predict_files(predictor, photos, out, kinds=kinds, existing="skip")
    assert [record["id"] for record in records if "skipped" in record] == ["0/0"]
    assert storage.listed == 2  # of the pictures, and of the table
    storage.listed = storage.asked = 0
    assert all("skipped" in record for record in predict_files(predictor, photos, out, kinds=kinds, existing="skip"))
    assert storage.listed == 2 and storage.asked <= 3  # not one for each image: those of the table's two files
    again = predict_files(predictor, photos, out, kinds=kinds, existing="overwrite")
    names = [path for path in stored("memory://bucket/out") if path.startswith("rle/")]
    assert len(again) == 5 and len(names) == 1


def test_passing_faults_are_tried_again_and_lasting_ones_are_said(
    predictor: Predictor, photos: Path, storage: Requests
) -> None:
    storage.faults = [OSError("503 Slow Down"), ConnectionError("reset")] * 2
    assert len(predict_files(predictor, photos, "memory://bucket/out", kinds=["index"])) == 5
    assert not storage.faults and len(stored("memory://bucket/out")) == 5
    for fault, count, message in (
        (OSError("503 Slow Down"), 9, r"cannot write memory://bucket/no/0/0_index\.png in 9 attempts: .*Slow Down"),
        (PermissionError("AccessDenied"), 1, r"cannot write memory://bucket/no/0/0_index\.png: .*credentials"),
        (FileNotFoundError("NoSuchBucket"), 1, "there is no such bucket"),
    ):
        storage.faults = [fault] * count
        with pytest.raises(PredictionError, match=message):
            predict_files(predictor, photos, "memory://bucket/no", kinds=["index"], writers=0)
        assert not storage.faults and not stored("memory://bucket/no")


def test_images_and_failures_in_object_storage_too(predictor: Predictor, photos: Path, storage: Requests) -> None:
    (photos / "1" / "1.png").write_bytes(b"no image")
    fsspec.filesystem("memory").put(str(photos), "/bucket/photos", recursive=True)
    failures = "memory://bucket/lists/failures.jsonl"
    for _ in range(2):  # a list of failures may be replaced
        with pytest.raises(UnreadableImagesError, match=r"the others are in memory://bucket/out\), all listed in mem"):
            predict_files(
                predictor, "memory://bucket/photos", "memory://bucket/out", failures=failures, existing="skip"
            )
    assert len(stored("memory://bucket/out")) == 4
    (failure,) = map(json.loads, stored("memory://bucket/lists")["failures.jsonl"].splitlines())
    assert failure["id"] == "1/1"
    with pytest.raises(PredictionError, match=r"memory://bucket/photos/0/0\.png exists and is no list of failures"):
        predict_files(predictor, photos, "memory://bucket/x", failures="memory://bucket/photos/0/0.png")


def test_pictures_replace_no_image_that_is_read(predictor: Predictor, photos: Path, storage: Requests) -> None:
    fsspec.filesystem("memory").put(str(photos / "0"), "/bucket/photos", recursive=True)
    predict_files(predictor, "memory://bucket/photos/*.png", "memory://bucket/photos", kinds=["index"])
    with pytest.raises(PredictionError, match=r"would replace the input memory://bucket/photos/0_index\.png"):
        predict_files(predictor, "memory://bucket/photos", "memory://bucket/photos", existing="overwrite")


def test_addresses_that_cannot_be_written_to_are_refused(
    predictor: Predictor, photos: Path, storage: Requests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("https://host/out", "sftp://host/out", "hf://datasets/a/b"):
        with pytest.raises(PredictionError, match=rf"cannot write to {address}: .* s3://, gs://, az://"):
            predict_files(predictor, photos, address)
    with pytest.raises(PredictionError, match="chains several storages"):
        predict_files(predictor, photos, "s3://bucket/x::memory://y")
    predict_files(predictor, photos / "0", (tmp_path / "my files").as_uri(), kinds=["index"])
    assert (tmp_path / "my files" / "0_index.png").is_file()
    monkeypatch.setenv("VITRAIL_OFFLINE", "1")
    with pytest.raises(PredictionError, match="s3://bucket/out cannot be reached: VITRAIL_OFFLINE"):
        predict_files(predictor, photos, "s3://bucket/out")


def test_a_raster_is_written_by_windows_and_goes_on_from_its_finished_blocks(
    storage: Requests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = EvalConfig(mode="slide", window=(64, 64), stride=(48, 48))
    predictor = Predictor("fastscnn_camvid", windows, device="cpu", resize=None)
    profile = {"driver": "GTiff", "width": 160, "height": 140, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    pixels = np.random.default_rng(0).integers(0, 255, (3, 140, 160), np.uint8)
    with rasterio.open(tmp_path / "place.tif", "w", transform=rasterio.Affine(1, 0, 9, 0, -1, 9), **profile) as target:
        target.write(pixels)
    fsspec.filesystem("memory").pipe("/bucket/place.tif", (tmp_path / "place.tif").read_bytes())
    given = (["memory://bucket/place.tif"], "memory://bucket/out")
    segment, computed = Predictor.segment, []

    def stop_after_three(self, images, sizes=None, *, settings=None):
        if len(computed) == 3:
            raise KeyboardInterrupt
        computed.append(1)
        return segment(self, images, sizes, settings=settings)

    monkeypatch.setattr(Predictor, "segment", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        predict_rasters(predictor, *given, regions=True, block=96)
    assert len(stored("memory://bucket/out")) == 3
    computed[:] = [1, 1]
    (record,) = predict_rasters(predictor, *given, regions=True, block=96)
    assert len(computed) == 3
    computed.clear()
    predict_rasters(predictor, [tmp_path / "place.tif"], tmp_path / "out", regions=True, block=1000)
    assert sorted(stored("memory://bucket/out")) == ["place_index.tif", "place_regions.geojson"]
    assert record["files"]["index"] == "memory://bucket/out/place_index.tif"
    (tmp_path / "far.tif").write_bytes(stored("memory://bucket/out")["place_index.tif"])
    with rasterio.open(tmp_path / "far.tif") as far, rasterio.open(tmp_path / "out" / "place_index.tif") as near:
        assert np.array_equal(far.read(1), near.read(1)) and far.crs == near.crs
    assert predict_rasters(predictor, *given, regions=True, existing="skip")[0]["skipped"]
    with pytest.raises(PredictionError, match=r"memory://bucket/out/place_index\.tif exists"):
        predict_rasters(predictor, *given)
