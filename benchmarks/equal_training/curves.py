"""The curves of all pairs in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.equal_training.pool import Run
from benchmarks.equal_training.report import Pair, Report, title_of

COLUMNS = 3
COLOURS = ("tab:blue", "tab:orange")


def draw(report: Report, file: Path) -> None:
    """Draw mIoU over iterations: a panel for each pair, thin lines for the seeds and a thick one for their mean."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    pairs = report.pairs()
    if not pairs:
        return
    columns = min(COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.1 * rows), squeeze=False)
    finished = report.finished()
    for panel, pair in zip(panels.flat, pairs, strict=False):
        _draw_pair(panel, pair, finished)
    for panel in panels.flat[len(pairs) :]:
        panel.set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _draw_pair(panel: Any, pair: Pair, finished: dict[Any, dict[int, Run]]) -> None:
    variant = pair.first.partition(", ")[2]
    ours = finished[(pair.method, pair.toolbox, "vitrail", variant)]
    theirs = finished[(pair.method, pair.toolbox, pair.toolbox if pair.beside_toolbox else "vitrail", "")]
    for runs, name, colour in ((ours, pair.first, COLOURS[0]), (theirs, pair.second, COLOURS[1])):
        seeds = sorted(set(ours) & set(theirs))
        for seed in seeds:
            points = runs[seed].points
            panel.plot([point.iteration for point in points], [point.miou for point in points], color=colour, lw=0.6)
        marks = [point.iteration for point in runs[seeds[0]].points]
        means = [sum(runs[seed].points[index].miou for seed in seeds) / len(seeds) for index in range(len(marks))]
        panel.plot(marks, means, color=colour, lw=2, label=name)
    panel.set_title(title_of(pair.method), fontsize=10)
    panel.set_xlabel("iterations", fontsize=8)
    panel.set_ylabel("mIoU on val", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.legend(fontsize=8, loc="lower right")
