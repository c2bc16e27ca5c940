"""Images, archives and annotations of any content: data or a VitrailError."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.hostile import DURATIONS, altered, check_outcomes, damaged, damaged_text
from helpers.image_makers import make_folder, mask, picture, save
from hypothesis import strategies as st
from PIL import Image

from vitrail.datasets import create_dataset, read_image, read_mask
from vitrail.datasets.storage import Tar, Zip

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning:PIL")]
HEIGHT, WIDTH = 24, 32
SQUARE = [[3, 4], [20, 4], [20, 15], [3, 15]]
PERCENT = [[x / WIDTH * 100, y / HEIGHT * 100] for x, y in SQUARE]
SIZES = {"original_width": WIDTH, "original_height": HEIGHT}


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def as_array(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


BITMAP = base64.b64encode(zlib.compress(encoded(Image.new("L", (5, 5), 255), "PNG"))).decode()
LABELME = {
    "shapes": [{"label": "roof", "points": SQUARE, "shape_type": "polygon"}, {"label": "door", "points": SQUARE}],
    "imagePath": "../images/a.png",
    "imageHeight": HEIGHT,
    "imageWidth": WIDTH,
}
COCO = {
    "images": [{"id": 0, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
    "annotations": [
        {"image_id": 0, "category_id": 7, "iscrowd": 0, "area": 5, "segmentation": [[3, 4, 20, 4, 20, 15]]},
        {"image_id": 0, "category_id": 9, "segmentation": {"counts": [9, 3, 756], "size": [HEIGHT, WIDTH]}},
    ],
    "categories": [{"id": 7, "name": "roof"}, {"id": 9, "name": "door"}],
}
SUPERVISELY = {
    "objects": [
        {"classTitle": "roof", "geometryType": "polygon", "points": {"exterior": SQUARE, "interior": [SQUARE]}},
        {"classTitle": "door", "geometryType": "bitmap", "bitmap": {"data": BITMAP, "origin": [2, 3]}},
    ]
}
LABEL_STUDIO = [
    {
        "data": {"image": "/data/upload/1/0a1b2c3d-a.png"},
        "annotations": [
            {
                "result": [
                    {"value": {"points": PERCENT, "polygonlabels": ["roof"]}, **SIZES},
                    {"value": {"rle": [0, 0, 0, 9, 56, 9], "format": "rle", "brushlabels": ["door"]}, **SIZES},
                ]
            }
        ],
    }
]
CVAT = f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><meta><task><labels><label><name>roof</name><color>#fa3253</color></label></labels></task></meta>
<image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">
<polygon label="roof" points="3,4;20,4;20,15" z_order="1"/>
<box label="roof" xtl="1" ytl="2" xbr="6" ybr="20" z_order="0"/>
<mask label="roof" rle="2, 3, 4" left="4" top="1" width="3" height="3" z_order="2"/>
</image></annotations>"""
YOLO = "path: .\ntrain: images\nval: images\nnames: {0: roof, 1: door}\n"


@pytest.fixture(autouse=True)
def _small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a few bytes may describe an image of a gigabyte; the limit is adjustable."""
    monkeypatch.setenv("VITRAIL_MAX_PIXELS", str(1 << 22))


@DURATIONS
@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("labelme", "labels/a.json", LABELME),
        ("coco", "annotations/instances.json", COCO),
        ("supervisely", "ds/ann/a.png.json", SUPERVISELY),
        ("label_studio", "export.json", LABEL_STUDIO),
        ("cvat", "annotations.xml", CVAT),
        ("yolo", "data.yaml", YOLO),
        ("yolo", "labels/a.txt", "1 0.1 0.2 0.6 0.2 0.6 0.7\n"),
    ],
    ids=["labelme", "coco", "supervisely", "label_studio", "cvat", "yolo", "yolo_labels"],
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_annotations(tmp_path: Path, name: str, file: str, content: Any, seconds: float) -> None:
    save(tmp_path / ("ds/img" if name == "supervisely" else "images") / "a.png", picture(HEIGHT, WIDTH))
    if name == "supervisely":
        classes = [{"title": title, "shape": "any", "color": "#112233"} for title in ("roof", "door")]
        (tmp_path / "meta.json").write_text(json.dumps({"classes": classes}))
    if name == "yolo":
        (tmp_path / "data.yaml").write_text(YOLO)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)

    def read(text: str) -> None:
        (tmp_path / file).write_text(text, encoding="utf-8", errors="surrogatepass")
        for index in range(len(dataset := create_dataset(name, tmp_path, "all"))):
            dataset[index]

    whole = content if isinstance(content, str) else json.dumps(content)
    if name != "label_studio":  # whose brush is not one, as the others are what they should be
        read(whole)
    texts = damaged_text(whole)
    examples = texts if isinstance(content, str) else texts | altered(content, json=True).map(json.dumps)
    check_outcomes(examples, read, count=60, seconds=seconds)


@DURATIONS
@pytest.mark.parametrize("read_file", [read_image, read_mask], ids=["image", "mask"])
def test_pictures(tmp_path: Path, read_file: Callable[[Path], Any], seconds: float) -> None:
    colours, classes = picture(HEIGHT, WIDTH), Image.fromarray(mask(HEIGHT, WIDTH))
    deep = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30))
    kinds = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "TGA", "JPEG2000")
    whole = [*(encoded(colours, kind) for kind in kinds), encoded(classes.convert("P"), "PNG"), encoded(deep, "PNG")]
    whole += [as_array(np.zeros((5, 6, 3), np.uint8)), as_array(np.zeros((5, 6, 3), np.float32))]
    path = tmp_path / "x.png"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        read_file(path)

    check_outcomes(st.one_of(map(damaged, whole)), read, count=200, seconds=seconds)


@DURATIONS
def test_archives(tmp_path: Path, seconds: float) -> None:
    (tmp_path / "a.txt").write_bytes(bytes(range(256)) * 4)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.txt", "in/a.txt")
        archive.write(tmp_path / "a.txt", "in/b.txt", zipfile.ZIP_LZMA)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "a.txt", "in/a.txt")

    def read(given: tuple[type[Zip] | type[Tar], bytes]) -> None:
        kind, content = given
        path = tmp_path / "y"
        path.write_bytes(content)
        opened = kind(path)
        for name in opened.below(""):
            opened.read(name)

    examples = [
        damaged((tmp_path / file).read_bytes()).map(lambda content, kind=kind: (kind, content))
        for kind, file in ((Zip, "x.zip"), (Tar, "x.tar"))
    ]
    check_outcomes(st.one_of(examples), read, count=200, seconds=seconds)


@DURATIONS
def test_lists_of_names(tmp_path: Path, seconds: float) -> None:
    make_folder(tmp_path, names=("a", "b", "c"))
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")

    def read(text: str) -> None:
        (tmp_path / "train.txt").write_text(text, encoding="utf-8", errors="surrogatepass")
        create_dataset("folder", tmp_path, "train")[0]

    read("a\nb\n")
    check_outcomes(damaged_text("a\nb.jpg\nimages/c.jpg masks/c.png\n"), read, count=60, seconds=seconds)
