"""The records of a run: what its history, `log.jsonl` and the loggers hold, as JSON-ready dictionaries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from vitrail import __version__
from vitrail.evaluation.result import Evaluation
from vitrail.recipes import Recipe
from vitrail.runtime.distributed import world_size
from vitrail.segmentors import Segmentor
from vitrail.training.meter import Window
from vitrail.training.plan import Plan

Record = dict[str, Any]
EVALUATED = ("miou", "macc", "aacc", "mdice")


def start_record(
    recipe: Recipe,
    model: Segmentor,
    plan: Plan,
    *,
    start: int,
    images: int,
    device: torch.device,
    started_from: Record | None = None,
    notes: Sequence[str] = (),
) -> Record:
    """Return what is about to be trained; the event is "start", or "resume" when `start` iterations are done.

    `started_from` is what was taken from a trained model, and `notes` are sentences for the log.
    """
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    return {
        "event": "resume" if start else "start",
        **_when(start, plan),
        "recipe": recipe.model_dump(mode="json"),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "frozen_parameters": frozen,
        "images": images,
        "iterations": plan.iterations,
        "processes": world_size(),
        "device": str(device),
        "torch": str(torch.__version__),
        "vitrail": __version__,
        **({"started_from": started_from} if started_from else {}),
        **({"notes": list(notes)} if notes else {}),
    }


def stop_record(iteration: int, plan: Plan, reason: str) -> Record:
    """Return that a run ends before its last iteration, and why."""
    return {"event": "stop", **_when(iteration, plan), "reason": reason}


def train_record(
    iteration: int, plan: Plan, window: Window, *, batch_size: int, lr: float, memory: float | None
) -> Record:
    """Return the means over a window of iterations; `memory` in GB."""
    speed = window.iterations * batch_size / window.seconds
    return {
        "event": "train",
        **_when(iteration, plan),
        "loss": window.loss,
        "losses": window.losses,
        "lr": lr,
        "images_per_second": speed,
        "data_wait": window.data_wait,
        "eta_seconds": (plan.iterations - iteration) * batch_size / speed,
        "memory_gb": memory,
    }


def evaluation_record(iteration: int, plan: Plan, evaluation: Evaluation, *, best: bool) -> Record:
    """Return the figures of an evaluation; `best` when its mIoU is the highest of the run so far."""
    figures = evaluation.to_dict()
    return {
        "event": "evaluation",
        **_when(iteration, plan),
        **{name: figures[name] for name in (*EVALUATED, "images", "images_per_second")},
        "iou": {row["name"]: row["iou"] for row in figures["classes"]},
        **({"threshold": evaluation.threshold} if evaluation.threshold is not None else {}),
        "best": best,
    }


def scalars(record: Record) -> Iterator[tuple[str, float]]:
    """Yield the figures of a record by name, such as "train/loss" and "evaluation/iou/road", for curves."""
    for name, value in record.items():
        path = f"{record['event']}/{name}"
        if isinstance(value, dict):
            yield from ((f"{path}/{key}", float(inner)) for key, inner in value.items() if inner is not None)
        elif isinstance(value, float) and name != "epoch":
            yield path, value


def _when(iteration: int, plan: Plan) -> Record:
    return {"iteration": iteration, "epoch": iteration / plan.per_epoch}
