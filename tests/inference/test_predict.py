from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from vitrail.checkpoints import save_model
from vitrail.errors import DatasetError, ModelError, PredictionError, RecipeError
from vitrail.inference import Predictor, large_images, predict
from vitrail.inference.files import predict_files
from vitrail.recipes import EvalConfig, model_config_from_dict
from vitrail.segmentors import ModelCard, Segmentor, build_model

CLASSES = ("road", "sky", "tree")
PALETTE = ((0, 0, 255), (0, 255, 0), (255, 0, 0))


@pytest.fixture(scope="module")
def model() -> Segmentor:
    torch.manual_seed(0)
    settings = {"segmentor": "fastscnn"}
    model = build_model(model_config_from_dict(settings), len(CLASSES)).eval()
    recipe = {"model": settings, "data": {"dataset": "scenes"}, "train": {"epochs": 1}}
    logits = model((torch.rand(1, 3, 64, 64) * 255 - 120) / 58).detach().mean(dim=(0, 2, 3))
    model.head.classifier.bias.data -= logits  # or one class would win everywhere
    model.card = ModelCard(CLASSES, PALETTE, recipe=recipe)
    return model


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name, size in (("a.png", (48, 64)), ("b.jpg", (64, 40)), ("deep/c.png", (48, 64)), ("notes.txt", None)):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if size is None:
            path.write_text("no image")
        else:
            Image.fromarray(generator.integers(0, 255, (*size, 3), np.uint8)).save(path)
    return tmp_path / "photos"


def recipe_with(model: Segmentor, **changes) -> Segmentor:
    twin = build_model(model_config_from_dict(model.card.recipe["model"]), len(CLASSES)).eval()
    twin.load_state_dict(model.state_dict())
    twin.card = dataclasses.replace(model.card, recipe={**model.card.recipe, **changes})
    return twin


def test_one_file_gives_one_prediction_of_its_size(model: Segmentor, photos: Path) -> None:
    prediction = predict(model, photos / "b.jpg")
    assert prediction.mask.shape == (64, 40)
    assert prediction.mask.dtype == np.uint8
    assert prediction.id == "b"
    assert prediction.classes == CLASSES
    assert prediction.scores is None
    assert np.array_equal(prediction.image, np.asarray(Image.open(photos / "b.jpg")))


def test_masks_are_the_argmax_of_the_models_logits(model: Segmentor, photos: Path) -> None:
    prediction = predict(model, photos / "a.png", scores=True)
    mean, std = torch.tensor(model.card.mean), torch.tensor(model.card.std)
    image = (torch.from_numpy(prediction.image.copy()).float() - mean) / std
    with torch.no_grad():
        probability, mask = model(image.permute(2, 0, 1)[None])[0].softmax(0).max(0)
    assert np.array_equal(prediction.mask, mask.numpy())
    assert np.allclose(prediction.scores, probability.numpy(), atol=1e-5)


def test_every_way_to_give_an_image_gives_the_same(model: Segmentor, photos: Path) -> None:
    path = photos / "a.png"
    picture = Image.open(path)
    array = np.asarray(picture)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    alpha = np.dstack([array, np.full(array.shape[:2], 7, np.uint8)])
    expected = predict(model, str(path)).mask
    for image in (path, picture, picture.convert("RGBA"), array, alpha, tensor, str(photos / "a.pn?")):
        found = predict(model, image)
        found = found[0] if isinstance(found, list) else found
        assert np.array_equal(found.mask, expected)
    batch = predict(model, torch.stack([tensor, tensor.flip(-1)]))
    assert [np.array_equal(one.mask, expected) for one in batch] == [True, False]
    grey = predict(model, array[..., 0])
    assert np.array_equal(grey.image, np.repeat(array[..., :1], 3, axis=-1))


def test_folders_patterns_and_lists_give_lists_with_names(model: Segmentor, photos: Path) -> None:
    assert [one.id for one in predict(model, photos)] == ["a", "b", "deep/c"]
    assert [one.id for one in predict(model, f"{photos}/*.*g")] == ["a", "b"]
    mixed = [photos / "deep" / "c.png", Image.new("RGB", (40, 32)), f"{photos}/a.*"]
    assert [one.id for one in predict(model, mixed)] == ["c", "", "a"]


def test_names_that_collide_are_told_apart(model: Segmentor, photos: Path) -> None:
    Image.new("RGB", (40, 32)).save(photos / "a.bmp")
    Image.new("RGB", (40, 32)).save(photos / "deep" / "a.png")
    names = [one.id for one in predict(model, [photos / "a.png", photos / "a.bmp", photos / "deep" / "a.png"])]
    assert len(set(names)) == 3
    assert names[1] == "a.bmp"
    assert names[2].endswith("deep/a.png")


def test_images_are_resized_as_the_recipe_says_and_masks_come_back(model: Segmentor, photos: Path) -> None:
    data = {"dataset": "scenes", "eval_resize": {"size": [96, 128], "keep_ratio": False}}
    prediction = predict(recipe_with(model, data=data), photos / "a.png")
    assert prediction.mask.shape == (48, 64)
    assert not np.array_equal(prediction.mask, predict(model, photos / "a.png").mask)


def test_settings_and_overrides_change_how_it_predicts(model: Segmentor, photos: Path) -> None:
    plain, flipped = (
        predict(model, photos / "a.png"),
        predict(model, photos / "a.png", overrides=["evaluation.flip=true"]),
    )
    assert not np.array_equal(plain.mask, flipped.mask)
    same = predict(model, photos / "a.png", settings=EvalConfig(flip=True))
    assert np.array_equal(same.mask, flipped.mask)


def test_batches_change_nothing(model: Segmentor, photos: Path) -> None:
    single = predict(model, photos)
    batched = predict(model, photos, overrides=["evaluation.batch_size=3"])
    for one, other in zip(single, batched, strict=True):
        assert one.id == other.id
        assert (one.mask != other.mask).mean() < 0.001


def test_large_images_go_through_windows(model: Segmentor, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_images, "WINDOW_SIDES", (64,))
    seen: list[tuple[int, int]] = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    large = np.random.default_rng(0).integers(0, 255, (100, 130, 3), np.uint8)
    prediction = predict(model, large, whole_pixels=64 * 64)
    assert prediction.mask.shape == (100, 130)
    assert seen == [(64, 64)] * 6
    seen.clear()
    predict(model, photos / "a.png", whole_pixels=64 * 64)
    assert seen == [(48, 64)]
    model.backbone._forward_pre_hooks.clear()


class LargestFloat(TorchDispatchMode):
    """Notes the size of the largest tensor of numbers with a fraction that any operation makes."""

    bytes = 0

    def __torch_dispatch__(self, function, kinds, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return result


def test_windows_bound_the_memory(model: Segmentor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_images, "WINDOW_SIDES", (128,))
    image = np.random.default_rng(0).integers(0, 255, (1100, 1000, 3), np.uint8)
    with LargestFloat() as whole:
        predict(model, image)
    with LargestFloat() as windows:
        predict(model, image, whole_pixels=128 * 128)
    assert whole.bytes > image.size * 4
    assert windows.bytes < image.size * 4 / 3  # a fixed band of 4 MiB


@pytest.mark.parametrize(("classes", "width", "side"), [(19, 8192, 2048), (150, 8192, 1024), (60_000, 8192, 256)])
def test_windows_shrink_with_the_number_of_classes(classes: int, width: int, side: int) -> None:
    image = torch.empty(3, 8192, width, dtype=torch.uint8, device="meta")
    assert large_images.window_side(image, EvalConfig(), classes, 12_000_000) == side


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("missing.png", "no image at missing.png"),
        ("*.none", r"no image matches \*\.none"),
        ([], "no images were given"),
        (np.full((8, 8, 3), -1.0, np.float32), "not normalised"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"8 channels.*\[C, H, W\] in tensors"),
    ],
)
def test_images_that_are_none_are_refused(model: Segmentor, images, message: str) -> None:
    with pytest.raises(PredictionError, match=message):
        predict(model, images)


def test_empty_folders_are_refused(model: Segmentor, tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="no images in the folder"):
        predict(model, tmp_path)


def test_models_without_classes_are_refused(model: Segmentor) -> None:
    bare = build_model(model_config_from_dict(model.card.recipe["model"]), len(CLASSES))
    with pytest.raises(ModelError, match="no card"):
        predict(bare, Image.new("RGB", (64, 64)))
    bare.card = dataclasses.replace(model.card, classes=CLASSES[:2], palette=PALETTE[:2])
    with pytest.raises(ModelError, match="3 classes, but its card names 2"):
        predict(bare, Image.new("RGB", (64, 64)))
    with pytest.raises(RecipeError, match="unknown recipe"):
        predict(model, Image.new("RGB", (64, 64)), recipe="nothing_like_it")


def test_images_are_read_when_their_turn_comes(model: Segmentor, photos: Path) -> None:
    (photos / "z.png").write_bytes(b"broken")
    predictions = Predictor(model)(photos)
    assert [next(predictions).id for _ in range(3)] == ["a", "b", "deep/c"]
    with pytest.raises(DatasetError, match=r"z\.png"):
        next(predictions)


def test_a_broken_image_does_not_stop_the_others_and_is_named_at_the_end(model: Segmentor, photos: Path) -> None:
    data = (photos / "b.jpg").read_bytes()
    (photos / "b.jpg").write_bytes(data[: len(data) // 2])
    out = photos.parent / "out"
    with pytest.raises(PredictionError, match=r"(?s)1 of 3 images could not be read.*b\.jpg"):
        predict_files(model, photos, out)
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == [
        "a_overlay.png",
        "deep/c_overlay.png",
    ]


def test_files_of_every_kind_are_written(model: Segmentor, photos: Path, tmp_path: Path) -> None:
    save_model(model, tmp_path / "m.safetensors")
    kinds = ("overlay", "colour", "index")
    records = predict_files(tmp_path / "m.safetensors", [photos / "a.png"], tmp_path / "out", kinds=kinds)
    assert sum(area["pixels"] for area in records[0]["areas"]) == 48 * 64
    index = np.asarray(Image.open(records[0]["files"]["index"]))
    assert np.array_equal(index, predict(model, photos / "a.png").mask)
    assert set(records[0]["files"]) == set(kinds)


def test_pictures_do_not_replace_the_images(model: Segmentor, tmp_path: Path) -> None:
    for name in ("1", "1_overlay"):
        Image.new("RGB", (40, 32), (7, 7, 7)).save(tmp_path / f"{name}.png")
    before = (tmp_path / "1_overlay.png").read_bytes()
    with pytest.raises(PredictionError, match="would replace the input"):
        predict_files(model, tmp_path, tmp_path)
    assert (tmp_path / "1_overlay.png").read_bytes() == before
    with pytest.raises(PredictionError, match="earlier prediction"):  # of any kind
        predict_files(model, tmp_path, tmp_path, kinds=["index"], existing="overwrite")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_prediction_into_the_folder_of_its_images_is_not_predicted_again(model: Segmentor, tmp_path: Path) -> None:
    Image.new("RGB", (40, 32), (7, 7, 7)).save(tmp_path / "1.png")
    predict_files(model, tmp_path, tmp_path)
    for existing in ("refuse", "overwrite", "skip"):
        with pytest.raises(PredictionError, match="earlier prediction"):
            predict_files(model, tmp_path, tmp_path, existing=existing)
    assert len(list(tmp_path.iterdir())) == 2


def test_existing_pictures_are_refused_before_the_model_is_loaded(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "b_overlay.png").write_text("precious")
    with pytest.raises(PredictionError, match=r"b_overlay\.png exists: --skip-existing"):
        predict_files(tmp_path / "no.safetensors", photos, out)
    with pytest.raises(PredictionError, match="existing is one of"):
        predict_files(tmp_path / "no.safetensors", photos, out, existing="replace")
    assert (out / "b_overlay.png").read_text() == "precious"


def test_an_interrupted_prediction_goes_on(model: Segmentor, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_files(model, photos / "a.png", out)
    (out / "b_overlay.png").touch()  # as a power failure may leave it
    records = predict_files(model, photos, out, existing="skip")
    assert [record.get("skipped", False) for record in records] == [True, False, False]
    assert (out / "b_overlay.png").stat().st_size
    first = (out / "a_overlay.png").read_bytes()
    predict_files(model, photos, out, kinds=["overlay", "index"], existing="skip")
    assert (out / "a_index.png").exists() and (out / "a_overlay.png").read_bytes() == first


def test_names_that_are_too_long_for_an_ending_are_shortened(model: Segmentor, tmp_path: Path) -> None:
    photos, long = tmp_path / "photos", "ü" * 122
    photos.mkdir()
    for name in (long + "a", long + "b", "n" * 251):
        Image.new("RGB", (40, 32), (7, 7, 7)).save(photos / f"{name}.png")
    records = predict_files(model, photos, tmp_path / "out")
    assert len({record["files"]["overlay"] for record in records}) == len(list((tmp_path / "out").iterdir())) == 3


def test_an_error_while_a_picture_is_written_leaves_the_old_one(model: Segmentor, tmp_path: Path, monkeypatch) -> None:
    prediction = predict(model, Image.new("RGB", (40, 32)))
    (tmp_path / "a.png").write_text("old")

    def fail(self: Image.Image, file: Path, *arguments: object, **options: object) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(PredictionError, match="no space left"):
        prediction.save(tmp_path / "a.png")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
