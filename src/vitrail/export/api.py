"""`vitrail.export_model`: write a model to a file that other programs run."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import vitrail
from vitrail.checkpoints import load
from vitrail.checkpoints.exported import ExportedSegmentor
from vitrail.errors import ExportError
from vitrail.export.check import ExportCheck, Shape, check_export, street_images
from vitrail.export.exporter import (
    EXPORTERS,
    Exporter,
    NotRunnableError,
    ReducedPrecision,
    Runner,
    find_format,
    require_modules,
)
from vitrail.export.graph import ExportGraph
from vitrail.export.images import read_images
from vitrail.export.returned import ExportOutput
from vitrail.files.atomic import atomic_files
from vitrail.files.json_text import parse_json
from vitrail.files.outputs import check_free
from vitrail.inference.resolve import resolve_recipe
from vitrail.inference.segmenter import chosen_threshold
from vitrail.inference.sources import Pictures
from vitrail.registry import check_arguments
from vitrail.segmentors import Segmentor
from vitrail.transforms import Normalize

METADATA_FORMAT = 1  # of the metadata
_EXAMPLE = (128, 160)  # size of the first images of a check, and of a program for one size that is advised
# Far from the example, where limits may take effect; among them the smallest side, and one longer than every window.
_OTHER_SIZES = ((161, 129), (96, 224), (512, 640), (64, 65), (64, 2250))


@dataclass(frozen=True)
class ExportedModel:
    """A file that was exported.

    Attributes
    ----------
    path : Path
        The file.
    format : str
        Name of its format.
    check : ExportCheck or None
        Its agreement with the model; None for a file of a format that does not run on this machine.
    """

    path: Path
    format: str
    check: ExportCheck | None


class DisagreementError(ExportError):
    """An exported file that does not compute what the model computes."""


def export_model(
    model: Segmentor | str | Path,
    path: str | Path,
    *,
    format: str | None = None,
    size: tuple[int, int] | None = None,
    raw: bool = False,
    scores: bool = False,
    precision: Literal["float32"] | ReducedPrecision = "float32",
    images: Pictures | None = None,
    force: bool = False,
    overwrite: bool = False,
    trust_imports: bool = False,
    options: Mapping[str, Any] | None = None,
) -> ExportedModel:
    """Write a model to a file that runs without vitrail.

    The file's program takes "images", RGB, uint8 [B, 3, H, W], and returns "classes", class indices [B, H, W] (uint8,
    or int32 for more than 255 classes). Normalisation, the model, the resize to the size of the images and the choice
    of the class are inside. Test-time resize, scales, flip and windows are not. Classes, palette, recipe, origin and
    licence are in the metadata, under "vitrail", with the result of the check that ends every export: several batches
    of images through the file and through the model.

    Parameters
    ----------
    model : Segmentor, str or Path
        A model, or what `vitrail.load` takes: a name, a file, an address.
    path : path
        The file.
    format : str, optional
        A name of `vitrail list "export format"`, such as "onnx" or "pt2"; None takes that of the path's suffix.
    size : (int, int), optional
        Height and width of the images, for a program of one size; None makes one for any size from 64 × 64. The number
        of images is variable either way.
    raw : bool
        Return what the model returns, float32 [B, K, H, W] (logits, for most methods), instead of classes.
    scores : bool
        Return "scores" too: the probability of each pixel's class, float32 [B, H, W].
    precision : {"float32", "bfloat16", "float16", "int8"}
        "float16" halves the file, but in the formats of PyTorch, which compute in "bfloat16" or "float16" as autocast
        does, with weights in float32; "int8" computes convolutions and matrix products in 8 bits, with ranges measured
        on `images`. Formats say which they have.
    images : optional
        Images of the kind that the model will see, as `Predictor` takes them: a folder, files, pixels. Required for
        int8, which reads at most 300 of them, evenly chosen. The check compares the masks of these images too.
    force : bool
        Keep the file even if it does not agree with the model, or cannot be checked on this machine.
    overwrite : bool
        Replace the file where it exists; it stays as it is when the export fails.
    trust_imports : bool
        Import the modules that the model file names; as in `vitrail.load`.
    options : mapping, optional
        Further arguments of the format, such as `{"opset": 20}`.

    Returns
    -------
    ExportedModel

    Raises
    ------
    ExportError
        For a size that is none; when the format is unknown or lacks a library or the precision, when the model cannot
        be expressed in it, or when the file does not agree with the model; there is no file then, or the one that was
        there before. When the file exists.

    Examples
    --------
    >>> export_model("fastscnn_camvid", "fastscnn.onnx")
    >>> export_model("fastscnn_camvid", "fastscnn.xml", precision="int8", images="photos/")
    """
    path = Path(path)
    if raw and scores:
        raise ExportError("raw and scores exclude each other: a raw export returns the values of all classes")
    _check_size(size)
    name = find_format(path, format)
    exporter = _exporter(name, options or {})
    _check_precision(name, exporter, precision, images)
    check_free([path], overwrite=overwrite, error=ExportError)
    segmentor = copy.deepcopy(model) if isinstance(model, Segmentor) else load(model, trust_imports=trust_imports)
    graph = _graph(segmentor.cpu(), "raw" if raw else "scores" if scores else "classes")
    described = _description(graph, size, precision)
    own = read_images(images, graph.normalize.mean.shape[0], size) if images is not None else []
    try:
        with _one_size_advice(size), atomic_files(path) as temporary:
            program = exporter.trace(graph, street_images((2, *(size or _EXAMPLE))), any_size=size is None)
            if precision != "float32":
                program = exporter.reduce(program, precision, own)
            exporter.write(program, temporary, json.dumps(described))
            run = _open(exporter, temporary, force=force)
            check = None
            if run is not None:
                check = check_export(graph, run, _check_shapes(size), precision=precision, images=own)
                if not check.passed and not force:
                    raise DisagreementError(
                        f"the exported file does not agree with the model, so it was not kept:\n{check}\n"
                        f"limits: {check.describe_limits()}; force=True (--force) keeps it"
                    )
            result = None if check is None else check.to_dict()
            exporter.write(program, temporary, json.dumps({**described, "check": result}))
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}") from error
    return ExportedModel(path, name, check)


def _open(exporter: Exporter, path: Path, *, force: bool) -> Runner | None:
    """Return what runs a file; None with `force` for a format that does not run on this machine."""
    try:
        return exporter.open(path)
    except NotRunnableError as error:
        if force:
            return None
        raise NotRunnableError(
            f"{error}, so the file cannot be checked and was not kept; force=True (--force) keeps it unchecked"
        ) from error


@contextlib.contextmanager
def _one_size_advice(size: tuple[int, int] | None) -> Iterator[None]:
    """Add to an error of an export for any size that the model may be exported for one size."""
    try:
        yield
    except (DisagreementError, NotRunnableError):
        raise
    except ExportError as error:
        if size is not None:
            raise
        height, width = _EXAMPLE
        advice = f"Try one size only, such as size=({height}, {width}) (--size {height} {width})."
        raise ExportError(f"{error}\n{advice}") from error


def read_export_metadata(path: str | Path, *, format: str | None = None) -> dict[str, Any]:
    """Return what `export_model` wrote about the model: its card, inputs and outputs, and the check.

    Raises
    ------
    ExportError
        When the format is unknown or lacks a library, or the file is missing or holds no such metadata.
    """
    path = Path(path)
    if not (path.is_file() or path.is_dir()):  # Core ML's packages are folders
        raise ExportError(f"no file at {path}")
    exporter = _exporter(find_format(path, format), {})
    try:
        described = parse_json(exporter.read_metadata(path), "its description", ExportError)
        if not isinstance(described, dict):
            raise TypeError("its description is no JSON object")
    except Exception as error:  # of whatever reads the format
        raise ExportError(f"{path} was not exported by vitrail, or is damaged ({type(error).__name__})") from error
    return described


def _exporter(name: str, options: Mapping[str, Any]) -> Exporter:
    kind = EXPORTERS[name]
    require_modules(kind.modules, f"format {name!r}")
    check_arguments(kind, options, f"export format {name!r}", ExportError)
    return kind(**options)


def _check_precision(name: str, exporter: Exporter, precision: str, images: Pictures | None) -> None:
    if precision == "float32":
        return
    if precision not in exporter.precisions:
        known = ", ".join(("float32", *exporter.precisions))
        raise ExportError(f"format {name!r} cannot be written in {precision!r}; it can in {known}")
    if precision == "int8" and images is None:
        raise ExportError("int8 needs images to measure ranges on: images=… (--calibrate DIR)")


def _graph(model: Segmentor, output: ExportOutput) -> ExportGraph:
    if isinstance(model, ExportedSegmentor):
        raise ExportError(f"{model.path} is an exported file: export the model file that it was made from")
    if model.card is None:
        raise ExportError("the model has no card, so its classes are unknown: set model.card to a vitrail.ModelCard")
    recipe = resolve_recipe(None, card=model.card) if "data" in model.card.recipe else None
    threshold = chosen_threshold(recipe.evaluation, model.num_classes) if recipe else None
    normalize = Normalize(model.card.mean, model.card.std)
    return ExportGraph(model, normalize, output, threshold).eval().requires_grad_(False)


def _check_size(size: object) -> None:
    if size is None:
        return
    sides = size if isinstance(size, Sequence) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ExportError(f"size is (height, width) in pixels, such as (512, 640), not {size!r}")


def _check_shapes(size: tuple[int, int] | None) -> Sequence[Shape]:
    if size is not None:
        return [(1, *size), (3, *size)]
    return [(2, *_EXAMPLE), *((1, *other) for other in _OTHER_SIZES), (3, *_OTHER_SIZES[0])]


def _description(graph: ExportGraph, size: tuple[int, int] | None, precision: str) -> dict[str, Any]:
    assert graph.model.card is not None  # `_graph` raises
    return {
        "format": METADATA_FORMAT,
        "vitrail": vitrail.__version__,
        "card": graph.model.card.to_dict(),
        "output": graph.output,
        "precision": precision,
        "threshold": graph.returned.decision.threshold,
        "head_output": graph.model.head.output,
        "align_corners": graph.model.head.align_corners,
        "input": {"name": "images", "type": "uint8", "layout": "batch, RGB, height, width"},
        "outputs": list(graph.returned.names),
        "size": list(size) if size else None,
    }
