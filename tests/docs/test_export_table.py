"""The table of methods and export formats says what was measured, and no more."""

from __future__ import annotations

import json

import pytest

from tools import export_matrix
from tools.site import tables
from vitrail.backbones import list_backbones
from vitrail.segmentors import SEGMENTORS


def test_every_cell_is_of_a_method_and_a_column_and_can_be_shown() -> None:
    results = json.loads(export_matrix.RESULTS.read_text(encoding="utf-8"))
    assert set(results) <= set(SEGMENTORS)
    assert list(tables.EXPORT_COLUMNS) == list(export_matrix.COLUMNS)
    for cells in results.values():
        assert set(cells) <= set(export_matrix.COLUMNS)
    encoders = tables.measured("export_encoders.json")
    assert set(encoders) <= set(list_backbones())
    page = tables.export_matrix()
    assert all(f"\n| `{name}` |" in page for name in (*SEGMENTORS, *encoders))


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (None, ""),
        ({"error": "ExecuTorch cannot express this model"}, "no: ExecuTorch cannot express this model"),
        ({"error": "fails at %mul[1](x_2)"}, r"no: fails at %mul\[1\](x\_2)"),
        ({"precision": "float32", "checked": False}, "converts"),
        ({"precision": "float32", "torch_seconds": 3, "seconds": 2, "difference": 2e-6}, "1.5×, 2e-06"),
        ({"precision": "int8", "torch_seconds": 4, "seconds": 2, "difference": 1, "equal": 0.987}, "2.0×, 98.7% equal"),
    ],
)
def test_a_cell_says_speed_and_agreement_or_why_there_is_no_file(cell: dict | None, shown: str) -> None:
    assert tables.export_cell(cell) == shown


def test_what_was_measured_is_not_measured_again() -> None:
    results = {"fastscnn": {"pt2": {}}, "pspnet": {}}
    columns = ["pt2", "aoti"]
    assert export_matrix.wanted("fastscnn", columns, results, again=False) == ["aoti"]
    assert export_matrix.wanted("fastscnn", columns, results, again=True) == columns
    assert "onnx int8" not in export_matrix.wanted("pspnet", ["onnx int8"], results, again=False)
