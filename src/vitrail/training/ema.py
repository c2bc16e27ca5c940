"""Exponential moving average (EMA) of the weights, often a better model than the last weights."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vitrail.layers.processes import held_part
from vitrail.runtime.distributed import Strategy
from vitrail.segmentors import Segmentor


class WeightAverage(AveragedModel):
    """An exponential moving average of the weights and buffers of a model.

    Update n moves the average by `1 - min(decay, (1 + n) / (10 + n))` of the way to the model: the decay starts low,
    so that the initial weights do not linger (the rule of TensorFlow's `ExponentialMovingAverage`).

    Parameters
    ----------
    model : Segmentor
        On its device, neither wrapped nor compiled.
    decay : float
        The share of the old average that an update keeps in the long run.

    Attributes
    ----------
    module : Segmentor
        The average, a copy of the model in evaluation mode.
    """

    module: Segmentor

    def __init__(self, model: Segmentor, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay
        self.module.eval()
        self._pair: tuple[_Tensors, _Tensors] | None = None  # of the average and of the model

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the average with the weights of `model`, always the same one, without synchronising the device."""
        updates = int(self.n_averaged)  # always on the CPU
        weight = 1 - min(self.decay, (1 + updates) / (10 + updates))
        if self._pair is None:
            # Kept, since collecting the tensors takes several times as long as averaging them; collected here and not
            # in __init__, since a strategy may replace the parameters of both modules before training starts.
            self._pair = _tensors(self.module), _tensors(model)
        averages, values = self._pair
        torch._foreach_lerp_(averages.numbers, values.numbers, weight)
        for average, value in zip(averages.others, values.others, strict=True):
            average.copy_(value)
        self.n_averaged += 1


def sharded_average(model: Segmentor, decay: float, strategy: Strategy) -> WeightAverage:
    """Return the moving average of a model's weights, split between the processes as the strategy splits the model."""
    average = WeightAverage(model, decay)
    average.module = strategy.shard_copy(average.module)
    return average


class _Tensors(NamedTuple):
    numbers: list[Tensor]
    others: list[Tensor]  # counters and indices, which have no average


def _tensors(model: nn.Module) -> _Tensors:
    tensors = [held_part(tensor.detach()) for tensor in (*model.parameters(), *model.buffers())]
    return _Tensors(
        [tensor for tensor in tensors if tensor.is_floating_point()],
        [tensor for tensor in tensors if not tensor.is_floating_point()],
    )
