"""Looking at every file of a split once, in parallel, and remembering what was seen for files that stay the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import numpy.typing as npt
import torch

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.dataset import SegmentationDataset
from vitrail.datasets.doctor.facts import Facts, FileSource, gather
from vitrail.datasets.remap import RemappedSource
from vitrail.datasets.stamps import pair_stamp, settings_hash
from vitrail.files.atomic import atomic_path
from vitrail.files.download import cache_folder

Advance = Callable[[int], object]
_VERSION = 2  # of the facts; a change makes what is remembered useless


@dataclass(frozen=True)
class SplitSurvey:
    """One split and what its files look like.

    Attributes
    ----------
    split : str
        Its name.
    benchmark : Benchmark
        Its description.
    source : FileSource
        Its files.
    facts : tuple of Facts
        One for each image.
    table : Tensor or None
        The new index of each value of the source's masks, where `data.classes` changes the classes.
    """

    split: str
    benchmark: Benchmark
    source: FileSource
    facts: tuple[Facts, ...]
    table: torch.Tensor | None = None

    def labels(self, mask: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a mask of the source with the classes of the description."""
        return mask if self.table is None else self.table.numpy()[mask]

    @property
    def usable(self) -> list[Facts]:
        """The facts of the pairs without an error."""
        return [facts for facts in self.facts if not facts.error]

    @property
    def counts(self) -> list[int]:
        """Pixels of each class."""
        return [sum(column) for column in zip(*(facts.counts for facts in self.usable), strict=True)] or [
            0 for _ in self.benchmark.classes
        ]

    @property
    def ignored(self) -> int:
        """Ignored pixels."""
        return sum(facts.ignored for facts in self.usable)


def in_files(dataset: SegmentationDataset) -> bool:
    """Return whether the images and masks of a dataset are files, which can be surveyed."""
    return hasattr(_unwrapped(dataset), "load_mask")


def survey(
    dataset: SegmentationDataset,
    split: str,
    *,
    decode_images: bool = False,
    advance: Advance | None = None,
    remember: bool = True,
) -> SplitSurvey:
    """Look at every image and mask of a dataset in files.

    Parameters
    ----------
    dataset : SegmentationDataset
        One for which `in_files` is true; its transform plays no part.
    split : str
        Its name for messages.
    decode_images : bool
        See `facts.gather`.
    advance : callable, optional
        Called with the number of images that were just looked at.
    remember : bool
        Keep the facts in the user's cache folder, and take those of files whose size and time of change are the same.
    """
    source = _unwrapped(dataset)
    table = dataset.source.table if isinstance(dataset.source, RemappedSource) else None
    raw_classes = len(dataset.benchmark.classes) if table is None else len(table) - 1
    memory = _Memory(source, raw_classes, decode_images) if remember else None
    known = memory.read() if memory else {}

    def look(index: int) -> Facts:
        key = pair_stamp(source.files, source.pairs[index])
        facts = known.get(key)
        if facts is None:
            facts = known[key] = gather(source, index, raw_classes, decode_images=decode_images)
        if advance is not None:
            advance(1)
        return facts

    before = len(known)
    with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
        facts = tuple(pool.map(look, range(len(source.pairs))))
    if memory and len(known) > before:
        memory.write(known)
    if table is not None:
        facts = tuple(_remapped(entry, table, len(dataset.benchmark.classes)) for entry in facts)
    return SplitSurvey(split, dataset.benchmark, source, facts, table)


def _unwrapped(dataset: SegmentationDataset) -> FileSource:
    source = dataset.source
    return cast(FileSource, source.source if isinstance(source, RemappedSource) else source)


def _remapped(facts: Facts, table: torch.Tensor, num_classes: int) -> Facts:
    """Return facts with the classes of a dataset that `data.classes` changes."""
    if facts.error:
        return facts
    counts = [0] * num_classes
    ignored = facts.ignored
    for index, count in enumerate(facts.counts):
        target = int(table[index])
        if 0 <= target < num_classes:
            counts[target] += count
        else:
            ignored += count
    return Facts(**{**facts.to_dict(), "counts": tuple(counts), "ignored": ignored})


class _Memory:
    """The facts of one dataset in the cache folder."""

    def __init__(self, source: FileSource, num_classes: int, decode_images: bool) -> None:
        name = settings_hash(source, version=_VERSION, classes=num_classes, decoded=decode_images)
        self.path = cache_folder() / "checked" / f"{name}.json"

    def read(self) -> dict[str, Facts]:
        """Return the facts by file stamp; empty when there are none, or none that can be read."""
        try:
            data: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            return {key: Facts.from_dict(facts) for key, facts in data.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def write(self, known: dict[str, Facts]) -> None:
        """Keep the facts of usable files, if the cache folder can be written."""
        text = json.dumps({key: facts.to_dict() for key, facts in known.items() if not facts.error})
        try:
            with atomic_path(self.path) as path:
                path.write_text(text, encoding="utf-8")
        except OSError:  # a read-only home: the files are looked at again next time
            return
