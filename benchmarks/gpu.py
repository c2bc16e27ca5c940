"""Time and memory of vitrail beside other toolboxes on one GPU, and whether it computes what the CPU does.

    python -m benchmarks.gpu                              # everything: about eight minutes on a current card
    python -m benchmarks.gpu --budget 150                 # the most telling rows first; says what was left out
    python -m benchmarks.gpu --only pspnet-train          # rows whose name holds this text
    python -m benchmarks.gpu --profile fastscnn-train     # the kernels of vitrail's first row of this work
    python -m benchmarks.gpu --device cpu --tiny          # a rehearsal without a GPU; its figures mean nothing

Train steps are forward, losses, backward and optimizer step, with float32 weights under autocast, on one batch of
random images that is already on the device. Vitrail's run through the loop of `vitrail.training`, from its recipe and
from uint8 images; the other toolboxes get normalised images, and compute their own losses. Nobody has dropout.
Inference ends in class indices at the size of the images. "As shipped" is contiguous layout and float16 with a gradient
scaler; "tuned" is channels_last, bfloat16, cuDNN's search and a fused optimizer, and in inference bfloat16 weights.

A figure is the median of the times between CUDA events at the ends of steps; memory is the peak after the warm-up.
Toolboxes that are not installed are named and left out: pip install -e '.[parity]'. Results are printed as they come;
gpu.json and gpu.md are written into --out, the folder named by the environment variable OUT, or benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.cuda.card import Card, measure_card
from benchmarks.cuda.checks import Check, check_methods
from benchmarks.cuda.profiling import profile_row
from benchmarks.cuda.report import Outcome, Report
from benchmarks.cuda.rows import VITRAIL, Row, counted_tflop, rows_of
from benchmarks.cuda.switches import torch_defaults
from benchmarks.cuda.timing import Stopwatch
from benchmarks.cuda.workload import WORKLOADS, Workload

CHECKS_SHARE, CHECKS_SECONDS = 0.15, 60.0


class Benchmark:
    """A run of the benchmark.

    Parameters
    ----------
    device : torch.device
        Where.
    budget : float
        After how many seconds no new row is started.
    tiny : bool
        Whether to rehearse with one step on small images.
    folder : Path
        Where the results are written.
    """

    def __init__(self, device: torch.device, *, budget: float, tiny: bool, folder: Path) -> None:
        self.device, self.tiny, self.folder = device, tiny, folder
        self.budget = budget
        self._end = time.monotonic() + budget
        self._tflop: dict[Workload, float | None] = {}
        self._missing: dict[str, str | None] = {}
        self.card: Card = measure_card(device, tiny=tiny)
        self.checks: list[Check] = []
        self.outcomes: list[Outcome] = []
        print(self.card, flush=True)

    def check(self) -> None:
        """Check the methods, within a share of the budget."""
        for check in check_methods(self.device, min(CHECKS_SECONDS, CHECKS_SHARE * self.budget)):
            print(f"check {check}", flush=True)
            self.checks.append(check)

    def measure(self, rows: Sequence[Row]) -> None:
        """Measure rows, the most telling first, until the time is up."""
        for row in sorted(rows, key=lambda row: row.stage):
            left = self._end - time.monotonic()
            outcome = self._outcome(row) if left > 0 else Outcome(row, problem="left out: no time")
            print(outcome.line(self.card), flush=True)
            self.outcomes.append(outcome)
            if left > 0:
                self.report().write(self.folder)  # also what a command that is killed leaves behind

    def report(self) -> Report:
        """Return what is known so far, in the order of the workloads."""
        order = {work.name: index for index, work in enumerate(WORKLOADS)}
        outcomes = sorted(self.outcomes, key=lambda outcome: order[outcome.row.work.name])
        return Report(self.card, self.checks, outcomes)

    def _outcome(self, row: Row) -> Outcome:
        if row.cuda and self.device.type != "cuda":
            return Outcome(row, problem="needs CUDA")
        if row.toolbox not in self._missing:
            self._missing[row.toolbox] = row.missing()
        if problem := self._missing[row.toolbox]:
            return Outcome(row, problem=problem)
        if row.work not in self._tflop:
            self._tflop[row.work] = self._count(row.work)
        try:
            with torch_defaults():
                watch = self._watch()
                row.measure(watch)
                timing = watch.result()
        except Exception as error:  # an out-of-memory error, or what a toolbox cannot do: the other rows go on
            return Outcome(row, problem=_in_one_line(error))
        return Outcome(row, timing, self._tflop[row.work])

    def _watch(self) -> Stopwatch:
        return Stopwatch(self.device, warmup=1, steps=1, seconds=0) if self.tiny else Stopwatch(self.device)

    def _count(self, work: Workload) -> float | None:
        try:
            with torch_defaults():
                return counted_tflop(work, self.device)
        except Exception as error:  # the count says nothing about the row
            print(f"the operations of {work.name} were not counted: {_in_one_line(error)}", flush=True)
            return None


def _in_one_line(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first[:300]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch sees no CUDA device; rehearse with --device cpu --tiny")
    warnings.filterwarnings("ignore")
    works = [work.small() if options.tiny else work for work in WORKLOADS]
    rows = [row for work in works for row in rows_of(work)]
    if options.profile:
        _profile(rows, options.profile, device)
        return
    chosen = [row for row in rows if options.only in str(row)]
    if not chosen:
        sys.exit(f"no row's name holds {options.only!r}; the names:\n" + "\n".join(map(str, rows)))
    folder = Path(options.out or os.environ.get("OUT") or Path(__file__).parent / "results")
    benchmark = Benchmark(device, budget=options.budget, tiny=options.tiny, folder=folder)
    if options.checks:
        benchmark.check()
    benchmark.measure(chosen)
    report = benchmark.report()
    report.write(folder)
    print(report.markdown(), flush=True)


def _profile(rows: Sequence[Row], pattern: str, device: torch.device) -> None:
    """Print the kernels of vitrail's rows: of each work that the pattern names the first, or all rows that it names."""
    mine = [row for row in rows if row.toolbox == VITRAIL]
    firsts = {row.work: row for row in reversed(mine)}
    chosen = [row for work, row in firsts.items() if pattern in work.name] or [r for r in mine if pattern in str(r)]
    if not chosen:
        sys.exit(f"no row of vitrail's is called {pattern!r}; the names:\n" + "\n".join(map(str, mine)))
    for row in chosen:
        with torch_defaults():
            print(profile_row(row, device), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=480.0, metavar="SECONDS", help="480")
    parser.add_argument("--tiny", action="store_true", help="small images and a single step")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name holds this text")
    parser.add_argument("--no-checks", dest="checks", action="store_false", help="leave the checks out")
    parser.add_argument("--profile", metavar="TEXT", help="print the kernels of vitrail's rows of this work instead")
    parser.add_argument("--out", metavar="DIR", help="folder of the results")
    return parser


if __name__ == "__main__":
    main()
