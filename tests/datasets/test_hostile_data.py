"""Data from strangers: bombs, pipes, other formats than pictures, texts that are no annotations."""

from __future__ import annotations

import base64
import io
import os
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import scipy.io
import tifffile
from PIL import Image

from vitrail.datasets import create_dataset, read_image, read_mask, storage
from vitrail.datasets.class_file import find_class_file
from vitrail.datasets.formats import labelme, parquet, supervisely
from vitrail.datasets.formats.json_file import read_json
from vitrail.datasets.formats.parquet import open_parquet
from vitrail.datasets.image_files import decode_bands
from vitrail.datasets.matlab import read_matlab
from vitrail.datasets.storage import Folder, Tar, Zip
from vitrail.errors import DatasetError

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


def test_no_other_program_is_started_for_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\necho 10.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    (tmp_path / "photo.png").write_bytes(EPS)
    for read in (read_image, read_mask):
        with pytest.raises(DatasetError, match="not an image of a known format"):
            read(tmp_path / "photo.png")
    assert not (tmp_path / "called").exists()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("pipe.jpg", "classes.yaml", "a.json"):
        os.mkfifo(tmp_path / name)
    for read in (read_image, read_mask, read_json):
        with pytest.raises(DatasetError, match="pipe or a device"):
            read(tmp_path / "pipe.jpg")
    with pytest.raises(DatasetError, match="pipe or a device"):
        Folder(tmp_path).read("pipe.jpg")
    assert find_class_file(tmp_path) is None


def test_a_file_of_an_archive_that_expands_a_thousandfold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ALWAYS_ALLOWED", 1 << 20)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.jpg", bytes(32 << 20))
        archive.writestr("honest.png", os.urandom(2 << 20))
    opened = Zip(tmp_path / "x.zip")
    assert len(opened.read("honest.png")) == 2 << 20
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="would expand"):
            opened.read("bomb.jpg")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_archive_that_ends_before_its_files_do_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "a.png")
    assert Tar(tmp_path / "x.tar").read("a.png")
    for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):  # of the last two tarfile reads the whole
        member = tarfile.TarInfo("a.png")
        member.size, member.type = 1 << 40, kind
        (tmp_path / "y.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        with pytest.raises(DatasetError, match=r"y\.tar"):
            Tar(tmp_path / "y.tar").read("a.png")


@pytest.mark.parametrize("text", ["[" * 200_000, "9" * 5000, "nul", "\ud800", "{'a': 1}"])
def test_annotations_that_are_no_json_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(DatasetError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_pipes_in_the_place_of_archives_and_tables_are_not_waited_for(tmp_path: Path) -> None:
    for name in ("train-000.tar", "x.zip", "train-0.parquet"):
        os.mkfifo(tmp_path / name)
    for read in (
        lambda: Tar(tmp_path / "train-000.tar"),
        lambda: Zip(tmp_path / "x.zip"),
        lambda: open_parquet(tmp_path / "train-0.parquet"),
        lambda: create_dataset("webdataset", tmp_path, "train"),
        lambda: Folder(tmp_path).start("x.zip", 4),
    ):
        with pytest.raises(DatasetError, match="a pipe or a device"):
            read()


def parquet_of(path: Path, cells: list[bytes]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table({"image": cells, "label": cells}), path)
    return path


def test_damaged_parquet_files_are_named(tmp_path: Path) -> None:
    whole = parquet_of(tmp_path / "whole.parquet", [b"a", b"b"]).read_bytes()
    path = tmp_path / "train.parquet"
    for content in (b"", b"hello", b"PAR1\xff\xff\xff\x7fPAR1", whole[: len(whole) // 2], bytes(len(whole))):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"cannot read .*train\.parquet .*is the download complete"):
            open_parquet(path)


def test_parquet_files_that_stand_for_much_more_than_they_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(100_000, np.int32)), pyarrow.array([b"x"]))
    pyarrow.parquet.write_table(pyarrow.table({"image": rows, "label": rows}), tmp_path / "rows.parquet")
    with pytest.raises(DatasetError, match="it has 100,000 rows in"):
        open_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr(parquet, "ALWAYS_ALLOWED", 1 << 20)
    table = pyarrow.table({"image": [bytes(4 << 20)], "label": [b"x"]})
    pyarrow.parquet.write_table(table, tmp_path / "cell.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(DatasetError, match="would expand"):
        parquet.ParquetFiles(tmp_path).read("cell.parquet/0/image")


@pytest.mark.parametrize("kind", ["supervisely", "labelme"])
def test_masks_of_annotations_are_not_larger_than_their_images(kind: str) -> None:
    stream = io.BytesIO()
    Image.new("L", (2000, 2000), 255).save(stream, "PNG")
    content = zlib.compress(stream.getvalue()) if kind == "supervisely" else stream.getvalue()
    packed = base64.b64encode(content).decode()
    if kind == "supervisely":
        shape = supervisely._shape({"geometryType": "bitmap", "bitmap": {"origin": [0, 0], "data": packed}})
    else:
        shape = labelme.shape_of({"shape_type": "mask", "points": [[0, 0], [9, 9]], "mask": packed})
    small, large = np.zeros((12, 16), np.uint8), np.zeros((2000, 2001), np.uint8)
    with pytest.raises(ValueError, match="a mask of 2000 × 2000 pixels in an image of 12 × 16"):
        shape.fill(small, 1)
    shape.fill(large, 1)
    assert int(large.sum()) == 2000 * 2000


def test_a_bitmap_that_unpacks_without_end_is_given_up() -> None:
    packed = base64.b64encode(zlib.compress(bytes(64 << 20))).decode()
    shape = supervisely._shape({"geometryType": "bitmap", "bitmap": {"origin": [0, 0], "data": packed}})
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="a bitmap of Supervisely is not an image"):
            shape.fill(np.zeros((12, 16), np.uint8), 1)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_limit_of_pixels_holds_for_matlab_files_and_counts_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRAIL_MAX_PIXELS", "10000")
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"S": np.zeros((200, 100), np.uint8)}, do_compression=True)
    with pytest.raises(DatasetError, match="VITRAIL_MAX_PIXELS=20000"):
        read_matlab(stream.getvalue(), "x.mat")
    bands = np.zeros((40, 100, 90), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", bands, photometric="minisblack", planarconfig="separate")
    np.save(tmp_path / "x.npy", np.moveaxis(bands, 0, -1))
    for name in ("x.tif", "x.npy"):
        with pytest.raises(DatasetError, match=r"90 × 100 pixels of 40 bands.*VITRAIL_MAX_PIXELS=90000"):
            decode_bands((tmp_path / name).read_bytes(), name, 40)
    monkeypatch.setenv("VITRAIL_MAX_PIXELS", "90000")  # as the message says
    assert decode_bands((tmp_path / "x.tif").read_bytes(), "x.tif", 40).shape == (100, 90, 40)
