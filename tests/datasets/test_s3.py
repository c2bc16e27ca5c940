"""Data in S3: against a server of our own, with faults; predictions that are written there."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.pictures import write_pictures
from helpers.s3_server import late, s3_server, truncated, unavailable
from torch.utils.data import DataLoader

from vitrail.datasets import create_dataset
from vitrail.errors import DatasetError, PredictionError
from vitrail.files.remote import RemoteStore
from vitrail.inference import Shard, predict_files
from vitrail.inference.files import OutputKind

pytestmark = pytest.mark.nightly


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "data", 12)


@pytest.fixture
def bucket(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A bucket with the images as files, as a .zip and as a .tar, with faults in two of five answers."""
    faults = itertools.cycle([unavailable, None, truncated, None, late])
    with s3_server(faults, tmp_path / "home", monkeypatch):
        import s3fs

        s3 = s3fs.S3FileSystem()
        s3.put(str(images), "bucket/data", recursive=True)
        for kind in ("zip", "tar"):
            s3.put(shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path, "data"), f"bucket/data.{kind}")
        yield ["s3://bucket/data", "s3://bucket/data.zip", "s3://bucket/data.tar"]


@pytest.mark.filterwarnings("ignore")  # of moto and botocore
def test_samples_in_s3_are_those_of_the_disk_through_all_faults(bucket: list[str], images: Path) -> None:
    here = create_dataset("folder", images, "all")
    for address in bucket:
        there = create_dataset("folder", Path(address), "all")
        loaded = list(DataLoader(there, batch_size=None, num_workers=2))
        assert [sample["id"] for sample in loaded] == here.ids
        for one, other in zip(here, loaded, strict=True):
            assert torch.equal(one["image"], other["image"]) and torch.equal(one["mask"], other["mask"])
    with pytest.raises(DatasetError, match="s3://none"):
        create_dataset("folder", "s3://none/data", "all")


@pytest.mark.filterwarnings("ignore")  # of moto and botocore
def test_predictions_in_s3_are_those_of_the_disk_through_all_faults(
    bucket: list[str], images: Path, tmp_path: Path
) -> None:
    import s3fs

    kinds: list[OutputKind] = ["index", "rle"]
    out, failures = "s3://bucket/out", "s3://bucket/lists/failures.jsonl"
    predict_files("fastscnn_camvid", images / "images", tmp_path / "out", kinds=kinds, device="cpu")
    options = {"kinds": kinds, "failures": failures, "device": "cpu"}
    for index in range(2):
        predict_files("fastscnn_camvid", f"{bucket[0]}/images", out, shard=Shard(index, 2), **options)
    here = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").glob("*.png")}
    s3 = s3fs.S3FileSystem()
    s3.invalidate_cache()
    there = {path.removeprefix("bucket/out/"): path for path in s3.find("bucket/out")}
    assert sorted(there) == [*sorted(here), *(f"rle/0000{index}-of-00002-000000.parquet" for index in range(2))]
    remote_store = RemoteStore(out)
    assert all(remote_store.read(name) == path.read_bytes() for name, path in here.items())
    assert len(s3.ls("bucket/lists")) == 2
    again = predict_files("fastscnn_camvid", f"{bucket[0]}/images", out, existing="skip", kinds=kinds, device="cpu")
    assert len(again) == 12 and all(record["skipped"] for record in again)
    with pytest.raises(PredictionError, match="there is no such bucket"):
        predict_files("fastscnn_camvid", images / "images", "s3://nobody/out", device="cpu")
