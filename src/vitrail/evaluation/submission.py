"""Predictions in the form that a benchmark's server takes, written and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vitrail.datasets import Benchmark, Submission, benchmarks
from vitrail.errors import VitrailError
from vitrail.evaluation.report import writing
from vitrail.evaluation.result import ImageResult
from vitrail.files.outputs import check_free
from vitrail.files.pictures import save_picture
from vitrail.visualize import index_mask


class WriteSubmission:
    """Writes each prediction as its benchmark's server takes it.

    Parameters
    ----------
    folder : Path
        What is handed in is packed from this folder.
    benchmark : Benchmark
        Its `submission` says how files are called and what they hold.
    ids : sequence of str
        All images of the split.

    Attributes
    ----------
    sizes : dict
        Height and width of every file that was written here, by the image's id.

    Raises
    ------
    VitrailError
        When no server of the benchmark is known, or two images would get one file.
    """

    def __init__(self, folder: Path, benchmark: Benchmark, ids: Sequence[str]) -> None:
        self.folder = folder
        self.palette = benchmark.palette
        self.form = submission_form(benchmark)
        self.files = {image_id: self.form.file(image_id) for image_id in ids}
        self.sizes: dict[str, tuple[int, int]] = {}
        self._values = np.array(self.form.values or range(len(benchmark.classes)), np.uint8)
        if len(set(self.files.values())) < len(ids):
            raise VitrailError(f"images of {benchmark.title} share a name, which is all that its server goes by")
        for image_id, file in self.files.items():
            if not (folder / file).resolve().is_relative_to(folder.resolve()):
                raise VitrailError(f"image id {image_id!r} leads out of the folder {folder}")

    @property
    def paths(self) -> list[Path]:
        """The files, whether they are written already or not."""
        return [self.folder / file for file in self.files.values()]

    def refuse_existing(self, *, overwrite: bool) -> None:
        """Raise a VitrailError when a file would be replaced, or the folder holds other PNG files.

        Parameters
        ----------
        overwrite : bool
            Files of the same names may be replaced.
        """
        present, own = set(self.folder.rglob("*.png")), set(self.paths)
        if present - own:
            raise VitrailError(
                f"{self.folder} holds other PNG files, such as {min(present - own)}, which a server would take for "
                "predictions: choose an empty folder"
            )
        check_free(self.paths, overwrite=overwrite, error=VitrailError)

    def __call__(self, result: ImageResult) -> None:
        """Write the prediction of one image."""
        prediction = self._values[result.prediction.cpu().numpy()]
        path = self.folder / self.files[result.id]
        with writing(path):
            picture = index_mask(prediction, self.palette) if self.form.palette else Image.fromarray(prediction)
            save_picture(picture, path)
        self.sizes[result.id] = (prediction.shape[0], prediction.shape[1])


def submission_form(benchmark: Benchmark) -> Submission:
    """Return what a benchmark's server takes, or raise a VitrailError when none is known."""
    if benchmark.submission is None:
        known = ", ".join(name for name, each in benchmarks().items() if each.submission is not None)
        raise VitrailError(
            f"no server of {benchmark.title} is known: --save-predictions (save_predictions) writes class indices. "
            f"Submissions are known for: {known}"
        )
    return benchmark.submission


def check_submission(folder: Path, benchmark: Benchmark, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Look at every file of a submission.

    Parameters
    ----------
    folder : Path
        The folder.
    benchmark : Benchmark
        The dataset.
    sizes : mapping from str to (int, int)
        Height and width of the image of each id.

    Raises
    ------
    VitrailError
        When a file is missing or too many, of another size than its image, or holds a value that is no class.
    """
    form = submission_form(benchmark)
    expected = {folder / form.file(image_id): size for image_id, size in sizes.items()}
    present = set(folder.rglob("*.png"))
    problems = [
        *(f"{path} is missing" for path in sorted(set(expected) - present)),
        *(f"{path} belongs to no image" for path in sorted(present - set(expected))),
        *_wrong_files({path: size for path, size in expected.items() if path in present}, form, benchmark),
    ]
    if problems:
        raise VitrailError(f"{folder} is no submission of {benchmark.title}: {_listed(problems)}")


def _wrong_files(expected: Mapping[Path, tuple[int, int]], form: Submission, benchmark: Benchmark) -> Iterator[str]:
    values = set(form.values or range(len(benchmark.classes)))
    mode = "P" if form.palette else "L"
    for path, size in expected.items():
        try:
            with Image.open(path, formats=("PNG",)) as picture:
                found = np.asarray(picture)
                kind = picture.mode
        except (OSError, SyntaxError, UnidentifiedImageError) as error:
            yield f"{path} cannot be read ({error})"
            continue
        if kind != mode:
            yield f"{path} is an image of mode {kind}, not {mode}"
        elif found.shape != size:
            yield f"{path} is {found.shape[1]}×{found.shape[0]}, but its image {size[1]}×{size[0]}"
        elif not set(np.unique(found).tolist()) <= values:
            yield f"{path} holds the value {min(set(np.unique(found).tolist()) - values)}, which is no class"


def _listed(problems: Iterable[str]) -> str:
    every = list(problems)
    return "; ".join(every[:3]) + (f"; and {len(every) - 3} more" if len(every) > 3 else "")
