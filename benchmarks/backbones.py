"""Encoders beside the same encoders of MMSegmentation and SSSegmentation, in one run, as ratios.

    python -m benchmarks.backbones                                  # everything
    python -m benchmarks.backbones resnet50c mit_b0 --size 512 512 --repeats 9

Both sides get the same images and take turns at going first; a figure is the median over the turns, in processor
seconds of one thread, so that other work on the machine counts little. Ours have their channels where the engine puts
them on the CPU: last in the forward pass of convolutional encoders, first in training. Peak memory is the growth of the
resident set beyond the built encoder, in a fresh process that does one thing. Needs the [parity] extra and Linux.
Ratios above 1 mean that vitrail is faster, or needs less memory.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.encoders import DILATIONS, hrnet_stages, mmseg_backbone, ssseg_backbone
from vitrail import create_backbone


@dataclass(frozen=True)
class Pair:
    """An encoder of vitrail's and the same of another toolbox."""

    kind: str
    theirs: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)
    channels_last: bool = True
    toolbox: Callable[..., nn.Module] = mmseg_backbone
    one_size: bool = False  # theirs works at the size that it is built for only

    def build(self, name: str, mine: bool, size: tuple[int, int]) -> nn.Module:
        """Build one side."""
        sized = {"img_size": size} if self.one_size else {}
        if mine:
            return create_backbone(name, **self.ours, **sized)
        return self.toolbox(self.kind, **self.theirs, **sized)


def _resnet(stride: int) -> dict[str, Any]:
    strides, dilations = DILATIONS[stride]
    return {"strides": strides, "dilations": dilations, "contract_dilation": True}


LAYER_NORM = {"type": "LN", "eps": 1e-6}
PAIRS = {
    "resnet50c": Pair("ResNetV1c", {"depth": 50, **_resnet(8)}, {"output_stride": 8}),
    "resnest50d": Pair("ResNeSt", {"depth": 50, "stem_channels": 64, **_resnet(8)}, {"output_stride": 8}),
    "mobilenetv2_100": Pair(
        "MobileNetV2",
        {"strides": (1, 2, 2, 1, 1, 1, 1), "dilations": (1, 1, 1, 2, 2, 4, 4)},
        {"output_stride": 8},
    ),
    "tf_mobilenetv3_large_100": Pair(
        "MobileNetV3", {"arch": "large", "out_indices": (1, 3, 16)}, {"output_stride": 8, "out_indices": (0, 1, 4)}
    ),
    "hrnet_w18": Pair("HRNet", {"extra": hrnet_stages((18, 36, 72, 144), (1, 4, 3), 4)}),
    "convnext_tiny": Pair(
        "ConvNeXt",
        {"arch": "tiny", "norm_cfg": {"type": "LayerNorm2d", "eps": 1e-6}, "gap_before_final_norm": False},
        toolbox=ssseg_backbone,
    ),
    "unet_s5": Pair("UNet"),
    "cgnet_m3n21": Pair("CGNet"),
    "erfnet": Pair("ERFNet"),
    "fastscnn": Pair("FastSCNN"),
    "bisenetv1_resnet18": Pair("BiSeNetV1", {"backbone_cfg": {"type": "ResNet", "depth": 18}}),
    "bisenetv2": Pair("BiSeNetV2"),
    "mit_b0": Pair(
        "MixVisionTransformer",
        {"embed_dims": 32, "num_layers": [2, 2, 2, 2], "num_heads": [1, 2, 5, 8]},
        channels_last=False,
    ),
    "swin_tiny_patch4_window7_224": Pair("SwinTransformer", channels_last=False),
    "twins_svt_small": Pair(
        "SVT",
        {
            "embed_dims": [64, 128, 256, 512],
            "num_heads": [2, 4, 8, 16],
            "mlp_ratios": [4, 4, 4, 4],
            "depths": [2, 2, 10, 4],
            "windiow_sizes": [7, 7, 7, 7],
            "sr_ratios": [8, 4, 2, 1],
            "patch_sizes": [4, 2, 2, 2],
            "strides": [4, 2, 2, 2],
            "qkv_bias": True,
        },
        channels_last=False,
    ),
    "vit_small_patch16_224": Pair(
        "VisionTransformer",
        {"embed_dims": 384, "num_heads": 6, "out_indices": (2, 5, 8, 11), "norm_cfg": LAYER_NORM},
        channels_last=False,
    ),
    "beit_base_patch16_224": Pair(
        "BEiT", {"out_indices": (3, 5, 7, 11), "init_values": 0.1}, channels_last=False, one_size=True
    ),
}


def step_of(name: str, mine: bool, training: bool, size: tuple[int, int]) -> Callable[[Tensor], object]:
    """Return what is measured: a forward pass, or a forward and a backward pass."""
    torch.manual_seed(0)
    pair = PAIRS[name]
    channels_last = mine and pair.channels_last and not training
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = pair.build(name, mine, size).to(memory_format=layout)
    model.train(training)

    def prepared(images: Tensor) -> Tensor:
        return images.contiguous(memory_format=layout)

    @torch.inference_mode()
    def infer(images: Tensor) -> object:
        return model(prepared(images))

    def train(images: Tensor) -> object:
        for parameter in model.parameters():
            parameter.grad = None
        return sum(x.square().mean() for x in model(prepared(images))).backward()

    return train if training else infer


def seconds(name: str, training: bool, images: Tensor, repeats: int) -> tuple[float, float]:
    """Return the median processor seconds of ours and of theirs, taking turns."""
    steps = [step_of(name, mine, training, _size(images)) for mine in (True, False)]
    times: list[list[float]] = [[], []]
    for turn in range(repeats + 1):
        for side in (0, 1) if turn % 2 else (1, 0):  # who goes second may find the memory in another state
            start = time.process_time()
            steps[side](images)
            if turn:  # the first one warms up
                times[side].append(time.process_time() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def peak_memory(name: str, mine: bool, training: bool, images: Tensor) -> float:
    """Return how much in MiB the resident set grows beyond the built encoder over two steps."""
    step = step_of(name, mine, training, _size(images))
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what building freed must not hide what a step takes
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before = _status("VmRSS")
    for _ in range(2):
        step(images)
    return (_status("VmHWM") - before) / 1024


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[2], images.shape[3]


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def in_a_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a fork of this process, which itself never computes anything."""
    gc.collect()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        torch.set_num_threads(1)
        sender.send(function(*arguments))

    process = context.Process(target=work)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def main() -> None:
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*PAIRS, []], help="all when none is named")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for toolbox in {PAIRS[name].toolbox for name in arguments.names or PAIRS}:
        toolbox("FastSCNN")  # imports take memory, and are nobody's peak
    create_backbone("fastscnn")
    height, width = arguments.size
    images = torch.zeros(arguments.batch, 3, height, width)
    print(f"{arguments.batch} images of {height}×{width}, 1 thread, median of {arguments.repeats}")
    print(f"{'encoder':28} pass     beside  seconds  theirs  ratio    MiB  theirs ratio")
    for name in arguments.names or PAIRS:
        for training in (False, True):
            mine, other = in_a_fresh_process(seconds, name, training, images, arguments.repeats)
            room = [in_a_fresh_process(peak_memory, name, who, training, images) for who in (True, False)]
            task = "both" if training else "forward"
            beside = PAIRS[name].toolbox.__name__.removesuffix("_backbone")
            print(
                f"{name:28} {task:8} {beside:6} {mine:8.3f} {other:7.3f} {other / mine:6.2f} "
                f"{room[0]:6.0f} {room[1]:7.0f} {room[1] / room[0]:5.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
