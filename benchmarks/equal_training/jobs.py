"""The runs, in the order of what they tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from benchmarks.equal_training.methods import METHODS, Method

VITRAIL = "vitrail"
TOOLBOXES: Mapping[str, str] = MappingProxyType({"mmseg": "MMSegmentation", "ssseg": "SSSegmentation"})
# Changes to the train section of vitrail's recipe, each compared with float32 and nothing else on.
VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "bfloat16": {"amp": "bfloat16"},
        "float16": {"amp": "float16"},
        "ema": {"ema": 0.99},
        "accumulate": {"accumulate": 2},
        "graphs": {"compile": "graphs"},
    }
)


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes
    ----------
    method : str
        Name of a `Method`.
    toolbox : {"mmseg", "ssseg"}
        Whose model and initial weights.
    trainer : str
        Who trains: "vitrail" or the toolbox.
    variant : str
        A name of `VARIANTS`, or "" for vitrail in float32.
    seed : int
        Of the initial weights and the augmentation.
    """

    method: str
    toolbox: str
    trainer: str
    variant: str
    seed: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What all seeds have in common."""
        return (self.method, self.toolbox, self.trainer, self.variant)

    def __str__(self) -> str:
        variant = f"+{self.variant}" if self.variant else ""
        return f"{self.method}/{self.toolbox} by {self.trainer}{variant}, seed {self.seed}"


def method_of(job: Job) -> Method:
    """Return the method of a run."""
    return next(method for method in METHODS if method.name == job.method)


def jobs_of(
    methods: Sequence[Method], toolboxes: Sequence[str], variants: Sequence[str], seeds: Sequence[int]
) -> list[Job]:
    """Return the runs, the most telling first.

    The first methods beside MMSegmentation, one seed after the other; then the variants of the first method; then the
    first methods beside SSSegmentation, and the other methods.
    """
    first = [method for method in methods if method.stage == 1]
    rest = [method for method in methods if method.stage != 1]
    if not first:
        first, rest = rest, []
    jobs: list[Job] = []
    for number, group in enumerate((first, rest)):
        for toolbox in toolboxes:
            jobs += [job for seed in seeds for method in group for job in _pair(method, toolbox, seed)]
            if number == 0 and toolbox == toolboxes[0] and group:
                name = group[0].name
                jobs += [Job(name, toolbox, VITRAIL, variant, seed) for seed in seeds for variant in variants]
    return jobs


def _pair(method: Method, toolbox: str, seed: int) -> list[Job]:
    if method.reference(toolbox) is None:
        return []
    return [Job(method.name, toolbox, trainer, "", seed) for trainer in (toolbox, VITRAIL)]
