"""An export format: a zip archive with a program of PyTorch's and the metadata as a text that people can read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from vitrail import register_exporter
from vitrail.export.exporter import Runner
from vitrail.export.pt2_format import TorchExporter

PROGRAM, ABOUT = "program.pt2", "about.json"


@register_exporter("example_archive")
class ArchiveExporter(TorchExporter):
    """A zip archive with the program of `torch.export` and its metadata."""

    suffix = ".example.zip"

    def write(self, program: Any, path: Path, metadata: str) -> None:
        """Write the archive."""
        content = io.BytesIO()
        torch.export.save(program, content)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(PROGRAM, content.getvalue())
            archive.writestr(ABOUT, metadata)

    def open(self, path: Path) -> Runner:
        """Return a function that runs the program."""
        with zipfile.ZipFile(path) as archive:
            module = torch.export.load(io.BytesIO(archive.read(PROGRAM))).module()
        return lambda images: tuple(module(images))

    def read_metadata(self, path: Path) -> str:
        """Return the metadata."""
        with zipfile.ZipFile(path) as archive:
            return archive.read(ABOUT).decode("utf-8")
