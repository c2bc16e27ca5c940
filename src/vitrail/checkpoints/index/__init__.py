"""The index of published checkpoints: what they are, where they lie, and how their models are built.

The index is data, made by `python tools/build_index.py` from the tables of the projects that publish the checkpoints,
but for the few of single methods' authors.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from torch import Tensor

from vitrail.checkpoints.cards import card_from_recipe
from vitrail.checkpoints.index.licenses import PROJECT_LICENSES, is_commercial, is_non_commercial, terms_of
from vitrail.errors import CheckpointError, nearest
from vitrail.segmentors import ModelCard

__all__ = ["PROJECTS", "Entry", "find_by_file", "find_by_fingerprint", "find_by_name", "fingerprint", "index"]

PROJECTS = {
    "mmseg": "MMSegmentation",
    "ssseg": "SSSegmentation",
    "efficientvit": "EfficientViT",
    "regseg": "RegSeg",
    "sctnet": "SCTNet",
    "eomt": "EoMT's authors",
}


@dataclass(frozen=True)
class Entry:
    """One published checkpoint.

    Attributes
    ----------
    name : str
        "<project>/<name that the project gives it>".
    method, backbone, dataset : str
        Of the model: vitrail's names where it is supported, the project's otherwise.
    url : str
        Where the file lies.
    miou : float or None
        The published figure of a single scale without flips, a fraction.
    sha256 : str
        The beginning of the file's hash that was published; empty where none was.
    size : int or None
        Bytes of the file, where known.
    recipe : dict
        How the model is built, what it is evaluated on and how; empty where it is not supported.
    fingerprint : str
        Of the tensors' names and shapes; see `fingerprint`.
    unsupported : str
        What vitrail lacks; empty for what it loads.
    license : str
        Of the weights, where it is not that of the project; empty where that is told on its page only.
    """

    name: str
    method: str
    backbone: str
    dataset: str
    url: str
    miou: float | None = None
    sha256: str = ""
    size: int | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    unsupported: str = ""
    license: str = ""

    @property
    def terms(self) -> str:
        """The licence of the weights, and that of the encoder's where it is another one; empty where unknown."""
        return terms_of(self.license or PROJECT_LICENSES.get(self.project, ""), self.backbone)

    @property
    def commercial(self) -> bool:
        """Whether the weights may be used for any purpose, as far as their licence is known."""
        return is_commercial(self.terms)

    @property
    def non_commercial(self) -> bool:
        """Whether their licence rules commercial use out."""
        return is_non_commercial(self.terms)

    @property
    def project(self) -> str:
        """Which project published it: a key of `PROJECTS`."""
        return self.name.partition("/")[0]

    @property
    def file(self) -> str:
        """The name of the file; where the address does not tell it, as on Google Drive, that of the model."""
        address = urlparse(self.url)
        return f"{self.name.partition('/')[2]}.pth" if address.query else Path(address.path).name

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON-ready data."""
        known = {"license": self.terms, "commercial": self.commercial}
        return {**asdict(self), **known, "supported": not self.unsupported}

    def card(self) -> ModelCard:
        """Return the card of the model.

        Raises
        ------
        CheckpointError
            When vitrail does not support it.
        """
        if self.unsupported:
            raise CheckpointError(f"{self.name} is not supported yet: {self.unsupported}")
        recipe = {**self.recipe, "name": self.name.partition("/")[2]}
        return card_from_recipe(recipe, source=self.url, license=self.terms, miou=self.miou)


@functools.cache
def index() -> Mapping[str, Entry]:
    """Return every published checkpoint by its name."""
    entries: dict[str, Entry] = {}
    for project in PROJECTS:
        rows = json.loads((Path(__file__).parent / f"{project}.json").read_text(encoding="utf-8"))
        entries |= {row["name"]: Entry(**row) for row in rows}
    return entries


def find_by_name(name: str) -> Entry:
    """Return the entry of that name.

    Raises
    ------
    CheckpointError
        When there is none; the nearest names are suggested.
    """
    if name not in index():
        raise CheckpointError(
            f"unknown published model {name!r}.{nearest(name, index())} `vitrail weights` lists them all."
        )
    return index()[name]


def find_by_file(file: str) -> Entry | None:
    """Return the entry whose file has this name, or None; names of files are unique among the supported."""
    return _by_file().get(file)


def find_by_fingerprint(weights: Mapping[str, Any], project: str) -> list[Entry]:
    """Return the supported entries of a project whose tensors have the same names and shapes."""
    wanted = fingerprint(weights)
    return [
        entry
        for entry in index().values()
        if entry.project == project and entry.fingerprint == wanted and not entry.unsupported
    ]


def fingerprint(weights: Mapping[str, Any]) -> str:
    """Return twelve hexadecimal digits that stand for the names and shapes of tensors.

    Counters of batches are left out: older files lack them.
    """
    lines = sorted(
        f"{name} {tuple(value.shape)}"
        for name, value in weights.items()
        if isinstance(value, Tensor) and not name.endswith("num_batches_tracked")
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


@functools.cache
def _by_file() -> Mapping[str, Entry]:
    return {entry.file: entry for entry in index().values() if not entry.unsupported}
