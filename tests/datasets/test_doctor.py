"""The check of a dataset: what each fault is reported as, and that following the advice mends it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.image_makers import mask, picture, save
from PIL import Image

from vitrail.datasets import create_dataset
from vitrail.datasets.check import check_dataset
from vitrail.datasets.doctor import RunPlan, act_on, examine, survey
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.errors import DatasetError

PLAN = RunPlan(crop=None, resized=False, largest_scale=1.0, iterations=1000, per_epoch=10, batch_size=4, warmups={})
SPLIT_BY_A_SHELL = re.compile(r"(?<!')\b[a-z]+\.[a-z_.]+=\[[^\]]*\s")  # advice is copied to a command line


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("VITRAIL_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, names in (("train", "abcdef"), ("val", "gh")):
        for seed, name in enumerate(names):
            save(tmp_path / "images" / split / f"{name}.png", picture(seed=ord(name)))
            save(tmp_path / "masks" / split / f"{name}.png", mask(classes=2, seed=seed + (10 if split == "val" else 0)))
    (tmp_path / "classes.txt").write_text("background\nthing\n")
    return tmp_path


def found(root: Path, pixels: PixelFormat = RGB, **options) -> dict[str, tuple[str, str]]:
    """Return severity and text of each finding, by the name of its check."""
    report = check_dataset("folder", root, ("train", "val"), options=options, pixels=pixels)
    first: dict[str, tuple[str, str]] = {}
    for finding in report.findings:
        assert not SPLIT_BY_A_SHELL.search(finding.fix), finding.fix
        first.setdefault(finding.check, (finding.severity, str(finding)))
    return first


def each_mask(root: Path, change, split: str = "*") -> None:
    for path in sorted((root / "masks").glob(f"{split}/*.png")):
        with Image.open(path) as opened:
            changed = change(np.array(opened))
        (changed if isinstance(changed, Image.Image) else Image.fromarray(changed)).save(path)


def test_a_good_dataset_has_no_findings(root):
    assert found(root) == {}


def test_one_class(root):
    each_mask(root, lambda values: np.where(values == 1, 0, 255).astype(np.uint8))
    (root / "classes.txt").write_text("water\n")
    severity, text = found(root)["one class"]
    assert severity == "stop"
    names, values = re.search(r"'(classes: \[.*?\])'.*'(values: \[.*?\])'", text).groups()
    (root / "classes.yaml").write_text(f"{names}\n{values}\n")  # as the message says
    assert found(root) == {}
    assert create_dataset("folder", root, "train").benchmark.classes == ("background", "water")


def test_white_that_is_ignored(root):
    each_mask(root, lambda values: values * 255)
    (root / "classes.yaml").write_text("classes: [background, thing, other]\n")
    severity, text = found(root)["binary masks"]
    assert severity == "stop"
    assert "learn 'background' alone" in text
    (root / "classes.yaml").write_text("classes: [background, thing]\n" + re.search(r"'(values: .*?)'", text)[1])
    assert {check: severity for check, (severity, _) in found(root).items()} == {"binary masks": "note"}


def test_a_class_without_a_pixel(root):
    (root / "classes.txt").write_text("background\nthing\nbee\n")
    severity, text = found(root)["classes without pixels"]
    assert severity == "warning"
    assert "'bee'" in text
    assert "data.classes={bee: null}" in text


def test_a_split_without_labels(root):
    each_mask(root, lambda values: np.full_like(values, 255), "val")
    severity, text = found(root)["no labels"]
    assert severity == "stop"
    assert "split 'val'" in text


def test_a_large_share_that_is_ignored(root):
    each_mask(root, lambda values: np.where(np.arange(32) < 20, 255, values).astype(np.uint8))
    severity, text = found(root)["ignored pixels"]
    assert severity == "warning"
    assert "62.5%" in text


def test_labels_in_the_alpha_channel(root):
    each_mask(root, lambda values: np.dstack([values * 0, values * 255]))
    assert found(root)["alpha channel"][0] == "stop"


def test_colour_tables_that_differ(root):
    numbers = iter(range(100))

    def coloured(values):
        image = Image.fromarray(values)
        image.putpalette([next(numbers), 0, 0, 0, 9, 0])
        return image

    each_mask(root, coloured)
    severity, text = found(root)["colour tables"]
    assert severity == "warning"
    assert "6 different colour tables" in text


def test_the_same_image_in_both_splits(root):
    shutil.copy(root / "images/train/a.png", root / "images/val/g.png")
    severity, text = found(root)["images in two splits"]
    assert severity == "warning"
    assert "g.png = " in text
    shutil.copy(root / "images/train/b.png", root / "images/val/h.png")
    assert found(root)["images in two splits"][0] == "stop"


def test_masks_of_other_images(root):
    for name in "bcd":
        shutil.copy(root / "masks/train/a.png", root / f"masks/train/{name}.png")
    severity, text = found(root)["repeated masks"]
    assert severity == "warning"
    assert "4 masks" in text


def test_a_turned_image_and_a_mask_that_is_not(root):
    exif = Image.Exif()
    exif[0x0112] = 3
    picture().save(root / "images/train/a.png", exif=exif)
    severity, text = found(root)["EXIF orientation"]
    assert severity == "warning"
    assert "a.png" in text
    with Image.open(root / "masks/train/a.png") as opened:
        opened.save(root / "masks/train/a.png", exif=exif)
    assert found(root) == {}, "both are turned"


def test_deep_images_without_a_range(root):
    for index, path in enumerate(sorted((root / "images").rglob("*.png"))):
        save(path, (np.arange(768).reshape(24, 32) * 5 + index).astype(np.uint16))
    severity, text = found(root)["value range"]
    assert severity == "warning"
    low, high = map(float, re.search(r"data.value_range=\[(\d+),(\d+)\]", text).groups())
    assert (low, high) == (0, 4095)
    assert found(root, PixelFormat(3, (low, high))) == {}, "as the message says"
    save(root / "images/train/a.png", np.full((24, 32), 200, np.uint16) + np.arange(32, dtype=np.uint16))
    assert found(root)["value range"][0] == "stop", "8 bits and 12 bits"


def test_unusable_files_are_listed(root):
    (root / "masks/train/a.png").write_bytes(b"")
    data = (root / "images/train/b.png").read_bytes()
    (root / "images/train/b.png").write_bytes(data[: len(data) // 2])
    save(root / "masks/train/c.png", mask(20, 20, classes=2))
    severity, text = found(root)["unusable files"]
    assert severity == "stop"
    assert text.startswith("3 images of the split 'train' cannot be used")
    for said in ("a.png is empty", "b.png is truncated or damaged", "c.png is 20×20"):
        assert said in text


@pytest.mark.parametrize(
    ("check", "changes", "says"),
    [
        ("crop", {"crop": (512, 512)}, "At least 100% of every training image is padding"),
        ("iterations", {"per_epoch": 1, "iterations": 10}, "an epoch is one iteration of 4 images"),
        ("warm-up", {"warmups": {"schedule.warmup": (0, 1000)}}, "schedule.warmup.iterations=50"),
    ],
)
def test_the_run_is_checked_too(root, check, changes, says):
    surveys = [survey(create_dataset("folder", root, split), split) for split in ("train", "val")]
    assert examine(surveys, PLAN) == []
    (finding,) = examine(surveys, RunPlan(**{**PLAN.__dict__, **changes}))
    assert (finding.check, finding.severity) == (check, "warning")
    assert not SPLIT_BY_A_SHELL.search(finding.fix)
    assert says in str(finding)


def test_findings_stop_or_warn(root, caplog):
    (root / "classes.txt").write_text("a\nb\nc\n")
    each_mask(root, lambda values: np.full_like(values, 255), "val")
    surveys = [survey(create_dataset("folder", root, split), split) for split in ("train", "val")]
    with pytest.raises(DatasetError, match=r"(?s)no pixel of the split 'val'.*data.check=warn"):
        act_on(examine(surveys), "stop")
    assert "'c'" in caplog.text, "the warnings are said too"
    caplog.clear()
    act_on(examine(surveys), "warn")
    assert "no pixel of the split 'val' has a class" in caplog.text


def test_what_was_seen_is_remembered_until_a_file_changes(root, monkeypatch):
    dataset = create_dataset("folder", root, "train")
    first = survey(dataset, "train").facts
    reads = []
    monkeypatch.setattr(dataset.source, "load_mask", lambda index, size: reads.append(index) or mask(classes=2))
    assert survey(dataset, "train").facts == first
    assert reads == []
    save(root / "masks/train/b.png", np.zeros((24, 32), np.uint8))
    again = create_dataset("folder", root, "train")
    counts = [facts.counts for facts in survey(again, "train").facts]
    assert counts[1] == (768, 0)
    assert counts[0] == first[0].counts


def test_facts_are_plain_data(root):
    surveyed = survey(create_dataset("folder", root, "train"), "train")
    facts = surveyed.facts[0]
    assert type(facts).from_dict(json.loads(json.dumps(facts.to_dict()))) == facts


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({0: 1, 1: 2}, "values: [1, 2]"),
        ({0: 10, 1: 20}, "values: [10, 20]"),
        ({0: 0, 1: 128}, "values: [0, 128]"),
        ({0: 1, 1: 2, 2: 0}, "values: [1, 2]|ignore: [0]"),
    ],
)
def test_values_that_are_not_counted_from_zero_are_read_by_the_line_that_is_advised(root, values, lines):
    truth = create_dataset("folder", root, "train")[0]["mask"].numpy()
    each_mask(root, lambda found: np.vectorize(values.__getitem__)(found).astype(np.uint8))
    if 2 in values:
        each_mask(root, lambda found: np.where(np.arange(found.shape[1]) < 4, 0, found).astype(np.uint8))
        truth = np.where(np.arange(truth.shape[1]) < 4, 255, truth)
    severity, text = found(root)["unusable files"]
    assert severity == "stop"
    for line in lines.split("|"):
        assert line in text
    (root / "classes.yaml").write_text("\n".join(["classes: [background, thing]", *lines.split("|")]))
    assert "unusable files" not in found(root)
    assert np.array_equal(create_dataset("folder", root, "train")[0]["mask"], truth)


def test_black_and_white_of_16_bits_are_two_classes(root):
    truth = create_dataset("folder", root, "train")[0]["mask"].numpy()
    each_mask(root, lambda found: found.astype(np.uint16) * 65535)
    assert found(root) == {}
    assert np.array_equal(create_dataset("folder", root, "train")[0]["mask"], truth)


def test_one_value_that_is_no_class_is_no_sign_of_smoothing(root):
    (root / "classes.yaml").write_text("classes: [background, thing]\nvalues: [0, 100]")
    text = found(root)["unusable files"][1]
    assert "holds the value 1, which is no class" in text
    assert "--fix" not in text
