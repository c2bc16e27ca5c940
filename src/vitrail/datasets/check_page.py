"""A page that shows a dataset: problems, samples with their masks, shares of classes, what occurs together, sizes."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vitrail.datasets.check import DatasetReport
from vitrail.datasets.doctor import Finding, SplitSurvey
from vitrail.datasets.image_files import decode_image
from vitrail.errors import DatasetError
from vitrail.files.atomic import atomic_path
from vitrail.visualize import overlay

PAGE = "index.html"
_SAMPLES = 8
_SIDE = 320  # pixels of the longer side of a sample
_MAX_MATRIX = 30  # classes in the table of what occurs together
_SIZES = 10
_STYLE = """:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}table{border-collapse:collapse}td,th{padding:.15rem .6rem;
text-align:right;font-variant-numeric:tabular-nums}td:first-child,th:first-child,td:has(.bar)
{text-align:left}
.bar{display:inline-block;height:.7rem;border-radius:2px;vertical-align:middle;outline:1px solid #8886}
.chip{display:inline-block;width:.9rem;
height:.9rem;border-radius:3px;margin-right:.5rem;vertical-align:-2px;border:1px solid #8886}
figure{display:inline-block;margin:.4rem;vertical-align:top;max-width:20rem}figcaption{font-size:.8rem;opacity:.75;
overflow-wrap:anywhere}img{max-width:100%}.f{border-left:5px solid;padding:.4rem .8rem;margin:.6rem 0;
background:#8881;overflow-wrap:anywhere;white-space:pre-line}.stop{border-color:#c22}.warning{border-color:#e90}.note{border-color:#58a}
.wide{overflow-x:auto}"""


def write_page(report: DatasetReport, output_dir: str | Path) -> Path:
    """Write the page `index.html`, which needs no other file and replaces an earlier one, and return its path.

    Parameters
    ----------
    report : DatasetReport
        Of a dataset in files.
    output_dir : path
        The folder.

    Raises
    ------
    DatasetError
        When the dataset has no files, or the page cannot be written.
    """
    if not report.surveys:
        raise DatasetError(
            "the images of this dataset are made when they are asked for: there are no files to report on"
        )
    title = html.escape(f"{report.checks[0].dataset}: {report.surveys[0].benchmark.title}")
    parts = [f"<h1>{title}</h1>", "<h2>Problems</h2>", _findings(report.findings)]
    for survey in report.surveys:
        name = html.escape(survey.split)
        parts += [
            f"<h2>Split {name}: {len(survey.facts)} images</h2>",
            _shares(survey),
            f"<h3>Samples of {name}</h3>",
            _samples(survey),
            f"<h3>Sizes in {name}</h3>",
            _sizes(survey),
        ]
    parts += ["<h2>What occurs together</h2>", _together(report.surveys)]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"{''.join(parts)}</body></html>"
    )
    path = Path(output_dir) / PAGE
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"cannot write {path}: {error}") from error
    return path


def _findings(findings: Iterable[Finding]) -> str:
    shown = [
        f'<div class="f {finding.severity}"><b>{finding.severity}: {html.escape(finding.check)}</b>\n'
        f"{html.escape(str(finding))}</div>"
        for finding in findings
    ]
    return "".join(shown) or "<p>None.</p>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{"".join(f"<th>{cell}</th>" for cell in head)}</tr>{body}</table></div>'


def _chip(colour: Sequence[int]) -> str:
    return f'<span class="chip" style="background:rgb({colour[0]},{colour[1]},{colour[2]})"></span>'


def _shares(survey: SplitSurvey) -> str:
    counts, total = survey.counts, max(sum(survey.counts) + survey.ignored, 1)
    rows = []
    for index, name in enumerate(survey.benchmark.classes):
        colour, share = survey.benchmark.palette[index], counts[index] / total
        images = sum(facts.counts[index] > 0 for facts in survey.usable)
        bar = f'<span class="bar" style="width:{15 * share:.2f}rem;background:rgb{tuple(colour)}"></span>'
        rows.append([_chip(colour) + html.escape(name), f"{share:.2%}", str(images), bar])
    rows.append(["ignored", f"{survey.ignored / total:.2%}", "", ""])
    return _table(["class", "pixels", "images", ""], rows)


def _samples(survey: SplitSurvey) -> str:
    usable = [index for index, facts in enumerate(survey.facts) if not facts.error]
    step = max(1, len(usable) // _SAMPLES)
    return "".join(_sample(survey, index) for index in usable[::step][:_SAMPLES]) or "<p>None.</p>"


def _sample(survey: SplitSurvey, index: int) -> str:
    source, pair = survey.source, survey.source.pairs[index]
    image = decode_image(source.files.read(pair.image), source.files.locate(pair.image), source.pixels)
    mask = source.load_mask(index, (image.shape[1], image.shape[2]))
    labels = survey.labels(mask.numpy())
    picture = overlay(image, labels, survey.benchmark.palette)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    name = html.escape(pair.id)
    return f'<figure><img alt="{name}" src="data:image/jpeg;base64,{data}"><figcaption>{name}</figcaption></figure>'


def _sizes(survey: SplitSurvey) -> str:
    sizes = Counter(facts.size for facts in survey.usable).most_common(_SIZES)
    return _table(["height × width", "images"], [[f"{size[0]} × {size[1]}", str(count)] for size, count in sizes])


def _together(surveys: Sequence[SplitSurvey]) -> str:
    """Return the table of the share of the images of one class (row) that have another one (column) too."""
    classes = surveys[0].benchmark.classes[:_MAX_MATRIX]
    present = np.array([facts.counts for survey in surveys for facts in survey.usable], dtype=np.int64) > 0
    if not present.size:
        return "<p>Nothing.</p>"
    present = present[:, : len(classes)].astype(np.int64)
    both = present.T @ present
    rows = []
    for index, name in enumerate(classes):
        shares = [both[index, other] / max(both[index, index], 1) for other in range(len(classes))]
        rows.append([html.escape(name), *(f"{share:.0%}" for share in shares)])
    return "<p>Of the images with the class of the row, so many have that of the column.</p>" + _table(
        ["", *map(html.escape, classes)], rows
    )
