"""Parts of one evaluation, made by machines that know nothing of each other, and added up afterwards."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
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
        self._folder, self._name, self._shard = open_output_folder(folder), _file_name(shard), shard
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
        content = {"part": asdict(self._shard), "about": about, **_to_json(counts)}
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
    found = {name: shard.count for name in files.names() if (shard := _shard_of(name))}
    where = files.locate()
    if not found:
        raise VitrailError(f"no part of an evaluation in {where}: vitrail evaluate … --shard I/N --parts {where}")
    if len(set(found.values())) > 1:
        numbers = " and ".join(map(str, sorted(set(found.values()))))
        raise VitrailError(f"{where} has parts of {numbers}: remove those of another evaluation")
    count = next(iter(found.values()))
    every = (Shard(index, count) for index in range(count))  # a file's name may say any number of them
    missing = list(itertools.islice((shard for shard in every if _file_name(shard) not in found), _SHOWN))
    if missing:
        left = count - len(found)
        more = f" and {left - len(missing)} more" if left > len(missing) else ""
        shown = ", ".join(f"{shard.index}/{count}" for shard in missing)
        raise VitrailError(f"{left} of {count} parts are missing in {where}: evaluate --shard {shown}{more}")
    shards = [Shard(index, count) for index in range(count)]
    names = list(map(_file_name, shards))
    read = (_part(files.read(name), shard, files.locate(name)) for name, shard in zip(names, shards, strict=True))
    parts, abouts = zip(*read, strict=True)
    for name, about in zip(names, abouts, strict=True):
        other = next((key for key in {**abouts[0], **about} if about.get(key) != abouts[0].get(key)), None)
        if other is not None:
            raise VitrailError(
                f"{files.locate(name)} is of another evaluation than {files.locate(names[0])}: {other} differs. "
                "Evaluate that part again, with --overwrite"
            )
    try:
        return add_up(parts).evaluation()
    except OverflowError as error:
        raise VitrailError(f"the parts in {where} are damaged: {error}. Evaluate them again") from error


def _file_name(shard: Shard) -> str:
    return f"part-{shard}.json"


def _shard_of(name: str) -> Shard | None:
    """Return the part whose file has this name; None for other files."""
    match = _FILE.fullmatch(name)
    if match is None or int(match[1]) >= int(match[2]):
        return None
    shard = Shard(int(match[1]), int(match[2]))
    return shard if _file_name(shard) == name else None


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
        if data["part"] != asdict(shard):
            raise ValueError(f"it holds another part than its name says: {data['part']}")
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
        about = {
            **data["about"],
            "classes": classes,
            "palette": counts.palette,
            "boundary IoU": counts.boundary is not None,
            "calibration": counts.calibration is not None,
            "threshold": counts.threshold,
        }
        expected = len(range(shard.index, about["images"][0], shard.count))
        if len(counts.palette) != len(classes):
            raise ValueError(f"it has {len(counts.palette)} colours for {len(classes)} classes")
        if not counts.seconds >= 0 or counts.seconds == math.inf:
            raise ValueError(f"it took {counts.seconds} seconds")
        if len(counts.scores) != expected:
            raise ValueError(f"it has {len(counts.scores)} images in place of {expected}")
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, RuntimeError) as error:
        raise VitrailError(f"{where} is no part of an evaluation, or damaged: {error}. Evaluate it again") from error
    return counts, about


def _integers(values: Any, shape: tuple[int, int]) -> Tensor:
    tensor = torch.tensor(values)
    if tensor.shape != shape:
        raise ValueError(f"a table of {tuple(tensor.shape)} in place of {shape}")
    if tensor.dtype != torch.int64 or (tensor < 0).any():
        raise ValueError("a table of something else than counts")
    return tensor
