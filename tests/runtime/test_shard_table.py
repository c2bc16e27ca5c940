"""The table of contents of a checkpoint in parts, with contents that nobody meant."""

from __future__ import annotations

import os
import pickle
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.hostile import memory_limited
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata

from vitrail.errors import CheckpointError
from vitrail.runtime.distributed.shards import read_shards


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")
        dcp.save({"a": torch.arange(6.0), "b": torch.ones(3, 2)}, checkpoint_id=tmp_path / "shards")
    return tmp_path / "shards"


def read(folder: Path) -> dict[str, torch.Tensor]:
    return read_shards(folder, lambda name: None)


def test_what_these_tests_change_is_read_when_it_is_honest(folder: Path) -> None:
    found = read(folder)
    assert torch.equal(found["a"], torch.arange(6.0)) and torch.equal(found["b"], torch.ones(3, 2))


TUPLES = b")" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60))  # 2⁶⁰ when hashed


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"cos\nsystem\n(S'touch hacked'\ntR.",
        b"\x80\x04Nr\xff\xff\xff\x3f.",  # room for 10⁹ objects
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 36) + b"x.",  # and for as many bytes
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
        b"\x80\x04}" + TUPLES + b"Ns.",
        b"\x80\x04}(" + TUPLES + b"Nu.",
        b"\x80\x04ctorch.serialization\n_get_layout\n" + TUPLES + b"\x85R.",
        b"\x80\x04ctorch.serialization\n_get_layout\n}(X\x08\x00\x00\x00__name__Nub.",
    ],
)
def test_pickles_that_take_memory_or_time_or_run_code_are_refused(content: bytes, folder: Path) -> None:
    (folder / ".metadata").write_bytes(content)
    with memory_limited(300 << 20), pytest.raises(CheckpointError, match="cannot be read"):
        read(folder)
    assert not Path("hacked").exists()


def resize(metadata: Metadata) -> None:
    metadata.state_dict_metadata["a"].size = torch.Size([1 << 40])


def shrink(metadata: Metadata) -> None:
    metadata.state_dict_metadata["b"].chunks = []


def lead_out(metadata: Metadata) -> None:
    for place in metadata.storage_data.values():
        object.__setattr__(place, "relative_path", "../other")


def claim(metadata: Metadata) -> None:
    entry = metadata.state_dict_metadata["a"]
    entry.size = entry.chunks[0].sizes = torch.Size([1 << 34])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (resize, "a has 1,099,511,627,776 values, and its parts 6"),
        (shrink, "b has 6 values, and its parts 0"),
        (lead_out, "names a file outside of the folder"),
        (claim, "its tensors have"),
    ],
)
def test_tables_that_do_not_fit_their_files_are_refused(
    change: Callable[[Any], None], message: str, folder: Path
) -> None:
    table = folder / ".metadata"
    metadata = pickle.loads(table.read_bytes())
    change(metadata)
    table.write_bytes(pickle.dumps(metadata))
    with pytest.raises(CheckpointError, match=message):
        read(folder)


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_pipes_are_not_waited_for(name: str, folder: Path) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(CheckpointError, match="a pipe or a device"):
        read(folder)
