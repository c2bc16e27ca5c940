"""The rows of a workload: a toolbox, how it is run, and what measures it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional as F

from benchmarks.cuda import ours
from benchmarks.cuda.peers import PEERS, Peer
from benchmarks.cuda.switches import half
from benchmarks.cuda.timing import Step, Stopwatch, run
from benchmarks.cuda.workload import Workload, images_and_targets
from vitrail.inference import Predictor
from vitrail.precision import Precision
from vitrail.recipes import EvalConfig
from vitrail.runtime.device import autocast

VITRAIL = "vitrail"


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes
    ----------
    work : Workload
        What is done.
    toolbox, how : str
        By what, and how it is run.
    stage : int
        Smaller ones come first.
    measure : callable
        Lets a stopwatch measure it.
    missing : callable
        Returns why it cannot be run, if it cannot.
    cuda : bool
        Whether a CPU cannot rehearse it: what is compiled for a CPU says nothing, and graphs are CUDA's.
    """

    work: Workload
    toolbox: str
    how: str
    stage: int
    measure: Callable[[Stopwatch], None]
    missing: Callable[[], str | None] = lambda: None
    cuda: bool = False

    def __str__(self) -> str:
        return f"{self.work.name} · {self.toolbox} · {self.how}"


def _stage(work: Workload, how: str) -> int:
    """Return how late a row comes: float16 after bfloat16, and what is compiled, which takes long, last."""
    if "compile" in how:
        return (3, 5)[work.stage - 1]
    if "float16" in how and "bfloat16" not in how:
        return (1, 4)[work.stage - 1]
    return (0, 2)[work.stage - 1]


def rows_of(work: Workload) -> list[Row]:
    """Return the rows of a workload."""
    kinds = {"train": _training_rows, "infer": _inference_rows, "predictor": _predictor_rows}
    return list(kinds[work.kind](work))


# Training


def _training_rows(work: Workload) -> Iterator[Row]:
    for how, amp, compile in (
        ("bfloat16", "bfloat16", "none"),
        ("bfloat16, CUDA graph", "bfloat16", "graphs"),
        ("float16", "float16", "none"),
        ("bfloat16, compiled", "bfloat16", "inductor"),
    ):

        def measure(watch: Stopwatch, amp: Precision = amp, compile: str = compile) -> None:
            watch.hides_memory = compile != "none"
            ours.time_training(work, watch, amp, compile=compile)

        yield Row(work, VITRAIL, how, _stage(work, how), measure, cuda=compile != "none")
    for peer in PEERS[work.name]:
        for how, tuned, compiled in (
            ("as shipped, float16", False, False),
            ("tuned, bfloat16", True, False),
            ("tuned, bfloat16, compiled", True, True),
        ):

            def measure_peer(
                watch: Stopwatch, peer: Peer = peer, tuned: bool = tuned, compiled: bool = compiled
            ) -> None:
                run(peer_train_step(peer, work, watch.device, tuned=tuned, compiled=compiled), watch)

            label = f"{how} ({peer.note})" if peer.note else how
            yield Row(work, peer.toolbox, label, _stage(work, how), measure_peer, peer.missing, compiled)


def peer_train_step(peer: Peer, work: Workload, device: torch.device, *, tuned: bool, compiled: bool) -> Step:
    """Return a train step of another toolbox: forward, loss, backward, optimizer.

    As shipped it is in contiguous layout and float16 with a gradient scaler, as the toolboxes' own scripts run mixed
    precision; tuned by hand in channels_last and bfloat16 with cuDNN's search and a fused optimizer.
    """
    torch.backends.cudnn.benchmark = tuned or peer.searches
    layout = torch.channels_last if tuned else torch.contiguous_format
    model = peer.build(work).to(device, memory_format=layout).train()
    images, targets = float_batch(work, device)
    images = images.contiguous(memory_format=layout)
    recipe = ours.recipe_of(work)
    optimizer = _optimizer(model, recipe.optimizer.name, fused=tuned and device.type == "cuda")
    scaler = GradScaler(device.type, enabled=not tuned and device.type == "cuda")
    if compiled:
        peer.compile(model)
    amp = half(device, "bfloat16" if tuned else "float16")

    def step() -> None:
        with autocast(device, amp):
            loss = peer.loss(model, images, targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return step


def _optimizer(model: nn.Module, name: str, *, fused: bool) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"lr": 1e-6, "weight_decay": 5e-4, "fused": True if fused else None}
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, **options)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return kind(model.parameters(), **options)


def float_batch(work: Workload, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return normalised images and int64 targets, as the models of other toolboxes take them."""
    images, targets = images_and_targets(work, device)
    return (images.float() - 120) / 60, targets.long()


# Inference

Labels = Callable[[Tensor], Tensor]


def _inference_rows(work: Workload) -> Iterator[Row]:
    yield Row(work, VITRAIL, "model, bfloat16", _stage(work, ""), _ours("eager", work))
    yield from _predictors(work)
    yield Row(work, VITRAIL, "model, bfloat16, CUDA graph", _stage(work, ""), _ours("graph", work), cuda=True)
    yield Row(work, VITRAIL, "model, bfloat16, compiled", _stage(work, "compiled"), _ours("compile", work), cuda=True)
    for peer in PEERS[work.name]:
        for how, tuned, mode in (
            ("as shipped, float16", False, "eager"),
            ("tuned, bfloat16", True, "eager"),
            ("tuned, bfloat16, CUDA graph", True, "graph"),
            ("tuned, bfloat16, compiled", True, "compile"),
        ):

            def measure(watch: Stopwatch, peer: Peer = peer, tuned: bool = tuned, mode: str = mode) -> None:
                watch.hides_memory = mode == "graph"
                run(peer_labels_step(peer, work, watch.device, tuned=tuned, mode=mode), watch)

            yield Row(work, peer.toolbox, how, _stage(work, how), measure, peer.missing, cuda=mode != "eager")


def peer_labels_step(peer: Peer, work: Workload, device: torch.device, *, tuned: bool, mode: str) -> Step:
    """Return a step of another toolbox from normalised images to class indices.

    As shipped it runs in contiguous layout and float16 autocast; tuned by hand in channels_last with weights in
    bfloat16, which saves the casts of autocast.
    """
    torch.backends.cudnn.benchmark = tuned or peer.searches
    layout = torch.channels_last if tuned else torch.contiguous_format
    model = peer.build(work).to(device, memory_format=layout).eval()
    if mode == "compile":
        peer.compile(model)
    dtype = _weights(device) if tuned else torch.float32
    model.to(dtype)
    return _labels_step(lambda x: peer.logits(model, x), work, device, layout, dtype, graph=mode == "graph")


def _ours(mode: str, work: Workload) -> Callable[[Stopwatch], None]:
    def measure(watch: Stopwatch) -> None:
        watch.hides_memory = mode == "graph"
        run(model_labels_step(work, watch.device, mode), watch)

    return measure


def model_labels_step(work: Workload, device: torch.device, mode: str) -> Step:
    """Return a step of vitrail's model from normalised images to class indices, tuned by hand as the others are."""
    torch.backends.cudnn.benchmark = True
    dtype = _weights(device)
    model = ours.built_model(work, device).to(dtype)
    if mode == "compile":
        model.compile(dynamic=False)
    return _labels_step(model, work, device, torch.channels_last, dtype, graph=mode == "graph")


def _labels_step(
    logits: Labels,
    work: Workload,
    device: torch.device,
    layout: torch.memory_format,
    dtype: torch.dtype,
    *,
    graph: bool,
) -> Step:
    images = float_batch(work, device)[0].contiguous(memory_format=layout).to(dtype)
    amp: Precision = half(device, "float16") if dtype == torch.float32 else "none"

    @torch.inference_mode()
    def predict(batch: Tensor = images) -> Tensor:
        with autocast(device, amp):
            return logits(batch).argmax(1)

    return _captured(predict, images) if graph else predict


def _weights(device: torch.device) -> torch.dtype:
    """Return the type of weights that are tuned by hand."""
    return torch.float32 if half(device, "bfloat16") == "none" else torch.bfloat16


def _captured(predict: Labels, images: Tensor) -> Step:
    """Return a step that replays a CUDA graph on a copy of the images."""
    fixed = images.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            predict(fixed)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = predict(fixed)

    def step() -> Tensor:
        fixed.copy_(images)
        graph.replay()
        return result

    return step


# The predictor


def _predictors(work: Workload) -> Iterator[Row]:
    modes: list[str | None] = [None]
    if "compile" in inspect.signature(Predictor.__init__).parameters:
        modes += ["graphs"]
    for mode in modes:

        def measure(watch: Stopwatch, mode: str | None = mode) -> None:
            watch.hides_memory = mode is not None
            run(predictor_step(work, watch.device, mode), watch)

        how = "Predictor.segment, bfloat16" + (f", compile={mode}" if mode else "")
        yield Row(work, VITRAIL, how, _stage(work, ""), measure, cuda=mode is not None)


def predictor_step(work: Workload, device: torch.device, mode: str | None) -> Step:
    """Return a step of the predictor from uint8 images on the device to class indices."""
    recipe = ours.recipe_of(work)
    options: dict[str, Any] = {} if mode is None else {"compile": mode}
    predictor = Predictor(
        ours.built_model(work, device),
        EvalConfig(batch_size=work.batch),
        device=device,
        amp=half(device, "bfloat16"),
        resize=None,
        flip_pairs=(),
        mean=recipe.data.mean,
        std=recipe.data.std,
        **options,
    )
    images = list(images_and_targets(work, device)[0])
    return lambda: predictor.segment(images)


def _predictor_rows(work: Workload) -> Iterator[Row]:
    yield from _predictors(work)

    def measure(watch: Stopwatch) -> None:
        run(plain_step(work, watch.device), watch)

    yield Row(work, "plain torch", "vitrail's model, normalised, bfloat16, resized, argmax", _stage(work, ""), measure)


def plain_step(work: Workload, device: torch.device) -> Step:
    """Return what the predictor does, in a few lines of PyTorch."""
    model = ours.built_model(work, device)
    images = images_and_targets(work, device)[0]
    data = ours.recipe_of(work).data
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (data.mean, data.std))

    @torch.inference_mode()
    def step() -> Tensor:
        with autocast(device, half(device, "bfloat16")):
            batch = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
            logits = model.head(model.backbone(batch))
            logits = F.interpolate(logits, work.size, mode="bilinear", align_corners=model.head.align_corners)
            return logits.argmax(1).to(torch.uint8)

    return step


# Floating-point operations


def counted_tflop(work: Workload, device: torch.device) -> float | None:
    """Return the floating-point operations of one step of vitrail's model, in 10^12, counted on two images."""
    from torch.utils.flop_counter import FlopCounterMode

    model = ours.built_model(work, device).train(work.kind == "train")
    images, targets = float_batch(work, device)
    few = min(2, work.batch)
    with contextlib.ExitStack() as stack:
        counter = stack.enter_context(FlopCounterMode(display=False))
        stack.enter_context(autocast(device, half(device, "bfloat16")))
        if work.kind == "train":
            torch.stack(list(model(images[:few], targets[:few]).values())).sum().backward()
        else:
            stack.enter_context(torch.no_grad())
            model(images[:few])
    return counter.get_total_flops() * work.batch / few / 1e12
