"""Data in Google's storage and predictions that are written there: against a server of its JSON API (an emulator)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.pictures import write_pictures
from torch.utils.data import DataLoader

from vitrail.datasets import create_dataset
from vitrail.errors import DatasetError, PredictionError
from vitrail.files import remote
from vitrail.files.remote import RemoteStore
from vitrail.inference import predict_files

pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore")]  # of the emulator and of aiohttp


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "data", 6)


@pytest.fixture
def bucket(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A bucket with the images as files, as a .zip and as a .tar."""
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # which asks by gRPC what kind of bucket it is
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    gcsfs = pytest.importorskip("gcsfs")
    server = emulator.create_server("localhost", 0, in_memory=True, default_bucket="bucket")
    server.start()
    port = server._api._httpd.server_address[1]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{port}")
    monkeypatch.setenv("FSSPEC_GS_TOKEN", "anon")
    monkeypatch.setenv("VITRAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    gcsfs.GCSFileSystem.clear_instance_cache()
    gcs = gcsfs.GCSFileSystem(token="anon")
    for file in filter(Path.is_file, images.rglob("*")):
        gcs.put_file(str(file), f"bucket/data/{file.relative_to(images).as_posix()}")
    for kind in ("zip", "tar"):
        gcs.put_file(shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path, "data"), f"bucket/data.{kind}")
    yield ["gs://bucket/data", "gs://bucket/data.zip", "gcs://bucket/data.tar"]
    gcsfs.GCSFileSystem.clear_instance_cache()
    server.stop()


def test_samples_are_those_of_the_disk(bucket: list[str], images: Path) -> None:
    here = create_dataset("folder", images, "all")
    for address in bucket:
        there = create_dataset("folder", Path(address), "all")
        loaded = list(DataLoader(there, batch_size=None, num_workers=1))
        assert [sample["id"] for sample in loaded] == here.ids
        for one, other in zip(here, loaded, strict=True):
            assert torch.equal(one["image"], other["image"]) and torch.equal(one["mask"], other["mask"])
    with pytest.raises(DatasetError, match="gs://none"):
        create_dataset("folder", "gs://none/data", "all")


def test_predictions_are_those_of_the_disk(bucket: list[str], images: Path, tmp_path: Path) -> None:
    given = {"kinds": ["index", "rle"], "device": "cpu"}
    predict_files("fastscnn_camvid", images / "images", tmp_path / "out", **given)
    predict_files("fastscnn_camvid", f"{bucket[0]}/images", "gs://bucket/out", **given)
    store = RemoteStore("gs://bucket/out")
    here = {path.name: path for path in (tmp_path / "out").glob("*.png")}
    assert store.names_below("") == [*sorted(here), "rle/00000-of-00001-000000.parquet"]
    assert all(store.read(name) == path.read_bytes() for name, path in here.items())
    again = predict_files("fastscnn_camvid", f"{bucket[0]}/images", "gcs://bucket/out", existing="skip", **given)
    assert len(again) == 6 and all(record["skipped"] for record in again)
    RemoteStore("gs://bucket/data/images").write("00_index.png", here["00_index.png"])
    with pytest.raises(PredictionError, match=r"would replace the input gcs://bucket/data/images/00_index\.png"):
        predict_files("fastscnn_camvid", f"{bucket[0]}/images", "gcs://bucket/data/images", **given)
    with pytest.raises(PredictionError, match="there is no such bucket"):
        predict_files("fastscnn_camvid", images / "images", "gs://nobody/out", **given)
