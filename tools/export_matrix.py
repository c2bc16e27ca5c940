"""Export every method to every format, and measure: `python -m tools.export_matrix [NAME...] [--formats onnx pt2]`.

Writes `tools/site/export_matrix.json`, from which the table of the documentation is made. What is in the file is not
measured again unless `--again` is given, and `--minutes` ends a run early, so that the whole, which takes hours, can be
made in pieces. A method is built as published, on a small encoder of the published kind (a ResNet-18 for the
ResNets, a tiny ViT for the ViTs) and with random weights: what a method differs by is its head. Speed is that of one
image, 512 × 512, on one thread, in turns with PyTorch.

With `--encoders`, the names are encoders, each under the same light head, and the file is
`tools/site/export_encoders.json`. When none is named, they are those of the file: a small one of nearly every
module of timm's, and others.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import platform
import re
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from vitrail import ModelCard, create_model, export_model, list_segmentors
from vitrail.errors import ExportError, ModelError
from vitrail.export import EXPORTERS, aoti_format, pt2_format
from vitrail.export.check import street_images
from vitrail.export.exporter import ReducedPrecision
from vitrail.inference import Predictor
from vitrail.segmentors import SEGMENTORS, Segmentor

RESULTS = Path(__file__).parent / "site" / "export_matrix.json"
ENCODER_RESULTS = RESULTS.with_name("export_encoders.json")
CLASSES = 19
SMALL_SIZE = (128, 160)  # of the formats that take one size
TIMED_SIZE = (512, 512)
TURNS = 3
# Formats by the name of their column: the exporter and its precision. Those of int8 are of the light methods only.
COLUMNS: dict[str, tuple[str, str]] = {
    "onnx": ("onnx", "float32"),
    "pt2": ("pt2", "float32"),
    "pt2 bfloat16": ("pt2", "bfloat16"),
    "openvino": ("openvino", "float32"),
    "aoti": ("aoti", "float32"),
    "executorch": ("executorch", "float32"),
    "coreml": ("coreml", "float32"),
    "onnx int8": ("onnx", "int8"),
    "openvino int8": ("openvino", "int8"),
}
ONE_SIZE = ("executorch", "coreml")
LIGHT = ("bisenetv1", "bisenetv2", "cgnet", "ddrnet", "fastscnn", "icnet", "lraspp", "pidnet", "segformer")


@dataclass(frozen=True)
class Rows:
    """The rows of a table: the file of what was measured, what builds the model of a name, and the names.

    Without names, they are those of the file.
    """

    path: Path
    build: Callable[[str], Segmentor]
    names: Callable[[], Sequence[str]] | None = None

    def read(self) -> dict[str, Any]:
        """Return what was measured before, by name and column."""
        results: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        return results

    def note(self, name: str, column: str, cell: dict[str, Any]) -> None:
        """Put one cell into the file; another run may have written since."""
        results = self.read()
        results.setdefault(name, {})[column] = cell
        self.path.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n", encoding="utf-8")


def build(name: str) -> Segmentor:
    """Return a method as published but for its encoder, with statistics of a trained network's size."""
    torch.manual_seed(0)
    published = SEGMENTORS[name].backbone
    backbone = "resnet18" if re.fullmatch(r"resnet\d+c?", published) else published
    if published.startswith("vit_"):
        backbone = "vit_tiny_patch16_224"
    return described(create_model(name, backbone, CLASSES, output_stride=SEGMENTORS[name].output_stride))


def build_encoder(name: str) -> Segmentor:
    """Return an encoder under the head of FPN, or, where it has fewer maps than that reads, of FCN."""
    torch.manual_seed(0)
    try:
        model = create_model("fpn", name, CLASSES)
    except ModelError:
        model = create_model("fcn", name, CLASSES)
    return described(model)


def described(model: Segmentor) -> Segmentor:
    """Return the model as it is used, with a card, which exporting wants."""
    model.card = ModelCard(tuple(f"class {index}" for index in range(CLASSES)), ((0, 0, 0),) * CLASSES)
    return model.eval()


METHODS = Rows(RESULTS, build, list_segmentors)
ENCODERS = Rows(ENCODER_RESULTS, build_encoder)


@contextlib.contextmanager
def tracing_once() -> Iterator[None]:
    """Trace a model once for all formats that begin with the same program, in a block that exports one model."""
    programs: dict[Any, Any] = {}
    trace = pt2_format.trace_program

    def once(graph: nn.Module, example: Tensor, *, any_size: bool, precision: ReducedPrecision | None = None) -> Any:
        key = (type(graph), any_size, precision)
        if key not in programs:
            programs[key] = trace(graph, example, any_size=any_size, precision=precision)
        return programs[key]

    with (
        mock.patch.object(pt2_format, "trace_program", once),
        mock.patch.object(aoti_format, "trace_program", once),
    ):
        yield


def measure(model: Segmentor, column: str, folder: Path) -> dict[str, Any]:
    """Export a model to the format of a column; return how it agrees and how fast it is, or why there is no file."""
    name, precision = COLUMNS[column]
    one_size = name in ONE_SIZE
    path = folder / f"model{EXPORTERS[name].suffix}"
    options: dict[str, Any] = {"raw": True, "overwrite": True, "force": name == "coreml" or precision == "int8"}
    if precision == "int8":
        options["images"] = list(street_images((8, *TIMED_SIZE)))
    try:
        exported = export_model(
            model, path, format=name, precision=precision, size=SMALL_SIZE if one_size else None, **options
        )
        check = exported.check
        result: dict[str, Any] = {"precision": precision, "sizes": "one" if one_size else "any"}
        if check is None:
            return {**result, "checked": False}
        result["difference"] = max(each.difference for each in check.agreements)
        result["equal"] = min(each.equal for each in check.agreements)
        if check.images is not None:
            result["equal"] = check.images.equal
        images = street_images((1, *(SMALL_SIZE if one_size else TIMED_SIZE)))
        return {**result, "machine": machine(), **compare_speed(model, EXPORTERS[name]().open(path), images)}
    except ExportError as error:
        return {"error": re.sub(r"\s+", " ", str(error))[:300]}


def compare_speed(model: Segmentor, run: Callable[[Tensor], object], images: Tensor) -> dict[str, float]:
    """Return the seconds of PyTorch, as the Predictor runs a model, and of an exported file; medians of turns."""
    predictor = Predictor(model, device="cpu")
    ours, theirs = [], []
    for turn in range(TURNS + 1):
        start = time.process_time()
        predictor.scores(list(images))
        middle = time.process_time()
        run(images)
        if turn:  # the first is for warming up
            ours.append(middle - start)
            theirs.append(time.process_time() - middle)
    return {"torch_seconds": statistics.median(ours), "seconds": statistics.median(theirs)}


def machine() -> str:
    """Return what the figures depend on: the instructions of the processor, and the version of PyTorch."""
    flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("flags")[2][:5000]))
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
    vectors = ", ".join(flag for flag in known if flag in flags) or "no vector instructions"
    return f"{platform.machine()} with {vectors}, PyTorch {torch.__version__.partition('+')[0]}"


def installed(column: str) -> bool:
    """Return whether the libraries of a column's format are there."""
    modules = EXPORTERS[COLUMNS[column][0]].modules
    return all(importlib.util.find_spec(module) is not None for module in modules)


def wanted(name: str, columns: Sequence[str], results: dict[str, Any], again: bool) -> list[str]:
    """Return the columns in which a method is to be measured."""
    return [
        column
        for column in columns
        if installed(column)
        and (name in LIGHT or "int8" not in column)
        and (again or column not in results.get(name, {}))
    ]


def main() -> None:
    """Measure what is missing, and write the results after each cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of methods; all when none is named")
    parser.add_argument("--encoders", action="store_true", help="the names are those of encoders")
    parser.add_argument("--formats", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument("--again", action="store_true", help="measure anew what is there")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after this time")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    end = time.monotonic() + 60 * arguments.minutes
    rows = ENCODERS if arguments.encoders else METHODS
    results = rows.read()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names or (rows.names or results.keys)():
            columns = wanted(name, arguments.formats, results, arguments.again)
            if not columns or time.monotonic() > end:
                continue
            model = rows.build(name)
            with tracing_once():
                for column in columns:
                    start = time.monotonic()
                    cell = measure(model, column, Path(folder))
                    rows.note(name, column, cell)
                    print(f"{name:30}{column:15}{time.monotonic() - start:5.0f} s  {cell}", flush=True)


if __name__ == "__main__":
    main()
