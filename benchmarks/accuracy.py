"""The same recipe trained by vitrail and by other toolboxes, from the same weights and on the same images.

    python -m benchmarks.accuracy --data-root CAMVID                      # on one GPU, within six minutes
    python -m benchmarks.accuracy --data-root CAMVID --methods cgnet fastscnn --toolboxes ssseg --seeds 5
    python -m benchmarks.accuracy --data-root CAMVID --variants bfloat16 ema accumulate
    python -m benchmarks.accuracy --data-root CAMVID --device cpu --tiny  # a rehearsal; its figures mean nothing
    python -m benchmarks.accuracy --data-root CAMVID --prepare FOLDER     # CamVid in 28 MB, to carry to a GPU
    python -m benchmarks.accuracy --steps                                 # three optimizer steps without chance
    python -m benchmarks.accuracy --page docs/accuracy.md --out RESULTS   # write the results into a page

The other toolbox builds the model and draws its first weights; vitrail imports both, losses and dropout included.
Optimizer, learning rate, weight decay, schedule, warm-up, batch, crop and range of scales are the same numbers for
everyone, each expressed in the words of the toolbox, and what makes them happen is each one's own code: vitrail's loop;
MMEngine's runner with its optimizer wrapper, schedulers, loader, and MMSegmentation's transforms and losses;
SSSegmentation's dataset, transforms, optimizer, schedule and losses, in the order of its trainer. Everyone computes in
float32 with TF32 where there is any. At the end, and some times before, the weights are brought into vitrail's model by
its importer and evaluated on val by its evaluator, whoever trained them.

A method is called significantly lower where Welch's t-test on the last mIoU of the seeds, one-sided, gives p < 0.05.
Results are written after every run: accuracy.json, accuracy.md and accuracy.png, into --out, the folder named by the
environment variable OUT, or benchmarks/results. What the budget has no time for is named.
Needs the toolboxes: pip install -e '.[parity]'.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.equal_training.curves import draw
from benchmarks.equal_training.data import compact, decode
from benchmarks.equal_training.jobs import TOOLBOXES, VARIANTS, jobs_of
from benchmarks.equal_training.methods import METHODS, Method
from benchmarks.equal_training.page import write_page
from benchmarks.equal_training.pool import Pool, Run
from benchmarks.equal_training.report import Report
from benchmarks.equal_training.settings import Plan

SIZE = (360, 480)
TINY_IMAGES = 4  # of each split
RESERVED_SECONDS = 4.0  # for writing the results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, or what stands around it."""
    begin = time.monotonic()
    options = _parser().parse_args(arguments)
    folder = Path(options.out or os.environ.get("OUT") or Path(__file__).parent / "results")
    if options.page:
        write_page(folder, Path(options.page))
        return
    if options.steps:
        compare_steps(options)
        return
    if options.data_root is None:
        sys.exit("give the folder of CamVid as --data-root")
    if options.iterations % options.evaluations:
        sys.exit(f"--iterations {options.iterations} should be a multiple of --evaluations {options.evaluations}")
    root = Path(options.data_root)
    if options.prepare:
        print(f"{compact(root, Path(options.prepare)):.1f} MB in {options.prepare}")
        return
    with tempfile.TemporaryDirectory(prefix="camvid-") as decoded:
        plan = plan_of(options, Path(decoded))
        limit = TINY_IMAGES if options.tiny else None
        decode(root, plan.data, processes=_cores(), limit=limit, shrink=SIZE[0] // plan.size[0])
        print(f"decoded after {time.monotonic() - begin:.0f} s", flush=True)
        run(options, plan, folder, begin)


def compare_steps(options: argparse.Namespace) -> None:
    """Print how far a few optimizer steps without chance lead apart."""
    from benchmarks.equal_training.steps import deviations  # imports the toolboxes

    print("| method | beside | weights and statistics | largest deviation | of |\n| --- | --- | --- | --- | --- |")
    for method in _chosen(options):
        for toolbox in options.toolboxes:
            found = deviations(method, toolbox)
            cells = (method.title, TOOLBOXES[toolbox], len(found), f"{found[0].share:.0e}", f"`{found[0].name}`")
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def _chosen(options: argparse.Namespace) -> list[Method]:
    return [method for method in METHODS if not options.methods or method.name in options.methods]


def run(options: argparse.Namespace, plan: Plan, folder: Path, begin: float) -> None:
    """Make the runs, and write the results after each."""
    jobs = jobs_of(
        _chosen(options),
        options.toolboxes,
        options.variants,
        range(options.first_seed, options.first_seed + options.seeds),
    )
    processes = options.processes or (max(1, _cores() // (plan.workers + 1)) if plan.device == "cuda" else 1)
    report = Report(_setup(plan, processes), [])
    runs: list[Run] = report.runs  # type: ignore[assignment]

    def changed(ended: Run) -> None:
        runs.append(ended)
        last = f"{ended.points[-1].miou:.2f}" if ended.points else "none"
        how = f"{ended.seconds:.0f} s" if ended.seconds is not None else ended.problem
        print(f"{time.monotonic() - begin:5.0f} s  {ended.job}: mIoU {last}, {how}", flush=True)
        report.write(folder)

    print(f"{len(jobs)} runs, {processes} at once, {plan.workers} loaders each", flush=True)
    Pool(plan, processes=processes, end=begin + options.budget - RESERVED_SECONDS, changed=changed).work(jobs)
    print(report.markdown(), flush=True)
    draw(report, folder / "accuracy.png")


def plan_of(options: argparse.Namespace, data: Path) -> Plan:
    """Return the size of the runs."""
    shrink = 4 if options.tiny else options.shrink
    size = (SIZE[0] // shrink, SIZE[1] // shrink)
    if options.tiny:
        return Plan(data, options.device, 4, 2, size, (64, 96), 2, min(options.workers, 1))
    return Plan(
        data,
        options.device,
        options.iterations,
        options.batch,
        size,
        tuple(options.crop),
        options.evaluations,
        options.workers,
    )


def _setup(plan: Plan, processes: int) -> dict[str, Any]:
    import torch

    images = len(list((plan.data / "train").glob("*.bmp")))
    return {
        "images": images,
        "size": plan.size,
        "crop": plan.crop,
        "iterations": plan.iterations,
        "batch": plan.batch,
        "processes": processes,
        "machine": f"PyTorch {torch.__version__} on {_machine(plan.device)}",
    }


def _machine(device: str) -> str:
    """Return the name of the device, asked in a process of its own: this one starts others before they use CUDA."""
    if device != "cuda":
        return f"{platform.machine()} CPU"
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        names = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "a CUDA device"
    return names.strip().partition("\n")[0]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", metavar="DIR", help="CamVid in the SegNet layout, or what --prepare wrote")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--budget", type=float, default=360.0, metavar="SECONDS", help="360; when all ends")
    parser.add_argument("--methods", nargs="+", default=[], choices=[method.name for method in METHODS], metavar="NAME")
    parser.add_argument("--toolboxes", nargs="+", default=list(TOOLBOXES), choices=list(TOOLBOXES), metavar="NAME")
    parser.add_argument("--variants", nargs="*", default=[], choices=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="3")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="0")
    parser.add_argument("--iterations", type=int, default=1500, metavar="N", help="1500")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="8")
    parser.add_argument("--crop", type=int, nargs=2, default=(256, 352), metavar=("H", "W"), help="256 352")
    parser.add_argument(
        "--shrink", type=int, default=1, choices=(1, 2, 3, 4), help="every so many pixels only, for a CPU"
    )
    parser.add_argument("--evaluations", type=int, default=5, metavar="N", help="5 in a run")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="2 loader processes for each run")
    parser.add_argument("--processes", type=int, metavar="N", help="runs at once; by default as the cores allow")
    parser.add_argument("--tiny", action="store_true", help="small images and four steps")
    parser.add_argument("--steps", action="store_true", help="compare three optimizer steps without chance instead")
    parser.add_argument("--prepare", metavar="DIR", help="write CamVid in a small folder instead")
    parser.add_argument("--page", metavar="FILE", help="write all results below --out into a page instead")
    parser.add_argument("--out", metavar="DIR", help="folder of the results")
    return parser


if __name__ == "__main__":
    main()
