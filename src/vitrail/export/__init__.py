"""Exporting models to files that other programs run."""

from vitrail.export import (
    aoti_format,
    coreml_format,
    executorch_format,
    onnx_format,
    openvino_format,
    pt2_format,
    tensorrt_format,
)
from vitrail.export.api import ExportedModel, export_model, read_export_metadata
from vitrail.export.exporter import EXPORTERS, Exporter, NotRunnableError, register_exporter

__all__ = [
    "EXPORTERS",
    "ExportedModel",
    "Exporter",
    "NotRunnableError",
    "aoti_format",
    "coreml_format",
    "executorch_format",
    "export_model",
    "onnx_format",
    "openvino_format",
    "pt2_format",
    "read_export_metadata",
    "register_exporter",
    "tensorrt_format",
]
