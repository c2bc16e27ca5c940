"""Prediction on Ray: batches of a dataset here, a cluster that loses a machine at night."""

from __future__ import annotations

import io
import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.s3_server import s3_server
from PIL import Image

import vitrail
from vitrail.errors import PredictionError
from vitrail.ray import Predictor, predict_files_on_ray


def write_images(folder: Path, count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    folder.mkdir()
    pictures = [generator.integers(0, 255, (32, 40, 3), np.uint8) for _ in range(count)]
    for index, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{index:04d}.png")
    return pictures


def test_a_batch_becomes_rows_of_run_lengths(tmp_path: Path) -> None:
    pictures = write_images(tmp_path / "photos", 3)
    files = [path.read_bytes() for path in sorted((tmp_path / "photos").iterdir())]
    predictor = Predictor("fastscnn_camvid", device="cpu")
    expected = [vitrail.predict("fastscnn_camvid", pixels, device="cpu").to_coco() for pixels in pictures]
    encoded = predictor({"bytes": [files[0], b"no image", files[2]], "path": np.array(["a", "b", "c"])}).to_pylist()
    pixels = predictor({"image": np.stack(pictures)}).to_pylist()
    for row, classes in zip([encoded[0], encoded[2], *pixels], [expected[0], expected[2], *expected], strict=True):
        assert (row["height"], row["width"], row["error"]) == (32, 40, "")
        found = {segment["category_id"]: segment["counts"] for segment in row["segments"]}
        assert found == {each["category_id"]: each["segmentation"]["counts"] for each in classes}
    assert [row["path"] for row in encoded] == ["a", "b", "c"]
    assert encoded[1]["segments"] is None and "is not an image" in encoded[1]["error"]
    with pytest.raises(PredictionError, match="it should have 'bytes'"):
        predictor({"path": ["a"]})


def test_without_ray_the_install_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(PredictionError, match=r"pip install 'vitrail\[ray\]'"):
        predict_files_on_ray("auto", "fastscnn_camvid", ["photos"], tmp_path)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")  # of Ray
def test_every_mask_is_written_once_though_a_machine_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    write_images(tmp_path / "photos", 400)
    out = tmp_path / "out"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    lost = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)

    def lose_a_machine() -> None:
        while len(list(out.glob("*.png"))) < 100:
            time.sleep(0.1)
        cluster.remove_node(lost, allow_graceful=False)

    thread = threading.Thread(target=lose_a_machine)
    thread.start()
    try:
        photos = [str(tmp_path / "photos")]
        predict_files_on_ray("auto", "fastscnn_camvid", photos, out, kinds=["index"], device="cpu", shards=8)
    finally:
        thread.join()
        ray.shutdown()
        cluster.shutdown()
    assert sorted(path.name for path in out.iterdir()) == [f"{index:04d}_index.png" for index in range(400)]
    for index in (0, 199, 399):
        with Image.open(out / f"{index:04d}_index.png") as written:
            prediction = vitrail.predict("fastscnn_camvid", tmp_path / "photos" / f"{index:04d}.png", device="cpu")
            assert np.array_equal(np.asarray(written), prediction.mask)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")  # of Ray, moto and botocore
def test_images_and_masks_are_in_object_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray = pytest.importorskip("ray")
    write_images(tmp_path / "photos", 8)
    with s3_server(itertools.repeat(None), tmp_path / "home", monkeypatch):
        import s3fs

        s3 = s3fs.S3FileSystem()
        s3.put(str(tmp_path / "photos"), "bucket/photos", recursive=True)
        photos, out = ["s3://bucket/photos"], "s3://bucket/out"
        given = {"kinds": ["index", "rle"], "device": "cpu", "shards": 2}
        try:
            result = predict_files_on_ray("local", "fastscnn_camvid", photos, out, **given)
            assert (result.predicted, result.skipped, result.failures) == (8, 0, ())
            with pytest.raises(PredictionError, match=r"s3://bucket/out holds something already"):
                predict_files_on_ray("local", "fastscnn_camvid", photos, out, **given)
            result = predict_files_on_ray("local", "fastscnn_camvid", photos, out, existing="skip", **given)
            assert (result.predicted, result.skipped) == (0, 8)
        finally:
            ray.shutdown()
        s3.invalidate_cache()
        written = sorted(path.removeprefix("bucket/out/") for path in s3.find("bucket/out"))
        assert [name for name in written if name.endswith(".png")] == [f"{index:04d}_index.png" for index in range(8)]
        content = s3.cat_file("bucket/out/0003_index.png")
    with Image.open(io.BytesIO(content)) as picture:
        prediction = vitrail.predict("fastscnn_camvid", tmp_path / "photos" / "0003.png", device="cpu")
        assert np.array_equal(np.asarray(picture), prediction.mask)
