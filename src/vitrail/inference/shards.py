"""Shards: the images of one prediction divided among machines or processes that know nothing of each other."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from vitrail.errors import PredictionError
from vitrail.files.environment import env_number, whole_number


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the images to segment.

    The name of an image alone decides to which part it belongs (BLAKE2b, so that it is the same on every machine):
    neither the order in which a folder is listed nor what else is in it matters, and parts have about equal sizes.

    Parameters
    ----------
    index : int
        0 … count - 1.
    count : int
        Number of parts; 1 is everything.

    Raises
    ------
    PredictionError
        For a part that there is none of.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise PredictionError(
                f"there is no shard {self.index}/{self.count}: the shards of {max(self.count, 1)} are "
                f"0/{max(self.count, 1)} to {max(self.count, 1) - 1}/{max(self.count, 1)}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that "I/N" names, such as "0/8" for the first of eight.

        Raises
        ------
        PredictionError
            When it names none.
        """
        index, count = (whole_number(part) for part in text.partition("/")[::2])
        if index is None or count is None:
            raise PredictionError(f"{text[:100]!r} is no shard: write I/N, such as 0/8 for the first of eight")
        return cls(index, count)

    @classmethod
    def of_process(cls) -> Shard:
        """Return the shard of this process under `torchrun` (RANK of WORLD_SIZE); everything without it."""
        if "RANK" not in os.environ:
            return cls()
        return cls(env_number("RANK", 0), env_number("WORLD_SIZE", 1))

    def divided(self, inner: Shard) -> Shard:
        """Return one part of this part."""
        return Shard(self.index * inner.count + inner.index, self.count * inner.count)

    def holds(self, name: str) -> bool:
        """Return whether an image belongs to this part; names that differ in case only belong to the same one."""
        if self.count == 1:
            return True
        digest = hashlib.blake2b(name.casefold().encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index

    def own_file(self, path: Path) -> Path:
        """Return the file of this part beside those of the others: "failures-00002-of-00008.jsonl"."""
        return path if self.count == 1 else path.with_name(f"{path.stem}-{self}{path.suffix}")

    def __str__(self) -> str:
        return f"{self.index:05d}-of-{self.count:05d}"


EVERYTHING = Shard()
