"""FSDP2: parameters, gradients and optimizer state are sharded over the processes.

Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", VLDB 2023, arXiv:2304.11277, in the
form of `torch.distributed.fsdp.fully_shard`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from vitrail.backbones.blocks import find_blocks
from vitrail.errors import TrainingError
from vitrail.layers.processes import world_size
from vitrail.precision import Precision
from vitrail.recipes import TrainConfig
from vitrail.runtime.distributed.collectives import broadcast_buffers
from vitrail.runtime.distributed.ddp import with_synchronised_norms
from vitrail.runtime.distributed.group import side_group
from vitrail.runtime.distributed.strategy import Model, State, Strategy
from vitrail.segmentors import Segmentor

_DTYPES: dict[Precision, torch.dtype | None] = {"none": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class FullyShardedDataParallel(Strategy):
    """Shard parameters, gradients and optimizer state over the processes; see `torch.distributed.fsdp.fully_shard`.

    The blocks of the encoder are gathered one by one for their computation, the rest of the model for the whole step.
    For an evaluation and a checkpoint every process gathers the whole weights once.

    Parameters
    ----------
    device : torch.device
        The device of this process.
    replicate, reshard_after_forward, reduce_each_part
        See `vitrail.runtime.distributed.fully_sharded`.
    """

    shards = True

    def __init__(
        self, device: torch.device, *, replicate: int, reshard_after_forward: bool, reduce_each_part: bool
    ) -> None:
        super().__init__(device)
        self.reshard_after_forward = reshard_after_forward
        self.reduce_each_part = reduce_each_part
        self.mesh = _mesh(device, replicate)
        self._group = side_group()
        self._dtype: torch.dtype | None = None
        self._outlines: dict[nn.Module, nn.Module] = {}

    def configure(self, train: TrainConfig) -> None:
        """Take the precision; refuse `train.compile`, since PyTorch compiles sharded models block by block only."""
        if train.compile != "none":
            raise TrainingError(
                f"train.compile={train.compile} does not go together with train.strategy=fsdp2: use train.compile=none"
            )
        self._dtype = _DTYPES[train.amp]

    @property
    def loss_scale(self) -> float:
        """The number of processes, over which FSDP takes the mean."""
        return float(world_size())

    def synchronise_norms(self, model: Model) -> Model:
        """Return `model` with PyTorch's synchronised batch norms on CUDA, the only device that has them."""
        return with_synchronised_norms(model, self.device)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return `model` itself, sharded; parameters and buffers become those of rank 0.

        With `train.amp` the weights of blocks without batch norms are gathered in that precision; all gradients are
        reduced in float32.

        Raises
        ------
        TrainingError
            For a parameter without dimensions, which cannot be sharded.
        """
        self._shard(model, self._dtype)
        return model

    def shard_copy(self, copy: Model) -> Model:
        """Return `copy` itself, sharded as `wrap` does it."""
        self._shard(copy, None)
        return copy

    def _shard(self, model: nn.Module, dtype: torch.dtype | None) -> None:
        for name, parameter in model.named_parameters():
            if parameter.dim() == 0:
                raise TrainingError(
                    f"train.strategy=fsdp2 cannot shard {name}, a parameter without dimensions: use train.strategy=ddp"
                )
            parameter.data = parameter.data.contiguous()  # in PyTorch's own layout, the only one that can be sharded
            dist.broadcast(parameter.data, src=0)
        broadcast_buffers(model)
        self._outlines[model] = _outline(model)
        for block in _blocks(model):
            has_norms = any(isinstance(module, _NormBase) for module in block.modules())  # their statistics are float32
            policy = MixedPrecisionPolicy(
                param_dtype=None if has_norms else dtype,
                reduce_dtype=torch.float32,
                cast_forward_inputs=False,  # autocast does it, and keeps residual sums in float32
            )
            fully_shard(block, mesh=self.mesh, mp_policy=policy, reshard_after_forward=self.reshard_after_forward)
        fully_shard(model, mesh=self.mesh, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))

    @contextlib.contextmanager
    def accumulate(self, network: nn.Module) -> Iterator[None]:
        """Context in which gradients are not reduced yet, unless `reduce_each_part`."""
        if not isinstance(network, FSDPModule):
            raise TypeError(f"expected what wrap() returned, got {type(network).__name__}")
        network.set_is_last_backward(False)
        network.set_requires_gradient_sync(self.reduce_each_part)
        try:
            yield
        finally:
            network.set_is_last_backward(True)
            network.set_requires_gradient_sync(True)

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> Tensor:
        """Scale the gradients so that their norm, over all shards, is at most `max_norm`; return the norm before."""
        return _whole(super().clip_grad_norm(model, max_norm))

    def evaluation_model(self, model: Model) -> Model:
        """Return a copy with the whole weights and rank 0's buffers, which later steps do not change."""
        broadcast_buffers(model)
        whole: Model = copy.deepcopy(self._outlines[model])  # type: ignore[assignment]
        gathered: dict[int, Tensor] = {}  # tied parameters stay tied
        state = model.state_dict(keep_vars=True)
        for name, tensor in state.items():
            if id(tensor) not in gathered:
                gathered[id(tensor)] = _whole(tensor.detach()).clone() if isinstance(tensor, Tensor) else tensor
            state[name] = gathered[id(tensor)]
        for name, buffer in model.named_buffers():  # those outside of the state dict too
            parent, _, key = name.rpartition(".")
            whole.get_submodule(parent)._buffers[key] = buffer.clone()
        whole.load_state_dict(state, assign=True)
        return whole

    def model_state(self, module: nn.Module) -> State:
        """Return the state dict of a module, of which each process has its shards, with rank 0's buffers."""
        broadcast_buffers(module)
        return module.state_dict()

    def load_model_state(self, module: nn.Module, state: Mapping[str, Any]) -> None:
        """Restore a state dict of shards, or of whole tensors that every process has."""
        own = module.state_dict()
        module.load_state_dict({name: _laid_out(value, own.get(name)) for name, value in state.items()})

    def load_optimizer_state(self, model: nn.Module, optimizer: Optimizer, state: State) -> None:
        """Restore a state of shards, or of whole tensors that every process has."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        entries = {
            index: {key: _laid_out(value, parameters[index]) for key, value in entry.items()}
            for index, entry in state["state"].items()
        }
        super().load_optimizer_state(model, optimizer, {**state, "state": entries})

    def write_shards(self, tensors: Mapping[str, Tensor], folder: Path) -> Future[Any]:
        """Begin to write the shards of all processes; see `vitrail.runtime.distributed.shards`."""
        from vitrail.runtime.distributed.shards import write_shards  # half a second, for those who need it

        return write_shards(tensors, folder, self._group)


def _mesh(device: torch.device, replicate: int) -> DeviceMesh:
    if replicate == 1:
        return init_device_mesh(device.type, (world_size(),), mesh_dim_names=("shard",))
    shape = (replicate, world_size() // replicate)
    return init_device_mesh(device.type, shape, mesh_dim_names=("replicate", "shard"))


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a segmentor's encoder; a module without an encoder is sharded as a whole."""
    if not isinstance(model, Segmentor):
        return []
    in_channels = 3 if model.card is None else len(model.card.mean)
    return list(find_blocks(model.backbone, in_channels).values())


def _outline(model: nn.Module) -> nn.Module:
    """Return a copy of a module whose parameters and buffers have no content, and take no memory."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)


def _whole(tensor: Tensor) -> Tensor:
    """Return a tensor that every process has in full."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _laid_out(value: Any, own: Any) -> Any:
    """Return a value of a saved state; a whole tensor becomes shards where its counterpart of this run is in shards."""
    if not isinstance(own, DTensor) or not isinstance(value, Tensor) or isinstance(value, DTensor):
        return value
    if value.shape != own.shape:
        return value
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements)
