"""Every registered method is exported to every format for any size, and agrees with the model at several sizes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from helpers.small import CLASSES, small

from vitrail import ModelCard, export_model, list_segmentors

needs_onnx = pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="needs the [export] extra")
CARD = ModelCard(tuple(f"class {index}" for index in range(CLASSES)), ((0, 0, 0),) * CLASSES)

PRODUCT = [
    pytest.param(name, format, marks=[needs_onnx] if format == "onnx" else [])
    for name in list_segmentors()
    for format in ("pt2", "onnx")
]


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "format"), PRODUCT)
def test_every_method_is_exported_for_any_size(name: str, format: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = small(name).eval()
    model.card = CARD
    exported = export_model(model, tmp_path / f"model.{format}", scores=True)
    assert len({agreement.shape[1:] for agreement in exported.check.agreements}) == 6
    assert exported.check.passed
