"""CUDA graphs: forward passes and training steps that are recorded once and then replayed by a single launch."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitrail.errors import DeviceError

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
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True  # a recorded shape repeats
        try:
            with torch.cuda.device(x.device):
                with _side_stream(x.device):
                    for _ in range(_WARM_UP_CALLS):
                        self._function(own)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    output = self._function(own)
        finally:
            torch.backends.cudnn.benchmark = before
        return _Recording(graph, own, output)


class GraphedStep:
    """The forward and backward pass of a training step, recorded as a CUDA graph when it is first called.

    Small models wait for the CPU that launches a thousand kernels in each step; a replay launches all of them at once.
    To record runs the step a few times; the model's buffers and the random state are put back afterwards, so that
    training begins as it would without a graph.

    Parameters
    ----------
    step : callable
        From CUDA tensors to named scalars; adds to the gradients of the model's parameters. It must not wait for the
        device, and what it computes may depend on the values of its tensors, but not which kernels it runs.
    model : nn.Module
        Whose gradients are None before each call and set afterwards, to tensors that the next call overwrites.
    required : bool
        Whether a step that cannot be recorded is an error; otherwise it runs without a graph, and a warning says so.
    """

    def __init__(self, step: Callable[..., dict[str, Tensor]], model: nn.Module, *, required: bool = True) -> None:
        self._step, self._model, self._required = step, model, required
        self._recordable = True
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._outputs: dict[str, Tensor] = {}
        self._gradients: list[tuple[nn.Parameter, Tensor]] = []

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return what the step returns, in tensors that the next call overwrites.

        Raises
        ------
        DeviceError
            When the step cannot be recorded, as when it copies values to the CPU, and a graph is required.
        """
        if self._recordable and (self._graph is None or [x.shape for x in inputs] != [x.shape for x in self._inputs]):
            self._try_to_record(inputs)
        if self._graph is None:
            return self._step(*inputs)
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._outputs

    def _try_to_record(self, inputs: Sequence[Tensor]) -> None:
        self._graph, self._outputs, self._gradients = None, {}, []  # frees the memory of an earlier recording
        try:
            with torch.cuda.device(inputs[0].device):
                self._graph = self._record(inputs)
        except RuntimeError as error:
            reason = f"this training step cannot be recorded as a CUDA graph: {str(error).strip().splitlines()[0]}"
            if self._required:
                raise DeviceError(reason) from error
            warnings.warn(f"{reason}; it runs without one", stacklevel=3)
            self._recordable = False
            self._model.zero_grad(set_to_none=True)

    def _record(self, inputs: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        self._inputs = [x.clone() for x in inputs]
        with self._unchanged(), _side_stream(inputs[0].device):
            for call in range(_WARM_UP_CALLS):
                # A recording that fails leaves CUDA's random state unusable: what makes it fail is found before.
                with _refused_synchronisation() if call == _WARM_UP_CALLS - 1 else nullcontext():
                    self._step(*self._inputs)
                self._model.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._outputs = self._step(*self._inputs)
        self._gradients = [(p, p.grad) for p in self._model.parameters() if p.grad is not None]
        return graph

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Put the model's buffers and the random state back after a block."""
        buffers = [(buffer, buffer.clone()) for buffer in self._model.buffers()]
        try:
            with torch.random.fork_rng([torch.cuda.current_device()]):
                yield
        finally:
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)


@contextmanager
def _side_stream(device: torch.device) -> Iterator[None]:
    """Run a block in a stream of its own, as CUDA asks of what is run before a recording."""
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        yield
    torch.cuda.current_stream(device).wait_stream(side)


@contextmanager
def _refused_synchronisation() -> Iterator[None]:
    """Raise a RuntimeError where the CPU waits for the device in a block."""
    before = torch.cuda.get_sync_debug_mode()
    _set_sync_debug_mode("error")
    try:
        yield
    finally:
        _set_sync_debug_mode(before)


def _set_sync_debug_mode(mode: str | int) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode(mode)
