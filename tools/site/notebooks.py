"""The notebooks as pages: their cells with the outputs that are stored in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

FOLDER = "notebooks"
SOURCES = Path(__file__).parents[2] / "examples" / "notebooks"


def pages() -> Mapping[str, str | bytes]:
    """Return the pages of the notebooks and their pictures by their place in the site."""
    found: dict[str, str | bytes] = {}
    for path in sorted(SOURCES.glob("*.ipynb")):
        exporter = MarkdownExporter()
        resources = {"unique_key": path.stem, "output_files_dir": "."}
        text, produced = exporter.from_notebook_node(nbformat.read(path, as_version=4), resources=resources)
        found[f"{FOLDER}/{path.stem}.md"] = text.replace("![png](./", "![output of the cell above](")
        found |= {f"{FOLDER}/{Path(name).name}": data for name, data in produced["outputs"].items()}
    return found
