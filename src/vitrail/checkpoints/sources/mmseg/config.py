"""Configs of MMSegmentation: read from the text inside checkpoints without running it, and turned into recipes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.encoder import as_given
from vitrail.checkpoints.sources.mmseg.datasets import DATASETS
from vitrail.checkpoints.sources.mmseg.heads import one_output_threshold, translate_model
from vitrail.errors import CheckpointError

_MOST_CHARACTERS = 1 << 20  # of a config, which has tens of thousands; parsing takes 500 bytes for each
_TEST_KEYS = ("test_pipeline", "val_pipeline")


def read_config(text: str, source: str) -> dict[str, Any]:
    """Return the assignments of a config's text, as plain data.

    The text is Python, as MMEngine and MMCV write configs into checkpoints; only literals and `dict(…)` are understood,
    and nothing is run. Assignments of anything else are left out.

    Raises
    ------
    CheckpointError
        When the text is not Python, or longer than any config.
    """
    if len(text) > _MOST_CHARACTERS:
        raise CheckpointError(
            f"{source}: the config in the checkpoint has {len(text):,} characters, more than any: the file is refused"
        )
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{source}: the config in the checkpoint cannot be read: {error}") from error
    config: dict[str, Any] = {}
    for statement in module.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                try:
                    config[target.id] = _literal(statement.value)
                except (ValueError, RecursionError):
                    continue
    return config


def _literal(node: ast.expr) -> Any:
    """Evaluate a literal in which `dict(key=value)` may stand for a mapping."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        value: dict[Any, Any] = {}
        for argument in node.args:
            value.update(_literal(argument))
        for keyword in node.keywords:
            value.update({keyword.arg: _literal(keyword.value)} if keyword.arg else _literal(keyword.value))
        return value
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_literal(key): _literal(value) for key, value in pairs if key is not None}
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, (ast.Tuple, ast.Set)):
        return tuple(_literal(item) for item in node.elts)
    return ast.literal_eval(node)


def recipe_from_config(config: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """Return a recipe, as plain data, of what a config describes: model, data and evaluation.

    Parameters
    ----------
    config : mapping
        The whole config.
    name : str
        What to call the recipe.
    where : str
        For messages.

    Raises
    ------
    UnsupportedError
        When vitrail does not compute the same.
    CheckpointError
        When there is no model in the config.
    """
    model = config.get("model")
    if not isinstance(model, Mapping):
        raise CheckpointError(f"{where}: its config has no model")
    return {
        "name": name,
        "model": as_given(translate_model(model, where)),
        "data": _data(config, model),
        "train": _train(config),
        "evaluation": _evaluation(config, model),
    }


def _data(config: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(config.get("dataset_type", ""))
    norm = model.get("data_preprocessor") or config.get("img_norm_cfg") or {}
    data: dict[str, Any] = {"dataset": DATASETS.get(kind, "folder")}
    data |= {key: [float(x) for x in norm[key]] for key in ("mean", "std") if norm.get(key) is not None}
    crop = config.get("crop_size")
    if isinstance(crop, (list, tuple)):
        data["augment"] = {"crop": as_lists(crop)}
    for resize in _test_steps(config, "Resize", "MultiScaleFlipAug"):
        scale = resize.get("scale", resize.get("img_scale"))
        if isinstance(scale, (list, tuple)) and len(scale) == 2 and resize.get("keep_ratio", True):
            data["eval_resize"] = {"size": sorted(as_lists(scale))}
    for resize in _test_steps(config, "ResizeShortestEdge"):
        scale = resize["scale"]
        shortest = scale if isinstance(scale, int) else as_lists(scale)[0]
        data["eval_resize"] = {"size": [shortest, resize["max_size"]]}
    if "eval_resize" in data:
        for step in _test_steps(config, "ResizeToMultiple"):
            data["eval_resize"]["multiple_of"] = step.get("size_divisor", 32)
    return data


def _test_steps(config: Mapping[str, Any], *kinds: str) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of these kinds in the test pipeline, in either generation of configs."""
    pipeline = next((config[key] for key in _TEST_KEYS if isinstance(config.get(key), (list, tuple))), ())
    for step in pipeline:
        if isinstance(step, Mapping) and step.get("type") in kinds:
            yield step


def _train(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the length of the training and the images of a step on one device; a config does not say how many."""
    loop, runner = config.get("train_cfg") or {}, config.get("runner") or {}
    length = loop.get("max_iters") or runner.get("max_iters") or 80_000
    loader, data = config.get("train_dataloader") or {}, config.get("data") or {}
    return {"iterations": length, "batch_size": loader.get("batch_size") or data.get("samples_per_gpu") or 4}


def _evaluation(config: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    test = model.get("test_cfg") or config.get("test_cfg") or {}
    threshold = one_output_threshold(model)
    common = {"average": "logits", **({} if threshold is None else {"threshold": threshold})}
    if test.get("mode") == "slide":
        return {"mode": "slide", "window": as_lists(test["crop_size"]), "stride": as_lists(test["stride"]), **common}
    return {"mode": "whole", **common}
