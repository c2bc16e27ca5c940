"""From the losses of an MMSegmentation head to the terms of a recipe's criterion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError


def translate_losses(losses: Any, sampler: Mapping[str, Any] | None, where: str) -> list[dict[str, Any]]:
    """Return the terms of the criterion, as `vitrail.recipes.LossConfig` has them, with the weights they have there.

    Raises
    ------
    UnsupportedError
        For a loss that vitrail does not have.
    """
    terms = losses if isinstance(losses, (list, tuple)) else [losses]
    translated = []
    for values in terms:
        settings = Settings(values, where)
        kind = settings.take("type")
        if kind not in _LOSSES:
            raise UnsupportedError(f"{where}: vitrail has no loss like {kind}")
        weight = float(settings.take("loss_weight", 1.0))
        name, options = _LOSSES[kind](settings)
        settings.pass_over("loss_name")
        settings.finish()
        translated.append({"name": name, "weight": weight, "options": options})
    if sampler is not None:
        return [_hard_pixels(term, sampler, where) for term in translated]
    return translated


def first_weight(losses: Any) -> float:
    """Return the weight of a head's first loss, which is what the head weighs as a whole."""
    first = losses[0] if isinstance(losses, (list, tuple)) else losses
    return float((first or {}).get("loss_weight", 1.0))


def _cross_entropy(settings: Settings) -> tuple[str, dict[str, Any]]:
    sigmoid = settings.take("use_sigmoid", False)
    options: dict[str, Any] = {"ignored_in_mean": not settings.take("avg_non_ignore", False)}
    weights = settings.take("class_weight", None)
    settings.must_be("use_mask", False)
    settings.must_be("reduction", "mean")
    if weights is not None:
        options["class_weights"] = as_lists(weights)
    if sigmoid:
        return "binary_cross_entropy", options
    if weights is not None:
        options["weights_in_mean"] = False
    return "cross_entropy", options


def _dice(settings: Settings) -> tuple[str, dict[str, Any]]:
    settings.must_be("activate", True)
    settings.must_be("reduction", "mean")
    options = {
        "sigmoid": settings.take("use_sigmoid", True),
        "squared": not settings.take("naive_dice", False),
        "per_class": False,
        "eps": settings.take("eps", 1e-3),
        "ignored_in_mass": True,
    }
    settings.pass_over("ignore_index")
    return "dice", options


def _hard_pixels(term: dict[str, Any], sampler: Mapping[str, Any], where: str) -> dict[str, Any]:
    settings = Settings(sampler, f"{where}.sampler")
    settings.must_be("type", "OHEMPixelSampler")
    options = {"threshold": settings.take("thresh", None), "min_kept": settings.take("min_kept", 100_000)}
    settings.finish()
    if term["name"] != "cross_entropy":
        raise UnsupportedError(f"{where}: vitrail samples no hard pixels for {term['name']}")
    return {"name": "ohem", "weight": term["weight"], "options": {**options, "mean_over_all": True}}


def _ohem(settings: Settings) -> tuple[str, dict[str, Any]]:
    options: dict[str, Any] = {
        "threshold": settings.take("thres", 0.7),
        "min_kept": settings.take("min_kept", 100_000),
        "per_image": False,
    }
    weights = settings.take("class_weight", None)
    settings.must_be("ignore_label", 255)
    return "ohem", {**options, **({"class_weights": as_lists(weights)} if weights is not None else {})}


_LOSSES = {"CrossEntropyLoss": _cross_entropy, "DiceLoss": _dice, "OhemCrossEntropy": _ohem}
