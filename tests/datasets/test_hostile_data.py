"""Data from strangers: bombs, pipes, other formats than pictures, texts that are no annotations."""

from __future__ import annotations

import os
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.datasets import read_image, read_mask, storage
from vitrail.datasets.class_file import find_class_file
from vitrail.datasets.formats.json_file import read_json
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
        with pytest.raises(DatasetError, match="would expand from"):
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
