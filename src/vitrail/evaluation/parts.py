"""Parts of one evaluation, made by machines that know nothing of each other, and added up afterwards."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.state import weights_digest
from vitrail.datasets import SegmentationDataset
from vitrail.errors import VitrailError
from vitrail.evaluation.calibration import BINS
from vitrail.evaluation.counts import DatasetCounts, add_up
from vitrail.evaluation.result import Evaluation, ImageScore
from vitrail.files.atomic import atomic_path
from vitrail.files.output_folder import open_output_folder
from vitrail.inference.shards import Shard
from vitrail.recipes import EvalConfig
from vitrail.segmentors import Segmentor

_FILE = re.compile(r"part-(\d{5,9})-of-(\d{5,9})\.json")
_SHOWN = 5


class PartFile:
    """The file of one part of an evaluation: JSON with its counts, and with what was evaluated.

    Parameters
    ----------
    folder : path
        A folder, or an address in object storage.
    shard : Shard
        The part.
    overwrite : bool
        Whether a file that is there is replaced.

    Raises
    ------
    VitrailError
        When the file is there and may not be replaced.
    """

    def __init__(self, folder: str | Path, shard: Shard, *, overwrite: bool) -> None:
        self._folder, self._name = open_output_folder(folder), f"part-{shard}.json"
        if not overwrite and self._folder.taken(self._name):
            raise VitrailError(f"{self.path} exists: --overwrite (overwrite=True) replaces it")

    @property
    def path(self) -> str:
        """Its path or address."""
        return self._folder.locate(self._name)

    def write(self, counts: DatasetCounts, about: Mapping[str, Any]) -> None:
        """Write the counts, and what was evaluated as `described` returns it.

        Raises
        ------
        VitrailError
            When the file cannot be written.
        """
        content = {"about": about, **_to_json(counts)}
        try:
            with self._folder.writing(self._name) as path, atomic_path(path) as temporary:
                temporary.write_text(json.dumps(content), encoding="utf-8")
        except OSError as error:
            raise VitrailError(f"cannot write {self.path}: {error.strerror or error}") from error


def described(model: Segmentor, dataset: SegmentationDataset, settings: EvalConfig, amp: str) -> dict[str, Any]:
    """Return what has to be the same in all parts, as JSON-ready data."""
    ids = hashlib.sha256("\n".join(dataset.ids).encode(errors="surrogateescape")).hexdigest()
    return {
        "model": [model.card.name if model.card else "", weights_digest(model)],
        "dataset": dataset.benchmark.name,
        "images": [len(dataset), ids],
        "settings": {**settings.model_dump(mode="json"), "amp": amp},
    }


def merge_evaluations(folder: str | Path) -> Evaluation:
    """Return the evaluation of all images from its parts: the figures of `evaluate` in one run.

    Parameters
    ----------
    folder : path
        Where `evaluate` has written all parts; a folder, or an address in object storage.

    Raises
    ------
    VitrailError
        When a part is missing or damaged, and when parts are of different evaluations.
    """
    files = open_output_folder(folder)
    found = {match[0]: int(match[2]) for match in map(_FILE.fullmatch, files.names()) if match}
    where = files.locate()
    if not found:
        raise VitrailError(f"no part of an evaluation in {where}: vitrail evaluate … --shard I/N --parts {where}")
    if len(set(found.values())) > 1:
        numbers = " and ".join(map(str, sorted(set(found.values()))))
        raise VitrailError(f"{where} has parts of {numbers}: remove those of another evaluation")
    count = next(iter(found.values()))
    shards = [Shard(index, count) for index in range(count)]
    names = [f"part-{shard}.json" for shard in shards]
    missing = [f"{shard.index}/{count}" for shard, name in zip(shards, names, strict=True) if name not in found]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise VitrailError(
            f"{len(missing)} of {count} parts are missing in {where}: evaluate --shard {', '.join(missing[:_SHOWN])}"
            f"{more}"
        )
    read = (_part(files.read(name), shard, files.locate(name)) for name, shard in zip(names, shards, strict=True))
    parts, abouts = zip(*read, strict=True)
    for name, about in zip(names, abouts, strict=True):
        other = next((key for key in abouts[0] if about.get(key) != abouts[0][key]), None)
        if other is not None:
            raise VitrailError(
                f"{files.locate(name)} is of another evaluation than {files.locate(names[0])}: {other} differs. "
                "Evaluate that part again, with --overwrite"
            )
    return add_up(parts).evaluation()


def _to_json(counts: DatasetCounts) -> dict[str, Any]:
    tensors = {name: getattr(counts, name) for name in ("confusion", "boundary", "calibration")}
    return {
        **{name: None if tensor is None else tensor.tolist() for name, tensor in tensors.items()},
        "classes": counts.classes,
        "palette": counts.palette,
        "scores": [asdict(score) for score in counts.scores],
        "seconds": counts.seconds,
        "threshold": counts.threshold,
    }


def _part(content: bytes, shard: Shard, where: str) -> tuple[DatasetCounts, dict[str, Any]]:
    """Return the counts in a file, and what was evaluated; a VitrailError when it is damaged."""
    try:
        data = json.loads(content)
        classes = tuple(map(str, data["classes"]))
        counts = DatasetCounts(
            confusion=_integers(data["confusion"], (len(classes), len(classes))),
            classes=classes,
            palette=tuple((int(red), int(green), int(blue)) for red, green, blue in data["palette"]),
            scores=tuple(ImageScore(str(s["id"]), float(s["miou"]), float(s["accuracy"])) for s in data["scores"]),
            seconds=float(data["seconds"]),
            boundary=None if data["boundary"] is None else _integers(data["boundary"], (3, len(classes))),
            calibration=None if data["calibration"] is None else _integers(data["calibration"], (3, BINS)),
            threshold=None if data["threshold"] is None else float(data["threshold"]),
        )
        about = {**data["about"], "classes": classes}
        expected = len(range(shard.index, about["images"][0], shard.count))
        if len(counts.scores) != expected:
            raise ValueError(f"it has {len(counts.scores)} images in place of {expected}")
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, RuntimeError) as error:
        raise VitrailError(f"{where} is no part of an evaluation, or damaged: {error}. Evaluate it again") from error
    return counts, about


def _integers(values: Any, shape: tuple[int, int]) -> Tensor:
    tensor = torch.tensor(values, dtype=torch.int64)
    if tensor.shape != shape:
        raise ValueError(f"a table of {tuple(tensor.shape)} in place of {shape}")
    return tensor
