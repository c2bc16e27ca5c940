from __future__ import annotations

import base64
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.errors import PredictionError
from vitrail.inference.prediction import NOTEBOOK_SIDE, Prediction
from vitrail.inference.rle import compress, find_runs, run_lengths

PALETTE = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


@pytest.fixture
def prediction() -> Prediction:
    mask = np.array([[0, 0, 2, 2, 2], [0, 2, 2, 2, 2]], np.uint8)
    scores = np.where(mask == 2, 0.75, 0.5).astype(np.float32)
    image = np.full((2, 5, 3), 90, np.uint8)
    return Prediction(mask, ("road", "sky", "tree"), PALETTE, image, id="street", scores=scores)


def test_areas_are_of_present_classes_largest_first(prediction: Prediction) -> None:
    assert [tuple(area) for area in prediction.areas()] == [(2, "tree", 7, 0.7), (0, "road", 3, 0.3)]
    assert json.loads(json.dumps(prediction.to_dict()))["areas"][0]["name"] == "tree"


def test_run_lengths_go_down_the_columns_and_begin_with_zeros() -> None:
    runs = find_runs(np.array([[1, 0, 1], [1, 1, 0]], np.uint8))
    assert run_lengths(runs, 1) == [0, 2, 1, 2, 1]
    assert run_lengths(runs, 0) == [2, 1, 2, 1]
    assert run_lengths(runs, 9) == [6]


def test_compression_is_the_one_in_cocos_files() -> None:
    assert compress([0, 2, 1, 2, 1]) == "02100"
    assert compress([5, 40, 1000]) == "5X1Xo0"


def test_coco_annotations_hold_one_segment_per_class(prediction: Prediction) -> None:
    road, tree = prediction.to_coco(compressed=False)
    assert (road["category"], tree["category"]) == ("road", "tree")
    assert road["image_id"] == "street"
    assert road["segmentation"] == {"size": [2, 5], "counts": [0, 3, 7]}
    assert tree["bbox"] == [1, 0, 4, 2]
    assert (tree["area"], tree["score"]) == (7, 0.75)
    assert isinstance(prediction.to_coco(3)[0]["segmentation"]["counts"], str)
    json.dumps(prediction.to_coco())


def test_supervision_gets_one_mask_for_each_class(prediction: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    supervision = pytest.importorskip("supervision")
    detections = prediction.to_supervision()
    assert isinstance(detections, supervision.Detections)
    assert detections.class_id.tolist() == [0, 2] and detections.data["class_name"].tolist() == ["road", "tree"]
    assert np.array_equal(detections.mask, np.stack([prediction.mask == 0, prediction.mask == 2]))
    assert detections.confidence.tolist() == [0.5, 0.75]
    assert np.array_equal(detections.xyxy, supervision.mask_to_xyxy(detections.mask))
    scene = supervision.MaskAnnotator(opacity=1).annotate(prediction.image.copy(), detections)
    assert (scene != prediction.image).any(axis=2).all()
    assert replace(prediction, scores=None).to_supervision().confidence is None
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(PredictionError, match=r"pip install 'vitrail\[supervision\]'"):
        prediction.to_supervision()


@pytest.mark.parametrize("kind", ["overlay", "colour", "index"])
def test_pictures_are_written_with_their_folders(prediction: Prediction, tmp_path: Path, kind) -> None:
    prediction.save(tmp_path / "a" / "b.png", kind)
    with Image.open(tmp_path / "a" / "b.png") as picture:
        assert picture.size[0] >= 5


def test_index_pictures_hold_the_mask(prediction: Prediction, tmp_path: Path) -> None:
    prediction.save(tmp_path / "x.png", "index")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), prediction.mask)
    with pytest.raises(PredictionError, match=r"do not survive in \.jpg"):
        prediction.save(tmp_path / "x.jpg", "index")


def test_unknown_kinds_and_unwritable_files_are_refused(prediction: Prediction, tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="unknown kind"):
        prediction.save(tmp_path / "x.png", "overlays")
    (tmp_path / "file").touch()
    with pytest.raises(PredictionError, match="cannot write"):
        prediction.save(tmp_path / "file" / "x.png")
    with pytest.raises(PredictionError, match="cannot write"):
        prediction.save(tmp_path / "x.unknown")


def test_it_shows_itself_in_a_notebook_at_a_sensible_size() -> None:
    mask = np.zeros((100, 4000), np.uint8)
    prediction = Prediction(mask, ("road",), PALETTE[:1], np.zeros((100, 4000, 3), np.uint8))
    picture = Image.open(io.BytesIO(prediction._repr_png_()))
    assert max(picture.size) == NOTEBOOK_SIDE
    assert "mask" not in repr(prediction)


def test_it_shows_itself_with_switches_in_a_notebook(prediction: Prediction) -> None:
    prediction = Prediction(prediction.mask, ("<b>", "sky", "tree"), PALETTE, prediction.image)
    page = prediction._repr_html_()
    assert "<script" not in page
    assert "http" not in page
    assert "&lt;b&gt; 30.0%" in page
    pictures = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]+)", page)]
    image, *layers = [np.array(Image.open(io.BytesIO(data)).convert("RGBA")) for data in pictures]
    assert np.array_equal(image[..., :3], prediction.image)
    for layer, index in zip(layers, (2, 0), strict=True):  # the largest first, as the switches are
        where = prediction.mask == index
        assert (layer[where] == (*PALETTE[index], 255)).all()
        assert (layer[~where][:, 3] == 0).all()
    assert page.partition('"')[2].partition('"')[0] != prediction._repr_html_().partition('"')[2].partition('"')[0]
