"""Two classes told apart by one output, and the threshold: training, files, prediction, evaluation, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny
from helpers.small import small_settings
from helpers.versions import needs_export
from torch import Tensor
from torch.nn import functional as F
from torchvision import tv_tensors

from vitrail import checkpoints, export
from vitrail.datasets import Benchmark
from vitrail.datasets.dataset import DATASETS, RegisteredDataset
from vitrail.errors import ModelError, PredictionError, RecipeError
from vitrail.evaluation import evaluate
from vitrail.inference import Predictor
from vitrail.losses import CrossEntropyLoss, DiceLoss
from vitrail.recipes import EvalConfig, model_config_from_dict
from vitrail.segmentors import Segmentor, build_model, create_model
from vitrail.training import train

PAIR = Benchmark("pair", "Pair", ("ground", "thing"), ((0, 90, 0), (200, 0, 0)), splits={})


class PairSource(tiny.TinySource):
    """The tiny pictures with red and blue as one class."""

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        image, mask = super().load(index)
        return image, tv_tensors.Mask(torch.where(mask == 2, 1, mask).to(torch.uint8))


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)
    entry = RegisteredDataset(lambda root, split: (PAIR, PairSource(split)))
    monkeypatch.setitem(DATASETS._entries, "pair", entry)


def recipe(**changes: Any) -> Any:
    return tiny.recipe(**{"data__dataset": "pair", "model__num_classes": 1, **changes})


def one_output(**options: Any) -> Segmentor:
    torch.manual_seed(3)
    return create_model("tiny", num_classes=2, one_output=True, **options).eval()


def images_and_targets() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    targets = torch.randint(0, 2, (2, 32, 32))
    targets[:, :5] = 255
    return torch.randn(2, 3, 32, 32), targets


def test_cross_entropy_is_the_binary_cross_entropy_of_the_one_output() -> None:
    images, targets = images_and_targets()
    model = one_output()
    assert model.num_classes == 2 and model.head.classifier.weight.shape[0] == 1
    logits = model(images)
    assert logits.shape == (2, 2, 32, 32) and not logits[:, 0].any()
    z = F.interpolate(model.head(model.backbone(images)), size=(32, 32), mode="bilinear")[:, 0]
    assert torch.allclose(logits[:, 1], z, atol=1e-6)
    labelled = targets != 255
    expected = F.binary_cross_entropy_with_logits(z[labelled], targets[labelled].float())
    assert torch.allclose(model(images, targets)["seg"], expected, atol=1e-6)
    assert torch.allclose(logits.softmax(1)[:, 1], z.sigmoid(), atol=1e-6)


def test_the_losses_of_a_recipe() -> None:
    images, targets = images_and_targets()
    section = {"segmentor": "tiny", "num_classes": 1}
    named = [{"name": "binary_cross_entropy", "options": {"ignored_in_mean": True, "class_weights": [1.0, 3.0]}}]
    torch.manual_seed(3)
    model = build_model(model_config_from_dict({**section, "losses": named}), 2).eval()
    z = model(images)[:, 1]
    weights = torch.where(targets == 1, 3.0, 1.0) * (targets != 255)
    entropy = F.binary_cross_entropy_with_logits(z, (targets == 1).float(), reduction="none")
    assert torch.allclose(model(images, targets)["seg"], (weights * entropy).sum() / targets.numel(), atol=1e-6)
    with pytest.raises(ModelError, match="leave sigmoid out"):
        build_model(model_config_from_dict({**section, "losses": [{"name": "dice", "options": {"sigmoid": True}}]}), 2)
    model = build_model(model_config_from_dict({**section, "losses": [{"name": "dice"}]}), 2).eval()
    assert torch.allclose(model(images, targets)["seg"], DiceLoss()(model(images), targets), atol=1e-6)


@pytest.mark.parametrize("name", ["danet", "fcn", "icnet", "lraspp", "ocrnet", "maskformer", "pointrend", "encnet"])
def test_a_method_has_one_output_or_says_that_it_cannot(name: str) -> None:
    settings = {**small_settings(name), "num_classes": 1}
    if name in ("maskformer", "pointrend", "encnet"):
        with pytest.raises(ModelError, match=r"needs an output for each class.*leave model.num_classes out"):
            build_model(model_config_from_dict(settings), 2)
        return
    model = build_model(model_config_from_dict(settings), 2)
    images, targets = torch.randn(2, 3, 64, 64), torch.randint(0, 2, (2, 64, 64))
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert model.eval()(images).shape == (2, 2, 64, 64)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        tiny.register(patch.setitem)
        patch.setitem(DATASETS._entries, "pair", RegisteredDataset(lambda root, split: (PAIR, PairSource(split))))
        train(
            recipe(train__iterations=10, train__eval_every=10, evaluation={"threshold": "auto", "calibration": True}),
            output_dir=folder,
            device="cpu",
        )
    return folder


def test_a_training_stores_the_best_threshold_and_evaluates_with_it(trained: Path) -> None:
    model = checkpoints.load_model(trained / "best.safetensors")
    assert model.card is not None and model.card.classes == PAIR.classes and model.one_output
    threshold = model.card.recipe["evaluation"]["threshold"]
    assert 0 < threshold < 1
    assert f"threshold {threshold:g}" in (trained / "train.log").read_text()
    at = {
        value: evaluate(model, overrides=[f"evaluation.threshold={value}", "data.workers=0"], device="cpu").miou
        for value in (threshold, 0.25, 0.5, 0.75)
    }
    assert at[threshold] == max(at.values()) == pytest.approx(model.card.metrics["miou"])
    found = evaluate(model, overrides=["evaluation.threshold=auto", "data.workers=0"], device="cpu")
    assert found.threshold == threshold and found.miou == at[threshold]
    plain = evaluate(model, overrides=["evaluation.threshold=null", "data.workers=0"], device="cpu")
    assert plain.miou == at[0.5] and plain.threshold is None


@pytest.mark.parametrize(
    "settings",
    [
        {"flip": True, "scales": [0.5, 1.0]},
        {"mode": "slide", "window": [32, 32], "stride": [24, 24], "average": "logits"},
    ],
)
def test_threshold_and_probabilities_of_flips_scales_and_windows(trained: Path, settings: dict[str, Any]) -> None:
    model = checkpoints.load_model(trained / "best.safetensors")
    image = PairSource("val").load(0)[0]
    plain = Predictor(model, EvalConfig(**settings), device="cpu")
    (values,) = plain.scores([image.as_subclass(Tensor)])
    second = values[1] if plain.settings.average == "probabilities" else values.softmax(0)[1]
    for threshold in second.quantile(torch.tensor([0.2, 0.8])).tolist():
        predictor = Predictor(model, EvalConfig(**settings, threshold=threshold), device="cpu", scores=True)
        found = predictor.predict(image)
        assert found.scores is not None
        expected = second > threshold
        assert (torch.from_numpy(found.mask) == expected).all()
        assert torch.allclose(torch.from_numpy(found.scores), torch.where(expected, second, 1 - second), atol=1e-6)


@needs_export
def test_an_exported_file_has_the_threshold_inside(trained: Path, tmp_path: Path) -> None:
    model = checkpoints.load_model(trained / "best.safetensors")
    assert model.card is not None
    image = PairSource("val").load(0)[0]
    (values,) = Predictor(model, device="cpu").scores([image.as_subclass(Tensor)])
    threshold = round(float(values.softmax(0)[1].quantile(0.8)), 3)
    model.card.recipe["evaluation"]["threshold"] = threshold
    expected = Predictor(model, device="cpu", scores=True).predict(image)
    assert 0.1 < expected.mask.mean() < 0.3
    file = tmp_path / "model.onnx"
    assert export.export_model(model, file, scores=True, size=(72, 80)).check.passed
    found = Predictor(file, device="cpu", scores=True).predict(image)
    assert (found.mask == expected.mask).mean() > 0.999
    assert found.scores is not None and abs(found.scores - expected.scores).max() < 1e-4
    with pytest.raises(PredictionError, match=rf"evaluation.threshold={threshold}, not 0.001: export the model again"):
        Predictor(file, device="cpu", overrides=["evaluation.threshold=0.001"])


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"num_classes is 1, but dataset 'tiny' has 3 classes: leave it out"):
        train(recipe(data__dataset="tiny"), output_dir=tmp_path / "a", device="cpu")
    with pytest.raises(PredictionError, match=r"evaluation.threshold=0.3 tells two classes apart, and the model has 3"):
        changes = {"data__dataset": "tiny", "model__num_classes": None, "evaluation": {"threshold": 0.3}}
        train(recipe(**changes, train__iterations=1), output_dir=tmp_path / "b", device="cpu")
    with pytest.raises(ModelError, match="one output tells two classes apart, not 3"):
        create_model("tiny", num_classes=3, one_output=True)


def test_weights_go_from_one_output_to_two_and_back_but_for_the_classifier(trained: Path, tmp_path: Path) -> None:
    start = str(trained / "best.safetensors")
    two = recipe(model__num_classes=None, train__iterations=1, train__start_from=start)
    train(two, output_dir=tmp_path / "two", device="cpu")
    log = (tmp_path / "two/train.log").read_text()
    assert "head.classifier" in log
    model = checkpoints.load_model(tmp_path / "two/last.safetensors")
    assert not model.one_output and isinstance(model.criterion.terms[0], CrossEntropyLoss)
    back = recipe(train__iterations=1, train__start_from=str(tmp_path / "two/last.safetensors"))
    train(back, output_dir=tmp_path / "one", device="cpu")
    assert checkpoints.load_model(tmp_path / "one/last.safetensors").one_output
