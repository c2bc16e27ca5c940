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
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data.pop("image/jpeg", None)  # Pillow hands out every picture twice
    nbformat.write(notebook, path)
    return time.perf_counter() - start


if __name__ == "__main__":
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm asks for widgets, which need no installing here
    names = sys.argv[1:] or [path.stem for path in sorted(FOLDER.glob("*.ipynb"))]
    for name in names:
        print(f"{name}: {run(FOLDER / f'{name}.ipynb'):.0f} s")
