"""Data behind addresses: faults that pass, faults that last, ranges of archives, the cache, and the same samples."""

from __future__ import annotations

import http.server
import io
import pickle
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image
from torch.utils.data import DataLoader

from vitrail.datasets import create_dataset
from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.files import benchmark_files
from vitrail.datasets.formats.recognise import recognise_format
from vitrail.datasets.open_files import open_files
from vitrail.errors import DatasetError, VitrailError
from vitrail.files import remote
from vitrail.files.byte_cache import ByteCache
from vitrail.files.remote import RemoteStore, remote_address

TINY = Benchmark(
    name="tiny",
    title="Tiny",
    classes=("a", "b", "c"),
    palette=((0, 0, 0), (1, 1, 1), (2, 2, 2)),
    splits={"train": Split("images/{id}.png", "masks/{id}.png")},
)


class Faulty:
    """What happens to the requests of a storage in memory.

    Attributes
    ----------
    asked : list
        The (path, start, end) of every reading.
    faults : list
        What happens to the next readings: an error to raise, or a function of the answer.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None, int | None]] = []
        self.faults: list = []


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """The storage memory://, empty, with a cache of its own and no pauses between attempts."""
    monkeypatch.setenv("VITRAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    faulty = Faulty()
    original = MemoryFileSystem.cat_file

    def cat_file(self, path, start=None, end=None, **options) -> bytes:
        faulty.asked.append((path, start, end))
        answer = original(self, path, start, end, **options)
        if not faulty.faults:
            return answer
        fault = faulty.faults.pop(0)
        if isinstance(fault, Exception):
            raise fault
        return fault(answer)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    yield faulty
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of five images with masks, and classes.yaml."""
    generator = np.random.default_rng(0)
    root = tmp_path / "data"
    for index in range(5):
        for folder, high, shape in (("images", 255, (32, 48, 3)), ("masks", 3, (32, 48))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, high, shape, np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{index}.png")
    (root / "classes.yaml").write_text("classes: [a, b, c]\n")
    return root


def upload(folder: Path, address: str) -> None:
    fsspec.filesystem("memory").put(str(folder), address.removeprefix("memory:/"), recursive=True)


def archive(folder: Path, kind: str) -> bytes:
    packed = shutil.make_archive(str(folder.parent / f"packed-{kind}"), kind, folder.parent, folder.name)
    return Path(packed).read_bytes()


def same(one, other) -> bool:
    return one.ids == other.ids and all(
        torch.equal(one[index][key], other[index][key]) for index in range(len(one)) for key in ("image", "mask")
    )


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_samples_are_those_of_the_disk_in_this_and_in_other_processes(storage: Faulty, images: Path, form: str) -> None:
    if form == "folder":
        upload(images, "memory://bucket/data")
        address = "memory://bucket/data"
    else:
        address = f"memory://bucket/data.{form}"
        fsspec.filesystem("memory").pipe(f"/bucket/data.{form}", archive(images, form))
    for split in ("train", "val"):
        here, there = create_dataset("folder", images, split), create_dataset("folder", address, split)
        assert same(here, there) and here.benchmark.classes == there.benchmark.classes
        assert same(here, pickle.loads(pickle.dumps(there)))
    loaded = list(DataLoader(create_dataset("folder", Path(address), "all"), batch_size=None, num_workers=2))
    assert [sample["id"] for sample in loaded] == create_dataset("folder", images, "all").ids
    official = benchmark_files(TINY, Path(address), "train")
    assert torch.equal(official.load(3)[1], create_dataset("folder", images, "all")[3]["mask"])


def test_archives_in_a_remote_folder_are_read_as_one(storage: Faulty, images: Path) -> None:
    for part in ("images", "masks"):
        fsspec.filesystem("memory").pipe(f"/bucket/{part}.zip", archive(images / part, "zip"))
    files = benchmark_files(TINY, Path("memory://bucket"), "train")
    assert files.ids == [str(index) for index in range(5)]
    with pytest.raises(DatasetError, match=r"memory://bucket lacks 'other'"):
        open_files(Path("memory://bucket"), ["other"])


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_only_what_is_needed_of_an_archive_is_fetched(storage: Faulty, tmp_path: Path, kind: str) -> None:
    (tmp_path / "many").mkdir()
    for index in range(20):
        (tmp_path / "many" / f"{index}.bin").write_bytes(np.random.default_rng(index).bytes(200_000))
    data = archive(tmp_path / "many", kind)
    fsspec.filesystem("memory").pipe(f"/bucket/many.{kind}", data)
    files = open_files(Path(f"memory://bucket/many.{kind}"), [])
    opening = len(storage.asked)
    assert sum(end - start for _, start, end in storage.asked) < len(data) / 4
    assert files.read("many/7.bin") == (tmp_path / "many" / "7.bin").read_bytes()
    assert len(storage.asked) == opening + 1
    assert storage.asked[-1][2] - storage.asked[-1][1] < 201_000
    assert files.start("many/8.bin", 100) == (tmp_path / "many" / "8.bin").read_bytes()[:100]
    storage.asked.clear()  # what was read, and the index, are on the disk now
    again = open_files(Path(f"memory://bucket/many.{kind}"), [])
    assert again.read("many/7.bin") == files.read("many/7.bin") and not storage.asked
    assert again.locate("many/7.bin") == f"memory://bucket/many.{kind}:many/7.bin"
    with pytest.raises(DatasetError, match="no such file in the archive"):
        again.read("many/99.bin")


def test_faults_that_pass_are_tried_again(storage: Faulty) -> None:
    fsspec.filesystem("memory").pipe("/bucket/a", b"whole content")
    storage.faults = [
        OSError("503 Slow Down"),
        lambda answer: answer[:4],  # a connection that ended early
        TimeoutError(),
        lambda answer: answer + b"!",
    ]
    assert RemoteStore("memory://bucket").read("a") == b"whole content"
    assert len(storage.asked) == 5


def test_a_storage_that_has_answered_is_waited_for_more_than_a_minute(
    storage: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", pauses.append)
    monkeypatch.setattr(remote.random, "uniform", lambda low, high: low)
    fsspec.filesystem("memory").pipe("/bucket/a", b"whole content")
    store = RemoteStore("memory://bucket")
    storage.faults = [ConnectionError("the network is down")] * 8
    assert store.read("a") == b"whole content"
    assert sum(pauses) > 60

    def down(*_: object, **__: object) -> None:
        raise ConnectionError("the network is down")

    pauses.clear()
    monkeypatch.setattr(MemoryFileSystem, "info", down)
    with pytest.raises(DatasetError, match="in 6 attempts"):  # an address that may be wrong is not waited for as long
        RemoteStore("memory://bucket").find("a")
    assert sum(pauses) < 10


def test_faults_that_last_are_named(storage: Faulty) -> None:
    fsspec.filesystem("memory").pipe("/bucket/a", b"whole content")
    store = RemoteStore("memory://bucket")
    storage.faults = [OSError("503 Slow Down")] * 9
    with pytest.raises(DatasetError, match=r"memory://bucket/a in 9 attempts: OSError: 503 Slow Down"):
        store.read("a")
    storage.faults = [lambda answer: b""] * 9
    with pytest.raises(DatasetError, match=r"0 bytes came in place of 13"):
        store.read("a")
    storage.asked.clear()
    storage.faults = [PermissionError("Access Denied")]
    with pytest.raises(DatasetError, match=r"Access Denied.*credentials"):
        store.read("a")
    assert len(storage.asked) == 1  # asking again would not help
    with pytest.raises(DatasetError, match="there is no such file"):
        store.read("b")


def test_a_file_that_changes_is_noticed(storage: Faulty) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/a.zip", _zip(b"first"))
    files = open_files(Path("memory://bucket/a.zip"), [])
    assert files.read("x") == b"first"
    memory.pipe("/bucket/a.zip", _zip(b"other"))
    assert open_files(Path("memory://bucket/a.zip"), []).read("x") == b"other"  # nothing of the first from the cache
    with pytest.raises(DatasetError, match="has changed while it was used"):
        pickle.loads(pickle.dumps(files)).read("x")  # a process that starts now


def _zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("x", content)
    return file.getvalue()


def test_damaged_and_compressed_archives_are_refused(storage: Faulty) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/a.zip", b"no archive")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        file.addfile(tarfile.TarInfo("x"))
    memory.pipe("/bucket/a.tar", packed.getvalue())
    for kind in ("zip", "tar"):
        with pytest.raises(DatasetError, match=rf"cannot open memory://bucket/a\.{kind}"):
            open_files(Path(f"memory://bucket/a.{kind}"), [])
    for address in ("memory://bucket/none.zip", "memory://nothing"):
        with pytest.raises(DatasetError, match=f"{address}.*does not exist"):
            open_files(Path(address), [])


def test_the_cache_is_bounded_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = ByteCache(tmp_path, 10_000)
    content = {str(number): bytes([number]) * 1000 for number in range(30)}
    for number, data in content.items():
        assert cache.get(number, lambda data=data: data) == data
        cache.get("0", lambda: pytest.fail("what is used all the time is kept"))
        assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 10_000
    assert ByteCache(tmp_path, 10_000).get("29", lambda: pytest.fail("another process finds it")) == content["29"]
    assert cache.get("1", lambda: b"fetched again") == b"fetched again"
    damaged = next(path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 1000)
    damaged.write_bytes(b"\0" * 1008)
    key = next(key for key in content if cache._path(key) == damaged)
    assert cache.get(key, lambda: b"new") == b"new"
    assert ByteCache(tmp_path / "none", 0).get("1", lambda: b"x") == b"x" and not (tmp_path / "none").exists()


def test_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert remote_address(Path("s3://bucket/folder/")) == "s3://bucket/folder"
    assert remote_address("https://host/a.zip") == "https://host/a.zip"
    assert remote_address("photos/a.png") is None and remote_address("file:///etc/passwd") is None
    with pytest.raises(DatasetError, match="chains several storages"):
        remote_address("s3://bucket/a.zip::file:///etc/passwd")
    with pytest.raises(DatasetError, match=r"'coco' is read from the disk.*copy it.*folder"):
        create_dataset("coco", "s3://bucket/x", "train")
    monkeypatch.setenv("VITRAIL_OFFLINE", "1")
    with pytest.raises(DatasetError, match="VITRAIL_OFFLINE"):
        create_dataset("folder", "s3://bucket/x", "train")
    monkeypatch.delenv("VITRAIL_OFFLINE")
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(DatasetError, match=r"pip install 'vitrail\[cloud\]'"):
        create_dataset("folder", "s3://bucket/x", "train")
    monkeypatch.setenv("VITRAIL_CACHE_BYTES", "2GB")
    with pytest.raises(VitrailError, match="VITRAIL_CACHE_BYTES"):
        RemoteStore("memory://x")


def shards(images: Path, folder: Path) -> None:
    """Write the images as two archives of a WebDataset for training and one for validation."""
    folder.mkdir()
    for name, indices in (("train-000000", (0, 1)), ("train-000001", (2,)), ("val-000000", (3, 4))):
        with tarfile.open(folder / f"{name}.tar", "w") as packed:
            for index in indices:
                packed.add(images / "images" / f"{index}.png", f"{index}.image.png")
                packed.add(images / "masks" / f"{index}.png", f"{index}.seg.png")
                packed.add(images / "classes.yaml", f"{index}.json")
    shutil.copy(images / "classes.yaml", folder)


def test_webdataset_is_read_at_random_from_the_disk_and_from_afar(
    storage: Faulty, images: Path, tmp_path: Path
) -> None:
    shards(images, tmp_path / "shards")
    upload(tmp_path / "shards", "memory://bucket/shards")
    plain = create_dataset("folder", images, "all")
    for root in (tmp_path / "shards", "memory://bucket/shards"):
        train, val = (create_dataset("webdataset", root, split) for split in ("train", "val"))
        assert train.ids == ["train-000000/0", "train-000000/1", "train-000001/2"]
        assert val.ids == ["val-000000/3", "val-000000/4"]
        for dataset, indices in ((train, (2, 0, 1)), (val, (1, 0))):
            for index in indices:
                expected = plain[int(dataset.ids[index].rpartition("/")[2])]
                assert torch.equal(dataset[index]["image"], expected["image"])
                assert torch.equal(dataset[index]["mask"], expected["mask"])
        with pytest.raises(DatasetError, match=r"it has image\.png, seg\.png, json.*data\.options\.masks"):
            create_dataset("webdataset", root, "train", masks="label.png")
    assert recognise_format(tmp_path / "shards").dataset == "webdataset"
    storage.asked.clear()
    create_dataset("webdataset", "memory://bucket/shards", "train")
    assert not any(path.endswith(".tar") for path, _, _ in storage.asked)  # the indexes are kept


def test_a_sample_of_webdataset_without_mask_is_named(images: Path, tmp_path: Path, storage: Faulty) -> None:
    shards(images, tmp_path / "shards")
    with tarfile.open(tmp_path / "shards" / "train-000001.tar", "a") as packed:
        packed.add(images / "images" / "3.png", "lonely.image.png")
    with pytest.raises(DatasetError, match=r"train-000001\.tar:lonely has no \.seg\.png, as 1 of 2 samples"):
        create_dataset("webdataset", tmp_path / "shards", "train")
    (tmp_path / "none").mkdir()
    with pytest.raises(DatasetError, match=r"holds no \.tar archives"):
        create_dataset("webdataset", tmp_path / "none", "train")


def test_parquet_tables_are_read_by_ranges(storage: Faulty, images: Path) -> None:
    table = pyarrow.table(
        {"more": [np.random.default_rng(index).bytes(200_000) for index in range(5)]}
        | {
            name: [{"bytes": (images / folder / f"{index}.png").read_bytes()} for index in range(5)]
            for name, folder in (("image", "images"), ("label", "masks"))
        }
    )
    packed = io.BytesIO()
    pyarrow.parquet.write_table(table, packed, row_group_size=1)
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/table/data/train-00000.parquet", packed.getvalue())
    memory.pipe("/bucket/table/classes.yaml", (images / "classes.yaml").read_bytes())
    dataset = create_dataset("parquet", "memory://bucket/table", "all")
    plain = create_dataset("folder", images, "all")
    for index in (3, 0, 4):
        for key in ("image", "mask"):
            assert torch.equal(dataset[index][key], plain[index][key])
    assert sum(end - start for path, start, end in storage.asked if path.endswith("parquet")) < 700_000  # of a million


class Web(http.server.BaseHTTPRequestHandler):
    """A server that fails, and one that redirects to another place."""

    asked: list[str] = []  # noqa: RUF012 - shared on purpose
    target = ""

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        failing = self.path.startswith("/failing")
        self.send_response(503 if failing else 302 if self.path.startswith("/elsewhere") else 200)
        self.send_header("Location", f"{self.target}/inside/x.png")
        self.send_header("Content-Length", "0" if failing else "3")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *args) -> None:
        pass


def test_servers_on_the_web_neither_lead_into_a_private_network_nor_hide_their_faults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    Web.target = f"http://localhost:{server.server_port}"
    try:
        monkeypatch.setattr("vitrail.files.web.is_private", lambda host: host == "localhost")
        with pytest.raises(
            DatasetError, match="an address of this machine or of a private network: it is not followed"
        ):
            RemoteStore(f"{address}/elsewhere", attempts=1).find("x.png")
        assert not any("inside" in path for path in Web.asked)
        monkeypatch.setattr("vitrail.files.web.is_private", lambda host: True)  # both are
        assert RemoteStore(f"{address}/elsewhere", attempts=1).find("x.png").size == 3
        with pytest.raises(DatasetError, match=r"in 2 attempts: .*503"):
            RemoteStore(f"{address}/failing", attempts=2, pause=0).find("x.png")
    finally:
        server.shutdown()
        server.server_close()
