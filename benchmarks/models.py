"""Train step and inference of vitrail's models beside the same models of other toolboxes, in one run, as ratios.

    python benchmarks/models.py                          # everything
    python benchmarks/models.py pspnet fcn --size 512 512 --batch 2 --repeats 10

Both sides get the same images and targets and take turns; a figure is the median over the turns. On one thread the time
is that of the processor, so that what else the machine does hardly counts. Peak memory is the growth of the resident
set of a process of its own that does nothing else.
Needs the [parity] extra. Ratios above 1 mean that vitrail is faster, or needs less memory.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

CLASSES = 19
Step = Callable[[Tensor, Tensor | None], object]


@dataclass(frozen=True)
class Pair:
    """A model of vitrail and the same model of another toolbox."""

    other: str
    ours: Callable[[], nn.Module]
    theirs: Callable[[], nn.Module]
    theirs_losses: Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]
    theirs_logits: Callable[[nn.Module, Tensor], Tensor]


def ours(name: str, backbone: str | None = None, **options: object) -> Callable[[], nn.Module]:
    """Build a model of vitrail as the engine runs it: channels last."""

    def build() -> nn.Module:
        from vitrail import create_model

        return create_model(name, backbone, CLASSES, **options).to(memory_format=torch.channels_last)

    return build


def against_mmseg(build: Callable[[], nn.Module], config: str, **changes: object) -> Pair:
    """Pair with a config of MMSegmentation."""

    def theirs() -> nn.Module:
        from parity.references import build_mmseg

        return build_mmseg(config, **changes)

    def losses(model: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        from parity.references import mmseg_losses

        return mmseg_losses(model, images, targets)

    def logits(model: nn.Module, images: Tensor) -> Tensor:
        result = model(images, mode="tensor")
        result = result[0] if isinstance(result, tuple) else result  # EncNet's presence of classes comes along
        return nn.functional.interpolate(result, images.shape[-2:], mode="bilinear")

    return Pair("mmseg", build, theirs, losses, logits)


def against_torchvision(build: Callable[[], nn.Module], name: str) -> Pair:
    """Pair with a segmentation model of torchvision."""

    def theirs() -> nn.Module:
        from torchvision.models import segmentation

        return getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)

    def losses(model: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        def term(logits: Tensor) -> Tensor:
            return nn.functional.cross_entropy(logits, targets, ignore_index=255)

        outputs = model(images)
        return {"seg": term(outputs["out"]), "aux": 0.4 * term(outputs["aux"])}

    return Pair("torchvision", build, theirs, losses, lambda model, images: model(images)["out"])


PAIRS: dict[str, list[Pair]] = {
    "fcn": [
        against_mmseg(
            ours("fcn", "resnet50c", output_stride=8, concat_input=True, aux_channels=256),
            "fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024",
        ),
        against_torchvision(ours("fcn", "resnet50", output_stride=8, num_convs=1, aux_channels=256), "fcn_resnet50"),
    ],
    "pspnet": [
        against_mmseg(
            ours("pspnet", "resnet50c", output_stride=8, aux_channels=256),
            "pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024",
        )
    ],
    "cgnet": [
        against_mmseg(
            ours("cgnet"),
            "cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680",
            decode_head__loss_decode__class_weight=None,
        )
    ],
    "fastscnn": [against_mmseg(ours("fastscnn"), "fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024")],
    "deeplabv3": [
        against_mmseg(
            ours("deeplabv3", "resnet18c", output_stride=8, channels=128, aux_channels=64),
            "deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024",
        ),
        against_torchvision(
            ours("deeplabv3", "resnet50", output_stride=8, channels=256, aux_channels=256), "deeplabv3_resnet50"
        ),
    ],
    "deeplabv3plus": [
        against_mmseg(
            ours("deeplabv3plus", "resnet18c", output_stride=8, channels=128, shortcut_channels=12, aux_channels=64),
            "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024",
        )
    ],
    "upernet": [
        against_mmseg(
            ours("upernet", "resnet18c", aux_channels=256), "upernet/upernet_r18_4xb2-40k_cityscapes-512x1024"
        )
    ],
    "ocrnet": [
        against_mmseg(
            ours("ocrnet", "resnet18c", output_stride=8, fuse_kernel_size=1, coarse_channels=256),
            "ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024",
            backbone__depth=18,
            decode_head__0__in_channels=256,
            decode_head__1__in_channels=512,
        )
    ],
    "segformer": [
        against_mmseg(
            ours("segformer", "mit_b0"),
            "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512",
            decode_head__num_classes=CLASSES,
        )
    ],
    "bisenetv2": [against_mmseg(ours("bisenetv2"), "bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024")],
    "encnet": [
        against_mmseg(
            ours("encnet", "resnet18c", output_stride=8, aux_channels=256),
            "encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024",
            backbone__depth=18,
            decode_head__in_channels=[128, 256, 512],
            auxiliary_head__in_channels=256,
        )
    ],
    "emanet": [
        against_mmseg(
            ours("emanet", "resnet18c", output_stride=8, channels=256, aux_channels=256),
            "emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024",
            backbone__depth=18,
            decode_head__in_channels=512,
            auxiliary_head__in_channels=256,
        )
    ],
}


def batch(size: tuple[int, int], count: int) -> tuple[Tensor, Tensor]:
    """Random images, and targets in blobs with an ignored strip."""
    torch.manual_seed(0)
    coarse = torch.randint(0, CLASSES, (count, 1, 8, 8)).float()
    targets = nn.functional.interpolate(coarse, size, mode="nearest")[:, 0].long()
    targets[:, :8] = 255
    return torch.randn(count, 3, *size), targets


def channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def step_of(pair: Pair, mine: bool, training: bool) -> Step:
    """Return what is timed: one train step (losses, backward, SGD) or one inference to logits at full size."""
    torch.manual_seed(0)
    model = (pair.ours if mine else pair.theirs)().train(training)
    if not training:

        @torch.inference_mode()
        def infer(images: Tensor, _: Tensor | None) -> object:
            return (
                model(images.contiguous(memory_format=torch.channels_last))
                if mine
                else pair.theirs_logits(model, images)
            )

        return infer
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def train(images: Tensor, targets: Tensor | None) -> object:
        assert targets is not None
        losses = model(channels_last(images), targets) if mine else pair.theirs_losses(model, images, targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        return losses

    return train


def seconds(pair: Pair, training: bool, size: tuple[int, int], count: int, repeats: int) -> tuple[float, float]:
    """Return the median seconds of a step of ours and of theirs, taking turns."""
    images, targets = batch(size, count)
    steps = [step_of(pair, mine, training) for mine in (True, False)]
    times: list[list[float]] = [[], []]
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for turn in range(repeats + 1):
        for step, record in zip(steps, times, strict=True):
            start = clock()
            step(images, targets)
            if turn:  # the first one warms up
                record.append(clock() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def measure_memory(name: str, index: int, mine: bool, training: bool, size: tuple[int, int], count: int) -> float:
    """Return the peak growth in MiB of the resident set over two steps, measured in a new process."""
    side = "ours" if mine else "theirs"
    command = [sys.executable, __file__, name, "--memory", str(index), side, "train" if training else "infer"]
    command += ["--size", *map(str, size), "--batch", str(count)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.split()[-1])


def memory_here(pair: Pair, mine: bool, training: bool, size: tuple[int, int], count: int) -> float:
    images, targets = batch(size, count)
    step = step_of(pair, mine, training)
    before = status("VmRSS")
    for _ in range(2):
        step(images, targets)
    return (status("VmHWM") - before) / 1024


def status(key: str) -> int:
    """Return a figure of this process in KiB, as Linux tells it (`getrusage` would count the parent's peak too)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help=f"some of {', '.join(PAIRS)}; all when none is named")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size, count = tuple(arguments.size), arguments.batch
    if arguments.memory:
        index, side, task = arguments.memory
        pair = PAIRS[arguments.methods[0]][int(index)]
        print(memory_here(pair, side == "ours", task == "train", size, count))
        return
    print(f"{count} images of {size[0]}×{size[1]}, {arguments.threads} threads, median of {arguments.repeats}")
    print("model      task   beside        images/s  theirs  ratio   MiB  theirs  ratio")
    for name in arguments.methods or PAIRS:
        for index, pair in enumerate(PAIRS[name]):
            for training in (True, False):
                mine, other = seconds(pair, training, size, count, arguments.repeats)
                room = [measure_memory(name, index, who, training, size, count) for who in (True, False)]
                label = f"{name:10} {'train' if training else 'infer':6} {pair.other:12}"
                speed = f"{count / mine:9.2f} {count / other:7.2f} {other / mine:6.2f}"
                print(label, speed, f"{room[0]:5.0f} {room[1]:7.0f} {room[1] / room[0]:6.2f}", flush=True)


if __name__ == "__main__":
    main()
