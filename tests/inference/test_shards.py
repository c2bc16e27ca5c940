"""Shards, manifests, lists of failures and tables of run lengths: predicting many images on many machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from pycocotools import mask as coco

from vitrail.datasets.image_files import max_pixels
from vitrail.errors import PredictionError, VitrailError
from vitrail.files.byte_cache import cache_limit
from vitrail.inference import Predictor, Shard, UnreadableImagesError, predict, predict_files
from vitrail.inference.sources import Manifest, open_frames


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("fastscnn_camvid", device="cpu", scores=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for index in range(7):
        path = tmp_path / "photos" / f"{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (32, 40, 3), np.uint8)).save(path)
    return tmp_path / "photos"


def test_every_name_is_in_one_shard_and_shards_are_about_equal() -> None:
    names = [f"folder/image{number}" for number in range(20_000)]
    counts = Counter(index for name in names for index in range(8) if Shard(index, 8).holds(name))
    assert counts.total() == len(names)
    assert max(counts.values()) < 1.05 * len(names) / 8
    assert Shard(3, 8).holds("A/b") == Shard(3, 8).holds("a/B")
    inner = [Shard(1, 2).divided(Shard(rank, 3)) for rank in range(3)]
    assert [str(shard) for shard in inner] == ["00003-of-00006", "00004-of-00006", "00005-of-00006"]


@pytest.mark.parametrize("text", ["8/8", "3", "-1/4", "a/b", "0/0", "1/"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PredictionError, match="shard"):
        Shard.parse(text)


def test_shards_write_every_picture_once(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "0" / "0.jpg").write_bytes((photos / "0" / "0.png").read_bytes())  # a name of its own: 0.jpg, 0.png
    whole = [record["id"] for record in predict_files(predictor, photos, tmp_path / "whole", kinds=["index"])]
    monkeypatch.setenv("WORLD_SIZE", "3")
    names: list[str] = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))  # as torchrun does
        names += [record["id"] for record in predict_files(predictor, photos, tmp_path / "out", kinds=["index"])]
    assert sorted(names) == sorted(whole)
    assert len(set(whole)) == 8
    written = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png")}
    assert written == {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.png")}
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(PredictionError, match="exists"):  # refused for the shard's own pictures
        predict_files(predictor, photos, tmp_path / "out", kinds=["index"])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
def test_run_lengths_are_those_of_the_masks_and_go_on_with_other_shards(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrail.inference.run_length_table.MAX_ROWS", 2)  # several files
    out = tmp_path / "out"
    predict_files(predictor, photos, out, kinds=["rle"], shard=Shard(0, 2))
    first = pyarrow.parquet.read_table(out / "rle").num_rows
    assert 0 < first < 7 and not list(out.rglob("*.png"))
    with pytest.raises(PredictionError, match=r"00000-of-00002-000000\.parquet exists: --skip-existing"):
        predict_files(predictor, photos, out, kinds=["rle"], shard=Shard(0, 3))
    records = [
        record
        for index in range(3)
        for record in predict_files(predictor, photos, out, kinds=["rle"], shard=Shard(index, 3), existing="skip")
    ]
    assert sum("skipped" in record for record in records) == first
    table = pyarrow.parquet.read_table(out / "rle")
    rows = {row["id"]: row for row in table.to_pylist()}
    assert table.num_rows == len(rows) == 7
    for prediction in predictor(photos):
        row = rows[prediction.id]
        mask = np.full((row["height"], row["width"]), 255, np.uint8)
        for segment in row["segments"]:
            counts = {"size": [row["height"], row["width"]], "counts": segment["counts"].encode()}
            mask[coco.decode(counts) == 1] = segment["category_id"]
            assert segment["area"] == coco.area(counts) and 0 < segment["score"] <= 1
        assert np.array_equal(mask, prediction.mask)
    assert json.loads(table.schema.metadata[b"classes"]) == list(prediction.classes)


def test_an_image_with_a_picture_but_no_row_is_not_finished(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    predict_files(predictor, photos, tmp_path, kinds=["index"])
    records = predict_files(predictor, photos, tmp_path, kinds=["index", "rle"], existing="skip")
    assert not any("skipped" in record for record in records)
    records = predict_files(predictor, photos, tmp_path, kinds=["index", "rle"], existing="skip")
    assert all(record["skipped"] for record in records)
    records = predict_files(predictor, photos, tmp_path, kinds=["index", "rle"], existing="overwrite")
    assert pyarrow.parquet.read_table(tmp_path / "rle").num_rows == len(records) == 7


def test_rows_survive_an_interruption(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    def stop(record: dict) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(predictor, photos, tmp_path, kinds=["rle"], on_record=stop)
    assert pyarrow.parquet.read_table(tmp_path / "rle").num_rows == 1


@pytest.mark.parametrize("ending", [".txt", ".csv", ".parquet"])
def test_a_manifest_names_images(predictor: Predictor, photos: Path, tmp_path: Path, ending: str) -> None:
    elsewhere = tmp_path / "elsewhere.png"
    elsewhere.write_bytes((photos / "1" / "1.png").read_bytes())
    paths = ["1/1.png", "0/2.png", "", str(elsewhere), "0/missing.jpg", "0/../1/1.png"]
    listed = photos / f"list{ending}"
    if ending == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table({"n": range(6), "photo": paths}), listed)
    elif ending == ".csv":
        listed.write_text("n,photo\r\n" + "".join(f'1,"{path}"\r\n' for path in paths))
    else:
        listed.write_text("\n".join(paths) + "\n")
    if ending != ".txt":
        with pytest.raises(PredictionError, match=r"no column of paths: it has n, photo.*manifest:.*#n"):
            open_frames(listed)
    source = str(listed) if ending == ".txt" else f"manifest:{listed}#photo"
    failures = tmp_path / "lists" / "failures.jsonl"
    with pytest.raises(UnreadableImagesError, match="1 of 4 images") as error:
        predict_files(predictor, source, tmp_path / "out", kinds=["index"], failures=failures)
    assert failures.name in str(error.value)
    away = elsewhere.with_suffix("").as_posix().lstrip("/")
    assert [record["id"] for record in error.value.records] == ["1/1", "0/2", away]
    assert all(Path(record["files"]["index"]).is_file() for record in error.value.records)
    (failure,) = map(json.loads, failures.read_text().splitlines())
    assert failure["id"] == "0/missing" and "missing.jpg" in failure["error"]
    assert failure["kind"] == "DatasetError"


def test_the_first_bad_image_can_stop_a_prediction(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    (photos / "0" / "0.png").write_bytes(b"no image")
    failures = tmp_path / "failures.jsonl"
    with pytest.raises(UnreadableImagesError, match="listed in"):
        predict_files(predictor, photos, tmp_path / "a", shard=Shard(0, 1), failures=failures)
    with pytest.raises(PredictionError, match="on_error is one of skip, stop"):
        predict_files(predictor, photos, tmp_path / "b", on_error="ignore")
    with pytest.raises(Exception, match=r"0\.png is not an image") as error:
        predict_files(predictor, photos, tmp_path / "b", on_error="stop")
    assert not isinstance(error.value, UnreadableImagesError)


def test_an_empty_or_missing_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(PredictionError, match="is empty"):
        Manifest(str(tmp_path / "list.txt"))
    with pytest.raises(PredictionError, match="cannot read the list"):
        Manifest(str(tmp_path / "none.txt"))
    (tmp_path / "list.parquet").write_bytes(b"PAR1")
    with pytest.raises(PredictionError, match="cannot read the list"):
        Manifest(str(tmp_path / "list.parquet"))


@pytest.fixture
def stored(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The photos in object storage."""
    monkeypatch.setenv("VITRAIL_HOME", str(tmp_path / "home"))
    memory = fsspec.filesystem("memory")
    memory.put(str(photos), "/bucket/photos", recursive=True)
    yield "memory://bucket/photos"
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


def test_images_in_object_storage_are_segmented_as_those_on_the_disk(
    predictor: Predictor, photos: Path, stored: str, tmp_path: Path
) -> None:
    here = {prediction.id: prediction.mask for prediction in predictor(photos)}
    for source in (stored, f"{stored}/**/*.png", f"{stored}/[01]/?.png"):
        assert [frame.id for frame in open_frames(source)] == sorted(here)
    there = {prediction.id: prediction.mask for prediction in predictor(stored)}
    assert all(np.array_equal(there[name], here[name]) for name in here)
    assert np.array_equal(predict(predictor, f"{stored}/1/3.png").mask, here["1/3"])
    (tmp_path / "list.txt").write_text(f"{stored}/0/2.png\nphotos/0/2.png\n{stored}/0/none.png\n")
    with pytest.raises(UnreadableImagesError, match=r"1 of 3.*\n.*0/none.png: there is no such file") as error:
        predict_files(predictor, tmp_path / "list.txt", tmp_path / "out", kinds=["index"], readers=2)
    assert [record["id"] for record in error.value.records] == ["bucket/photos/0/2", "photos/0/2"]
    for empty in (f"{stored}/*.jpg", "memory://nothing"):
        with pytest.raises(PredictionError, match="no images at memory://"):
            open_frames(empty)


def test_reading_ahead_keeps_the_order_and_names_what_cannot_be_read(
    predictor: Predictor, photos: Path, tmp_path: Path
) -> None:
    (photos / "0" / "4.png").write_bytes(b"no image")
    with pytest.raises(UnreadableImagesError, match=r"4\.png is not an image") as error:
        predict_files(predictor, photos, tmp_path / "out", kinds=["index"], readers=2)
    assert [record["id"] for record in error.value.records] == ["0/0", "0/2", "0/6", "1/1", "1/3", "1/5"]
    for record in error.value.records:
        with Image.open(record["files"]["index"]) as picture:
            mask = np.asarray(picture)
        assert np.array_equal(mask, predict(predictor, photos / f"{record['id']}.png").mask)


def test_numbers_are_read_from_text_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("9" * 5000 + "/1", "0/" + "9" * 5000, "-1/2", "²/3", "1/1/1"):
        with pytest.raises(PredictionError, match="is no shard"):
            Shard.parse(text)
    readers = {"RANK": Shard.of_process, "VITRAIL_MAX_PIXELS": max_pixels, "VITRAIL_CACHE_BYTES": cache_limit}
    for name, read in readers.items():
        for value in ("abc", "-1", "1e9", "9" * 5000):
            monkeypatch.setenv(name, value)
            with pytest.raises(VitrailError, match=rf"the environment variable {name} is .*: set it to a number"):
                read()
        monkeypatch.delenv(name)


def test_a_list_of_failures_replaces_nothing_but_such_a_list(
    predictor: Predictor, photos: Path, tmp_path: Path
) -> None:
    (photos / "0" / "0.png").write_bytes(b"x")
    image = photos / "1" / "1.png"
    content, listed = image.read_bytes(), tmp_path / "failures.jsonl"
    with pytest.raises(PredictionError, match="exists and is no list of failures: --overwrite"):
        predict_files(predictor, photos, tmp_path / "out", failures=image)
    assert image.read_bytes() == content and not (tmp_path / "out").exists()
    for existing in ("refuse", "skip"):
        with pytest.raises(UnreadableImagesError):
            predict_files(predictor, photos / "0", tmp_path / "out", failures=listed, existing=existing)
    assert len(listed.read_text().splitlines()) == 1
