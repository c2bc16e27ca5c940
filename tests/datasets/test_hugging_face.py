"""Datasets of Hugging Face: from a hub that runs here, and from a folder of `save_to_disk`."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest
from helpers.hub import talk_to
from helpers.image_makers import mask, picture

from vitrail.datasets import create_dataset
from vitrail.datasets.doctor import survey
from vitrail.datasets.formats import hugging_face
from vitrail.datasets.formats.hugging_face import HuggingFaceFiles
from vitrail.datasets.inspect_folder import inspect_folder
from vitrail.errors import DatasetError

datasets = pytest.importorskip("datasets")
HEIGHT, WIDTH = 24, 32
COMMIT = "a" * 40
COUNTS = {"train": 5, "validation": 2}


@pytest.fixture(scope="module")
def splits():
    """A dataset as its author has it, with a column that is none of ours."""
    features = datasets.Features(
        {"pixel_values": datasets.Image(), "label": datasets.Image(), "place": datasets.Value("string")}
    )

    def part(count: int):
        rows = range(count)
        columns = {
            "pixel_values": [picture(HEIGHT, WIDTH, seed) for seed in rows],
            "label": [mask(HEIGHT, WIDTH, seed=seed) for seed in rows],
            "place": ["here" for _ in rows],
        }
        return datasets.Dataset.from_dict(columns, features=features)

    return datasets.DatasetDict({name: part(count) for name, count in COUNTS.items()})


class Hub(http.server.BaseHTTPRequestHandler):
    """What the library asks the hub of Hugging Face for, answered from a folder."""

    asked: list[str] = []  # noqa: RUF012 - shared on purpose

    def __init__(self, *args, folder: Path) -> None:
        self.folder = folder
        super().__init__(*args)

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        files = sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())
        if path.startswith("/api/datasets/org/roads/tree/"):
            below = path.partition("/tree/")[2].partition("/")[2]
            inside = sorted((self.folder / below).iterdir())
            self.answer(json.dumps([self.entry(each) for each in inside]).encode())
        elif path.startswith("/api/datasets/org/roads"):
            known = {"id": "org/roads", "sha": COMMIT, "private": False, "siblings": [{"rfilename": f} for f in files]}
            self.answer(json.dumps(known).encode())
        elif path.startswith("/datasets/org/roads/resolve/"):
            name = path.partition("/resolve/")[2].partition("/")[2]
            known = (self.folder / name).read_bytes() if name in files else None
            digest = hashlib.sha256(known or b"").hexdigest()
            self.answer(known, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "X-Error-Code": "EntryNotFound"})
        else:
            self.answer(None, {"X-Error-Code": "RepoNotFound"})

    def do_POST(self) -> None:
        """Answer what is at some paths, which older versions ask."""
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        found = [self.folder / path for path in asked["paths"] if (self.folder / path).exists()]
        self.answer(json.dumps([self.entry(each) for each in found]).encode())

    def entry(self, path: Path) -> dict:
        name = path.relative_to(self.folder).as_posix()
        size = path.stat().st_size
        return {"type": "file" if path.is_file() else "directory", "path": name, "size": size, "oid": "b" * 40}

    def answer(self, content: bytes | None, headers: dict[str, str] | None = None) -> None:
        self.send_response(404 if content is None else 200)
        for key, value in (headers or {}).items():
            if content is None or key != "X-Error-Code":
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content or b"")


@pytest.fixture
def hub(splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "repository"
    for name, part in splits.items():
        part.to_parquet(folder / f"data/{name}-00000-of-00001.parquet")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Hub, folder=folder))
    endpoint = f"http://127.0.0.1:{server.server_port}"
    talk_to(endpoint, tmp_path / "hub", monkeypatch)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    Hub.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield folder
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def check_masks(dataset, count: int) -> None:
    assert len(dataset) == count
    for index in range(count):
        assert np.array_equal(dataset[index]["mask"], mask(HEIGHT, WIDTH, seed=index))
        assert np.array_equal(dataset[index]["image"].permute(1, 2, 0), np.asarray(picture(HEIGHT, WIDTH, index)))


def test_a_dataset_of_the_hub_is_read_by_name_and_then_found_offline(hub, monkeypatch):
    (hub / "id2label.json").write_text('{"0": "road", "1": "car", "2": "sky"}')
    dataset = create_dataset("hugging_face", "hf://org/roads", "train")
    check_masks(dataset, COUNTS["train"])
    assert dataset.benchmark.classes == ("road", "car", "sky")
    found = inspect_folder("hf://datasets/org/roads")
    assert found.splits == {"train": 5, "val": 2}
    assert "data.dataset=hugging_face --data-root hf://datasets/org/roads " in str(found)
    Hub.asked.clear()
    monkeypatch.setenv("VITRAIL_OFFLINE", "1")
    check_masks(create_dataset("hugging_face", Path("hf://org/roads"), "val"), COUNTS["validation"])
    assert Hub.asked == []


def test_a_dataset_that_the_hub_does_not_have(hub):
    with pytest.raises(DatasetError, match=r"hf://org/gone cannot be loaded: .*doesn't exist"):
        create_dataset("hugging_face", "hf://org/gone", "train")
    with pytest.raises(DatasetError, match=r"cannot be loaded: .*'night' not found. Available: \['default'\]"):
        create_dataset("hugging_face", "hf://org/roads", "train", config="night")


def test_a_table_of_the_hub_names_no_files_but_those_downloaded_with_it(tmp_path):
    inside, outside = tmp_path / "downloads" / "a.png", tmp_path / "private.png"
    inside.parent.mkdir()
    for file in (inside, outside):
        file.write_bytes(b"content")
    (tmp_path / "downloads/link.png").symlink_to(outside)
    paths = [inside, outside, tmp_path / "downloads/link.png", tmp_path / "downloads/../private.png"]
    table = {"train": [{"image": {"bytes": None, "path": str(path)}} for path in paths]}
    files = HuggingFaceFiles("hf://org/x", table, [(tmp_path / "downloads").resolve()])
    assert files.read("train/0/image") == b"content"
    for row in (1, 2, 3):
        with pytest.raises(DatasetError, match="which was not downloaded with it"):
            files.read(f"train/{row}/image")
    assert HuggingFaceFiles("own", table).read("train/1/image") == b"content"


def test_what_save_to_disk_wrote(splits, tmp_path):
    splits.save_to_disk(tmp_path / "all")
    dataset = create_dataset("hugging_face", tmp_path / "all", "val", classes=["a", "b", "c"])
    check_masks(dataset, COUNTS["validation"])
    assert inspect_folder(tmp_path / "all").dataset == "hugging_face"
    facts = survey(dataset, "val", remember=False).facts
    assert [entry.error for entry in facts] == ["", ""]
    assert str(tmp_path / "all/validation") in facts[0].mask
    splits["train"].save_to_disk(tmp_path / "one")
    assert len(create_dataset("hugging_face", tmp_path / "one", "val")) == 1


def test_what_cannot_be_read_is_explained(splits, tmp_path):
    with pytest.raises(DatasetError, match=r"neither hf://ORG/NAME nor a folder that save_to_disk wrote"):
        create_dataset("hugging_face", tmp_path, "train")
    splits.save_to_disk(tmp_path / "all")
    for options, says in (
        ({"masks": "place"}, "the column 'place' holds no images"),
        (
            {"masks": "gone"},
            r"no column of masks: it has pixel_values, label, place\. Name it with data\.options\.masks",
        ),
    ):
        with pytest.raises(DatasetError, match=says):
            create_dataset("hugging_face", tmp_path / "all", "train", **options)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("state.json", b"[]"),
        ("state.json", b'{"_data_files": [], "_fingerprint": "x", "_split": null}'),
        ("dataset_info.json", b"[]"),
        ("dataset_info.json", b'{"features": 5}'),
        ("data-00000-of-00001.arrow", b"hello"),
    ],
)
def test_damaged_folders_of_save_to_disk_are_named(file: str, content: bytes, splits, tmp_path: Path) -> None:
    splits["train"].save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "saved" / file).write_bytes(content)
    with pytest.raises(DatasetError, match="saved cannot be loaded"):
        create_dataset("hugging_face", tmp_path / "saved", "all")


@pytest.mark.parametrize("key", ["²", "-1", "9" * 5000, "x"])
def test_values_of_classes_that_are_no_numbers_are_named(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "names.json").write_text(json.dumps({key: "a", "007": "b"}))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *args, **options: str(tmp_path / "names.json"))
    address = hugging_face._ADDRESS.fullmatch("hf:/org/name")
    with pytest.raises(DatasetError, match="should give a name to each value"):
        hugging_face._described(Path("hf:/org/name"), address)
    (tmp_path / "names.json").write_text('{"007": "b", "0": "a"}')
    assert hugging_face._described(Path("hf:/org/name"), address).classes == ("a", "b")
