"""The results in a page of the documentation."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.equal_training.report import Report

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
PICTURE = "accuracy.png"


def write_page(folder: Path, page: Path) -> None:
    """Put the tables of a folder of results between the marks of a page, and the picture into its `pictures`.

    Raises
    ------
    SystemExit
        When the folder has no results, or the page no marks.
    """
    file = folder / "accuracy.json"
    if not file.is_file():
        raise SystemExit(f"{file} does not exist: run the benchmark with the same --out first")
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{page} should hold the lines {BEGIN} and {END}, between which the results go")
    parts = [Report.read(file).markdown().strip()]
    if (folder / PICTURE).is_file():
        pictures = page.parent / "pictures"
        pictures.mkdir(exist_ok=True)
        shutil.copyfile(folder / PICTURE, pictures / PICTURE)
        parts.append(f"![mIoU on val over the iterations, a panel for each pair](pictures/{PICTURE})")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text("\n".join([f"{before}{BEGIN}\n", *("\n\n".join(parts),), f"\n{END}{after}"]))
