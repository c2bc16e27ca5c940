"""`vitrail.evaluate`: from a model and a folder to figures, predictions and a report."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from helpers.evaluation_models import CLASSES, PALETTE, small_model
from PIL import Image

import vitrail
from vitrail.errors import DatasetError, RecipeError, VitrailError
from vitrail.evaluation.report import WorstImages
from vitrail.evaluation.result import ImageResult, ImageScore
from vitrail.recipes import DataConfig, EvalConfig, ModelConfig, Recipe, TrainConfig

RECIPE = Recipe(
    name="small",
    model=ModelConfig(segmentor="fcn"),
    data=DataConfig(dataset="folder", eval_split="all", mean=(120, 110, 100), std=(50, 55, 60), workers=0),
    train=TrainConfig(epochs=1),
    evaluation=EvalConfig(batch_size=2),
)


@pytest.fixture
def root(tmp_path):
    """Five images with masks, one of them in a folder of its own and of another size."""
    folder = tmp_path / "data"
    generator = np.random.default_rng(0)
    for index, name in enumerate(["a", "b", "c", "d", "deep/e"]):
        size = (32, 40) if index < 4 else (33, 47)
        for kind, values in (("images", (256, 3)), ("masks", (len(CLASSES),))):
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            array = generator.integers(values[0], size=(*size, *values[1:])).astype(np.uint8)
            Image.fromarray(array).save(path)
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    return folder


def test_figures_predictions_and_their_files_agree(root, tmp_path):
    masks = tmp_path / "masks"
    evaluation = vitrail.evaluate(
        small_model(), recipe=RECIPE, data_root=root, device="cpu", save_predictions=masks, report=tmp_path / "report"
    )
    assert evaluation.images == 5 and evaluation.classes == CLASSES
    ids = [score.id for score in evaluation.scores]
    assert sorted(path.relative_to(masks).with_suffix("").as_posix() for path in masks.rglob("*.png")) == sorted(ids)
    matrix = np.zeros((4, 4), dtype=np.int64)
    for image_id in ids:
        picture = Image.open(masks / f"{image_id}.png")
        assert picture.mode == "P"
        assert picture.getpalette()[:12] == [channel for colour in evaluation.palette for channel in colour]
        truth = np.asarray(Image.open(root / "masks" / f"{image_id}.png"))
        np.add.at(matrix, (truth, np.asarray(picture)), 1)
    assert np.array_equal(matrix, evaluation.confusion.numpy())


class Page(HTMLParser):
    """Collects the tags that are open at the end, and what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.references += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_shows_the_worst_images(root, tmp_path):
    report = tmp_path / "report"
    evaluation = vitrail.evaluate(small_model(), recipe=RECIPE, data_root=root, device="cpu", report=report, worst=2)
    expected = [score.id for score in sorted(evaluation.scores, key=lambda score: score.miou)[:2]]
    summary = json.loads((report / "summary.json").read_text())
    assert summary["worst"] == expected
    assert summary["miou"] == pytest.approx(evaluation.miou)
    assert len(summary["scores"]) == 5
    html = (report / "index.html").read_text()
    page = Page()
    page.feed(html)
    assert not page.open
    assert len(set(page.references)) == 8
    for reference in page.references:
        with Image.open(report / reference) as picture:
            assert picture.size in ((40, 32), (47, 33))
    assert html.index(f"<h3>{expected[0]}</h3>") < html.index(f"<h3>{expected[1]}</h3>")
    assert "http" not in html and "<script" not in html


def test_the_error_picture_marks_what_is_wrong(tmp_path):
    mask = torch.zeros(40, 60, dtype=torch.uint8)
    mask[:, :20] = 255
    prediction = mask.clone()
    prediction[:, 40:] = 1
    confusion = torch.zeros(4, 4, dtype=torch.int64)
    confusion[0, 0], confusion[0, 1] = 800, 800
    worst = WorstImages(tmp_path, PALETTE, count=1)
    image = torch.full((3, 40, 60), 200, dtype=torch.uint8)
    worst(ImageResult("a", image, mask, prediction, confusion, ImageScore("a", 0.5, 0.5)))
    card = worst._write_pictures(worst._kept[0][2], 1, CLASSES)
    errors = np.asarray(Image.open(tmp_path / card.pictures["errors"])).astype(int)
    dark, right, wrong = errors[20, 8], errors[20, 30], errors[20, 50]
    assert dark.max() < 90 < right.min()
    assert wrong[0] > wrong[1] + 60
    assert card.confusions == [("sky", "road", 0.5)]


def test_the_models_own_recipe_is_used_and_can_be_overridden(root):
    model = small_model()
    data = RECIPE.model_dump()
    data["data"]["root"] = str(root)
    model.card = replace(model.card, recipe=data)
    with pytest.raises(DatasetError, match="--data-root"):  # where data are is not for a model to say
        vitrail.evaluate(model, device="cpu")
    plain = vitrail.evaluate(model, data_root=root, device="cpu")
    resized = vitrail.evaluate(
        model,
        overrides=["data.eval_resize.size=[64, 64]", "data.eval_resize.keep_ratio=false"],
        data_root=root,
        device="cpu",
    )
    assert plain.images == resized.images == 5
    assert plain.confusion.sum() == resized.confusion.sum()
    assert not torch.equal(plain.confusion, resized.confusion)


def test_a_model_without_card_is_normalised_as_the_recipe_says(root):
    model = small_model()
    expected = vitrail.evaluate(model, recipe=RECIPE, data_root=root, device="cpu")
    model.card = None
    assert torch.equal(
        vitrail.evaluate(model, recipe=RECIPE, data_root=root, device="cpu").confusion, expected.confusion
    )


def test_no_recipe_anywhere_is_an_error(root):
    with pytest.raises(RecipeError, match="carries no recipe"):
        vitrail.evaluate(small_model(), data_root=root, device="cpu")


def test_an_unknown_key_in_an_override_is_named(root):
    with pytest.raises(RecipeError, match=r"evaluation\.flop.*flip"):
        vitrail.evaluate(small_model(), recipe=RECIPE, overrides=["evaluation.flop=true"], data_root=root, device="cpu")


def test_a_split_that_is_not_there_is_named(root):
    with pytest.raises(DatasetError, match="no split 'test'"):
        vitrail.evaluate(small_model(), recipe=RECIPE, data_root=root, split="test", device="cpu")


def test_classes_of_another_dataset_are_refused(root):
    with pytest.raises(DatasetError, match="has 3 classes"):
        vitrail.evaluate(small_model(num_classes=3), recipe=RECIPE, data_root=root, device="cpu")


@pytest.mark.parametrize("argument", ["save_predictions", "report"])
def test_a_folder_that_cannot_be_made_is_named(root, tmp_path, argument):
    (tmp_path / "file").write_text("")
    with pytest.raises(VitrailError, match=r"cannot write .*file"):
        vitrail.evaluate(
            small_model(), recipe=RECIPE, data_root=root, device="cpu", **{argument: tmp_path / "file" / "folder"}
        )


def test_a_report_of_no_images_is_refused(root, tmp_path):
    with pytest.raises(VitrailError, match="worst must be at least 1"):
        vitrail.evaluate(
            small_model(), recipe=RECIPE, data_root=root, device="cpu", report=tmp_path / "report", worst=0
        )


@pytest.mark.slow
def test_the_authors_cgnet_on_camvid(shared, camvid_root):
    """The figures that the authors' own code gives with these weights (mIoU 85.68)."""
    weights = shared / "weights" / "cgnet_m3n21_camvid_trainval.pth"
    if not weights.is_file():
        pytest.skip(f"no weights: {weights} does not exist")
    evaluation = vitrail.evaluate(weights, data_root=camvid_root, split="val", device="cpu")
    published = (0.946, 0.951, 0.461, 0.978, 0.927, 0.948, 0.796, 0.881, 0.925, 0.746, 0.865)
    order = ("sky", "building", "pole", "road", "sidewalk", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
    assert evaluation.images == 101
    assert evaluation.classes == order
    assert 100 * evaluation.miou == pytest.approx(85.68, abs=0.05)
    assert evaluation.iou == pytest.approx(published, abs=0.005)


def test_predictions_do_not_replace_the_masks(root):
    before = {path: path.read_bytes() for path in (root / "masks").rglob("*.png")}
    with pytest.raises(VitrailError, match="a file of the dataset: choose another folder"):
        vitrail.evaluate(small_model(), recipe=RECIPE, data_root=root, device="cpu", save_predictions=root / "masks")
    assert {path: path.read_bytes() for path in before} == before
