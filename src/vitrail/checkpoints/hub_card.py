"""The model card of a repository on the Hugging Face hub: what its README.md says of one of vitrail's models."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vitrail.files.yaml_file import dump_yaml
from vitrail.segmentors import ModelCard

# Identifiers of licences that the hub knows, as far as models of segmentation are published under them.
_LICENCES = frozenset(
    """
    agpl-3.0 apache-2.0 bsd-2-clause bsd-3-clause cc-by-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 cc-by-sa-4.0 cc0-1.0 gpl-3.0
    lgpl-3.0 mit openrail
    """.split()  # noqa: SIM905 - a dozen lines otherwise
)
_FIGURES = {"miou": "mIoU", "macc": "mean accuracy", "aacc": "pixel accuracy", "mdice": "mDice"}


def hub_card(card: ModelCard, repository: str) -> str:
    """Return the README.md of a model's repository, with the metadata that the hub reads at its beginning.

    Parameters
    ----------
    card : ModelCard
        Of the model; it holds the recipe.
    repository : str
        "ORG/NAME".
    """
    model, dataset = card.recipe["model"], card.recipe.get("data", {}).get("dataset", "")
    name = _plain(repository.partition("/")[2])
    backbone = f" on `{_plain(model['backbone'])}`" if model.get("backbone") else ""
    trained = f" of {_plain(dataset)}" if dataset and dataset != "folder" else ""
    parts = [
        f"---\n{_metadata(card, repository, dataset)}\n---",
        f"# {name}",
        f"Semantic segmentation of {len(card.classes)} classes{trained}: `{_plain(model['segmentor'])}`{backbone}, a "
        "model of vitrail.",
        "## Use",
        f'```python\nimport vitrail\n\nmodel = vitrail.load("hf/{repository}")\n'
        'prediction = vitrail.predict(model, "photo.jpg")  # prediction.mask: class indices\n```',
        f"```console\n$ vitrail predict hf/{repository} photo.jpg -o masks\n```",
        *_origin(card),
        *_figures(card),
        "## Classes",
        _table(("index", "class", "colour"), _classes(card)),
        "## Recipe",
        f"```yaml\n{dump_yaml(card.recipe).strip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(card: ModelCard, repository: str, dataset: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    licence = card.license.strip().lower()
    given: dict[str, Any] = {"library_name": "vitrail", "pipeline_tag": "image-segmentation"}
    given["tags"] = ["vitrail", "semantic-segmentation", card.recipe["model"]["segmentor"]]
    if licence in _LICENCES:
        given["license"] = licence
    elif licence:
        given |= {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", licence).strip("-")}
    if figures := _known_figures(card):
        given["model_name"] = repository.partition("/")[2]
        given["eval_results"] = [
            EvalResult(
                task_type="image-segmentation",
                dataset_type=dataset or "unknown",
                dataset_name=dataset or "unknown",
                metric_type=key,
                metric_name=_FIGURES.get(key, key),
                metric_value=value,
            )
            for key, value in figures.items()
        ]
    return ModelCardData(**given).to_yaml()


def _origin(card: ModelCard) -> list[str]:
    said = {"Weights": card.source, "Trained from": card.started_from, "Licence": card.license}
    lines = [f"- {what}: {_plain(value)}" for what, value in said.items() if value]
    return ["## Origin", "\n".join(lines)] if lines else []


def _known_figures(card: ModelCard) -> Mapping[str, float]:
    """Return the figures of a card; those of an evaluation without labelled pixels are none."""
    return {key: value for key, value in card.metrics.items() if value is not None and math.isfinite(value)}


def _figures(card: ModelCard) -> list[str]:
    figures = _known_figures(card)
    if not figures:
        return []
    rows = ((_FIGURES.get(key, key), f"{100 * value:.2f} %") for key, value in figures.items())
    return ["## Figures", _table(("metric", "value"), rows)]


def _classes(card: ModelCard) -> Iterable[tuple[str, str, str]]:
    for index, (name, colour) in enumerate(zip(card.classes, card.palette, strict=True)):
        yield str(index), name, "#" + "".join(f"{value:02x}" for value in colour)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Return a text in one line that is neither Markdown's table syntax nor HTML."""
    return html.escape(" ".join(str(text).split()), quote=False).replace("|", r"\|").replace("`", "'")
