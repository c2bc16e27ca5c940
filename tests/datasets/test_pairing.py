"""Images and masks are paired whatever their names and folders are called, or the error's advice pairs them."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from helpers.image_makers import make_folder, mask, picture, save

from vitrail.datasets import create_dataset
from vitrail.datasets.inspect_folder import inspect_folder
from vitrail.errors import DatasetError

NAMES = [f"{number:02d}" for number in range(12)]


def write(root: Path, image: str, label: str, names: list[str] = NAMES) -> Path:
    """Write pairs; `image` and `label` are paths with {} for the name."""
    for seed, name in enumerate(names):
        save(root / image.format(name), picture(seed=seed))
        save(root / label.format(name), mask(classes=2, seed=seed))
    (root / "classes.txt").write_text("a\nb\n")
    return root


def advised(root: Path, *, split: str = "all") -> tuple[dict[str, str], str]:
    """Return the options that the error about a folder names, and its text."""
    with pytest.raises(DatasetError) as error:
        create_dataset("folder", root, split)
    return dict(re.findall(r"data\.options\.(\w+)=([^\s,]+)", str(error.value))), str(error.value)


@pytest.mark.parametrize("change", [lambda name: unicodedata.normalize("NFD", name), str.upper])
def test_names_that_people_read_alike_are_pairs(tmp_path, change):
    for seed, name in enumerate(["é1", "ß2", "c"]):
        save(tmp_path / "images" / f"{change(name)}.png", picture(seed=seed))
        save(tmp_path / "masks" / f"{name}.png", mask(classes=2, seed=seed))
    (tmp_path / "train.txt").write_text("é1\nß2\n", encoding="utf-8")
    (tmp_path / "val.txt").write_text("c\n")
    dataset = create_dataset("folder", tmp_path, "train")
    assert [pair.mask for pair in dataset.source.pairs] == ["masks/é1.png", "masks/ß2.png"]


def test_names_that_read_alike_twice_are_no_pairs(tmp_path):
    write(tmp_path, "images/{}.png", "masks/{}.png", ["A", "a"])
    (tmp_path / "masks/A.png").unlink()
    assert "1 of 2 images has no mask" in advised(tmp_path)[1]


@pytest.mark.parametrize(
    ("image", "label", "wanted"),
    [
        ("images/{}.png", "masks/{}_mask.png", {"mask_suffix": "_mask"}),
        ("images/image_{}.png", "masks/mask_{}.png", {"image_prefix": "image", "mask_prefix": "mask"}),
        ("images/{}.png", "masks/seg{}.png", {"mask_prefix": "seg"}),
        ("images/{}_leftImg8bit.png", "masks/{}_gtFine_labelIds.png", {"image_suffix": "leftImg8bit"}),
        ("train_images/{}.png", "train_masks/{}.png", {"images": "train_images", "masks": "train_masks"}),
        ("photos/{}.png", "truth/{}.png", {"images": "photos", "masks": "truth"}),
        ("{}.jpg", "{}.png", {"images": ".", "masks": "."}),
        ("{}.png", "{}_gt.png", {"images": ".", "masks": ".", "mask_suffix": "_gt"}),
    ],
)
def test_the_options_that_the_error_names_pair_them(tmp_path, image, label, wanted):
    write(tmp_path, image, label)
    if "leftImg8bit" in image:  # what lies beside the masks is none
        for name in NAMES:
            save(tmp_path / "masks" / f"{name}_gtFine_color.png", mask(classes=2))
    options, text = advised(tmp_path)
    assert wanted.items() <= options.items(), text
    dataset = create_dataset("folder", tmp_path, "all", **options)
    assert len(dataset) == len(NAMES)
    for pair, name in zip(dataset.source.pairs, NAMES, strict=True):
        assert (pair.image, pair.mask) == (image.format(name), label.format(name))


@pytest.mark.parametrize("folders", ["Images Masks", "image label", "img gt", "IMAGES Annotations"])
def test_folders_are_found_by_other_usual_names(tmp_path, folders):
    images, masks = folders.split()
    write(tmp_path, f"{images}/{{}}.png", f"{masks}/{{}}.png")
    assert len(create_dataset("folder", tmp_path, "all")) == len(NAMES)
    assert inspect_folder(tmp_path).dataset == "folder"


def test_the_folder_of_the_images_is_not_that_of_the_dataset(tmp_path):
    make_folder(tmp_path)
    text = advised(tmp_path / "images")[1]
    assert f"give {tmp_path} as --data-root" in text
    with pytest.raises(DatasetError, match="as --data-root"):
        inspect_folder(tmp_path / "images")


def test_a_mask_in_another_folder_is_named(tmp_path):
    write(tmp_path, "images/day/{}.png", "masks/{}.png")
    assert "share their path below images and masks" in advised(tmp_path)[1]


def test_images_for_a_test_need_no_masks(tmp_path):
    for split in ("Train", "Validation"):
        write(tmp_path, f"{split}/images/{{}}.png", f"{split}/masks/{{}}.png", NAMES[:3])
    save(tmp_path / "test/images/a.png", picture())
    assert len(create_dataset("folder", tmp_path, "train")) == 3
    assert len(create_dataset("folder", tmp_path, "val")) == 3
    assert "1 of 1 images has no mask" in advised(tmp_path, split="test")[1]


def test_masks_without_images_are_told(tmp_path, caplog):
    make_folder(tmp_path)
    (tmp_path / "images/a.jpg").unlink()
    assert len(create_dataset("folder", tmp_path, "all")) == 4
    assert "1 mask has no image of the same name" in caplog.text
    assert "masks/a.png" in caplog.text


def test_text_files_in_place_of_masks_are_those_of_yolo(tmp_path):
    save(tmp_path / "train/images/a.jpg", picture())
    (tmp_path / "train/labels").mkdir()
    (tmp_path / "train/labels/a.txt").write_text("0 0.1 0.1 0.9 0.1 0.5 0.9\n")
    assert "polygons of YOLO" in advised(tmp_path)[1]
    (tmp_path / "data.yaml").write_text("train: train/images\nval: train/images\nnames: [bee]\n")
    assert create_dataset("yolo", tmp_path, "train").benchmark.classes == ("background", "bee")


def test_links_that_lead_back_are_not_followed_and_others_are(tmp_path):
    make_folder(tmp_path / "own")
    (tmp_path / "own/images").rename(tmp_path / "elsewhere")
    (tmp_path / "own/images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path)
    assert len(create_dataset("folder", tmp_path / "own", "all")) == 5


def test_thumbnails_of_a_network_drive_are_no_images(tmp_path):
    make_folder(tmp_path)
    save(tmp_path / "images/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", picture())
    assert len(create_dataset("folder", tmp_path, "all")) == 5


def test_classes_of_ones_own_in_the_layout_of_a_benchmark(tmp_path):
    write(tmp_path, "JPEGImages/{}.jpg", "SegmentationClass/{}.png")
    for split, names in (("train", NAMES[:8]), ("val", NAMES[8:])):
        path = tmp_path / "ImageSets/Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names))
    found = inspect_folder(tmp_path)
    assert (found.dataset, found.classes, found.splits) == ("folder", ("a", "b"), {"train": 8, "val": 4})
    (tmp_path / "classes.txt").unlink()
    assert inspect_folder(tmp_path).dataset == "voc"
