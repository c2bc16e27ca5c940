"""The moving average of the weights."""

from __future__ import annotations

import pytest
import torch

from vitrail import Segmentor, create_model
from vitrail.training.ema import WeightAverage


@pytest.fixture
def model() -> Segmentor:
    model = create_model("fastscnn", num_classes=3)
    model.register_buffer("index", torch.arange(5))
    return model


def test_a_young_average_follows_closely_and_an_old_one_keeps_its_decay(model: Segmentor) -> None:
    average = WeightAverage(model, 0.4)
    weight, kept = model.head.classifier.weight, average.module.head.classifier.weight
    expected = weight.detach().clone()
    for decay in (1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 0.4, 0.4):
        with torch.no_grad():
            weight += torch.randn_like(weight)
        average.update_parameters(model)
        expected = decay * expected + (1 - decay) * weight.detach()
        torch.testing.assert_close(kept, expected)


def test_buffers_are_averaged_and_counters_are_copied(model: Segmentor) -> None:
    average = WeightAverage(model, 0.999)
    model.train()(torch.randn(2, 3, 64, 64))
    model.index += 7
    average.update_parameters(model)
    ours, theirs = (
        next(module for module in m.modules() if isinstance(module, torch.nn.BatchNorm2d))
        for m in (average.module, model)
    )
    torch.testing.assert_close(ours.running_mean, 0.9 * theirs.running_mean)
    assert ours.num_batches_tracked == 1
    assert average.module.index.tolist() == [7, 8, 9, 10, 11]


def test_the_average_goes_on_after_it_was_restored(model: Segmentor) -> None:
    first = WeightAverage(model, 0.9)
    first.update_parameters(model)
    second = WeightAverage(create_model("fastscnn", num_classes=3), 0.9)
    second.module.register_buffer("index", torch.zeros(5, dtype=torch.long))
    second.load_state_dict(first.state_dict())
    assert second.n_averaged == 1
    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.state_dict().items())
