"""Prediction: sizes, windows, flipped and scaled views, against the same things done with plain torch."""

from __future__ import annotations

import pytest
import torch
from helpers.evaluation_models import OwnPredict, small_model
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from vitrail.errors import ModelError, PredictionError
from vitrail.inference import Predictor
from vitrail.inference.segmenter import evaluating
from vitrail.recipes import EvalConfig

CPU = torch.device("cpu")


def images_of(*sizes):
    return [torch.randint(256, (3, *size), dtype=torch.uint8) for size in sizes]


def logits_of(model, image, size=None):
    """The model's logits [1, K, H, W] of an image as it comes, resized to `size`."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.card.mean, model.card.std))
    with torch.no_grad():
        logits = model(((image.float() - mean) / std)[None])
    align_corners = model.head.align_corners
    return logits if size is None else F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners)


def predictor(model, **settings):
    return Predictor(model, EvalConfig(**settings), device=CPU)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(33, 47), (64, 50), (20, 21)])
def test_whole_images_at_their_own_and_other_sizes(align_corners, size):
    model = small_model(5, 4, align_corners=align_corners)
    (image,) = images_of((33, 47))
    expected = logits_of(model, image, size)[0]
    (scores,) = predictor(model).scores([image], [size])
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    (mask,) = predictor(model).segment([image], [size])
    assert mask.dtype == torch.uint8
    assert (mask != expected.argmax(0)).float().mean() < 2e-3


def test_a_head_with_its_own_predict_is_asked_for_it():
    plain, own = small_model(3, 2), small_model(3, 2, head=OwnPredict)
    image = images_of((32, 40))
    twice = predictor(own).scores(image)[0]
    torch.testing.assert_close(twice, 2 * predictor(plain).scores(image)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_images_come_back_in_order_whatever_the_batch(batch_size):
    model = small_model(3, 2)
    images = images_of((32, 40), (36, 36), (32, 40), (32, 40), (36, 36))
    masks = predictor(model, batch_size=batch_size).segment(images)
    for image, mask in zip(images, masks, strict=True):
        assert (mask == logits_of(model, image, image.shape[1:])[0].argmax(0)).float().mean() > 0.999


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_windows_change_nothing_for_a_model_without_context(average):
    model = small_model()
    images = images_of((50, 70))
    slide = predictor(model, mode="slide", window=(32, 32), stride=(20, 24), batch_size=3, average=average)
    whole = predictor(model).scores(images)[0]
    expected = whole.softmax(0) if average == "probabilities" else whole
    torch.testing.assert_close(slide.scores(images)[0], expected, rtol=0, atol=1e-5)
    assert torch.equal(slide.segment(images)[0], predictor(model).segment(images)[0])


def test_images_smaller_than_the_window_are_one_window():
    model = small_model(3, 2)
    images = images_of((32, 60))
    slide = predictor(model, mode="slide", window=(40, 64), stride=(40, 64), average="logits")
    torch.testing.assert_close(slide.scores(images)[0], predictor(model).scores(images)[0], rtol=0, atol=1e-5)


def test_flipped_views_are_averaged_with_paired_classes_exchanged():
    model = small_model(3, 2)
    (image,) = images_of((32, 40))
    flipped = logits_of(model, image.flip(-1))[0].flip(-1)[[0, 2, 1, 3]]
    plain = logits_of(model, image)[0]
    settings = EvalConfig(flip=True, average="logits")
    scores = Predictor(model, settings, device=CPU, flip_pairs=[(1, 2)]).scores([image])[0]
    torch.testing.assert_close(scores, (plain + flipped) / 2, rtol=0, atol=1e-5)
    settings = EvalConfig(flip=True, average="probabilities")
    scores = Predictor(model, settings, device=CPU, flip_pairs=[(1, 2)]).scores([image])[0]
    torch.testing.assert_close(scores, (plain.softmax(0) + flipped.softmax(0)) / 2, rtol=0, atol=1e-5)


def test_scaled_views_are_averaged_at_the_size_asked_for():
    model = small_model(3, 2)
    (image,) = images_of((33, 41))
    views = []
    for height, width in ((17, 21), (33, 41), (50, 62)):
        scaled = F.interpolate(image[None].float(), size=(height, width), mode="bilinear")[0]
        at_view = F.interpolate(logits_of(model, scaled), size=(height, width), mode="bilinear")
        views.append(F.interpolate(at_view, size=(48, 48), mode="bilinear")[0].softmax(0))
    scores = predictor(model, scales=(0.5, 1.0, 1.5)).scores([image], [(48, 48)])[0]
    torch.testing.assert_close(scores, sum(views) / 3, rtol=0, atol=1e-5)


def test_windows_flipped_and_scaled_together():
    model = small_model()
    (image,) = images_of((40, 52))
    settings = {"scales": (1.0, 2.0), "flip": True, "average": "logits"}
    whole = predictor(model, **settings).scores([image])[0]
    slide = predictor(model, mode="slide", window=(24, 24), stride=(16, 16), **settings).scores([image])[0]
    torch.testing.assert_close(slide, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"flip": True}, {"mode": "slide", "window": (24, 24), "stride": (16, 16)}])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_scores_come_with_the_mask_and_are_probabilities(settings, average):
    model = small_model(3, 2)
    images = images_of((32, 40))
    one = predictor(model, average=average, **settings)
    labels = one.segment_with_scores(images, [(30, 44)])[0]
    assert torch.equal(labels.mask, one.segment(images, [(30, 44)])[0])
    assert labels.scores.shape == (30, 44)
    assert labels.scores.min() >= 1 / 4 and labels.scores.max() <= 1 + 1e-6


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation returns."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return result


@pytest.mark.parametrize("settings", [{}, {"mode": "slide", "window": (96, 128), "stride": (80, 100)}, {"flip": True}])
def test_the_scores_of_all_classes_never_exist_at_once(settings):
    classes, size = 60, (800, 200)
    model = small_model(3, 8, num_classes=classes)
    one = predictor(model, **settings)
    image = images_of(size)
    with LargestTensor() as seen:
        one.segment_with_scores(image)
    assert 3 * size[0] * size[1] <= seen.largest < classes * size[0] * size[1] / 8
    with LargestTensor() as seen:
        one.scores(image)
    assert seen.largest >= classes * size[0] * size[1]


def test_training_modes_come_back_as_they_were():
    model = small_model().train()
    model.backbone.norm.eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert model.training and model.head.training and not model.backbone.norm.training
    predictor(model).segment(images_of((32, 32)))
    assert model.training and not model.backbone.norm.training


def test_predictions_carry_no_gradient_and_leave_statistics_alone():
    model = small_model().train()
    before = model.backbone.norm.running_mean.clone()
    scores = predictor(model).scores(images_of((32, 32)))[0]
    assert not scores.requires_grad
    assert torch.equal(model.backbone.norm.running_mean, before)


@pytest.mark.parametrize(
    "image", [torch.zeros(3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.uint8)]
)
def test_what_is_not_an_image_is_refused(image):
    with pytest.raises(PredictionError, match="uint8 RGB"):
        predictor(small_model()).segment([image])


def test_sizes_must_be_as_many_as_images():
    with pytest.raises(PredictionError, match="1 images but 2 sizes"):
        predictor(small_model()).segment(images_of((8, 8)), [(8, 8), (9, 9)])


def test_a_model_without_card_needs_mean_and_std():
    model = small_model()
    card, model.card = model.card, None
    with pytest.raises(ModelError, match="no card"):
        Predictor(model, EvalConfig(), device=CPU)
    with_arguments = Predictor(model, EvalConfig(), device=CPU, mean=card.mean, std=card.std)
    image = images_of((8, 9))
    expected = with_arguments.segment(image)
    model.card = card
    assert torch.equal(predictor(model).segment(image)[0], expected[0])


def test_small_images_are_padded_by_their_last_row_and_column():
    model = small_model(3, 2)
    (image,) = images_of((5, 40))
    padded = image[:, torch.arange(32).clamp(max=4)]
    (scores,) = predictor(model).scores([image])
    torch.testing.assert_close(scores, logits_of(model, padded)[0][:, :5], rtol=0, atol=1e-5)
    (twice,) = predictor(model).scores([image], [(10, 80)])
    torch.testing.assert_close(twice, logits_of(model, padded, (64, 80))[0][:, :10], rtol=0, atol=1e-5)
    assert predictor(model).segment([image], [(10, 80)])[0].shape == (10, 80)
