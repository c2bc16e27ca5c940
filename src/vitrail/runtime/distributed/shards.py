"""Checkpoints in parts: every process writes what it holds, and any number of processes reads it again.

The format is that of `torch.distributed.checkpoint`. Its table of contents is a pickle, which is read here as data.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.tensor import DTensor

from vitrail.errors import CheckpointError
from vitrail.runtime.distributed.shard_table import read_table


def write_shards(tensors: Mapping[str, Tensor], folder: Path, group: dist.ProcessGroup) -> Future[Any]:
    """Begin to write tensors to a folder, each process the parts that it holds; every process calls this.

    Parameters
    ----------
    tensors : mapping from str to Tensor
        `DTensor` or tensors that are the same in all processes. They are copied before this returns.
    folder : Path
        An empty one that every process sees.
    group : ProcessGroup
        One of the CPU that nothing else uses meanwhile.

    Returns
    -------
    Future
        Its result is there when all processes have written all of theirs, and raises what went wrong in any of them.
    """
    state = {name: tensor.detach() for name, tensor in tensors.items()}
    if any(tensor.device.type != "cpu" for tensor in state.values()):
        return cast("Future[Any]", dcp.async_save(state, checkpoint_id=folder, process_group=group))
    # async_save copies what is on the CPU in some releases of PyTorch only
    copies = {name: tensor.clone() for name, tensor in state.items()}
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shards")
    written = executor.submit(dcp.save, copies, checkpoint_id=folder, process_group=group)
    executor.shutdown(wait=False)
    return written


def read_shards(folder: Path, layout_of: Callable[[str], Tensor | None]) -> dict[str, Tensor]:
    """Read what `write_shards` wrote, on any number of processes; nothing in the files is run.

    Parameters
    ----------
    folder : Path
        The folder.
    layout_of : callable
        Returns a tensor of this run for the name of a saved one: where it is a `DTensor` of the same shape, so is what
        was read, with the same layout. Otherwise every process reads the whole tensor, to the CPU.

    Raises
    ------
    CheckpointError
        When the folder is missing or damaged, or holds anything but tensors.
    """
    try:
        description = _SafeReader(folder).read_metadata()
        tensors = {name: _empty(name, entry, layout_of) for name, entry in description.state_dict_metadata.items()}
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=r"torch\.distributed is (disabled, )?unavailable or uninitialized"
            )
            dcp.load(tensors, storage_reader=_SafeReader(folder))
    except (dcp.CheckpointException, *_DAMAGE) as error:
        failures = list(error.failures.values()) if isinstance(error, dcp.CheckpointException) else []
        reason = failures[0][0] if failures else error
        raise CheckpointError(f"{folder} cannot be read: {type(reason).__name__}: {str(reason)[:300]}") from error
    return tensors


_DAMAGE = (
    *(OSError, EOFError, ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError),
    *(ValueError, MemoryError, pickle.UnpicklingError),
)


def _empty(name: str, entry: Any, layout_of: Callable[[str], Tensor | None]) -> Tensor:
    layout, dtype = layout_of(name), entry.properties.dtype
    if isinstance(layout, DTensor) and layout.shape == entry.size:
        return torch.empty_like(layout, dtype=dtype, requires_grad=False)
    return torch.empty(entry.size, dtype=dtype)


class _SafeReader(dcp.FileSystemReader):
    """PyTorch's reader, with a table of contents that can name nothing but descriptions of tensors."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return read_table(Path(self.path))
