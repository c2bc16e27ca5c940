"""Check published models: each is evaluated as it was published, and the figure stands beside the published one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from vitrail.checkpoints import list_weights, load
from vitrail.checkpoints.index import PROJECTS, index
from vitrail.errors import CheckpointError, DatasetError, VitrailError
from vitrail.evaluation.evaluator import evaluate
from vitrail.files.atomic import atomic_path
from vitrail.files.json_text import parse_json
from vitrail.files.regular import read_regular
from vitrail.files.text_table import aligned
from vitrail.segmentors import Segmentor


@pydantic_dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Verification:
    """A published model and what it reaches here.

    Attributes
    ----------
    name : str
        As it was given.
    dataset : str
        What it was evaluated on.
    published, measured : float or None
        mIoU, fractions; None where none was published, and where it could not be measured.
    images : int
        How many images it was evaluated on.
    seconds : float
        How long that took.
    error : str
        Why it could not be measured; empty where it was.
    overrides : tuple of str
        The changes to its recipe.
    """

    name: str
    dataset: str = ""
    published: float | None = None
    measured: float | None = None
    images: int = 0
    seconds: float = 0.0
    error: str = ""
    overrides: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """How much more was measured than published, or None where either is missing."""
        return None if self.published is None or self.measured is None else self.measured - self.published


def verify_published(
    names: Sequence[str],
    data_roots: Sequence[str],
    *,
    results: str | Path,
    files: str | Path | None = None,
    overrides: Sequence[str] = (),
    device: str | torch.device | None = None,
) -> list[Verification]:
    """Evaluate models under the protocol that they were published with: data, resize, windows and averaging.

    After each model its result is written down, and models whose results are there already, with the same overrides,
    are not evaluated again; those that could not be evaluated are.

    Parameters
    ----------
    names : sequence of str
        Names or patterns of published checkpoints, such as "mmseg/pspnet*cityscapes*" (`vitrail weights` lists them),
        and whatever else `vitrail.load` takes.
    data_roots : sequence of str
        The folders of the datasets, each as "DATASET=FOLDER"; a single folder may stand alone.
    results : path
        The file of results, in JSON.
    files : path, optional
        A folder with the files of the published checkpoints, so that nothing is downloaded.
    overrides : sequence of str
        Changes to every recipe, such as "evaluation.batch_size=8"; results with changes are those of another protocol.
    device : str or torch.device, optional
        Where to compute; None takes the best available device.

    Returns
    -------
    list of Verification
        In the order of the names.

    Raises
    ------
    VitrailError
        For names that match nothing, folders that do not exist, and results that cannot be read. What is wrong with a
        single model is noted in its result.
    """
    wanted = list(_expand(names))
    roots = _roots(data_roots)
    done = read_verifications(results)
    for name in wanted:
        if name not in done or done[name].error or done[name].overrides != tuple(overrides):
            done[name] = _verify(name, roots, files, overrides, device)
            _write(results, done)
    return [done[name] for name in wanted]


def read_verifications(path: str | Path) -> dict[str, Verification]:
    """Return the results in a file by name; none where there is no file.

    Raises
    ------
    CheckpointError
        When the file holds something else.
    """
    path = Path(path)
    if not path.exists():
        return {}
    try:
        rows = parse_json(read_regular(path, CheckpointError), str(path), CheckpointError)
        found = [Verification(**{**row, "overrides": tuple(row.get("overrides", ()))}) for row in rows]
        return {row.name: row for row in found}
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} does not hold results of `vitrail zoo verify` ({type(error).__name__}: {reason}): give another "
            "file"
        ) from error


def verification_table(rows: Sequence[Verification]) -> str:
    """Return a table of results, a line each."""
    lines = [("name", "dataset", "published", "measured", "difference", "images", "")]
    for row in rows:
        figures = (_percent(row.published), _percent(row.measured), _percent(row.difference, sign=True))
        lines.append((row.name, row.dataset, *figures, str(row.images or ""), row.error))
    return "\n".join(aligned(lines))


def _percent(value: float | None, *, sign: bool = False) -> str:
    return "" if value is None else f"{100 * value:{'+' if sign else ''}.2f}"


def _expand(names: Iterable[str]) -> dict[str, None]:
    """Return the names that names and patterns stand for, each once."""
    found: dict[str, None] = {}
    for name in names:
        if name.partition("/")[0] in PROJECTS and not Path(name).exists():
            matching = [entry.name for entry in list_weights(name, supported=True)] if name not in index() else [name]
            if not matching:
                raise CheckpointError(f"no published checkpoint that vitrail loads matches {name!r}")
            found |= dict.fromkeys(matching)
        else:
            found[name] = None
    return found


def _roots(data_roots: Sequence[str]) -> dict[str, Path]:
    """Return the folders by dataset; "" stands for every other one."""
    roots: dict[str, Path] = {}
    for given in data_roots:
        dataset, equals, folder = given.partition("=")
        key, path = (dataset, folder) if equals and not Path(given).exists() else ("", given)
        if not Path(path).exists():
            raise DatasetError(f"there is no {path}: give the folder of a dataset as FOLDER or DATASET=FOLDER")
        if key in roots:
            raise DatasetError(
                f"{'the dataset ' + repr(key) if key else 'a folder without a dataset'} is given twice: "
                "give each as DATASET=FOLDER"
            )
        roots[key] = Path(path)
    return roots


def _verify(
    name: str,
    roots: Mapping[str, Path],
    files: str | Path | None,
    overrides: Sequence[str],
    device: str | torch.device | None,
) -> Verification:
    published, dataset = None, ""
    try:
        model = _load(name, files)
        assert model.card is not None
        published, dataset = model.card.metrics.get("miou"), model.card.recipe["data"]["dataset"]
        root = roots.get(dataset, roots.get(""))
        if root is None:
            raise DatasetError(f"no folder of {dataset} is given (--data-root {dataset}=FOLDER)")
        started = time.monotonic()
        evaluation = evaluate(model, overrides=overrides, data_root=root, device=device)
        seconds = round(time.monotonic() - started, 1)
    except VitrailError as error:
        return Verification(name, dataset, published, error=str(error), overrides=tuple(overrides))
    figures = (evaluation.miou, evaluation.images, seconds)
    return Verification(name, dataset, published, *figures, overrides=tuple(overrides))


def _load(name: str, files: str | Path | None) -> Segmentor:
    entry = index().get(name)
    if entry is None or files is None:
        return load(name)
    entry.card()  # says what vitrail lacks
    path = Path(files) / entry.file
    if not path.is_file():
        raise CheckpointError(f"there is no {path}, which is the file of {name}: {entry.url}")
    return load(path)


def _write(path: str | Path, rows: Mapping[str, Verification]) -> None:
    text = json.dumps([asdict(row) for row in rows.values()], indent=1)
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
