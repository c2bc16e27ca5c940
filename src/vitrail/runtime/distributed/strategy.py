"""Strategies: how a model trains on the processes and devices of a run; the registry, and training on one device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vitrail.errors import TrainingError
from vitrail.layers.processes import world_size
from vitrail.recipes import TrainConfig
from vitrail.registry import Registry, check_arguments

Model = TypeVar("Model", bound=nn.Module)
State = dict[str, Any]


class Strategy:
    """Base class: what the training loop leaves to a strategy, with the answers for one process.

    A run calls, in this order: `configure`; `synchronise_norms` and `shard_copy`, before the optimizer exists; `wrap`;
    the optimizer is built over the parameters of the bare model; `load_model_state` and `load_optimizer_state` when the
    run is resumed; then in every step `accumulate` and `clip_grad_norm`; and for each evaluation and checkpoint
    `evaluation_model`, `model_state` and `optimizer_state`, which every process calls, and `write_shards` for a
    strategy that `shards`.

    Parameters
    ----------
    device : torch.device
        The device of this process.

    Attributes
    ----------
    shards : bool
        Whether each process holds a part of the state: it is then saved by `write_shards`, and what `model_state` and
        `optimizer_state` return has `DTensor` in it.
    """

    shards = False

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def configure(self, train: TrainConfig) -> None:
        """Take what the strategy has to know of a run's settings; raise a TrainingError for those it does not take."""

    @property
    def loss_scale(self) -> float:
        """Factor on each process's loss that makes the reduced gradients those of the sum of all processes' losses."""
        return 1.0

    def synchronise_norms(self, model: Model) -> Model:
        """Return `model` with batch norms that share their statistics over the processes, where the device can.

        The names in the state dict stay the same.
        """
        return model

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the module whose forward pass, with the backward pass after it, trains `model`.

        The parameters of `model` afterwards are the ones that the optimizer updates.
        """
        return model

    def shard_copy(self, copy: Model) -> Model:
        """Return a copy of the model that is not trained, such as a moving average, laid out as `wrap` does.

        Parameters
        ----------
        copy : nn.Module
            Of the whole model.
        """
        return copy

    def accumulate(self, network: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which gradients are summed in each process and not reduced over the processes yet.

        Parameters
        ----------
        network : nn.Module
            What `wrap` returned.
        """
        return contextlib.nullcontext()

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> Tensor:
        """Scale the gradients of `model` so that their common norm is at most `max_norm`; return the norm before."""
        return nn.utils.clip_grad_norm_(model.parameters(), max_norm)

    def evaluation_model(self, model: Model) -> Model:
        """Return `model` as each process can run it on its own, with rank 0's buffers."""
        return model

    def model_state(self, module: nn.Module) -> State:
        """Return the state dict of a module, for a checkpoint; of use in rank 0 alone unless the strategy shards."""
        return module.state_dict()

    def load_model_state(self, module: nn.Module, state: Mapping[str, Any]) -> None:
        """Restore what `model_state` of any strategy returned; every process has all of it, or its own part."""
        module.load_state_dict(state)

    def optimizer_state(self, model: nn.Module, optimizer: Optimizer) -> State:
        """Return the state dict of an optimizer over `model`, for a checkpoint, as `model_state` does."""
        return optimizer.state_dict()

    def load_optimizer_state(self, model: nn.Module, optimizer: Optimizer, state: State) -> None:
        """Restore what `optimizer_state` returned; the kernels stay those that were chosen for this device."""
        optimizer.load_state_dict(with_kernels_of(optimizer, state))

    def write_shards(self, tensors: Mapping[str, Tensor], folder: Path) -> Future[Any]:
        """Begin to write tensors to an empty folder, each process its part; only where the strategy `shards`.

        Returns
        -------
        Future
            Its result is there when all processes have written all of theirs.
        """
        raise NotImplementedError


def with_kernels_of(optimizer: Optimizer, state: State) -> State:
    """Return an optimizer's state dict with the options that choose kernels (fused, foreach) taken from `optimizer`.

    A run that was saved on CUDA can go on elsewhere, and the other way round.
    """
    groups = []
    for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True):
        groups.append(saved | {name: group[name] for name in ("fused", "foreach") if name in group})
    return {**state, "param_groups": groups}


StrategyBuilder = Callable[..., Strategy]
Builder = TypeVar("Builder", bound=StrategyBuilder)
STRATEGIES: Registry[StrategyBuilder] = Registry("strategy", TrainingError, "vitrail.runtime.distributed")


def register_strategy(name: str) -> Callable[[Builder], Builder]:
    """Register a class or function `(device, *, …) -> Strategy` under `name`.

    The keyword-only parameters are what the `options` of `train.strategy` can set.
    """
    return STRATEGIES.register(name)


def list_strategies() -> list[str]:
    """Return the names of the strategies."""
    return list(STRATEGIES)


def create_strategy(name: str, device: torch.device, options: Mapping[str, Any]) -> Strategy:
    """Build the strategy of a run; call it inside the process group.

    Parameters
    ----------
    name : str
        One of `list_strategies()`; "auto" is DDP for several processes and a single device for one.
    device : torch.device
        The device of this process.
    options : mapping
        Keyword arguments of the strategy.

    Raises
    ------
    TrainingError
        For an unknown name or option, or a strategy that does not fit the number of processes.
    """
    builder = STRATEGIES[name]
    check_arguments(builder, options, f"strategy {name!r}", TrainingError)
    return builder(device, **options)


@register_strategy("single")
class SingleDevice(Strategy):
    """Train on one device in one process."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        if world_size() > 1:
            raise TrainingError(
                f"train.strategy=single is for one process, but torchrun started {world_size()}: "
                "use train.strategy=auto, or start without torchrun"
            )
