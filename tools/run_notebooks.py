"""Run the notebooks of `examples/notebooks` and store their outputs: `python -m tools.run_notebooks [NAME ...]`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"


def run(path: Path) -> float:
    """Run a notebook, store its outputs in it, and return how many seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran: another change at every run
        if "outputs" in cell:
            cell.outputs = tidied(cell.outputs)
    nbformat.write(notebook, path)
    return time.perf_counter() - start


def tidied(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Return outputs with neighbouring lines of text joined, and every picture once."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
            continue
        if "image/png" in output.get("data", {}):
            output.data.pop("image/jpeg", None)  # Pillow offers both
        joined.append(output)
    return joined


if __name__ == "__main__":
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm asks for widgets, which need no installing here
    names = sys.argv[1:] or [path.stem for path in sorted(FOLDER.glob("*.ipynb"))]
    for name in names:
        print(f"{name}: {run(FOLDER / f'{name}.ipynb'):.0f} s")
