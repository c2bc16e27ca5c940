"""The results in a page of the documentation."""

from __future__ import annotations

from pathlib import Path

from benchmarks.equal_training.curves import draw
from benchmarks.equal_training.report import Report

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
PICTURE = "accuracy.png"


def write_page(folder: Path, page: Path) -> None:
    """Put the tables of all results below a folder between the marks of a page, and the curves into its `pictures`.

    Raises
    ------
    SystemExit
        When the folder has no results, or results of runs of different sizes, or the page no marks.
    """
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{page} should hold the lines {BEGIN} and {END}, between which the results go")
    report = gathered(folder)
    pictures = page.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    draw(report, pictures / PICTURE)
    picture = f"![mIoU on val over the iterations, a panel for each pair](pictures/{PICTURE})"
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{report.markdown()}\n{picture}\n\n{END}{after}")


def gathered(folder: Path) -> Report:
    """Return the results of all runs of the benchmark below a folder as one."""
    files = sorted(folder.rglob("accuracy.json"))
    if not files:
        raise SystemExit(f"there is no accuracy.json below {folder}: run the benchmark with the same --out first")
    reports = [Report.read(file) for file in files]
    first = reports[0].setup
    for file, report in zip(files, reports, strict=True):
        if differing := [key for key in first if report.setup.get(key) != first[key] and key != "processes"]:
            raise SystemExit(f"{file} has another {differing[0]} than {files[0]}: put them on pages of their own")
    return Report(first, [run for report in reports for run in report.runs])
