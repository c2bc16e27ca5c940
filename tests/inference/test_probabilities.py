"""Reported scores are the probabilities that heads declare: every method, every way to predict, against plain torch."""

from __future__ import annotations

import pytest
import torch
from helpers.evaluation_models import Linear, small_model
from helpers.small import CLASSES, small, small_head
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail import create_model, list_segmentors
from vitrail.inference import Predictor
from vitrail.inference.sliding import window_starts
from vitrail.recipes import EvalConfig
from vitrail.segmentors import ModelCard, Segmentor

CPU = torch.device("cpu")
SIZE = (72, 88)
WINDOW, STRIDE = (64, 64), (40, 32)
WAYS = {
    "whole": {},
    "flip": {"flip": True},
    "scales": {"scales": (0.75, 1.0)},
    "slide": {"mode": "slide", "window": WINDOW, "stride": STRIDE},
    "everything": {"mode": "slide", "window": WINDOW, "stride": STRIDE, "flip": True, "scales": (1.0, 1.25)},
}


def with_card(model: Segmentor) -> Segmentor:
    classes = tuple(f"class {index}" for index in range(model.num_classes))
    model.card = ModelCard(classes, ((0, 0, 0),) * len(classes))
    return model.eval()


def probabilities(values: Tensor, output: str) -> Tensor:
    """Values [K, H, W] as the probabilities that `Head.output` says they are."""
    if output == "scores":
        assert values.min() >= 0
        return values / values.sum(0, keepdim=True)
    if output == "probabilities":
        torch.testing.assert_close(values.sum(0), torch.ones(values.shape[1:]))
        return values
    return values.softmax(0)


def naive(model: Segmentor, image: Tensor, settings: EvalConfig) -> Tensor:
    """The probabilities [K, H, W] of an image, from the model's full-size output for every view and window."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.card.mean, model.card.std))
    by_probability = settings.average == "probabilities"

    def run(pixels: Tensor) -> Tensor:
        return model(((pixels.float() - mean) / std)[None])[0]

    def slide(pixels: Tensor) -> Tensor:
        height, width = pixels.shape[1:]
        total, count = torch.zeros(model.num_classes, height, width), torch.zeros(height, width)
        for top in window_starts(height, WINDOW[0], STRIDE[0]):
            for left in window_starts(width, WINDOW[1], STRIDE[1]):
                where = (slice(top, top + WINDOW[0]), slice(left, left + WINDOW[1]))
                values = run(pixels[(slice(None), *where)])
                total[(slice(None), *where)] += probabilities(values, model.head.output) if by_probability else values
                count[where] += 1
        return total / count

    output = "probabilities" if by_probability and settings.mode == "slide" else model.head.output
    views = []
    for scale in settings.scales:
        size = [int(side * scale + 0.5) for side in SIZE]
        scaled = F.interpolate(image[None].float(), size=size, mode="bilinear")[0]
        for flip in (False, True) if settings.flip else (False,):
            values = (slide if settings.mode == "slide" else run)(scaled.flip(-1) if flip else scaled)
            values = values.flip(-1) if flip else values
            view = F.interpolate(values[None], SIZE, mode="bilinear", align_corners=model.head.align_corners)[0]
            views.append(probabilities(view, output) if by_probability else view)
    mean_view = sum(views) / len(views)
    return probabilities(mean_view, "probabilities" if by_probability else output)


@pytest.fixture(
    scope="module",
    params=[
        *list_segmentors(),
        *(pytest.param(f"{name} whole", marks=pytest.mark.nightly) for name in list_segmentors()),
    ],
)
def model(request) -> Segmentor:
    """Every method: its head alone in `make test`, with its small encoder in `make nightly`."""
    torch.manual_seed(0)
    name, _, whole = request.param.partition(" ")
    return with_card((small if whole else small_head)(name))


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("way", WAYS)
def test_the_score_is_the_probability_of_the_winning_class(model: Segmentor, way: str, average: str) -> None:
    image = torch.randint(256, (3, *SIZE), dtype=torch.uint8)
    settings = EvalConfig(average=average, **WAYS[way])
    (labels,) = Predictor(model, settings, device=CPU).segment_with_scores([image])
    with torch.no_grad():
        expected = naive(model, image, settings)
    torch.testing.assert_close(labels.scores, expected.amax(0), rtol=1e-4, atol=1e-5)
    chosen = expected.gather(0, labels.mask.long()[None])[0]
    torch.testing.assert_close(chosen, expected.amax(0), rtol=1e-4, atol=1e-5)


def sure_maskformer(num_classes: int) -> Segmentor:
    """A MaskFormer with one query that is sure of class 7 in every pixel."""
    options = {"channels": 32, "mask_channels": 32, "query_channels": 32, "num_queries": 1, "num_layers": 1}
    model = create_model("maskformer", "test_resnet", num_classes, **options)
    with torch.no_grad():
        for layer, bias in (
            (model.head.classifier, 0.0),
            (model.head.mask_mlp[-1], 1.0),
            (model.head.pixel_decoder.project, 1.0),
        ):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, bias)
        model.head.classifier.bias[7] = 20.0
    return with_card(model)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("way", WAYS)
def test_a_sure_maskformer_is_reported_as_sure(way: str, average: str) -> None:
    """A second softmax over scores of 0 and 1 would report e / (e + 149), which is 0.0179, for 150 classes."""
    settings = EvalConfig(average=average, **WAYS[way])
    image = torch.randint(256, (3, *SIZE), dtype=torch.uint8)
    (labels,) = Predictor(sure_maskformer(150), settings, device=CPU).segment_with_scores([image])
    assert (labels.mask == 7).all()
    assert labels.scores.min() > 0.9999


class Scores(Linear):
    """Scores that are not negative, and 0 for every class in black pixels."""

    output = "scores"
    resizes_late = False

    def forward(self, features):
        return super().forward(features).relu()


class Probabilities(Linear):
    """Declares that it returns probabilities."""

    output = "probabilities"

    def forward(self, features):
        return super().forward(features).softmax(1)


@pytest.mark.parametrize("head", [Scores, Probabilities])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("way", WAYS)
def test_heads_of_plugins_are_taken_at_their_word(head: type[Linear], way: str, average: str) -> None:
    model = small_model(head=head)
    nn.init.constant_(model.head.classifier.bias, 3.0)  # no pixel where every score is 0
    image = torch.randint(256, (3, *SIZE), dtype=torch.uint8)
    settings = EvalConfig(average=average, **WAYS[way])
    (labels,) = Predictor(model, settings, device=CPU).segment_with_scores([image])
    with torch.no_grad():
        torch.testing.assert_close(labels.scores, naive(model, image, settings).amax(0), rtol=1e-4, atol=1e-5)


def test_where_every_score_is_zero_all_classes_are_equally_likely() -> None:
    model = small_model(head=Scores)
    nn.init.zeros_(model.head.classifier.weight)
    nn.init.zeros_(model.head.classifier.bias)
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    for settings in (EvalConfig(), EvalConfig(flip=True), EvalConfig(flip=True, average="logits")):
        (labels,) = Predictor(model, settings, device=CPU).segment_with_scores([image])
        assert torch.equal(labels.scores, torch.full((8, 8), 1 / model.num_classes))


class Printing(Linear):
    """Changes nothing that it predicts."""

    resizes_late = True

    def predict(self, features, size):
        print("predicting")
        return super().predict(features, size)


def test_a_subclass_that_only_prints_runs_as_its_parent_does() -> None:
    image = torch.randint(256, (3, 32, 40), dtype=torch.uint8)
    seen: list[list[str]] = []
    results = []
    for head in (Linear, Printing):
        model = small_model(3, 8, head=head)
        calls: list[str] = []
        for name, module in model.named_modules():
            module.register_forward_hook(lambda *_, name=name, calls=calls: calls.append(name))
        results.append(Predictor(model, EvalConfig(), device=CPU).segment_with_scores([image])[0])
        seen.append(calls)
    assert seen[0] == seen[1] and "" not in seen[0]  # the segmentor itself, whose output has all pixels, never runs
    assert torch.equal(results[0].mask, results[1].mask) and torch.equal(results[0].scores, results[1].scores)


def test_the_mask_does_not_depend_on_whether_scores_are_returned() -> None:
    model = small_model()
    model.head.classifier.weight.data *= 1e3  # probabilities saturate at 1
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    predictor = Predictor(model, EvalConfig(), device=CPU)
    assert torch.equal(predictor.segment([image])[0], predictor.segment_with_scores([image])[0].mask)
    assert model.num_classes < CLASSES
