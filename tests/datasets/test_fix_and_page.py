"""The corrected copy of a dataset, and the page that shows one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.image_makers import make_folder, picture, save
from PIL import Image, ImageOps

from vitrail.datasets import create_dataset
from vitrail.datasets.check import check_dataset
from vitrail.datasets.check_page import write_page
from vitrail.datasets.fix import write_fixed
from vitrail.errors import DatasetError

THING = np.kron(np.pad(np.ones((3, 4), np.uint8), ((1, 2), (2, 2))), np.ones((8, 8), np.uint8))  # [48, 64]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("VITRAIL_HOME", str(tmp_path_factory.mktemp("home")))


def dataset_of(root: Path, mask_of, suffix: str = ".png", **options) -> Path:
    for seed, name in enumerate("abcde"):
        save(root / "images" / f"{name}.png", picture(48, 64, seed))
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask_of(THING)).save(root / "masks" / f"{name}{suffix}", **options)
    return root


def fixed_masks(root: Path, out: Path) -> list[np.ndarray]:
    write_fixed(root, out)
    dataset = create_dataset("folder", out, "all")
    return [np.asarray(dataset[index]["mask"]) for index in range(len(dataset))]


def test_smoothed_edges_become_sharp(tmp_path):
    def smooth(mask):
        half = Image.fromarray(mask * 255).resize((32, 24), Image.Resampling.BILINEAR)
        return np.asarray(half.resize((64, 48), Image.Resampling.BILINEAR))

    root = dataset_of(tmp_path / "own", smooth)
    with pytest.raises(DatasetError, match="--fix OUT"):
        create_dataset("folder", root, "train")
    for found in fixed_masks(root, tmp_path / "out"):
        assert np.array_equal(found, smooth(THING) >= 128)
    found = {finding.check for finding in check_dataset("folder", tmp_path / "out", ["train", "val"]).findings}
    assert found == {"repeated masks"}, "this dataset has one mask"


@pytest.mark.parametrize("kind", ["two names", "colours"])
def test_smoothed_edges_of_classes_with_names_become_sharp_as_the_check_advises(tmp_path, kind):
    def smooth(mask):
        image = Image.fromarray(mask * 255)
        if kind == "colours":
            image = Image.merge("RGB", [image, Image.new("L", image.size), image])
        half = image.resize((32, 24), Image.Resampling.BILINEAR)
        return np.asarray(half.resize((64, 48), Image.Resampling.BILINEAR))

    root = dataset_of(tmp_path / "own", smooth)
    more = "palette: [[0, 0, 0], [255, 0, 255]]\n" if kind == "colours" else ""
    (root / "classes.yaml").write_text(f"classes: [rest, thing]\n{more}")
    stop = next(f for f in check_dataset("folder", root, ["train"]).findings if f.check == "unusable files")
    assert "vitrail dataset check folder --root ROOT --fix OUT" in stop.fix
    for found in fixed_masks(root, tmp_path / "out"):
        assert np.array_equal(found, smooth(THING).reshape(48, 64, -1)[..., 0] >= 128)
    assert create_dataset("folder", tmp_path / "out", "train").benchmark.classes == ("rest", "thing")


def test_colours_of_a_jpeg_become_those_of_the_classes(tmp_path):
    colours = np.array([[0, 0, 0], [200, 30, 30]], np.uint8)
    root = dataset_of(tmp_path / "own", lambda mask: colours[mask], ".jpg", quality=90, subsampling=0)
    (root / "classes.yaml").write_text("classes: [a, b]\npalette: [[0, 0, 0], [200, 30, 30]]\n")
    with pytest.raises(DatasetError, match="JPEG"):
        create_dataset("folder", root, "train")[0]
    assert all(np.array_equal(found, THING) for found in fixed_masks(root, tmp_path / "out"))
    assert create_dataset("folder", tmp_path / "out", "train").benchmark.classes == ("a", "b")


def test_masks_are_taken_from_their_alpha_channel(tmp_path):
    root = dataset_of(tmp_path / "own", lambda mask: np.dstack([mask * 0, mask * 255]))
    (root / "classes.txt").write_text("a\nb\n")
    assert all(np.array_equal(found, THING) for found in fixed_masks(root, tmp_path / "out"))


def test_turned_images_are_written_upright_and_the_old_dataset_stays(tmp_path):
    root = dataset_of(tmp_path / "own", lambda mask: mask)
    exif = Image.Exif()
    exif[0x0112] = 3
    picture(48, 64).save(root / "images/a.png", exif=exif)
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    result = write_fixed(root, tmp_path / "out")
    assert len(result.turned) == 1
    copied = next((tmp_path / "out/images").rglob("a.png"))
    with Image.open(copied) as image:
        assert image.getexif().get(0x0112, 1) == 1
        assert np.array_equal(image, np.asarray(picture(48, 64))[::-1, ::-1])
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before


def test_what_cannot_be_used_is_left_out_and_said(tmp_path):
    root = dataset_of(tmp_path / "own", lambda mask: mask)
    (root / "classes.txt").write_text("a\nb\n")
    save(root / "masks/b.png", np.ones((5, 5), np.uint8))
    save(root / "masks/c.png", THING + 7)
    result = write_fixed(root, tmp_path / "out")
    assert result.images == 3
    assert "b.png is 5×5" in str(result)
    assert "too near to guess" in str(result)


@pytest.mark.parametrize("where", [".", "inside", ".."])
def test_nothing_is_written_over_the_dataset(tmp_path, where):
    root = dataset_of(tmp_path / "around/own", lambda mask: mask)
    with pytest.raises(DatasetError, match=r"not an empty folder|beside the dataset"):
        write_fixed(root, root / where)


def test_the_page_holds_samples_shares_and_problems(tmp_path):
    root = make_folder(tmp_path / "own")
    (root / "classes.txt").write_text("sky\nroad\n<b>tree</b>\nunused\n")
    report = check_dataset("folder", root, ["train", "val"])
    page = write_page(report, tmp_path / "page").read_text(encoding="utf-8")
    assert page.count("<figure>") == 5
    assert "&lt;b&gt;tree" in page
    assert "<b>tree" not in page
    assert "classes without pixels" in page
    assert "24 × 32" in page
    assert "http" not in page, "it needs no other file"
    with pytest.raises(DatasetError, match="no files"):
        write_page(check_dataset("scenes", None, ["val"], options={"val": 2, "size": [64, 64]}), tmp_path / "scenes")


@pytest.mark.parametrize("names", ["rest\nthing\n", ""])
def test_black_and_white_jpegs_become_sharp_as_the_check_advises(tmp_path, names):
    root = dataset_of(tmp_path / "own", lambda mask: mask * 255, ".jpg", quality=75)
    if names:
        (root / "classes.txt").write_text(names)
        stop = next(f for f in check_dataset("folder", root, ["train"]).findings if f.check == "unusable files")
        assert "--fix OUT writes them with the nearest classes" in stop.fix
    assert all(np.array_equal(found, THING) for found in fixed_masks(root, tmp_path / "out"))


@pytest.mark.parametrize("shades", [[[0], [1], [2]], [[0, 0, 0], [200, 30, 30], [30, 30, 200]]])
def test_jpegs_that_cannot_be_repaired_are_not_guessed(tmp_path, shades):
    table = np.array(shades, np.uint8)
    root = dataset_of(tmp_path / "own", lambda mask: table[np.where(mask == 1, 2, mask)].squeeze(), ".jpg", quality=75)
    with pytest.raises(DatasetError, match="JPEG"):
        write_fixed(root, tmp_path / "out")
    (root / "classes.txt").write_text("a\nb\nc\n")
    if len(shades[0]) == 1:
        (stop,) = (f for f in check_dataset("folder", root, ["train"]).findings if f.check == "unusable files")
        assert "--fix" not in stop.fix


@pytest.mark.parametrize("orientation", range(2, 9))
def test_masks_drawn_on_images_that_were_not_turned_are_turned(tmp_path, orientation):
    root = dataset_of(tmp_path / "own", lambda mask: mask)
    (root / "classes.txt").write_text("a\nb\n")
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in (root / "images").iterdir():
        with Image.open(path) as image:
            image.load()
        image.save(path, exif=exif)
    sideways = orientation > 4
    if sideways:
        (stop,) = (f for f in check_dataset("folder", root, ["train"]).findings if f.check == "unusable files")
        assert "before EXIF data turn it" in stop.fix
    write_fixed(root, tmp_path / "out", turn_masks=not sideways)
    turned = Image.fromarray(THING)
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned))
    dataset = create_dataset("folder", tmp_path / "out", "all")
    assert all(np.array_equal(dataset[index]["mask"], expected) for index in range(5))
    with Image.open(next((tmp_path / "out/images").rglob("a.png"))) as image:
        assert image.size == expected.shape[::-1]


@pytest.mark.parametrize("factor", [2, 0.5])
def test_masks_of_another_size_get_that_of_their_image(tmp_path, factor):
    size = (int(64 * factor), int(48 * factor))
    root = dataset_of(tmp_path / "own", lambda mask: np.asarray(Image.fromarray(mask).resize(size, 0)))
    (root / "classes.txt").write_text("a\nb\n")
    (stop,) = (f for f in check_dataset("folder", root, ["train"]).findings if f.check == "unusable files")
    assert "by the nearest pixel" in stop.fix
    assert all(np.array_equal(found, THING) for found in fixed_masks(root, tmp_path / "out"))
