import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.datasets import SampleKey, sample_cache
from vitrail.datasets.recipe import open_split
from vitrail.datasets.sample_cache import SampleCache
from vitrail.errors import DatasetError
from vitrail.recipes import DataConfig
from vitrail.training.loader import training_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of three images and masks of 24×32 pixels for each split."""
    numbers = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind, shape, high in (("images", (24, 32, 3), 256), ("masks", (24, 32), 2)):
            folder = tmp_path / "data" / kind / split
            folder.mkdir(parents=True)
            for index in range(3):
                Image.fromarray(numbers.integers(0, high, shape, dtype=np.uint8)).save(folder / f"{index}.png")
    (tmp_path / "data/classes.yaml").write_text("classes: [road, sky]\n")
    return tmp_path / "data"


def config(root: Path, cache: Path | None, **changes: object) -> DataConfig:
    augment = {"scale": [0.5, 2.0], "crop": [16, 16], "photometric": True}
    given = {"dataset": "folder", "root": str(root), "cache": None if cache is None else str(cache), "augment": augment}
    return DataConfig.model_validate({**given, **changes})


def written(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("changes", [{}, {"classes": {"sky": "air"}}, {"mean": [100.0], "std": [50.0]}])
def test_samples_are_those_of_the_files(root: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    plain, kept = (training_dataset(config(root, cache, **changes)) for cache in (None, tmp_path / "cache"))
    for _ in range(2):  # decoded and kept, then read
        for index in range(len(plain)):
            one, other = plain.source.load(index), kept.source.load(index)
            for a, b in zip(one, other, strict=True):
                assert type(a) is type(b) and a.dtype == b.dtype and torch.equal(a, b)
                assert a.is_contiguous() == b.is_contiguous(), "operators' results may depend on it"
            key = SampleKey(index, 7)
            assert all(torch.equal(plain[key][name], kept[key][name]) for name in ("image", "mask"))
    assert len(written(tmp_path / "cache")) == 3


def test_files_are_not_decoded_again_until_they_change(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    before = open_split(config(root, cache), "val")[0]
    again = open_split(config(root, cache), "val")
    monkeypatch.setattr(again.source, "_decode", None)
    assert torch.equal(again[0]["image"], before["image"])
    changed = root / "images/val/0.png"
    Image.fromarray(np.full((24, 32, 3), 9, np.uint8)).save(changed)
    assert (open_split(config(root, cache), "val")[0]["image"] == 9).all()
    grey = open_split(config(root, cache, mean=[1.0], std=[1.0]), "val")[0]["image"]
    assert grey.shape == (1, 24, 32)


def test_a_damaged_file_is_decoded_again(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = open_split(config(root, cache), "val")[0]
    (file,) = written(cache)
    whole = file.read_bytes()
    for damaged in (b"", whole[:100], whole[:-1], b"x" * len(whole)):
        file.write_bytes(damaged)
        assert torch.equal(open_split(config(root, cache), "val")[0]["image"], before["image"])
        assert file.read_bytes() == whole


def test_a_full_disk_stops_the_keeping_and_nothing_else(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sample_cache, "SPARE_BYTES", 1 << 62)
    dataset = open_split(config(root, tmp_path / "cache"), "val")
    with caplog.at_level(logging.WARNING):
        assert [dataset[index]["image"].shape for index in range(3)] == [(3, 24, 32)] * 3
    assert [record.getMessage() for record in caplog.records if "no more decoded images" in record.getMessage()] == [
        f"data.cache: less than 1 GiB of the disk is free: no more decoded images are kept in {tmp_path / 'cache'}"
    ]
    assert not written(tmp_path / "cache")


def test_what_cannot_be_kept_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="decoded from files, which this dataset's are not"):
        open_split(DataConfig.model_validate({"dataset": "scenes", "cache": str(tmp_path)}), "train")
    with pytest.raises(DatasetError, match="is a file, not a folder"):
        open_split(config(root, root / "classes.yaml"), "val")


def test_several_names_of_one_file_are_kept_apart(tmp_path: Path) -> None:
    cache = SampleCache(tmp_path, "settings")
    first, second = (
        cache.load(stamp, lambda value=value: (torch.full((3, 2, 2), value), torch.full((2, 2), value)))  # type: ignore[misc]
        for stamp, value in (("a", 1), ("b", 2))
    )
    assert int(first[0][0, 0, 0]) == 1 and int(second[0][0, 0, 0]) == 2
    assert len(written(tmp_path)) == 2
