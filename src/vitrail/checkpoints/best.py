"""Which published checkpoint to take: those that no other one beats in both accuracy and size."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from vitrail.checkpoints.complete import section_of
from vitrail.checkpoints.index import Entry
from vitrail.checkpoints.listing import list_weights
from vitrail.files.text_table import aligned
from vitrail.layers.skip_init import shapes_only
from vitrail.runtime.device import pick_device
from vitrail.segmentors import Segmentor, build_model

SPEED_SIZE = (512, 512)
_WARM_UP, _TIMED = 1, 3  # forward passes


@dataclass(frozen=True)
class Choice:
    """A published checkpoint that is worth to be considered.

    Attributes
    ----------
    entry : Entry
        The checkpoint; its figure is known.
    parameters : int
        Of the model, without its auxiliary heads.
    seconds : float or None
        For one image of 512 × 512 on this machine, where it was measured.
    """

    entry: Entry
    parameters: int
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as JSON-ready data."""
        return {
            "name": self.entry.name,
            "miou": self.entry.miou,
            "parameters": self.parameters,
            "seconds": self.seconds,
        }


def best_weights(
    dataset: str,
    *,
    method: str | None = None,
    backbone: str | None = None,
    project: str | None = None,
    commercial: bool = False,
    speed: bool = False,
    device: str | torch.device | None = None,
) -> list[Choice]:
    """Return the checkpoints of a dataset that no other one beats in both mIoU and parameters, the most accurate first.

    Parameters
    ----------
    dataset, method, backbone, project, commercial
        As `list_weights` takes them; those on hubs, whose sizes are not known, are left out.
    speed : bool
        Measure how long each of them takes for an image of 512 × 512: the median of three forward passes of the
        architecture with random weights.
    device : str or torch.device, optional
        Where to measure; None takes the best available device.

    Raises
    ------
    CheckpointError
        As `list_weights` does.
    """
    entries = list_weights(
        dataset=dataset, method=method, backbone=backbone, project=project, supported=True, commercial=commercial
    )
    choices = _front(entry for entry in entries if entry.miou is not None and entry.recipe)
    if not speed:
        return choices
    where = pick_device(device)
    return [replace(choice, seconds=_seconds(choice.entry, where)) for choice in choices]


def best_table(choices: Sequence[Choice]) -> str:
    """Return a table of choices, a line each."""
    timed = any(choice.seconds is not None for choice in choices)
    head = ("name", "mIoU", "parameters", *(("ms, 512 × 512",) if timed else ()))
    rows = [
        (
            choice.entry.name,
            f"{100 * (choice.entry.miou or 0.0):.2f}",
            f"{choice.parameters / 1e6:.1f} M",
            *((f"{1000 * choice.seconds:.0f}",) if choice.seconds is not None else ()),
        )
        for choice in choices
    ]
    return "\n".join(aligned([head, *rows]))


def _front(entries: Iterable[Entry]) -> list[Choice]:
    """Return those with fewer parameters than every one that is more accurate."""
    front: list[Choice] = []
    counts: dict[str, int] = {}
    for entry in sorted(entries, key=lambda entry: -(entry.miou or 0.0)):
        key = entry.fingerprint or entry.name  # checkpoints of one architecture differ in their values alone
        count = counts[key] = counts[key] if key in counts else _parameters(entry)
        if not front or count < front[-1].parameters:
            front.append(Choice(entry, count))
    return front


def _parameters(entry: Entry) -> int:
    """Return the number of parameters of a model without its auxiliary heads, without allocating them."""
    with shapes_only():
        return sum(parameter.numel() for parameter in _build(entry).parameters())


def _build(entry: Entry) -> Segmentor:
    card = entry.card()
    section = section_of(card, entry.name)
    alone = section.model_copy(update={"auxiliary": section.auxiliary.model_copy(update={"weight": 0.0})})
    return build_model(alone, len(card.classes))


@torch.inference_mode()
def _seconds(entry: Entry, device: torch.device) -> float:
    model = _build(entry).eval().to(device).to(memory_format=torch.channels_last)
    channels = section_of(entry.card(), entry.name).in_channels
    images = torch.rand(1, channels, *SPEED_SIZE, device=device)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    taken = []
    for _ in range(_WARM_UP + _TIMED):
        wait()
        started = time.perf_counter()
        model(images)
        wait()
        taken.append(time.perf_counter() - started)
    return sorted(taken[_WARM_UP:])[_TIMED // 2]
