"""The confusion matrix and the figures from it, against counting pixel by pixel."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from vitrail.errors import DatasetError
from vitrail.evaluation import confusion as metrics
from vitrail.evaluation.confusion import ConfusionMatrix
from vitrail.evaluation.result import Evaluation, score_image


def counted(prediction, mask, classes):
    """Count with a loop."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    for guess, truth in zip(prediction.flatten().tolist(), mask.flatten().tolist(), strict=True):
        if truth != 255:
            matrix[truth, guess] += 1
    return matrix


def evaluation_of(matrix, names=None):
    count = len(matrix)
    names = names or tuple(f"class {index}" for index in range(count))
    return Evaluation(torch.as_tensor(matrix), names, ((1, 2, 3),) * count, images=3, seconds=2.0)


@pytest.fixture
def pairs():
    masks = [torch.randint(6, (17, 23), dtype=torch.uint8) for _ in range(3)]
    for mask in masks:
        mask[torch.rand(mask.shape) < 0.2] = 255
    return [(torch.randint(6, mask.shape, dtype=torch.uint8), mask) for mask in masks]


@pytest.mark.parametrize("chunk", [7, 2**22])
def test_counts_are_those_of_a_loop(pairs, chunk, monkeypatch):
    monkeypatch.setattr(metrics, "_CHUNK", chunk)
    matrix = ConfusionMatrix(6)
    expected = np.zeros((6, 6), dtype=np.int64)
    for prediction, mask in pairs:
        image = matrix.update(prediction, mask)
        assert np.array_equal(image.numpy(), counted(prediction, mask, 6))
        expected += counted(prediction, mask, 6)
    assert np.array_equal(matrix.reduce().numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_any_integer_type_counts(pairs, dtype):
    matrix = ConfusionMatrix(6)
    matrix.update(pairs[0][0].to(dtype), pairs[0][1].to(dtype))
    assert np.array_equal(matrix.matrix.numpy(), counted(*pairs[0], 6))


def test_255_classes_and_the_ignored_value():
    mask = torch.arange(256, dtype=torch.uint8)[None]
    prediction = torch.arange(256).clamp(max=254).to(torch.uint8)[None]
    matrix = ConfusionMatrix(255)
    matrix.update(prediction, mask)
    assert torch.equal(matrix.matrix, torch.eye(255, dtype=torch.int64))


def test_figures_are_those_of_a_loop(pairs):
    matrix = sum(counted(prediction, mask, 6) for prediction, mask in pairs)
    evaluation = evaluation_of(matrix)
    predictions = torch.cat([prediction.flatten() for prediction, _ in pairs])
    truths = torch.cat([mask.flatten() for _, mask in pairs])
    predictions, truths = predictions[truths != 255], truths[truths != 255]
    for index in range(6):
        guess, truth = predictions == index, truths == index
        both, either = int((guess & truth).sum()), int((guess | truth).sum())
        assert evaluation.iou[index] == pytest.approx(both / either)
        assert evaluation.acc[index] == pytest.approx(both / int(truth.sum()))
        assert evaluation.dice[index] == pytest.approx(2 * both / (int(truth.sum()) + int(guess.sum())))
    assert evaluation.aacc == pytest.approx(float((predictions == truths).double().mean()))
    assert evaluation.miou == pytest.approx(sum(evaluation.iou) / 6)
    assert evaluation.macc == pytest.approx(sum(evaluation.acc) / 6)
    assert evaluation.mdice == pytest.approx(sum(evaluation.dice) / 6)


def test_absent_classes_are_nan_and_left_out_of_means():
    # Class 1 is predicted but never true; class 2 is neither.
    evaluation = evaluation_of([[6, 2, 0], [0, 0, 0], [0, 0, 0]])
    assert evaluation.iou[:2] == (0.75, 0.0) and math.isnan(evaluation.iou[2])
    assert evaluation.acc[0] == 0.75 and all(math.isnan(value) for value in evaluation.acc[1:])
    assert evaluation.miou == 0.375 and evaluation.macc == 0.75
    assert evaluation.mdice == pytest.approx((12 / 14 + 0) / 2)


def test_nothing_labelled_gives_nan():
    evaluation = evaluation_of([[0, 0], [0, 0]])
    assert all(math.isnan(value) for value in (evaluation.miou, evaluation.macc, evaluation.aacc, evaluation.mdice))
    assert json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))["miou"] is None
    assert "3 images without masks" in evaluation.table()


def test_an_images_score_is_over_the_classes_in_its_mask():
    score = score_image("a", torch.tensor([[6, 2, 0], [0, 0, 0], [1, 0, 3]]))
    assert score.miou == pytest.approx((6 / 9 + 3 / 4) / 2)
    assert score.accuracy == pytest.approx(9 / 12)
    assert math.isnan(score_image("a", torch.zeros(3, 3, dtype=torch.int64)).miou)


def test_the_table_names_every_class_with_percentages():
    evaluation = evaluation_of([[6, 2], [1, 1]], names=("sky", "traffic light"))
    lines = evaluation.table().splitlines()
    assert lines[0].split() == ["class", "IoU", "Acc", "Dice", "pixels"]
    assert lines[2].split() == ["sky", "66.67", "75.00", "80.00", "80.00"]
    assert lines[3].split() == ["traffic", "light", "25.00", "50.00", "40.00", "20.00"]
    assert lines[5].split() == ["mean", "45.83", "62.50", "60.00"]
    assert "mIoU 45.83" in lines[-1] and "aAcc 70.00" in lines[-1] and "1.50 images/s" in lines[-1]


def test_the_dictionary_is_json():
    data = json.loads(json.dumps(evaluation_of([[6, 2], [1, 1]]).to_dict(images=True), allow_nan=False))
    assert data["miou"] == pytest.approx((6 / 9 + 1 / 4) / 2)
    assert data["classes"][0] == {
        "name": "class 0",
        "iou": pytest.approx(6 / 9),
        "acc": 0.75,
        "dice": pytest.approx(0.8),
        "pixels": 8,
    }
    assert data["confusion"] == [[6, 2], [1, 1]]
    assert data["images"] == 3 and data["images_per_second"] == 1.5 and data["scores"] == []


def test_a_mask_value_that_is_no_class_is_named():
    mask = torch.tensor([[0, 1, 7]], dtype=torch.uint8)
    matrix = ConfusionMatrix(3)
    with pytest.raises(DatasetError, match="1 pixels of value 7; classes are 0 to 2"):
        matrix.update(torch.zeros_like(mask), mask)
    assert not matrix.matrix.any()


def test_bad_input_is_refused():
    with pytest.raises(DatasetError, match="prediction of"):
        ConfusionMatrix(3).update(torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(3, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match="class 3 among 3"):
        ConfusionMatrix(3).update(torch.full((2, 2), 3), torch.zeros(2, 2, dtype=torch.uint8))
    with pytest.raises(DatasetError, match="8193 classes"):
        ConfusionMatrix(8193)
