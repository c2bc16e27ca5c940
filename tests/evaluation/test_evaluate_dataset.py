"""Evaluation of a dataset: every image once, whatever the batches, workers and processes."""

from __future__ import annotations

import random
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from helpers.evaluate_in_processes import evaluate_in_process
from helpers.evaluation_models import CLASSES, memory_dataset, small_model
from helpers.processes import in_two_processes

from vitrail.errors import DatasetError
from vitrail.evaluation.evaluator import evaluate_dataset
from vitrail.recipes import EvalConfig

CPU = torch.device("cpu")


def run(model, dataset, *, workers=0, observers=(), **settings):
    return evaluate_dataset(model, dataset, EvalConfig(**settings), device=CPU, workers=workers, observers=observers)


def by_hand(model, dataset):
    """The confusion matrix from a plain loop over the dataset."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.card.mean, model.card.std))
    matrix = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64)
    for index in range(len(dataset)):
        sample = dataset[index]
        with torch.no_grad():
            prediction = model(((sample["image"].float() - mean) / std)[None])[0].argmax(0)
        mask = sample["mask"].long()
        for truth in range(len(CLASSES)):
            for guess in range(len(CLASSES)):
                matrix[truth, guess] += ((mask == truth) & (prediction == guess)).sum()
    return matrix


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (4, 0), (3, 2)])
def test_the_matrix_is_that_of_a_plain_loop(batch_size, workers):
    model, dataset = small_model(), memory_dataset(11)
    evaluation = run(model, dataset, batch_size=batch_size, workers=workers)
    assert torch.equal(evaluation.confusion, by_hand(model, dataset))
    assert evaluation.images == 11
    assert [score.id for score in evaluation.scores] == dataset.ids
    assert evaluation.classes == CLASSES and evaluation.palette == dataset.benchmark.palette
    assert evaluation.seconds > 0


def test_images_of_many_sizes_do_not_pile_up():
    sizes = [(32, 32 + width) for width in range(40)]
    waiting = []
    dataset = memory_dataset(40, sizes=sizes)
    seen = []
    original = dataset.source.load

    def load(index):
        waiting.append(index)
        assert len(waiting) - len(seen) <= 4 * 2 + 1
        return original(index)

    dataset.source.load = load
    evaluation = run(small_model(), dataset, batch_size=2, observers=[lambda result: seen.append(result.id)])
    assert sorted(seen) == dataset.ids and evaluation.images == 40


def test_batches_hold_images_of_equal_size():
    model = small_model()
    shapes = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
    run(model, memory_dataset(10), batch_size=4)
    assert sorted(shapes) == [(1, 3, 32, 40), (1, 3, 36, 48), (4, 3, 32, 40), (4, 3, 36, 48)]


def test_observers_see_every_image():
    results = []
    run(small_model(), memory_dataset(5), batch_size=2, observers=[results.append])
    assert sorted(result.id for result in results) == [f"town/{index:03d}" for index in range(5)]
    for result in results:
        assert result.prediction.shape == result.mask.shape
        right = (result.prediction == result.mask) & (result.mask != 255)
        assert result.score.accuracy == pytest.approx(int(right.sum()) / int((result.mask != 255).sum()))
        assert int(result.confusion.sum()) == int((result.mask != 255).sum())


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_states_stay_as_they_are(workers):
    model, dataset = small_model(), memory_dataset(3)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    run(model, dataset, workers=workers)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])  # noqa: NPY002


def test_the_model_comes_back_in_its_mode():
    model = small_model().train()
    model.backbone.norm.eval()
    run(model, memory_dataset(2))
    assert model.training and not model.backbone.norm.training
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named_without_a_workers_traceback(workers):
    with pytest.raises(DatasetError) as caught:
        run(small_model(), memory_dataset(5, broken="town/003"), workers=workers)
    assert str(caught.value) == "town/003.png is truncated"


def test_a_mask_value_outside_the_classes_names_the_image():
    dataset = memory_dataset(3)
    original = dataset.source.load

    def load(index):
        image, mask = original(index)
        if index == 1:
            mask[5, 5] = 9
        return image, mask

    dataset.source.load = load
    with pytest.raises(DatasetError, match=r"'town/001'.*value 9"):
        run(small_model(), dataset)


def test_another_number_of_classes_is_refused():
    with pytest.raises(DatasetError, match=r"has 3 classes \(sky, road, tree, …\), dataset 'memory' has 4"):
        run(small_model(num_classes=3), memory_dataset(2))


def test_the_same_classes_in_another_order_are_refused():
    model = small_model()
    model.card = replace(model.card, classes=("sky", "tree", "road", "car"))
    with pytest.raises(DatasetError, match="class 1 is 'tree' to the model and 'road' in the dataset"):
        run(model, memory_dataset(2))


def test_two_processes_evaluate_as_one(tmp_path):
    """An odd number of images, the last batch uneven: each is counted once and both processes agree."""
    in_two_processes(evaluate_in_process, tmp_path)
    alone = run(small_model(), memory_dataset(7), batch_size=2, calibration=True)
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(together["confusion"], alone.confusion)
        assert together["images"] == 7
        assert together["calibration"] == asdict(alone.calibration)
        assert together["ids"] == [score.id for score in alone.scores]
        assert together["mious"] == [score.miou for score in alone.scores]
        assert len(together["seen"]) == (4, 3)[rank]
    assert together["images_per_second"] > 0
    report = (tmp_path / "report" / "index.html").read_text()
    assert report.count("<article>") == 3
    assert len(list((tmp_path / "report" / "images").iterdir())) == 3 * 4
    assert len(list((tmp_path / "masks" / "town").iterdir())) == 7
