"""CUDA graphs: a forward pass recorded once for each shape of images, then replayed without launching its kernels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_WARM_UP_CALLS = 3  # cuDNN and the allocator settle in these


@dataclass(frozen=True, eq=False)
class _Recording:
    graph: torch.cuda.CUDAGraph
    input: Tensor
    output: Tensor


class GraphedFunction:
    """A function of one CUDA tensor that is recorded as a CUDA graph for each shape it is called with.

    For small batches a GPU waits for the CPU to launch hundreds of small kernels; a graph launches all of them at once.

    Parameters
    ----------
    function : callable
        From a tensor to a tensor; it must not wait for the device, and what it computes may depend on the values of the
        tensor, but not which kernels it runs.
    max_shapes : int
        Graphs that are kept; the one used least recently is dropped for a new shape. Each holds the memory of its
        forward pass.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], *, max_shapes: int = 4) -> None:
        self._function = function
        self._max_shapes = max_shapes
        self._recordings: OrderedDict[tuple[object, ...], _Recording] = OrderedDict()

    def __call__(self, x: Tensor) -> Tensor:
        """Return what the function returns, as a tensor of its own."""
        key = (*x.shape, x.dtype, x.device)
        recording = self._recordings.get(key)
        if recording is None:
            if len(self._recordings) >= self._max_shapes:
                self._recordings.popitem(last=False)
            recording = self._recordings[key] = self._record(x)
        self._recordings.move_to_end(key)
        recording.input.copy_(x)
        recording.graph.replay()
        return recording.output.clone(memory_format=torch.preserve_format)

    def _record(self, x: Tensor) -> _Recording:
        own = x.clone()
        side = torch.cuda.Stream(x.device)
        side.wait_stream(torch.cuda.current_stream(x.device))
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True  # a recorded shape repeats
        try:
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP_CALLS):
                    self._function(own)
            torch.cuda.current_stream(x.device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = self._function(own)
        finally:
            torch.backends.cudnn.benchmark = before
        return _Recording(graph, own, output)
