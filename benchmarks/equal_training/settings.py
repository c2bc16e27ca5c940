"""How a method is trained, in no toolbox's own words, and how large a run is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Groups:
    """The parameter groups of a method, in the words of each toolbox.

    Attributes
    ----------
    vitrail : mapping
        Keys of the optimizer section of a recipe.
    mmseg : mapping
        `custom_keys` of `paramwise_cfg`.
    ssseg : mapping
        `params_rules`.
    """

    vitrail: Options = field(default_factory=dict)
    mmseg: Options = field(default_factory=dict)
    ssseg: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """Optimizer and schedule.

    Attributes
    ----------
    optimizer : {"sgd", "adam", "adamw"}
        SGD has a momentum of 0.9.
    lr, weight_decay : float
        Before multipliers.
    power, min_lr : float
        Of the polynomial schedule.
    warmup, warmup_ratio : float
        Share of the run in which the rate rises, and the factor that it rises from.
    clip : float or None
        The largest norm of the gradient.
    groups : Groups
        Multipliers.
    """

    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.01
    weight_decay: float = 5e-4
    power: float = 0.9
    min_lr: float = 1e-4
    warmup: float = 0.0
    warmup_ratio: float = 1e-6
    clip: float | None = None
    groups: Groups = Groups()


@dataclass(frozen=True)
class Plan:
    """The size of every run.

    Attributes
    ----------
    data : Path
        The decoded files.
    device : str
        Where to train.
    iterations, batch : int
        Optimizer steps, and the images of each.
    size, crop : (int, int)
        Height and width of the images and of the crops of training.
    evaluations : int
        How often a run is evaluated, at equal distances, of which the iterations are a multiple.
    workers : int
        Processes that load images, for each run.
    """

    data: Path
    device: str
    iterations: int
    batch: int
    size: tuple[int, int]
    crop: tuple[int, int]
    evaluations: int
    workers: int

    @property
    def every(self) -> int:
        """The iterations between evaluations."""
        return self.iterations // self.evaluations

    def evaluates(self, iteration: int) -> bool:
        """Return whether a run is evaluated after so many iterations."""
        return iteration % self.every == 0

    def warmup(self, settings: Settings) -> int:
        """Return the iterations of the warm-up."""
        return round(self.iterations * settings.warmup)
