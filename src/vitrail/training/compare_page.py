"""The page that compares runs: one HTML file with a table and curves, without scripts and external resources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from vitrail.training.compare import RunLog, differences, rows

Points = Sequence[tuple[float, float]]
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 260, 56, 28
# Colours that can be told apart with most kinds of colour blindness (Okabe and Ito, 2008; grey in place of black, which
# a dark page swallows).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#808080", "#8a7f00")
_CURVES = (("train", "loss", "Loss"), ("evaluation", "miou", "mIoU"), ("train", "lr", "Learning rate"))


def compare_page(runs: Sequence[RunLog]) -> str:
    """Return the page as HTML."""
    charts = "".join(
        f"<figure><figcaption>{title}</figcaption>{chart([run.curve(event, key) for run in runs])}</figure>"
        for event, key, title in _CURVES
    )
    legend = "".join(
        f'<li><i style="background:{_colour(index)}"></i>{escape(run.name)}</li>' for index, run in enumerate(runs)
    )
    different = [("key", *(run.name for run in runs))]
    for key, values in differences(runs).items():
        different.append((key, *("–" if value is None else str(value) for value in values)))
    return _PAGE.format(
        style=_STYLE, table=_table(rows(runs)), legend=legend, charts=charts, differences=_table(different)
    )


def _table(cells: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in cells[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def chart(curves: Sequence[Points]) -> str:
    """Return a line chart as SVG: one line for each curve of points (iteration, value)."""
    points = [point for curve in curves for point in curve]
    if not points:
        return "<p>No values.</p>"
    right = max(x for x, _ in points) or 1.0
    low, high = min(y for _, y in points), max(y for _, y in points)
    span = (high - low) or abs(high) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (_WIDTH - _LEFT - 10) * x / right,
            10 + (_HEIGHT - _BOTTOM - 10) * (1 - (y - low) / span),
        )

    lines = "".join(_line(curve, index, place) for index, curve in enumerate(curves) if curve)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        f'<path class="axis" d="M{_LEFT} 10V{_HEIGHT - _BOTTOM}H{_WIDTH - 10}"/>'
        f'<text x="{_LEFT - 6}" y="18" text-anchor="end">{high:.3g}</text>'
        f'<text x="{_LEFT - 6}" y="{_HEIGHT - _BOTTOM}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 8}" text-anchor="end">{right:.0f} iterations</text>{lines}</svg>'
    )


def _line(curve: Points, index: int, place: Callable[[float, float], tuple[float, float]]) -> str:
    places = [place(x, y) for x, y in curve]
    if len(places) == 1:
        ((x, y),) = places
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_colour(index)}"/>'
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{text}" stroke="{_colour(index)}"/>'


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .25rem .8rem; border-bottom: 1px solid #8885; white-space: nowrap; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; } figcaption { font-weight: 600; }
svg { width: 100%; } svg text { font-size: 11px; fill: #888; }
svg polyline { fill: none; stroke-width: 1.6; } .axis { fill: none; stroke: #999; }
ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; }
i { display: inline-block; width: .9em; height: .9em; margin-right: .4em; border-radius: 2px; vertical-align: -.1em; }
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Runs compared</title><style>{style}</style></head>
<body><h1>Runs compared</h1>
{table}
<ul>{legend}</ul>
<main>{charts}</main>
<h2>What differs in the recipes</h2>
{differences}
</body></html>
"""
