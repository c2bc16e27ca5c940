"""Annotations of other programs: what is drawn, compared with each format's own reader where it runs here."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.image_makers import make_folder, mask, picture, save
from PIL import Image, ImageDraw

from vitrail.datasets import create_dataset
from vitrail.datasets.formats.label_studio import decode_brush
from vitrail.datasets.inspect_folder import inspect_folder
from vitrail.datasets.write import write_dataset
from vitrail.datasets.write_coco import write_coco
from vitrail.errors import DatasetError

HEIGHT, WIDTH = 40, 50
TRIANGLE = [[5, 4], [30.5, 8], [12, 33]]
SQUARE = [[20, 15], [44, 15], [44, 36], [20, 36]]


def drawn(*polygons: list[list[float]]) -> np.ndarray:
    """Return a mask in which polygon n has the value n + 1, drawn as labelme's `shape_to_mask` does."""
    image = Image.new("L", (WIDTH, HEIGHT))
    for value, points in enumerate(polygons, 1):
        ImageDraw.Draw(image).polygon([tuple(point) for point in points], outline=value, fill=value)
    return np.asarray(image)


def images(root: Path, names: str = "abcde", folder: str = "images") -> None:
    for seed, name in enumerate(names):
        save(root / folder / f"{name}.png", picture(HEIGHT, WIDTH, seed))


def first_mask(name: str, root: Path, split: str = "all", **options) -> tuple[tuple[str, ...], np.ndarray]:
    dataset = create_dataset(name, root, split, **options)
    return dataset.benchmark.classes, np.asarray(dataset[0]["mask"])


# labelme


def labelme_file(path: Path, image: str, shapes: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"shapes": shapes, "imagePath": image, "imageHeight": HEIGHT, "imageWidth": WIDTH}))


@pytest.fixture
def labelme(tmp_path: Path) -> Path:
    images(tmp_path)
    shapes = [{"label": "roof", "points": TRIANGLE, "shape_type": "polygon"}, {"label": "door", "points": SQUARE}]
    for name in "abcde":
        labelme_file(tmp_path / "labels" / f"{name}.json", f"..\\images\\{name}.png", shapes)
    return tmp_path


def test_labelme_polygons(labelme):
    classes, found = first_mask("labelme", labelme)
    assert classes == ("background", "door", "roof")
    assert np.array_equal(found, np.array([0, 2, 1])[drawn(TRIANGLE, SQUARE)])
    assert len(create_dataset("labelme", labelme, "train")) == 4
    found = first_mask("labelme", labelme, background=None)[1]
    assert np.array_equal(found, np.array([255, 1, 0])[drawn(TRIANGLE, SQUARE)])


def test_labelme_classes_can_be_ordered(labelme):
    (labelme / "classes.txt").write_text("roof\ndoor\n_background_\n")
    assert first_mask("labelme", labelme)[0] == ("background", "roof", "door")
    (labelme / "classes.txt").write_text("roof\ndoors\n")
    with pytest.raises(DatasetError, match=r"'door' is no class.*Did you mean 'doors'"):
        first_mask("labelme", labelme)


def test_labelme_shapes_of_every_kind(tmp_path):
    images(tmp_path, "a", folder=".")
    buffer = io.BytesIO()
    Image.fromarray(np.eye(6, dtype=np.uint8) * 255).save(buffer, "PNG")
    bitmap = base64.b64encode(buffer.getvalue()).decode()
    kinds = {
        "rectangle": [[3, 4], [10, 9]],
        "circle": [[20, 20], [25, 20]],
        "linestrip": [[2, 30], [40, 30]],
        "point": [[45, 5]],
        "mask": [[30, 2], [35, 7]],
    }
    expected = Image.new("L", (WIDTH, HEIGHT))
    canvas = ImageDraw.Draw(expected)
    canvas.rectangle([3, 4, 10, 9], fill=1, outline=1)
    canvas.ellipse([15, 15, 25, 25], fill=1, outline=1)
    canvas.line([(2, 30), (40, 30)], fill=1, width=10)
    canvas.ellipse([40, 0, 50, 10], fill=1, outline=1)
    truth = np.array(expected)
    truth[2:8, 30:36] |= np.eye(6, dtype=np.uint8)
    shapes = [
        {"label": "x", "points": points, "shape_type": kind, **({"mask": bitmap} if kind == "mask" else {})}
        for kind, points in kinds.items()
    ]
    labelme_file(tmp_path / "a.json", "a.png", shapes)
    assert np.array_equal(first_mask("labelme", tmp_path)[1], truth)
    labelme_file(tmp_path / "a.json", "a.png", [{"label": "x", "points": [[1, 1]], "shape_type": "star"}])
    with pytest.raises(DatasetError, match=r"a\.json is not as its format describes.*'star'"):
        first_mask("labelme", tmp_path)


# COCO


def coco_data(names: str, annotations: list[dict]) -> dict:
    return {
        "images": [
            {"id": n, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH} for n, name in enumerate(names)
        ],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "roof"}, {"id": 9, "name": "door"}],
    }


def flat(points: list[list[float]]) -> list[float]:
    return [number for point in points for number in point]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_coco_polygons_and_run_lengths_are_those_of_pycocotools(tmp_path):
    coco_masks = pytest.importorskip("pycocotools.mask")
    images(tmp_path, folder="train2017")
    blob = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    blob[3:9, 30:41] = 1
    compressed = coco_masks.encode(blob)
    plain = {"size": [HEIGHT, WIDTH], "counts": [3 + 30 * HEIGHT, 6, HEIGHT - 6, 6, HEIGHT * (WIDTH - 32) + 28 + 3]}
    plain["counts"][-1] += HEIGHT * WIDTH - sum(plain["counts"])
    annotations = [
        {"image_id": 0, "category_id": 7, "segmentation": [flat(TRIANGLE), flat(SQUARE)], "iscrowd": 0},
        {"image_id": 0, "category_id": 9, "segmentation": {**compressed, "counts": compressed["counts"].decode()}},
        {"image_id": 1, "category_id": 9, "segmentation": plain, "iscrowd": 1},
    ]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(coco_data("abcde", annotations)))
    dataset = create_dataset("coco", tmp_path, "train")
    assert dataset.benchmark.classes == ("background", "roof", "door")
    polygons = coco_masks.decode(
        coco_masks.merge(coco_masks.frPyObjects([flat(TRIANGLE), flat(SQUARE)], HEIGHT, WIDTH))
    )
    assert np.array_equal(dataset[0]["mask"], np.where(blob, 2, polygons))
    decoded = coco_masks.decode(coco_masks.frPyObjects(plain, HEIGHT, WIDTH))
    assert np.array_equal(dataset[1]["mask"], decoded * 2)
    assert not np.asarray(dataset[2]["mask"]).any()


def test_coco_splits_of_roboflow_and_missing_images(tmp_path):
    for split, names in (("train", "abc"), ("valid", "de")):
        images(tmp_path, names, folder=split)
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(coco_data(names, [])))
    assert create_dataset("coco", tmp_path, "val").ids == ["valid/d", "valid/e"]
    (tmp_path / "train/a.png").unlink()
    with pytest.raises(DatasetError, match=r"a\.png .* is in none of .*data\.options\.images"):
        create_dataset("coco", tmp_path, "train")


def test_annotations_of_coco_that_do_not_fit_are_named(tmp_path):
    images(tmp_path, "abcde")
    region = {"size": [HEIGHT, WIDTH + 1], "counts": [0, HEIGHT * (WIDTH + 1)]}
    data = coco_data("abcde", [{"id": 1, "image_id": 0, "category_id": 3, "iscrowd": 0, "segmentation": region}])
    for annotation in data["annotations"]:
        annotation.update(image_id=data["images"][0]["id"], category_id=data["categories"][0]["id"])
    (tmp_path / "annotations.json").write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=r"a\.png: an annotation of COCO is made for"):
        create_dataset("coco", tmp_path, "all")[0]
    data["annotations"][0]["category_id"] = 77
    (tmp_path / "annotations.json").write_text(json.dumps(data))
    with pytest.raises(DatasetError, match="category 77, which is not among its 'categories'"):
        create_dataset("coco", tmp_path, "all")


@pytest.mark.parametrize("name", ["instances_val2017.json", "valid/_annotations.coco.json", "medieval/validation.json"])
def test_a_coco_file_of_one_split_is_never_split_again(tmp_path, name):
    images(tmp_path, "abcde")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(json.dumps(coco_data("abcde", [])))
    for options in ({}, {"annotations": name}):
        assert len(create_dataset("coco", tmp_path, "val", **options)) == 5
        with pytest.raises(DatasetError, match="no split 'train'"):
            create_dataset("coco", tmp_path, "train", **options)
    assert write_dataset("coco", tmp_path, ["val"], tmp_path / "out") == {"val": 5}


def test_a_coco_file_of_no_split_is_split(tmp_path):
    images(tmp_path, "abcde")
    (tmp_path / "medieval_constraints.json").write_text(json.dumps(coco_data("abcde", [])))
    assert [len(create_dataset("coco", tmp_path, split)) for split in ("train", "val", "all")] == [4, 1, 5]


@pytest.mark.parametrize("ignored", [False, True])
def test_a_folder_becomes_coco_and_a_folder_again(tmp_path, ignored):
    pytest.importorskip("pycocotools.mask")
    make_folder(tmp_path / "own")
    if ignored:
        save(tmp_path / "own/masks/a.png", np.where(mask() == 1, 255, mask()).astype(np.uint8))
    (tmp_path / "own/classes.txt").write_text("sky\nroad\ntree\n")
    assert write_coco("folder", tmp_path / "own", ["train", "val"], tmp_path / "coco") == {"train": 4, "val": 1}
    write_dataset("coco", tmp_path / "coco", ["train", "val"], tmp_path / "again")
    for split in ("train", "val"):
        before, after = (create_dataset("folder", tmp_path / place, split) for place in ("own", "again"))
        assert before.benchmark.classes == after.benchmark.classes
        for index in range(len(before)):
            assert np.array_equal(after[index]["mask"], before[index]["mask"])
            assert np.array_equal(after[index]["image"], before[index]["image"])


# CVAT


def test_cvat_polygons_boxes_ellipses_and_masks(tmp_path):
    images(tmp_path)
    points = ";".join(f"{x},{y}" for x, y in SQUARE)
    (tmp_path / "annotations.xml").write_text(f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><meta><task><labels>
<label><name>roof</name><color>#fa3253</color></label><label><name>door</name><color>#0000ff</color></label>
</labels></task></meta>
<image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">
<polygon label="door" points="{points}" z_order="1"/>
<box label="roof" xtl="1" ytl="2" xbr="6" ybr="30" z_order="0"/>
<mask label="door" rle="2, 3, 4" left="40" top="1" width="3" height="3" z_order="2"/>
<points label="roof" points="3,3"/>
</image>
{"".join(f'<image id="{n}" name="{name}.png" width="5" height="4"/>' for n, name in enumerate("bcde", 1))}
</annotations>""")
    classes, found = first_mask("cvat", tmp_path)
    assert classes == ("background", "roof", "door")
    truth = np.where(drawn(SQUARE), 2, 0)
    truth[2:31, 1:7] = 1
    truth[1:4, 40:43] = np.array([[0, 0, 2], [2, 2, 0], [0, 0, 0]])
    assert np.array_equal(found, truth)
    assert create_dataset("cvat", tmp_path, "all").benchmark.palette[1] == (0xFA, 0x32, 0x53)


def test_cvat_files_that_define_entities_are_refused(tmp_path):
    (tmp_path / "annotations.xml").write_text('<!DOCTYPE x [<!ENTITY a "aaaa">]><annotations>&a;</annotations>')
    with pytest.raises(DatasetError, match="entities"):
        create_dataset("cvat", tmp_path, "train")


def test_cvat_segmentation_masks(tmp_path):
    images(tmp_path, folder="JPEGImages")
    for name in "abcde":
        colours = np.array([[0, 0, 0], [250, 50, 83]], np.uint8)[drawn(SQUARE)]
        save(tmp_path / "SegmentationClass" / f"{name}.png", colours)
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nthing:250,50,83::\n")
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "default.txt").write_text("a\nb\nc\nd\ne\n")
    classes, found = first_mask("folder", tmp_path)
    assert classes == ("background", "thing")
    assert np.array_equal(found, drawn(SQUARE))
    assert len(create_dataset("folder", tmp_path, "val")) == 1
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("e\n")
    assert create_dataset("folder", tmp_path, "train").ids == ["a", "b"]


# the others


def test_yolo_polygons(tmp_path):
    for split, names in (("train", "abc"), ("val", "de")):
        images(tmp_path, names, folder=f"images/{split}")
        for name in names[1:] if split == "train" else names:
            line = " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in SQUARE)
            (tmp_path / "labels" / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "labels" / split / f"{name}.txt").write_text(f"1 {line}\n")
    (tmp_path / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: {0: roof, 1: door}\n")
    dataset = create_dataset("yolo", tmp_path, "train")
    assert dataset.benchmark.classes == ("background", "roof", "door")
    assert not np.asarray(dataset[0]["mask"]).any(), "an image without a label file is background"
    assert np.array_equal(dataset[1]["mask"], drawn(SQUARE) * 2)
    (tmp_path / "labels/train/b.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DatasetError, match=r"b\.txt, line 1 is no polygon"):
        create_dataset("yolo", tmp_path, "train")
    for index in ("1.5", "Infinity", "nan", "door"):
        (tmp_path / "labels/train/b.txt").write_text(f"{index} 0.5 0.5 0.2 0.2 0.1 0.1\n")
        with pytest.raises(DatasetError, match=rf"b\.txt, line 1: .*{index}"):
            create_dataset("yolo", tmp_path, "train")


def test_yolo_masks_with_a_label_mapping(tmp_path):
    for split, names in (("train", "abc"), ("val", "de")):
        images(tmp_path, names, folder=f"images/{split}")
        for name in names:
            save(tmp_path / "masks" / split / f"{name}.png", np.array([3, 7, 9], np.uint8)[mask(HEIGHT, WIDTH)])
    (tmp_path / "data.yaml").write_text(
        "train: images/train\nval: images/val\nnames: [roof, door]\n"
        "masks_dir: masks\nlabel_mapping: {3: 0, 7: 1, 9: 255}\n"
    )
    dataset = create_dataset("yolo", tmp_path, "val")
    assert dataset.benchmark.classes == ("roof", "door")
    assert np.array_equal(dataset[0]["mask"], np.array([0, 1, 255])[mask(HEIGHT, WIDTH)])


# LightlyTrain


def lightly_images(root: Path, mask_name: str, values: list) -> None:
    """Write train and val images, and masks of these values where LightlyTrain's own template finds them."""
    for split, names in (("train", "abc"), ("val", "de")):
        images(root, names, folder=f"{split}/images/deep")
        for name in names:
            path = mask_name.format(image_path=root / split / "images/deep" / f"{name}.png")  # as LightlyTrain does
            save(Path(path), np.array(values, np.uint8)[mask(HEIGHT, WIDTH, seed=ord(name))])


TEMPLATE = "{image_path.parent.parent.parent}/masks/{image_path.stem}_of{image_path.suffix}.png"
LIGHTLY = "train: {{images: train/images, masks: '{0}'}}\nval: {{images: val/images, masks: '{0}'}}\n"


@pytest.mark.parametrize("from_above", [False, True])
def test_lightly_templates(tmp_path, from_above):
    root = tmp_path / "set"
    lightly_images(root, TEMPLATE, [3, 7, 9])
    text = LIGHTLY.format(TEMPLATE) + "classes: {3: roof, 7: {name: door, labels: [7]}, 9: rest}\nignore_classes: [7]\n"
    if from_above:
        text = "data:\n" + "".join(f"  {line}\n" for line in text.replace("images: ", "images: set/").splitlines())
    (root / "data.yaml").write_text(text)
    dataset = create_dataset("lightly", root, "val")
    assert dataset.benchmark.classes == ("roof", "rest")
    assert dataset.ids == ["val/images/deep/d", "val/images/deep/e"]
    assert np.array_equal(dataset[1]["mask"], np.array([0, 255, 1])[mask(HEIGHT, WIDTH, seed=ord("e"))])
    found = inspect_folder(root)
    assert (found.dataset, found.splits) == ("lightly", {"train": 3, "val": 2})


def test_lightly_folders_of_colours_and_masks_beside_the_images(tmp_path):
    lightly_images(tmp_path, "{image_path.parent}/{image_path.stem}_mask.png", [[0, 0, 0], [9, 9, 0], [8, 0, 8]])
    text = LIGHTLY.format("{image_path.parent}/{image_path.stem}_mask.png")
    (tmp_path / "data.yaml").write_text(
        text + "classes:\n  0: {name: a, values: [[0, 0, 0], [9, 9, 0]]}\n  1: {name: b, values: [[8, 0, 8]]}\n"
    )
    dataset = create_dataset("lightly", tmp_path, "train")
    assert dataset.ids == [f"train/images/deep/{name}" for name in "abc"], "masks are no images"
    assert np.array_equal(dataset[2]["mask"], np.array([0, 0, 1])[mask(HEIGHT, WIDTH, seed=ord("c"))])
    (tmp_path / "train/images/deep/b_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"1 of the train images .* have no mask .*b\.png\. Add the masks"):
        create_dataset("lightly", tmp_path, "train")


@pytest.mark.parametrize(
    ("masks", "classes", "says"),
    [
        ("{image_path.parent.__class__}", "{0: a, 1: b}", "should have no other fields"),
        ("{image_path.stem.parent}", "{0: a, 1: b}", "only a path has .parent"),
        ("../{image_path.stem}.png", "{0: a, 1: b}", "have no mask by"),
        (TEMPLATE, "{0: a, 1: {name: b}}", "1 should be a name, or have 'name'"),
        (TEMPLATE, "{0: a, 1: {name: b, labels: [[1, 2, x]]}}", "neither a value nor a colour"),
        (TEMPLATE, "{0: a, 1: {name: b, labels: [0]}}", "0 stands for two classes"),
        (TEMPLATE, "{0: a, 1: {name: b, labels: [[1, 2, 3]]}}", "should be values for all classes"),
        (TEMPLATE, "{0: a, 1: a}", "'a' is listed 2 times"),
        (TEMPLATE, "{0: a}\nignore_classes: [4]", "there is no class 4"),
        (TEMPLATE, "{0: a}\nignore_classes: [0]", "every class is among"),
    ],
)
def test_a_lightly_file_that_is_wrong_is_explained(tmp_path, masks, classes, says):
    lightly_images(tmp_path, TEMPLATE, [0, 1, 1])
    (tmp_path / "data.yaml").write_text(LIGHTLY.format(masks) + f"classes: {classes}\n")
    with pytest.raises(DatasetError, match=re.escape(says)):
        create_dataset("lightly", tmp_path, "train")


def test_a_file_that_says_what_values_are_goes_before_the_names_of_folders(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "data.yaml").write_text("train: images\nnames: [roof, door, wall]\nmasks_dir: masks\n")
    assert inspect_folder(tmp_path).dataset == "yolo"


def test_roboflow_masks(tmp_path):
    for split, names in (("train", "abc"), ("valid", "de")):
        images(tmp_path, names, folder=split)
        for name in names:
            save(tmp_path / split / f"{name}_mask.png", mask(HEIGHT, WIDTH))
        with (tmp_path / split / "_classes.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["Pixel Value", " Class"], [0, " background"], [1, " roof"], [2, " door"]])
    dataset = create_dataset("roboflow", tmp_path, "val")
    assert dataset.ids == ["valid/d", "valid/e"]
    assert dataset.benchmark.classes == ("background", "roof", "door")
    assert np.array_equal(dataset[0]["mask"], mask(HEIGHT, WIDTH))


def test_supervisely_polygons_with_holes_and_bitmaps(tmp_path):
    images(tmp_path, folder="ds/img")
    buffer = io.BytesIO()
    Image.fromarray(np.eye(5, dtype=np.uint8) * 255).save(buffer, "PNG")
    hole = [[25, 20], [30, 20], [30, 25], [25, 25]]
    objects = [
        {"classTitle": "roof", "geometryType": "polygon", "points": {"exterior": SQUARE, "interior": [hole]}},
        {
            "classTitle": "door",
            "geometryType": "bitmap",
            "bitmap": {"data": base64.b64encode(zlib.compress(buffer.getvalue())).decode(), "origin": [2, 3]},
        },
    ]
    (tmp_path / "ds/ann").mkdir()
    for name in "abcde":
        (tmp_path / f"ds/ann/{name}.png.json").write_text(json.dumps({"objects": objects}))
    classes = [
        {"title": "roof", "shape": "any", "color": "#112233"},
        {"title": "door", "shape": "any", "color": "#445566"},
    ]
    (tmp_path / "meta.json").write_text(json.dumps({"classes": classes}))
    names, found = first_mask("supervisely", tmp_path)
    assert names == ("background", "roof", "door")
    truth = drawn(SQUARE).copy()
    truth[drawn(hole) > 0] = 0
    truth[3:8, 2:7] += np.eye(5, dtype=np.uint8) * 2
    assert np.array_equal(found, truth)


def encode_brush(alpha: np.ndarray) -> list[int]:
    """Encode RGBA bytes as Label Studio does, each run of equal bytes by itself."""
    flat_bytes = np.repeat(alpha.astype(np.uint8).reshape(-1, 1), 4, 1).reshape(-1)
    bits = f"{flat_bytes.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    at = 0
    while at < flat_bytes.size:
        end = at
        while end < flat_bytes.size and flat_bytes[end] == flat_bytes[at] and end - at < 65536:
            end += 1
        bits += f"1{3:02b}{end - at - 1:016b}{flat_bytes[at]:08b}"
        at = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def test_label_studio_polygons_and_brush_strokes(tmp_path):
    images(tmp_path)
    strokes = drawn(TRIANGLE) * 255
    percent = [[x / WIDTH * 100, y / HEIGHT * 100] for x, y in SQUARE]
    sizes = {"original_width": WIDTH, "original_height": HEIGHT}
    results = [
        {"value": {"points": percent, "polygonlabels": ["roof"]}, **sizes},
        {"value": {"rle": encode_brush(strokes), "format": "rle", "brushlabels": ["door"]}, **sizes},
    ]
    tasks = [
        {"data": {"image": f"/data/upload/1/0a1b2c3d-{name}.png"}, "annotations": [{"result": results}]}
        for name in "abcde"
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    classes, found = first_mask("label_studio", tmp_path)
    assert classes == ("background", "door", "roof")
    assert np.array_equal(found, np.where(strokes, 1, drawn(SQUARE) * 2))
    minimal = [
        {"id": 1, "image": f"/data/upload/1/0a1b2c3d-{name}.png", "shapes": [{**r["value"], **sizes} for r in results]}
        for name in "abcde"
    ]
    minimal[4].pop("shapes")
    (tmp_path / "export.json").write_text(json.dumps(minimal))
    assert first_mask("label_studio", tmp_path)[0] == classes
    assert np.array_equal(first_mask("label_studio", tmp_path)[1], found)
    assert inspect_folder(tmp_path).dataset == "label_studio"


def test_brush_strokes_with_runs_of_different_bytes():
    bits = f"{6:032b}{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}"
    bits += f"0{0:02b}{3:03b}" + "".join(f"{value:08b}" for value in (1, 2, 3, 4)) + f"1{1:02b}{1:04b}{9:08b}"
    bits += "0" * (-len(bits) % 8)
    assert decode_brush(tuple(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)), 6).tolist() == [
        1,
        2,
        3,
        4,
        9,
        9,
    ]
    with pytest.raises(DatasetError, match="end early"):
        decode_brush((0, 0, 0, 9, 0), 9)
    with pytest.raises(DatasetError, match="stand for 4,294,967,295 values, not 9"):
        decode_brush((255, 255, 255, 255, 0, 0, 0, 0), 9)


def test_parquet_files_of_hugging_face(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def cell(image: Image.Image) -> dict:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    for split, count in (("train", 5), ("validation", 2)):
        rows = {
            "image": [cell(picture(HEIGHT, WIDTH, seed)) for seed in range(count)],
            "label": [cell(Image.fromarray(mask(HEIGHT, WIDTH, seed=seed))) for seed in range(count)],
        }
        (tmp_path / "data").mkdir(exist_ok=True)
        path = tmp_path / f"data/{split}-00000-of-00001.parquet"
        parquet.write_table(pyarrow.table(rows), path, row_group_size=2)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    dataset = create_dataset("parquet", tmp_path, "train")
    assert len(dataset) == 5
    for index in (3, 0, 4):
        assert np.array_equal(dataset[index]["mask"], mask(HEIGHT, WIDTH, seed=index))
    assert len(create_dataset("parquet", tmp_path, "val")) == 2


def test_mmsegmentation_folders(tmp_path):
    for split, names in (("train", "abc"), ("val", "de")):
        images(tmp_path, names, folder=f"img_dir/{split}")
        for name in names:
            save(tmp_path / "ann_dir" / split / f"{name}.png", mask(HEIGHT, WIDTH))
    dataset = create_dataset("folder", tmp_path, "val")
    assert dataset.ids == ["d", "e"]
    assert np.array_equal(dataset[0]["mask"], mask(HEIGHT, WIDTH))


# recognised


def test_a_folder_is_recognised_with_the_command_that_trains_on_it(labelme, tmp_path):
    found = inspect_folder(labelme)
    assert (found.dataset, found.splits) == ("labelme", {"train": 4, "val": 1})
    assert "data.dataset=labelme --data-root" in str(found)
    make_folder(tmp_path / "own")
    (tmp_path / "own/classes.txt").write_text("a\nb\nc\n")
    assert inspect_folder(tmp_path / "own").dataset == "folder"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="it holds nothing"):
        inspect_folder(tmp_path / "empty")


def test_the_dataset_folder_says_what_else_a_folder_is(labelme):
    with pytest.raises(DatasetError, match=r"5 JSON files of labelme.*data\.dataset=labelme"):
        create_dataset("folder", labelme, "train")
