"""The results as JSON, as a Markdown table and as curves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.equal_training.jobs import TOOLBOXES, VITRAIL, Job
from benchmarks.equal_training.methods import METHODS
from benchmarks.equal_training.pool import LEFT_OUT, Run
from benchmarks.equal_training.recorder import Point
from benchmarks.equal_training.significance import Difference, Sample, difference, pooled

Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Pair:
    """Two ways to train the same model, with all seeds that both have finished.

    Attributes
    ----------
    method, toolbox : str
        Whose model.
    first, second : str
        Who trained, such as "vitrail" or "vitrail, bfloat16".
    seeds : int
        The number of seeds that both have.
    ours, theirs : Sample
        mIoU on val in percent.
    seconds : (float, float)
        The mean time of a run.
    same_groups : bool
        Whether equally many weights learn equally fast and decay equally in both.
    """

    method: str
    toolbox: str
    first: str
    second: str
    seeds: int
    ours: Sample
    theirs: Sample
    seconds: tuple[float, float]
    same_groups: bool

    @property
    def difference(self) -> Difference:
        """By how much the first is better."""
        return difference(self.ours, self.theirs)

    @property
    def beside_toolbox(self) -> bool:
        """Whether the second is another toolbox, and not another variant of vitrail."""
        return not self.second.startswith(VITRAIL)


@dataclass(frozen=True)
class Report:
    """All results of a run of the benchmark.

    Attributes
    ----------
    setup : dict
        Machine and size of the runs.
    runs : sequence of Run
        In the order in which they ended.
    """

    setup: dict[str, Any]
    runs: Sequence[Run]

    def write(self, folder: Path) -> None:
        """Write accuracy.json and accuracy.md."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "accuracy.json").write_text(json.dumps(self.data(), indent=1) + "\n")
        (folder / "accuracy.md").write_text(self.markdown())

    def data(self) -> dict[str, Any]:
        """Return plain data."""
        return {"setup": self.setup, "runs": [asdict(run) for run in self.runs]}

    @classmethod
    def read(cls, file: Path) -> Report:
        """Return the report in a file that `write` wrote."""
        data = json.loads(file.read_text())
        runs = []
        for run in data["runs"]:
            points = [Point(**{**point, "iou": tuple(point["iou"])}) for point in run["points"]]
            runs.append(Run(Job(**run["job"]), points, run["seconds"], run["groups"], run["problem"]))
        return cls(data["setup"], runs)

    def finished(self) -> dict[Key, dict[int, Run]]:
        """Return the finished runs by what they have in common, and by seed."""
        found: dict[Key, dict[int, Run]] = {}
        for run in self.runs:
            if run.seconds is not None and run.points:
                found.setdefault(run.job.key, {})[run.job.seed] = run
        return found

    def pairs(self) -> list[Pair]:
        """Return the pairs that have a common seed: beside other toolboxes, then variants of vitrail."""
        finished = self.finished()
        order = {method.name: index for index, method in enumerate(METHODS)}
        keys = sorted(finished, key=lambda key: (bool(key[3]), order[key[0]], key[1]))
        found = []
        for method, toolbox, trainer, variant in keys:
            if trainer != VITRAIL:
                continue
            other = (method, toolbox, VITRAIL if variant else toolbox, "")
            if other in finished:
                found += _pair(
                    (method, toolbox, trainer, variant),
                    finished[(method, toolbox, trainer, variant)],
                    other,
                    finished[other],
                )
        return found

    def markdown(self) -> str:
        """Return the tables."""
        pairs = self.pairs()
        beside = [pair for pair in pairs if pair.beside_toolbox]
        variants = [pair for pair in pairs if not pair.beside_toolbox]
        parts = [_setup_text(self.setup)]
        if beside:
            parts += [_table(beside), verdict(beside)]
        if variants:
            parts += ["Within vitrail, each beside float32 with nothing else on:", _table(variants), lower(variants)]
        if problems := list(self._problems()):
            parts.append("\n".join(problems))
        return "\n\n".join(parts) + "\n"

    def _problems(self) -> Iterator[str]:
        counted: dict[str, int] = {}
        for run in self.runs:
            if run.seconds is None and run.problem != LEFT_OUT:
                name = str(run.job).rpartition(",")[0]
                text = f"- {name}: {run.problem}"
                counted[text] = counted.get(text, 0) + 1
        for text, count in counted.items():
            yield text if count == 1 else f"{text} ({count} runs)"
        left_out = [run.job for run in self.runs if run.problem == LEFT_OUT]
        if left_out:
            names = dict.fromkeys(title_of(job.method) for job in left_out)
            yield f"- left out for lack of time: {len(left_out)} runs, of {'; '.join(names)}"


def verdict(pairs: Sequence[Pair]) -> str:
    """Say in a sentence or two what pairs that have no run in common show together."""
    text = lower(pairs)
    told = [(pair.ours, pair.theirs) for pair in pairs if pair.difference.error is not None]
    if not told:
        return text
    mean = pooled(told)
    p = "" if mean.p_lower is None else f" (p for lower: {mean.p_lower:.3f})"
    return f"{text} Mean difference over {len(told)}: {_signed(mean.value)} ± {mean.error or 0:.2f}{p}."


def lower(pairs: Sequence[Pair]) -> str:
    """Name the pairs in which the first is significantly lower."""
    names = [_name(pair) for pair in pairs if pair.difference.significantly_lower]
    untold = sum(pair.difference.significantly_lower is None for pair in pairs)
    text = f"Significantly lower (p < 0.05): {', '.join(names) if names else 'none'} of {len(pairs) - untold}."
    return f"{text} For {untold} with a single seed it cannot be told." if untold else text


def _pair(ours_key: Key, ours: dict[int, Run], theirs_key: Key, theirs: dict[int, Run]) -> list[Pair]:
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return []
    first, second = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    return [
        Pair(
            ours_key[0],
            ours_key[1],
            _trainer(ours_key),
            _trainer(theirs_key),
            len(seeds),
            Sample(tuple(run.points[-1].miou for run in first)),
            Sample(tuple(run.points[-1].miou for run in second)),
            (_mean_seconds(first), _mean_seconds(second)),
            first[0].groups == second[0].groups,
        )
    ]


def _mean_seconds(runs: Sequence[Run]) -> float:
    return sum(run.seconds or 0.0 for run in runs) / len(runs)


def _trainer(key: Key) -> str:
    _, _, trainer, variant = key
    name = TOOLBOXES.get(trainer, trainer)
    return f"{name}, {variant}" if variant else name


def title_of(name: str) -> str:
    """Return the title of a method."""
    return next(method.title for method in METHODS if method.name == name)


def _name(pair: Pair) -> str:
    return f"{title_of(pair.method)} ({pair.first} beside {pair.second})"


def _setup_text(setup: dict[str, Any]) -> str:
    height, width = setup["size"]
    rows, columns = setup["crop"]
    return (
        f"CamVid, {setup['images']} training images of {height}×{width}, crops of {rows}×{columns}, "
        f"{setup['iterations']} iterations of {setup['batch']} images from random weights; {setup['machine']}."
    )


def _table(pairs: Sequence[Pair]) -> str:
    lines = [
        "| method | trained by | mIoU | beside | mIoU | seeds | difference (95 %) | p for lower | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *map(_row, pairs)])


def _row(pair: Pair) -> str:
    apart = pair.difference
    cells = [
        title_of(pair.method) if pair.beside_toolbox else f"{title_of(pair.method)} of {TOOLBOXES[pair.toolbox]}",
        pair.first,
        _with_error(pair.ours),
        pair.second + ("" if pair.same_groups else " (other parameter groups)"),
        _with_error(pair.theirs),
        str(pair.seeds),
        _signed(apart.value) + ("" if apart.interval is None else f" ± {apart.interval:.2f}"),
        "" if apart.p_lower is None else f"{apart.p_lower:.3f}" + (" **lower**" if apart.significantly_lower else ""),
        f"{pair.seconds[0]:.0f} / {pair.seconds[1]:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _with_error(sample: Sample) -> str:
    return f"{sample.mean:.2f}" + ("" if sample.error is None else f" ± {sample.error:.2f}")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
