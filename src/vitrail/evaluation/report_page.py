"""HTML page of the report: one file without scripts and without external resources."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from vitrail.evaluation.calibration import BINS, Calibration
from vitrail.evaluation.result import Evaluation, ImageScore

_BINS = 20


@dataclass(frozen=True)
class Card:
    """One image of the report.

    Attributes
    ----------
    place : int
        1 is the worst.
    score : ImageScore
    size : (int, int)
        Height and width of the mask.
    pictures : mapping from str to str
        Titles, and file names relative to the page.
    confusions : sequence of (str, str, float)
        True class, predicted class, share of the pixels.
    """

    place: int
    score: ImageScore
    size: tuple[int, int]
    pictures: Mapping[str, str]
    confusions: Sequence[tuple[str, str, float]]


def page(evaluation: Evaluation, cards: Sequence[Card], title: str) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    evaluation : Evaluation
        The evaluation of all images.
    cards : sequence of Card
        The images to show, the worst first.
    title : str
        Title of the page.
    """
    figures = [
        ("mIoU", evaluation.miou),
        ("mAcc", evaluation.macc),
        ("aAcc", evaluation.aacc),
        ("mDice", evaluation.mdice),
    ]
    return _PAGE.format(
        title=escape(title),
        style=_STYLE,
        figures="".join(f"<div><b>{_percent(value)}</b><span>{name}</span></div>" for name, value in figures),
        images=evaluation.images,
        classes=_class_rows(evaluation),
        histogram=_histogram([score.miou for score in evaluation.scores]),
        calibration="" if evaluation.calibration is None else _reliability(evaluation.calibration),
        shown=len(cards),
        cards="".join(map(_card, cards)),
    )


def _class_rows(evaluation: Evaluation) -> str:
    columns = (evaluation.classes, evaluation.palette, evaluation.iou, evaluation.acc, evaluation.dice)
    return "".join(_class_row(*row) for row in zip(*columns, strict=True))


def _class_row(name: str, colour: tuple[int, int, int], iou: float, acc: float, dice: float) -> str:
    paint = f"background:rgb{tuple(colour)}"
    width = 0 if math.isnan(iou) else 100 * iou
    return (
        f"<tr><td><i style='{paint}'></i>{escape(name)}</td><td class='bar'><s style='width:{width:.1f}%;{paint}'></s>"
        f"</td><td>{_percent(iou)}</td><td>{_percent(acc)}</td><td>{_percent(dice)}</td></tr>"
    )


def _histogram(values: Sequence[float]) -> str:
    """Return an SVG with the number of images by mean IoU."""
    counts = [0] * _BINS
    for value in values:
        if not math.isnan(value):
            counts[min(int(value * _BINS), _BINS - 1)] += 1
    tallest = max(counts) or 1
    bars = "".join(_bar(place, count, 80 * count / tallest) for place, count in enumerate(counts))
    marks = "".join(
        f"<text x='{4 * percent}' y='106' text-anchor='{anchor}'>{percent} %</text>"
        for percent, anchor in ((0, "start"), (50, "middle"), (100, "end"))
    )
    return f"<svg viewBox='0 0 400 110' role='img' aria-label='Images by mean IoU'>{bars}{marks}</svg>"


def _reliability(calibration: Calibration) -> str:
    """Return the reliability diagram: accuracy by mean probability, the paler the fewer pixels."""
    side, width = 300, 300 / BINS
    bars = "".join(
        f"<rect x='{min(int(confidence * BINS), BINS - 1) * width + 1:.1f}' y='{side * (1 - accuracy) + 5:.1f}' "
        f"width='{width - 2:.1f}' height='{side * accuracy:.1f}' opacity='{0.25 + 0.75 * share**0.5:.2f}'>"
        f"<title>probability {_percent(confidence)} %: {_percent(accuracy)} % right, {_percent(share)} % of the pixels"
        "</title></rect>"
        for confidence, accuracy, share in calibration.bins
    )
    marks = "".join(
        f"<text x='{side * part}' y='{side + 20}' text-anchor='{anchor}'>{100 * part:g} %</text>"
        for part, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    return (
        f"<section><h2>Calibration</h2><svg class='reliability' viewBox='0 0 {side} {side + 26}' role='img' "
        f"aria-label='Share of right pixels by their probability'>{bars}"
        f"<line x1='0' y1='{side + 5}' x2='{side}' y2='5'></line>{marks}</svg>"
        "<p class='faint'>Share of right pixels (upwards) by the probability of their class. On the line, "
        "probabilities are as often right as they say. Expected calibration error (ECE): "
        f"<b>{_percent(calibration.ece)} %</b></p></section>"
    )


def _bar(place: int, count: int, height: float) -> str:
    label = f"{count} images, mIoU {100 * place // _BINS}–{100 * (place + 1) // _BINS} %"
    return (
        f"<rect x='{20 * place + 1}' y='{90 - height:.1f}' width='18' height='{height:.1f}' rx='2'>"
        f"<title>{label}</title></rect>"
    )


def _card(card: Card) -> str:
    pictures = "".join(
        f"<figure><a href='{escape(file)}'><img loading='lazy' src='{escape(file)}' alt='{name}'></a>"
        f"<figcaption>{name}</figcaption></figure>"
        for name, file in card.pictures.items()
    )
    confusions = "".join(
        f"<li><b>{escape(true)}</b> taken for <b>{escape(guess)}</b> {_percent(share)} %</li>"
        for true, guess, share in card.confusions
    )
    height, width = card.size
    return (
        f"<article><header><em>{card.place}</em><h3>{escape(card.score.id)}</h3><p>mIoU <b>{_percent(card.score.miou)}"
        f"</b> · pixels right <b>{_percent(card.score.accuracy)}</b> · {width} × {height}</p></header>"
        f"<div class='pictures'>{pictures}</div><ul>{confusions}</ul></article>"
    )


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f}"


_STYLE = """
:root { color-scheme: light dark; --page: #f6f6f3; --card: #fff; --ink: #23232a; --faint: #74747e; --line: #e4e4de;
  --accent: #c8283c; }
@media (prefers-color-scheme: dark) { :root { --page: #17171b; --card: #212127; --ink: #ececf0; --faint: #9a9aa6;
  --line: #34343c; --accent: #ff6b7c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1480px; padding: 2rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; } h2 { margin: 2.2rem 0 .8rem; font-size: 1.15rem; }
.faint, figcaption, header p, .figures span, svg text { color: var(--faint); }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.4rem 0; }
.figures div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1.4rem; }
.figures b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums; }
.overview { display: grid; grid-template-columns: 3fr 2fr; gap: 2rem; align-items: start; }
@media (max-width: 900px) { .overview { grid-template-columns: 1fr; } }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { font-weight: 500; color: var(--faint); } th, td { padding: .22rem .5rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr { border-bottom: 1px solid var(--line); }
td i { display: inline-block; width: .85em; height: .85em; border-radius: 3px; margin-right: .6em; }
td.bar { width: 45%; } td.bar s { display: block; height: .55rem; border-radius: 3px; }
svg { width: 100%; } svg.reliability { max-width: 420px; }
svg line { stroke: var(--ink); stroke-dasharray: 5 4; }
svg rect { fill: var(--accent); } svg text { fill: var(--faint); font-size: 11px; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1rem 1.2rem;
  margin-bottom: 1.2rem; }
article header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .8rem; }
article header em { font-style: normal; font-weight: 700; color: var(--accent); min-width: 1.4em; }
h3 { margin: 0; font-size: 1rem; overflow-wrap: anywhere; } article header p { margin: 0; }
.pictures { display: grid; grid-template-columns: repeat(4, 1fr); gap: .7rem; margin: .7rem 0 .3rem; }
@media (max-width: 900px) { .pictures { grid-template-columns: repeat(2, 1fr); } }
figure { margin: 0; } figure img { width: 100%; border-radius: 6px; display: block; }
figcaption { font-size: .82rem; padding-top: .15rem; }
ul { display: flex; flex-wrap: wrap; gap: .2rem 1.6rem; list-style: none; margin: .4rem 0 0; padding: 0;
  font-size: .88rem; }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body>
<h1>{title}</h1>
<div class="figures">{figures}<div><b>{images}</b><span>images</span></div></div>
<div class="overview">
<section><h2>Classes</h2><table><tr><th>class</th><th></th><th>IoU</th><th>Acc</th><th>Dice</th></tr>{classes}</table>
</section>
<section><h2>Images by mean IoU</h2>{histogram}</section>
{calibration}
</div>
<h2>The {shown} worst images</h2>
<p class="faint">By mean IoU over the classes in each image's mask. In the last picture wrong pixels are red and pixels
without a label are dark.</p>
{cards}
</body></html>
"""
