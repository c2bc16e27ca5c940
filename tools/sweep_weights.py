"""Compare every published architecture with the project that publishes it: `python tools/sweep_weights.py`.

Each model is built by its own project with random weights and running statistics, saved as that project saves
checkpoints, loaded by `vitrail.load`, and asked for the logits of the same image; then it is written for its project
and loaded there. Writes docs/weights.md after each of them; the rows that the page has are not compared again unless
`--again` is given, so that the whole, which takes hours, can be made in pieces. Needs the [parity] extra.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from parity.published import architectures, compare, image_size
from vitrail.checkpoints import list_weights, shipped_models
from vitrail.checkpoints.index import PROJECTS, Entry
from vitrail.checkpoints.index.hubs import HUBS

PAGE_FILE = Path(__file__).resolve().parents[1] / "docs" / "weights.md"
NOT_COMPARED = "not compared"
PAGE = """# Published weights

`vitrail weights` lists {count} published checkpoints; {supported} of them load by name:

{sources}

Others load from a file or a folder: what users have trained with MMSegmentation and SSSegmentation, any folder of the
architectures of transformers and of segmentation_models_pytorch that vitrail has, and the files that the authors of
CGNet published. [Checkpoints](checkpoints.md) says how.

## How far the architectures agree

An architecture is built by the project that published it, with random weights and running statistics, saved as that
project saves checkpoints, and loaded by `vitrail.load`; checkpoints that differ in the number of classes alone are one
architecture. The difference is that of the logits at the size of the image, as a share of the largest logit, in
float32; the spread says how much the logits vary over the image. Written back is the difference after
`vitrail convert --to` the project, whose own model has to take every tensor. The published files themselves have not
been compared. Made by `python tools/sweep_weights.py`; `make parity` compares some architectures of every method anew.

{summary}

| architecture | checkpoints | method | backbone | difference | written back | spread |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

## Not supported yet

| what vitrail lacks | checkpoints |
| --- | --- |
{lacking}
"""


def sweep(wanted: str, again: bool) -> None:
    """Compare the architectures whose name begins as wanted: those that lack a figure, or all of them."""
    results = recorded()
    groups = architectures()
    missing_first = sorted(groups, key=lambda name: (name in results, math.prod(image_size(groups[name][0]))))
    for name in tqdm(missing_first, disable=None):
        if name.startswith(wanted) and (again or results.get(name, {}).get("written") is None):
            try:
                results[name] = asdict(compare(groups[name][0]))
            except Exception as error:  # whatever keeps a reference from running is a row of the table
                results[name] = {"why": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
            write(results)


def recorded() -> dict[str, dict]:
    """Return the results that the page has, by name."""
    row = r"^\| `([^`]+)` \| \d+ \| [^|]* \| [^|]* \| ([\d.e+-]+) \| ([^|]*) \| ([\d.]+) \|$"
    found = re.findall(row, PAGE_FILE.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        name: {
            "error": float(error),
            "written": None if written == NOT_COMPARED else float(written),
            "spread": float(spread),
        }
        for name, error, written, spread in found
    }


def write(results: dict[str, dict]) -> None:
    """Write the page of these results."""
    PAGE_FILE.write_text(page(results), encoding="utf-8")


def page(results: dict[str, dict]) -> str:
    """Return the page of the table."""
    groups = architectures()
    rows = [row(name, groups[name], results.get(name)) for name in groups]
    compared = {name: r for name, r in results.items() if "error" in r and name in groups}
    agreeing = [name for name, r in compared.items() if max(r["error"], r["written"] or 0) < 1e-4]
    written = sum(r["written"] is not None for r in compared.values())
    covered = sum(len(groups[name]) for name in agreeing)
    entries = list_weights()
    lacking = Counter(
        f"{PROJECTS[e.project]}: {e.unsupported.partition(': ')[2] or e.unsupported}" for e in entries if e.unsupported
    )
    return PAGE.format(
        count=len(entries),
        supported=sum(not e.unsupported for e in entries),
        sources=sources(),
        summary=f"{len(groups)} architectures; {len(compared)} compared ({written} of them written back, too), "
        f"{len(agreeing)} of these within 1e-4 (the limit): they stand for {covered} checkpoints.",
        rows="\n".join(rows),
        lacking="\n".join(f"| {what} | {count} |" for what, count in lacking.most_common()),
    )


def sources() -> str:
    """Return the table of how many checkpoints of each source there are, and how many of them load."""
    listed, loading = (Counter(e.project for e in list_weights(supported=only)) for only in (None, True))
    lines = [f"| `{key}/` | {name} | {listed[key]} | {loading[key]} |" for key, name in {**PROJECTS, **HUBS}.items()]
    shipped = shipped_models()
    lines.append(f"| {', '.join(f'`{name}`' for name in shipped)} | vitrail | {len(shipped)} | {len(shipped)} |")
    return "\n".join(["| names | published by | checkpoints | load |", "| --- | --- | --- | --- |", *lines])


def row(name: str, entries: list[Entry], result: dict | None) -> str:
    """Return an architecture's line of the table."""
    entry = entries[0]
    if result is None:
        outcome = f"{NOT_COMPARED} | | "
    elif "why" in result:
        outcome = f"{result['why']} | | ".replace("\n", " ")
    else:
        written = NOT_COMPARED if result["written"] is None else f"{result['written']:.0e}"
        outcome = f"{result['error']:.0e} | {written} | {result['spread']:.2f}"
    return f"| `{name}` | {len(entries)} | {entry.method} | {entry.backbone} | {outcome} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="names that begin so, such as mmseg/; none makes the page alone")
    parser.add_argument("--again", action="store_true", help="compare those that have a result, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.only == "none":
        write(recorded())
    else:
        sweep(arguments.only, arguments.again)
