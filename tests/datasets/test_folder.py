"""A user's own files: layouts, classes, splits, and what goes wrong with them."""

import logging
import re
import zipfile

import numpy as np
import pytest
from helpers.image_makers import make_folder, mask, picture, save
from PIL import Image

from vitrail.datasets import Benchmark, create_dataset
from vitrail.datasets.class_file import find_class_file
from vitrail.datasets.inspect_folder import inspect_folder
from vitrail.datasets.recipe import open_split
from vitrail.datasets.remap import remap_benchmark
from vitrail.errors import DatasetError
from vitrail.recipes import DataConfig


def message(call):
    with pytest.raises(DatasetError) as caught:
        call()
    return str(caught.value)


def test_a_split_is_made_once_and_for_all(tmp_path):
    make_folder(tmp_path, names=[f"n{i}" for i in range(20)])
    train, val = (create_dataset("folder", tmp_path, split) for split in ("train", "val"))
    assert len(val) == 4
    assert sorted(train.ids + val.ids) == sorted(f"n{i}" for i in range(20))
    assert create_dataset("folder", tmp_path, "val").ids == val.ids
    assert create_dataset("folder", tmp_path, "val", split_seed=1).ids != val.ids
    assert len(create_dataset("folder", tmp_path, "val", val_fraction=0.5)) == 10
    assert len(create_dataset("folder", tmp_path, "all")) == 20


def test_two_images_can_be_split_and_one_cannot(tmp_path):
    make_folder(tmp_path, names=["a", "b"])
    assert len(create_dataset("folder", tmp_path, "train")) == len(create_dataset("folder", tmp_path, "val")) == 1
    make_folder(tmp_path / "one", names=["a"])
    assert "images are too few" in message(lambda: create_dataset("folder", tmp_path / "one", "val"))
    assert "val_fraction=1.5" in message(lambda: create_dataset("folder", tmp_path, "val", val_fraction=1.5))


@pytest.mark.parametrize("nested", [False, True])
def test_given_splits_are_kept(tmp_path, nested):
    for split, names in (("train", ["a", "b"]), ("val", ["c"])):
        if nested:
            make_folder(tmp_path / split, names=names)
        else:
            make_folder(tmp_path, names=names, split=split)
    assert create_dataset("folder", tmp_path, "train").ids == ["a", "b"]
    assert create_dataset("folder", tmp_path, "val").ids == ["c"]
    assert "It has: train, val, all" in message(lambda: create_dataset("folder", tmp_path, "test"))


@pytest.mark.parametrize(("split", "name"), [("val", "val"), ("validation", "val"), ("test", "test")])
@pytest.mark.parametrize("nested", [False, True])
def test_one_given_split_alone_is_whole(tmp_path, nested, split, name):
    make_folder(tmp_path / split if nested else tmp_path, split="" if nested else split)
    assert len(create_dataset("folder", tmp_path, name)) == 5
    assert f"It has: {name}, all" in message(lambda: create_dataset("folder", tmp_path, "train"))


def test_validation_is_taken_from_a_given_training_split_where_asked_for(tmp_path):
    make_folder(tmp_path, split="train")
    assert len(create_dataset("folder", tmp_path, "train")) == 5
    assert "data.options.val_fraction=0.2 holds out" in message(lambda: create_dataset("folder", tmp_path, "val"))
    parts = [create_dataset("folder", tmp_path, split, val_fraction=0.2).ids for split in ("train", "val")]
    assert [len(part) for part in parts] == [4, 1] and not set(parts[0]) & set(parts[1])


def test_a_list_of_test_images_leaves_the_others_for_training(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "test.txt").write_text("a\nb\n")
    assert create_dataset("folder", tmp_path, "test").ids == ["a", "b"]
    parts = [create_dataset("folder", tmp_path, split).ids for split in ("train", "val")]
    assert [len(part) for part in parts] == [2, 1] and sorted(parts[0] + parts[1]) == ["c", "d", "e"]


def test_lists_of_names_are_splits(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "train.txt").write_text("b.jpg\n\na\n")
    (tmp_path / "val.txt").write_text("e\n")
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    assert create_dataset("folder", tmp_path, "train").ids == ["b", "a"]
    assert create_dataset("folder", tmp_path, "val").ids == ["e"]
    (tmp_path / "val.txt").write_text("e\nf\n")
    assert "line 2: no image is called 'f'" in message(lambda: create_dataset("folder", tmp_path, "val"))


def test_subfolders_are_part_of_the_name(tmp_path):
    for name in ("paris/1", "rome/1"):
        save(tmp_path / "images" / f"{name}.png", picture())
        save(tmp_path / "masks" / f"{name}.png", mask())
    assert create_dataset("folder", tmp_path, "all").ids == ["paris/1", "rome/1"]


def test_suffixes_and_folder_names_can_be_told(tmp_path):
    save(tmp_path / "rgb" / "a_img.jpg", picture())
    save(tmp_path / "rgb" / "notes.png", picture())
    save(tmp_path / "gt" / "a_mask.png", mask())
    options = {"images": "rgb", "masks": "gt", "image_suffix": "_img", "mask_suffix": "_mask"}
    assert create_dataset("folder", tmp_path, "all", **options).ids == ["a"]


def test_images_without_masks_are_counted_and_the_suffix_is_guessed(tmp_path):
    make_folder(tmp_path)
    for path in sorted((tmp_path / "masks").iterdir()):
        path.rename(path.with_name(f"{path.stem}_label.png"))
    text = message(lambda: create_dataset("folder", tmp_path, "train"))
    assert "5 of 5 images have no mask" in text
    assert "mask_suffix=_label" in text
    assert len(create_dataset("folder", tmp_path, "all", mask_suffix="_label")) == 5


def test_two_images_of_one_name_are_refused(tmp_path):
    make_folder(tmp_path)
    save(tmp_path / "images" / "a.png", picture())
    assert "same name" in message(lambda: create_dataset("folder", tmp_path, "train"))


def test_roots_that_hold_nothing(tmp_path):
    assert "does not exist" in message(lambda: create_dataset("folder", tmp_path / "no", "train"))
    assert "holds no images" in message(lambda: create_dataset("folder", tmp_path, "train"))
    (tmp_path / "images").mkdir()
    assert "no folder 'masks'" in message(lambda: create_dataset("folder", tmp_path, "train"))
    (tmp_path / "masks").mkdir()
    assert "holds no images" in message(lambda: create_dataset("folder", tmp_path, "train"))
    (tmp_path / "file").touch()
    assert "is not a folder" in message(lambda: create_dataset("folder", tmp_path / "file", "train"))
    assert "data.root" in message(lambda: create_dataset("folder", None, "train"))


# classes


def test_classes_are_inferred_and_reported(tmp_path, caplog):
    make_folder(tmp_path)
    save(tmp_path / "masks" / "e.png", np.full((24, 32), 9, np.uint8))
    with caplog.at_level(logging.WARNING):
        dataset = create_dataset("folder", tmp_path, "train")
    assert dataset.benchmark.classes == ("class 0", "class 1", "class 2", "class 9")
    assert "classes were inferred from the values 0, 1, 2, 9 in 5 masks" in caplog.text
    everything = create_dataset("folder", tmp_path, "all")
    assert everything[4]["mask"].unique().tolist() == [3]
    assert create_dataset("folder", tmp_path, "val").benchmark == dataset.benchmark
    assert caplog.text.count("were inferred") == 1, "said for every split"


def test_black_and_white_masks_are_two_classes(tmp_path):
    make_folder(tmp_path, classes=2)
    for path in (tmp_path / "masks").iterdir():
        save(path, np.asarray(Image.open(path)) * 255)
    dataset = create_dataset("folder", tmp_path, "all")
    assert dataset.benchmark.classes == ("class 0", "class 255")
    assert dataset[0]["mask"].unique().tolist() == [0, 1]


def test_255_is_ignored_beside_other_values(tmp_path):
    make_folder(tmp_path)
    save(tmp_path / "masks" / "a.png", np.where(mask() == 0, 255, mask()).astype(np.uint8))
    dataset = create_dataset("folder", tmp_path, "all")
    assert len(dataset.benchmark.classes) == 3
    assert dataset[0]["mask"].unique().tolist() == [1, 2, 255]


def test_photographs_are_not_masks(tmp_path):
    make_folder(tmp_path, classes=256)
    for seed, name in enumerate("abcde"):
        save(tmp_path / "masks" / f"{name}.png", mask(classes=256, seed=seed).astype(np.uint16) * 7)
    assert "too many to be classes" in message(lambda: create_dataset("folder", tmp_path, "train"))


def test_masks_that_are_all_ignored(tmp_path):
    make_folder(tmp_path)
    for path in (tmp_path / "masks").iterdir():
        save(path, np.full((24, 32), 255, np.uint8))
    assert "nothing but 255" in message(lambda: create_dataset("folder", tmp_path, "train"))


def test_names_from_a_text_file(tmp_path, caplog):
    make_folder(tmp_path)
    (tmp_path / "classes.txt").write_text("sky\nroad\ntree\n", encoding="utf-8")
    dataset = create_dataset("folder", tmp_path, "train")
    assert dataset.benchmark.classes == ("sky", "road", "tree")
    assert len(set(dataset.benchmark.palette)) == 3
    assert not caplog.text, "nothing to report"


def test_values_outside_the_classes_are_named(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    text = message(lambda: [create_dataset("folder", tmp_path, "all")[index] for index in range(5)])
    assert "a.png holds the value 2" in text


def test_names_values_and_colours_from_yaml(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "classes.yaml").write_text(
        "classes: [sky, road]\nvalues: [2, 0]\nignore: [1]\npalette: [[1, 2, 3], [4, 5, 6]]\n"
    )
    dataset = create_dataset("folder", tmp_path, "all")
    assert dataset.benchmark.palette == ((1, 2, 3), (4, 5, 6))
    raw = mask(seed=0)
    assert np.array_equal(dataset[0]["mask"], np.array([1, 255, 0])[raw])


@pytest.mark.parametrize("indexed", [False, True])
def test_colours_stand_for_classes(tmp_path, indexed):
    colours = np.array([[10, 20, 30], [200, 0, 0], [0, 0, 0]], np.uint8)
    make_folder(tmp_path)
    for seed, name in enumerate("abcde"):
        image = Image.fromarray(colours[mask(seed=seed)])
        save(tmp_path / "masks" / f"{name}.png", image.quantize(3) if indexed else image)
    (tmp_path / "classes.yaml").write_text(
        "classes: [sky, road]\nignore: [[0, 0, 0]]\npalette: [[10, 20, 30], [200, 0, 0]]\n"
    )
    dataset = create_dataset("folder", tmp_path, "all", **({"coloured": True} if indexed else {}))
    assert np.array_equal(dataset[1]["mask"], np.array([0, 1, 255])[mask(seed=1)])


def test_coloured_masks_want_a_palette(tmp_path):
    make_folder(tmp_path)
    for name in "abcde":
        save(tmp_path / "masks" / f"{name}.png", Image.fromarray(np.full((24, 32, 3), (9, 8, 7), np.uint8)))
    text = message(lambda: create_dataset("folder", tmp_path, "train"))
    assert "classes.yaml" in text
    assert "[9, 8, 7]" in text
    (tmp_path / "classes.txt").write_text("sky\n")
    assert "classes.txt does not say which colour" in message(lambda: create_dataset("folder", tmp_path, "train"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("classes: [a, b]\npallette: []", "Did you mean 'palette'?"),
        ("classes: [a, b]\npalette: [[0, 0, 0]]", "2 classes but 1 entries in palette"),
        ("classes: [a, b]\nvalues: [1, 1]", "entry twice"),
        ("classes: 3", "classes: 3 is no list"),
        ("classes: a, b", "classes: 'a, b' is no list"),
        ("classes: [a, b]\nignore: 255", "ignore: 255 is no list"),
        ("classes: [{name: a, color: [0, 0, 0]}]", "list the names alone, and their colours under 'palette'"),
        ("names: [a, b]", "Did you mean 'classes'?"),
        ("classes: [a, b]\ncolors: [[0, 0, 0]]", "Did you mean 'palette'?"),
        ("classes: {0: a, 1: no}", "put it into quotes, 'no'"),
        ("classes: []", "no classes"),
        ("palette: [[0, 0, 0]]", "classes"),
        ("3", "should be a mapping"),
        ("classes: [a", "not valid YAML"),
        ("classes: [a]\nvalues: [x]", "'x' is no mask value"),
        (f"classes: {[f'c{number}' for number in range(8193)]}", "8193 classes, but there can be 8192 at most"),
        ("classes: [a, a]", "'a' is listed 2 times"),
        ("classes: [a, b]\npalette: [[0, 0, 0], [256, 0, 0]]", "palette.1: [256, 0, 0] is no colour"),
        (
            "classes: [a, b]\npalette: [[0, 0, 0], '#ff0000']",
            "palette.1: '#ff0000' is no colour here: write [255, 0, 0]",
        ),
        ("classes: [a, 3]", "put the name into quotes"),
        ("classes: [a, no]", "put it into quotes, 'no'"),
        ("classes: [a, '']", "classes.1"),
    ],
)
def test_a_classes_file_that_is_wrong_is_explained(tmp_path, text, says):
    make_folder(tmp_path)
    (tmp_path / "classes.yaml").write_text(text)
    said = message(lambda: create_dataset("folder", tmp_path, "train"))
    assert says in said
    assert "classes.yaml" in said


def test_names_in_quotes_are_names_whatever_yaml_takes_them_for(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "classes.yaml").write_text("classes: ['no', 'yes', '3']\nvalues: [0, 1, 2]\n")
    assert create_dataset("folder", tmp_path, "train").benchmark.classes == ("no", "yes", "3")


def test_an_empty_list_of_names(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "classes.txt").write_text("\n\n")
    assert "is empty" in message(lambda: create_dataset("folder", tmp_path, "train"))


def test_a_rotated_photograph_needs_an_upright_mask(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        save(tmp_path / "masks" / f"{name}.png", mask(24, 32))
        (tmp_path / "images").mkdir(exist_ok=True)
        picture(24, 32).save(tmp_path / "images" / f"{name}.jpg", exif=exif)
    text = message(lambda: create_dataset("folder", tmp_path, "all")[0])
    assert "a.png is 32×24" in text
    assert "a.jpg is 24×32" in text
    save(tmp_path / "masks" / "a.png", mask(32, 24))
    assert create_dataset("folder", tmp_path, "all")[0]["size"] == (32, 24)


# what masks encode classes by

SHAPES = [np.pad(np.ones((10, 12), np.uint8), ((2 + i, 12 - i), (3 + 2 * i, 17 - 2 * i))) for i in range(5)]


def write_masks(root, of, names="abcde"):
    make_folder(root)
    for name, shape in zip(names, SHAPES, strict=True):
        save(root / "masks" / f"{name}.png", of(shape))


def read_masks(root):
    dataset = create_dataset("folder", root, "all")
    return [np.asarray(dataset[index]["mask"]) for index in range(len(dataset))]


def test_two_names_make_two_classes_of_0_and_255(tmp_path):
    write_masks(tmp_path, lambda shape: shape * 255)
    (tmp_path / "classes.txt").write_text("background\nthing\n")
    assert all(np.array_equal(a, b) for a, b in zip(read_masks(tmp_path), SHAPES, strict=True))


@pytest.mark.parametrize("values", [(0, 255), (0, 1), (3, 7, 9)])
def test_the_lines_that_name_inferred_classes_give_the_same_masks(tmp_path, caplog, values):
    write_masks(
        tmp_path, lambda shape: np.array(values, np.uint8)[(shape + np.eye(24, 32, dtype=np.uint8)) % len(values)]
    )
    before = read_masks(tmp_path)
    if "classes.txt to name" in caplog.text or "line into classes.txt" in caplog.text:
        (tmp_path / "classes.txt").write_text("a\nb\n")
    else:
        lines = re.findall(r"'((?:classes|values): \[[^\]]*\])'", caplog.text)
        (tmp_path / "classes.yaml").write_text("\n".join(lines))
    caplog.clear()
    assert all(np.array_equal(a, b) for a, b in zip(read_masks(tmp_path), before, strict=True))
    assert not caplog.text


def test_the_lines_for_coloured_masks_are_right(tmp_path):
    write_masks(tmp_path, lambda shape: np.array([[0, 0, 0], [250, 50, 83]], np.uint8)[shape])
    lines = re.findall(r"'((?:classes|palette): \[.*?\])'", message(lambda: create_dataset("folder", tmp_path, "all")))
    (tmp_path / "classes.yaml").write_text("\n".join(lines))
    assert all(np.array_equal(a, b) for a, b in zip(read_masks(tmp_path), SHAPES, strict=True))


def test_black_and_white_rgb_masks_follow_the_palette(tmp_path):
    write_masks(tmp_path, lambda shape: np.repeat(shape[..., None] * np.uint8(255), 3, 2))
    (tmp_path / "classes.yaml").write_text("classes: [a, b]\npalette: [[255, 255, 255], [0, 0, 0]]\n")
    assert all(np.array_equal(a, 1 - b) for a, b in zip(read_masks(tmp_path), SHAPES, strict=True))


def test_the_first_mask_may_show_one_colour(tmp_path):
    write_masks(tmp_path, lambda shape: np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[shape])
    save(tmp_path / "masks" / "a.png", np.zeros((24, 32, 3), np.uint8))
    (tmp_path / "classes.yaml").write_text("classes: [a, b]\npalette: [[0, 0, 0], [255, 0, 0]]\n")
    assert [int(found.sum()) for found in read_masks(tmp_path)] == [0, 120, 120, 120, 120]


COLOURS = [(120, 90, 60), (0, 0, 255)]


@pytest.mark.parametrize("order", ["own", "classes"])
def test_colour_tables_that_differ_are_read_by_their_colours(tmp_path, order):
    def indexed(shape):
        turn = int(shape[:, 3].any()) if order == "own" else 0
        image = Image.fromarray(shape ^ np.uint8(turn))
        image.putpalette([*COLOURS[turn], *COLOURS[1 - turn]])
        return image

    write_masks(tmp_path, indexed)
    (tmp_path / "classes.yaml").write_text(f"classes: [ground, water]\npalette: {[list(c) for c in COLOURS]}\n")
    assert all(np.array_equal(a, b) for a, b in zip(read_masks(tmp_path), SHAPES, strict=True))


def test_a_colour_table_that_is_none_of_the_classes_is_not_used(tmp_path):
    def indexed(shape):
        image = Image.fromarray(shape)
        image.putpalette([0, 0, 0, 128, 0, 0])
        return image

    write_masks(tmp_path, indexed)
    (tmp_path / "classes.yaml").write_text("classes: [a, b]\npalette: [[9, 9, 9], [0, 0, 0]]\n")
    assert all(np.array_equal(a, b) for a, b in zip(read_masks(tmp_path), SHAPES, strict=True))


def test_smoothed_edges_are_no_classes(tmp_path):
    half = (16, 12)
    write_masks(
        tmp_path, lambda shape: Image.fromarray(shape * 255).resize(half, Image.Resampling.BILINEAR).resize((32, 24))
    )
    assert "smooth filter" in message(lambda: create_dataset("folder", tmp_path, "all"))


def test_a_third_class_between_0_and_255_is_a_class(tmp_path):
    write_masks(tmp_path, lambda shape: (shape * 255 + np.pad(np.full((4, 9), 7), ((20, 0), (0, 23)))).astype(np.uint8))
    assert create_dataset("folder", tmp_path, "all").benchmark.classes == ("class 0", "class 7")


# lists


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ("\ufeffpark 1\r\nsub/deep\r\n".encode(), ["park 1", "sub/deep"]),
        ("park 1\r\n".encode("utf-16"), ["park 1"]),
        ("plain\n".encode("utf-16-le"), ["plain"]),
        (b"sub\\deep.jpg\n", ["sub/deep"]),
        (b"images/plain.png\n./images/sub/deep.png\n", ["plain", "sub/deep"]),
        (b"images/plain.png masks/plain.png\nimages/park 1.png\tmasks/park 1.png\n", ["plain", "park 1"]),
        (b"ROOT/images/plain.png\n", ["plain"]),
        (b'"park 1"\nplain,masks/plain.png\n', ["park 1", "plain"]),
    ],
)
def test_lists_as_other_programs_write_them(tmp_path, content, ids):
    for name in ("park 1", "plain", "sub/deep"):
        save(tmp_path / "images" / f"{name}.png", picture())
        save(tmp_path / "masks" / f"{name}.png", mask())
    (tmp_path / "train.txt").write_bytes(content.replace(b"ROOT", str(tmp_path).encode()))
    (tmp_path / "README.txt").write_text("Photographs taken in spring.\n")
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\na:0,0,0::\nb:1,0,0::\nc:2,0,0::\n")
    dataset = create_dataset("folder", tmp_path, "train")
    assert dataset.ids == ids
    assert dataset.benchmark.classes == ("a", "b", "c")


def test_a_second_column_names_the_mask(tmp_path):
    make_folder(tmp_path)
    save(tmp_path / "other" / "x.png", np.ones((24, 32), np.uint8))
    (tmp_path / "train.txt").write_text("a.jpg other/x.png\n")
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    assert create_dataset("folder", tmp_path, "train")[0]["mask"].unique().tolist() == [1]


def test_text_files_that_are_no_lists_do_not_matter(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "README.txt").write_text("Photographs taken in spring.\n")
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\na:0,0,0::\nb:1,0,0::\nc:2,0,0::\n")
    (tmp_path / "folds").mkdir()
    assert len(create_dataset("folder", tmp_path, "val")) == 1


def test_what_archives_of_a_mac_hold_besides_is_left_out(tmp_path):
    make_folder(tmp_path)
    for place in ("images", "masks", "images/__MACOSX"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "._a.jpg").write_bytes(b"\0")
    (tmp_path / "images/__MACOSX/b.jpg").write_bytes(b"\0")
    assert create_dataset("folder", tmp_path, "all").ids == list("abcde")


# other classes


def test_classes_are_renamed_merged_and_ignored(tmp_path):
    make_folder(tmp_path, classes=4)
    (tmp_path / "classes.txt").write_text("car\nbus\nsky\nvoid\n")
    data = DataConfig(dataset="folder", root=str(tmp_path), classes={"car": "vehicle", "bus": "vehicle", "void": None})
    dataset = open_split(data, "all")
    assert dataset.benchmark.classes == ("vehicle", "sky")
    assert np.array_equal(dataset[0]["mask"], np.array([0, 0, 1, 255])[mask(classes=4)])
    wrong = DataConfig(dataset="folder", root=str(tmp_path), classes={"carr": None})
    assert "Did you mean 'car'" in message(lambda: open_split(wrong, "all"))
    nothing = DataConfig(dataset="folder", root=str(tmp_path), classes=dict.fromkeys(("car", "bus", "sky", "void")))
    assert "keep one" in message(lambda: open_split(nothing, "all"))


def test_mirrored_pairs_follow_their_classes():
    benchmark = Benchmark("x", "x", ("l", "r", "a", "b"), ((0, 0, 0),) * 4, {}, flip_pairs=((0, 1), (2, 3)))
    assert remap_benchmark(benchmark, {"l": "arm", "r": "arm"})[0].flip_pairs == ((1, 2),)
    assert remap_benchmark(benchmark, {"a": None})[0].flip_pairs == ((0, 1),)


@pytest.mark.parametrize(
    ("numbered", "listed"),
    [
        ("classes: {1: b, 0: a}", "classes: [a, b]"),
        ("classes: {10: b, 0: a}", "classes: [a, b]\nvalues: [0, 10]"),
    ],
)
def test_classes_may_be_numbered(tmp_path, numbered, listed):
    (tmp_path / "classes.yaml").write_text(listed)
    expected = find_class_file(tmp_path)
    (tmp_path / "classes.yaml").write_text(numbered)
    assert find_class_file(tmp_path) == expected


def test_arrays_of_0_and_255_are_two_classes(tmp_path):
    make_folder(tmp_path, classes=2)
    for path in sorted((tmp_path / "masks").iterdir()):
        with Image.open(path) as image:
            np.save(path.with_suffix(".npy"), np.asarray(image) * 255)
        path.unlink()
    (tmp_path / "classes.txt").write_text("a\nb\n")
    assert np.array_equal(create_dataset("folder", tmp_path, "all")[0]["mask"], mask(classes=2))


def test_compressed_archives_are_to_be_unpacked(tmp_path):
    for name in ("own.tar.gz", "own.7z"):
        (tmp_path / name).touch()
        assert "unpack it" in message(lambda name=name: create_dataset("folder", tmp_path / name, "train"))


def test_an_archive_is_inspected_as_its_folder_is(tmp_path):
    make_folder(tmp_path / "own")
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        for path in (tmp_path / "own").rglob("*.*"):
            archive.write(path, path.relative_to(tmp_path))
    found, folder = inspect_folder(tmp_path / "own.zip"), inspect_folder(tmp_path / "own")
    assert (found.dataset, found.splits, found.classes) == (folder.dataset, folder.splits, folder.classes)
    assert len(create_dataset(found.dataset, found.root, "train")) == 4
