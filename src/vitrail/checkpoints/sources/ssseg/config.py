"""SSSegmentation's configurations as recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.checkpoints.sources.encoder import as_given, model_config
from vitrail.checkpoints.sources.losses import Terms
from vitrail.checkpoints.sources.records import find_method
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.datasets import DATASETS
from vitrail.checkpoints.sources.ssseg.encoders import translate_backbone
from vitrail.checkpoints.sources.ssseg.heads import METHODS
from vitrail.recipes import ModelConfig

Config = Mapping[str, Any]


def recipe_from_config(config: Config, name: str) -> dict[str, Any]:
    """Return a recipe, as plain data, of what a configuration describes: model, data and evaluation.

    Raises
    ------
    UnsupportedError
        When vitrail does not compute the same.
    """
    return {
        "name": name,
        "model": as_given(translate_model(config, name)),
        "data": _data(config["dataset"]),
        "train": _train(config),
        "evaluation": _evaluation(config["inference"]),
    }


def translate_model(config: Config, where: str) -> ModelConfig:
    """Return the model that a configuration describes.

    Raises
    ------
    UnsupportedError
        When vitrail does not compute the same.
    """
    kind = "+".join(config[key] for key in ("type", "segmentor") if key in config)
    found = find_method(METHODS, kind, config["backbone"]["type"])
    if found is None:
        raise UnsupportedError(f"vitrail has no method like SSSegmentation's {kind}")
    segmentor, record = found
    options, auxiliary = record.translate(config)
    options |= {"align_corners": True} if config["align_corners"] else {}
    encoder = translate_backbone(
        config["backbone"],
        pyramid="feature2pyramid" in config["head"],
        norm_outputs=config["backbone"]["type"] == "VisionTransformer" and "norm_cfg" in config["head"],
        where=where,
    )
    return model_config(segmentor, encoder, config["num_classes"], options, auxiliary, _losses(config["losses"]), where)


def _losses(losses: Config) -> list[Terms]:
    """Return the terms of the main head's criterion, then those of each auxiliary head's."""
    main = losses.get("loss_cls") or losses.get("loss_cls_stage2") or losses.get("loss_cls_pamcam")
    if not main:
        return [[{"name": "cross_entropy"}]]
    return [_terms(main), *(_terms(terms) for name, terms in losses.items() if name.startswith("loss_aux"))]


def _terms(losses: Any) -> Terms:
    return [_loss(term) for term in (losses if isinstance(losses, list) else [losses])]


def _loss(term: Config) -> dict[str, Any]:
    weight = float(term["scale_factor"])
    if term["type"] == "DiceLoss":
        options = {
            "sigmoid": term.get("use_sigmoid", True),
            "squared": not term.get("naive_dice", False),
            "per_class": False,
            "eps": term.get("eps", 1e-3),
        }
        return {"name": "dice", "weight": weight, "options": options}
    if term["type"] != "CrossEntropyLoss":
        raise UnsupportedError(f"vitrail has no loss like SSSegmentation's {term['type']}")
    options = {"class_weights": term["class_weight"]} if term.get("class_weight") else {}
    name = "binary_cross_entropy" if term.get("use_sigmoid") else "cross_entropy"
    return {"name": name, "weight": weight, "options": options}


def _data(dataset: Config) -> dict[str, Any]:
    if dataset["type"] == "MultipleDataset":  # several to train on, one to test on
        ((_, dataset),) = dataset["test"].items()
    testing = dict(dataset["test"]["data_pipelines"])
    training = dict(dataset["train"]["data_pipelines"])
    data: dict[str, Any] = {"dataset": DATASETS[dataset["type"]]}
    data |= {key: testing["Normalize"][key] for key in ("mean", "std")}
    if "RandomCrop" in training:
        data["augment"] = {"crop": training["RandomCrop"]["crop_size"]}
    resize = testing.get("Resize")
    if resize and resize["output_size"]:
        width, height = resize["output_size"]
        keeps = resize["keep_ratio"]
        data["eval_resize"] = {"size": sorted((width, height)) if keeps else [height, width], "keep_ratio": keeps}
    return data


def _train(config: Config) -> dict[str, Any]:
    return {
        "epochs": config["scheduler"]["max_epochs"],
        "batch_size": config["dataloader"]["expected_total_train_bs_for_assert"],
    }


def _evaluation(inference: Config) -> dict[str, Any]:
    forward, tta = inference["forward"], inference["tta"]
    evaluation: dict[str, Any] = {
        "mode": forward["mode"],
        "average": "probabilities" if tta["use_probs_before_resize"] else "logits",
    }
    if forward["mode"] == "slide":
        evaluation |= {"window": forward["cropsize"], "stride": forward["stride"]}
    return evaluation
