"""Checkpoints made to fill the memory, to take forever or to crash the interpreter are refused, and quickly."""

from __future__ import annotations

import io
import pickle
import random
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from vitrail.errors import CheckpointError
from vitrail.files import safe_pickle as reader
from vitrail.files.torch_file import read_pickle

ONE_STORAGE = {"0": bytes(16)}
FLOATS = b"ctorch\nFloatStorage\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def spelt(value: object) -> bytes:
    """The instructions that push a plain value, remembering none of its parts."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, 2)
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()[2:-1]


def storage(kind: bytes = FLOATS, key: bytes | None = None, count: bytes | None = None) -> bytes:
    """The instructions that push a storage."""
    key, count = key or spelt("0"), count or spelt(4)
    return b"(" + spelt("storage") + kind + key + spelt("cpu") + count + b"tQ"


def tensor(size: bytes, stride: bytes, memory: bytes | None = None) -> bytes:
    """The instructions that push a tensor."""
    return REBUILD + b"(" + (memory or storage()) + spelt(0) + size + stride + spelt(False) + b"}tR"


def doubled(times: int) -> bytes:
    """The instructions that push a tuple of two tuples of two tuples …: small in memory, exponential when printed."""
    return b"]" + b"".join(b"q" + bytes([index]) + b"h" + bytes([index]) + b"\x86" for index in range(times))


def nested(depth: int) -> bytes:
    """The instructions that push a tuple in a tuple in a tuple …: to hash it needs a stack as deep as that."""
    return b")" + b"\x85" * depth


def write(path: Path, instructions: bytes, storages: dict[str, bytes] | None = None, **options: int) -> Path:
    """Write an archive as torch.save does, with a pickle of these instructions."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("x/data.pkl", b"\x80\x04" + instructions + b".")
        for key, data in (storages or {}).items():
            archive.writestr(f"x/data/{key}", data)
    return path


def write_legacy(path: Path, *pickles: bytes) -> Path:
    """Write a file of the old format: the magic number, the version, the machine, the content, the storages' keys."""
    honest = [spelt(0x1950A86A20F9469CFC6C), spelt(1001), spelt({"little_endian": True}), spelt({}), spelt([])]
    parts = [*pickles, *honest[len(pickles) :]]
    path.write_bytes(b"".join(b"\x80\x02" + part + b"." for part in parts))
    return path


@contextmanager
def bounded(megabytes: int) -> Iterator[None]:
    """Fail when more than this is allocated at any time inside the block."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes << 20, f"{peak >> 20} MB were allocated"


def refuse(path: Path, reason: str) -> None:
    with bounded(32), pytest.raises(CheckpointError, match=reason) as refused:
        read_pickle(path)
    assert len(str(refused.value)) < 1000


def test_what_these_tests_write_is_read_when_it_is_honest(tmp_path: Path) -> None:
    content = b"}" + spelt("w") + tensor(spelt((2, 2)), spelt((2, 1))) + b"s"
    assert read_pickle(write(tmp_path / "x.pth", content, ONE_STORAGE))["w"].shape == (2, 2)
    assert read_pickle(write_legacy(tmp_path / "y.pth")) == {}


@pytest.mark.parametrize("place", ["function", "kind", "size", "key"])
def test_values_that_are_exponential_when_printed_are_not_printed(tmp_path: Path, place: str) -> None:
    laughs = doubled(22)
    content = {
        "function": laughs + b")R",
        "kind": storage(kind=laughs),
        "size": tensor(laughs, spelt((1,))),
        "key": storage(key=laughs),
    }[place]
    refuse(write(tmp_path / "x.pth", content, ONE_STORAGE), "damaged")


@pytest.mark.parametrize("place", range(5))
def test_nor_are_they_in_the_old_format(tmp_path: Path, place: int) -> None:
    honest = [spelt(0x1950A86A20F9469CFC6C), spelt(1001), spelt({"little_endian": True}), spelt({})]
    refuse(write_legacy(tmp_path / "x.pth", *honest[:place], doubled(22)), r"x\.pth")


def test_keys_of_storages_are_not_hashed_before_they_are_known_to_be_text(tmp_path: Path) -> None:
    """Otherwise the interpreter's stack overflows, which no `except` can catch."""
    refuse(write(tmp_path / "x.pth", storage(key=nested(200_000)), ONE_STORAGE), "without a name")
    honest = [spelt(0x1950A86A20F9469CFC6C), spelt(1001), spelt({"little_endian": True}), spelt({})]
    refuse(write_legacy(tmp_path / "x.pth", *honest, b"](" + nested(200_000) + b"e"), "storages disagree")
    old = b"(" + spelt("storage") + FLOATS + nested(200_000) + spelt("cpu") + spelt(4) + b"NtQ"
    refuse(write_legacy(tmp_path / "x.pth", *honest[:3], old), "without a name")


def test_deep_values_that_nobody_looks_at_do_no_harm(tmp_path: Path) -> None:
    found = read_pickle(write(tmp_path / "x.pth", b"}" + spelt("a") + nested(300_000) + b"s"))
    assert list(found) == ["a"]
    found = read_pickle(write(tmp_path / "x.pth", b"}" + spelt("a") + b"cfoo\nbar\n" + doubled(22) + b"Rs"))
    assert found["a"].kind == "foo.bar"


@pytest.mark.parametrize("count", [b"a" * 30_000_000, -4, 4.0, [4], 1 << 70], ids=["text", "-4", "4.0", "[4]", "2^70"])
def test_sizes_of_storages_are_numbers(tmp_path: Path, count: object) -> None:
    path = write(tmp_path / "x.pth", storage(count=spelt(count)), ONE_STORAGE)
    with pytest.raises(CheckpointError, match=r"without a name or a size|storage 0 does not have"):
        read_pickle(path)


@pytest.mark.parametrize(
    ("size", "stride"),
    [((1 << 200_000,) * 40, (1,) * 40), ((1,) * 100_000, (1,) * 100_000), ((2.0,), (1,)), ((True,), (1,)), ([4], [1])],
    ids=["huge", "dimensions", "float", "bool", "list"],
)
def test_shapes_are_numbers_that_can_be_multiplied(tmp_path: Path, size: object, stride: object) -> None:
    refuse(write(tmp_path / "x.pth", tensor(spelt(size), spelt(stride)), ONE_STORAGE), "a tensor")


@pytest.mark.parametrize("name", ["list", "tuple", "set", "frozenset", "dict"])
def test_tensors_are_not_made_into_a_million_tensors(tmp_path: Path, name: str) -> None:
    expanded = tensor(spelt((1 << 24,)), spelt((0,)))
    content = b"cbuiltins\n" + name.encode() + b"\n" + expanded + b"\x85R"
    refuse(write(tmp_path / "x.pth", content, ONE_STORAGE), "the items of a Tensor")
    content = b"cbuiltins\n" + name.encode() + b"\n" + expanded + b"R"
    refuse(write(tmp_path / "x.pth", content, ONE_STORAGE), "arguments in a Tensor")


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (b"cbuiltins\nlist\n", spelt([None] * 10_000)),
        (b"cbuiltins\nset\n", spelt(list(range(10_000)))),
        (b"ccollections\nOrderedDict\n", spelt({str(index): None for index in range(10_000)})),
        (b"ctorch\nSize\n", spelt([0] * 10_000)),
        (b"c_codecs\nencode\n", spelt("a" * 1_000_000)),
    ],
    ids=["list", "set", "OrderedDict", "Size", "encode"],
)
def test_a_pickle_that_copies_one_thing_over_and_over_is_refused(
    tmp_path: Path, function: bytes, argument: bytes
) -> None:
    once = function + b"q\xfe0" + argument + b"q\xff0"
    refuse(write(tmp_path / "x.pth", once + b"](" + b"h\xfeh\xff\x85R" * 20_000 + b"e"), "copies more than it holds")
    read = b"ctorch._tensor\n_rebuild_from_type_v2\nq\xfd0" + once + b"}" + spelt("a") + b"]("
    read += b"h\xfd(h\xfeNh\xff\x85NtR" * 20_000 + b"es"
    with bounded(32):
        found = read_pickle(write(tmp_path / "x.pth", read))["a"]
    assert all(isinstance(entry, reader.Foreign) for entry in found)


def test_honest_copies_are_counted_as_honest(tmp_path: Path) -> None:
    content = {"sets": [{index} for index in range(1000)], "bytes": [bytes([index % 256]) * 9 for index in range(1000)]}
    torch.save(content, tmp_path / "x.pth")
    assert read_pickle(tmp_path / "x.pth") == content


@pytest.mark.parametrize("instruction", [b"\x8f", b"(", b"}", b"N"], ids=["sets", "marks", "dictionaries", "nothings"])
def test_small_archives_of_many_instructions_are_refused(
    tmp_path: Path, instruction: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_INSTRUCTIONS", 20_000)  # the real limit would take seconds to reach
    path = write(tmp_path / "x.pth", instruction * (20 << 20), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 16
    with bounded(64), pytest.raises(CheckpointError, match=r"more than 20,000 instructions"):
        read_pickle(path)


def test_training_states_stay_far_below_the_limit_of_instructions(tmp_path: Path) -> None:
    def instructions(tensors: int) -> int:
        state = {f"layer{index}.weight": torch.zeros(1) for index in range(tensors)}
        torch.save({"state_dict": state}, tmp_path / "x.pth")
        with zipfile.ZipFile(tmp_path / "x.pth") as archive:
            return sum(1 for _ in reader.pickletools.genops(archive.read("x/data.pkl")))

    each = (instructions(200) - instructions(100)) / 100
    assert 5 * 4000 * each < reader.MAX_INSTRUCTIONS, "4000 tensors, twice averaged and with two moments each"


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsys\x1b[2Jtem\n)R",
        b"cfoo\n" + b"a" * 1_000_000 + b"\n)R",
        b"I" + b"9" * 1_000_000 + b"\n",
    ],
    ids=["escape", "name", "number"],
)
def test_messages_do_not_repeat_what_a_file_would_have_printed(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "x.pth", content)
    refuse(path, "damaged")
    with pytest.raises(CheckpointError) as refused:
        read_pickle(path)
    assert str(refused.value).isprintable()


def lie_about_sizes(path: Path, name: bytes, size: int) -> None:
    """Change the size that an archive tells of one of its files, in both places where it stands."""
    data = bytearray(path.read_bytes())
    for signature, at, length_at, name_at in ((b"PK\x03\x04", 22, 26, 30), (b"PK\x01\x02", 24, 28, 46)):
        place = -1
        while (place := data.find(signature, place + 1)) >= 0:
            (length,) = struct.unpack_from("<H", data, place + length_at)
            if data[place + name_at : place + name_at + length] == name:
                struct.pack_into("<I", data, place + at, size)
    path.write_bytes(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_bombs_that_lie_about_their_size_are_refused(tmp_path: Path, method: int) -> None:
    content = b"}" + spelt("w") + tensor(spelt((4,)), spelt((1,))) + b"s"
    path = write(tmp_path / "x.pth", content, {"0": bytes(64 << 20)}, compression=method)
    lie_about_sizes(path, b"x/data/0", 16)
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("x/data/0").file_size == 16
    assert path.stat().st_size < 1 << 20
    refuse(path, "CRC" if method == zipfile.ZIP_DEFLATED else "compressed by a method")


def test_archives_that_use_the_same_bytes_many_times_are_refused(tmp_path: Path) -> None:
    """Overlapping files: each is of an honest ratio, all of them together are larger than the archive."""
    path = write(tmp_path / "x.pth", b"}", {str(index): bytes(range(256)) * 400 for index in range(50)})
    data = path.read_bytes()
    first = data.index(b"PK\x03\x04", 4)
    directory = data.index(b"PK\x01\x02")
    entries = data[directory : data.index(b"PK\x05\x06")].split(b"PK\x01\x02")[1:]
    second = bytearray(b"PK\x01\x02" + entries[1])
    copies = b""
    for index in range(50):
        second[46 + len("x/data/")] = ord("A") + index
        copies += bytes(second)
    head = data[:first] + data[first : data.index(b"PK\x03\x04", first + 4)]
    directory_of = b"PK\x01\x02" + entries[0] + copies
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 51, 51, len(directory_of), len(head), 0)
    path.write_bytes(head + directory_of + end)
    refuse(path, "would expand")


def test_archives_with_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """What one program reads from such an archive, another does not."""
    path = write(tmp_path / "x.pth", b"}")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("x/data.pkl", b"\x80\x02N.")
    refuse(path, "two files of one name")


def test_other_byte_orders_are_refused_whatever_they_are_called(tmp_path: Path) -> None:
    for order in (b"big", b"\xff\xfe", b""):
        path = write(tmp_path / "x.pth", b"}")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("x/byteorder", order)
        refuse(path, "byte order")


def test_random_damage_to_an_archive_never_gives_anything_but_a_clean_error(tmp_path: Path) -> None:
    """The names and numbers of an archive stand outside its checksums."""
    path = tmp_path / "x.pth"
    torch.save({"w": torch.ones(8), "b": torch.zeros(3)}, path)
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    chance = random.Random(0)
    refused = 0
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 4))):
            data[chance.randrange(directory if chance.random() < 0.7 else 0, len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            read_pickle(path)
        except CheckpointError:
            refused += 1
    assert 0 < refused < 1500


def test_every_truncation_of_a_file_is_refused(tmp_path: Path) -> None:
    content = {"w": torch.ones(8), "meta": {"epoch": 3}, "b": torch.zeros(3, dtype=torch.float16)}
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save(content, tmp_path / "whole.pth", **options)
        whole = (tmp_path / "whole.pth").read_bytes()
        for length in range(0, len(whole), 7):
            path = tmp_path / "x.pth"
            path.write_bytes(whole[:length])
            with pytest.raises(CheckpointError, match=r"x\.pth"):
                read_pickle(path)
