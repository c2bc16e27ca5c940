"""SSSegmentation's configurations as recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vitrail.checkpoints.sources.auxiliary import with_auxiliary
from vitrail.checkpoints.sources.losses import Terms, criteria
from vitrail.checkpoints.sources.settings import UnsupportedError, as_lists
from vitrail.checkpoints.sources.ssseg.backbones import translate_backbone
from vitrail.checkpoints.sources.ssseg.datasets import DATASETS

Config = Mapping[str, Any]


def recipe_from_config(config: Config, name: str) -> dict[str, Any]:
    """Return a recipe, as plain data, of what a configuration describes: model, data and evaluation.

    Raises
    ------
    UnsupportedError
        When vitrail does not compute the same.
    """
    kind, backbone = config["type"], config["backbone"]["type"]
    method = _BACKBONE_METHODS.get((kind, backbone)) or _METHODS.get(kind)
    if method is None:
        raise UnsupportedError(f"vitrail has no method like SSSegmentation's {kind}")
    segmentor, options = method(config)
    encoder = translate_backbone(
        config["backbone"],
        pyramid="feature2pyramid" in config["head"],
        norm_outputs="in_channels_list" in config["head"].get("norm_cfg", {}),
        where=name,
    )
    model = {"segmentor": segmentor, **encoder}
    options |= {"align_corners": True} if config["align_corners"] else {}
    model |= {"num_classes": config["num_classes"], "options": as_lists(options), **_criteria(config["losses"], name)}
    return {
        "name": name,
        "model": with_auxiliary(model),
        "data": _data(config["dataset"]),
        "train": _train(config),
        "evaluation": _evaluation(config["inference"]),
    }


def _weight(config: Config, loss: str, default: float = 0.0) -> float:
    term = config["losses"].get(loss)
    term = term[0] if isinstance(term, list) else term
    return term["scale_factor"] if term else default


def _auxiliary(config: Config) -> dict[str, Any]:
    """Return the options of the one auxiliary head that most methods have."""
    auxiliary = config["auxiliary"]
    if not auxiliary:
        return {"aux_weight": 0.0}
    if isinstance(auxiliary, list):
        raise UnsupportedError(f"vitrail's {config['type']} has one auxiliary head, not {len(auxiliary)}")
    return {"aux_weight": _weight(config, "loss_aux"), "aux_channels": auxiliary["out_channels"]}


def _head(config: Config, **keys: str) -> dict[str, Any]:
    """Return options of ours by the names of the head's settings there."""
    head = config["head"]
    return {ours: head[theirs] for ours, theirs in {"dropout": "dropout", **keys}.items()}


def _fcn(config: Config) -> tuple[str, dict[str, Any]]:
    options = _head(config, channels="feats_channels")
    return "fcn", {**options, "num_convs": config["head"].get("num_convs", 2), **_auxiliary(config)}


def _simple(segmentor: str, **keys: str) -> Callable[[Config], tuple[str, dict[str, Any]]]:
    """Return the translation of a method whose settings have counterparts of their own here."""

    def translate(config: Config) -> tuple[str, dict[str, Any]]:
        return segmentor, {**_head(config, channels="feats_channels", **keys), **_auxiliary(config)}

    return translate


def _bisenet(segmentor: str) -> Callable[[Config], tuple[str, dict[str, Any]]]:
    def translate(config: Config) -> tuple[str, dict[str, Any]]:
        widths = [each["out_channels"] for each in config["auxiliary"]]
        options = _head(config, channels="feats_channels")
        return segmentor, {**options, "aux_weight": _weight(config, "loss_aux1"), "aux_channels": widths}

    return translate


def _cgnet(config: Config) -> tuple[str, dict[str, Any]]:
    return "cgnet", _head(config)


def _fastscnn(config: Config) -> tuple[str, dict[str, Any]]:
    options = _head(config, channels="feats_channels")
    width = config["auxiliary"][0]["out_channels"]
    weight = _weight(config, "loss_aux1")
    return "fastscnn", {**options, "depthwise_act": True, "aux_weight": weight, "aux_channels": width}


def _segformer(config: Config) -> tuple[str, dict[str, Any]]:
    return "segformer", _head(config, channels="feats_channels")


def _ocrnet(config: Config) -> tuple[str, dict[str, Any]]:
    options = _head(config, channels="feats_channels", attention_channels="transform_channels")
    coarse = {"coarse_channels": config["auxiliary"]["out_channels"], "coarse_weight": _weight(config, "loss_aux")}
    return "ocrnet", {**options, **coarse}


def _encnet(config: Config) -> tuple[str, dict[str, Any]]:
    options = _head(config, channels="feats_channels", num_codes="num_codes")
    options |= {"lateral": config["head"]["extra"]["add_lateral"], "presence_weight": _weight(config, "loss_se")}
    return "encnet", {**options, **_auxiliary(config)}


def _emanet(config: Config) -> tuple[str, dict[str, Any]]:
    options = _head(config, channels="feats_channels", attention_channels="feats_channels")
    options |= {key: config["head"][key] for key in ("num_bases", "num_stages", "momentum")}
    return "emanet", {**options, **_auxiliary(config)}


def _pointrend(config: Config) -> tuple[str, dict[str, Any]]:
    head = config["head"]
    training, testing = head["train"], head["test"]
    options = _head(config, channels="feats_channels", coarse_channels="scale_head_channels", num_layers="num_fcs")
    return "pointrend", {
        **options,
        "num_points": training["num_points"],
        "oversample": float(training["oversample_ratio"]),
        "important": training["importance_sample_ratio"],
        "steps": testing["subdivision_steps"],
        "points_per_step": testing["subdivision_num_points"],
        "coarse_weight": _weight(config, "loss_aux"),
    }


def _icnet(config: Config) -> tuple[str, dict[str, Any]]:
    options = _head(config, channels="feats_channels", branch_channels="in_channels_list")
    return "icnet", {**options, "early_weight": _weight(config, "loss_aux1")}


def _ce2p(config: Config) -> tuple[str, dict[str, Any]]:
    head = config["head"]
    return "ce2p", {
        "channels": head["feats_channels"],
        "shortcut_channels": head["shortcut_feats_channels"],
        "edge_channels": head["epm_hidden_channels"],
        "pool_sizes": head["pool_scales"],
        "edge_weights_in_mean": config["losses"]["loss_edge"].get("norm_loss_with_class_weight", True),
        "early_weight": _weight(config, "loss_cls_stage1"),
        "edge_weight": _weight(config, "loss_edge"),
        "dropout": head["dropout_stage2"],
        "early_dropout": float(head["dropout_stage1"]),
    }


def _mcibi(config: Config) -> tuple[str, dict[str, Any]]:
    head = config["head"]
    momentum = head["update_cfg"]["momentum_cfg"]
    options = _head(config, channels="feats_channels", inner_channels="transform_channels")
    options |= {
        "dilations": head["context_within_image"]["cfg"]["dilations"],
        "halve": head["downsample_backbone"]["stride"] > 1,
        "early_weight": _weight(config, "loss_cls_stage1"),
        "memory_weight": head["loss_cfg"]["scale_factor"] if head["use_loss"] else 0.0,
        # it follows the learning rate there: its value at the full one
        "momentum": momentum["base_momentum"] / momentum["base_lr"] * config["scheduler"]["optimizer"]["lr"],
        "leaky": config["act_cfg"]["type"] == "LeakyReLU",
    }
    return "mcibi", {**options, **_mcibi_auxiliary(config)}


def _mcibi_auxiliary(config: Config) -> dict[str, Any]:
    """Return the options of one auxiliary head, or of three alike."""
    auxiliary = config["auxiliary"]
    if not isinstance(auxiliary, list):
        return _auxiliary(config)
    first = auxiliary[0]
    if any(each != first for each in auxiliary):
        raise UnsupportedError("the auxiliary heads of vitrail's MCIBI are alike")
    return {
        "aux_weight": _weight(config, "loss_aux1"),
        "aux_channels": first["out_channels"],
        "aux_indices": list(range(len(auxiliary))),
        "aux_convs": first["num_convs"],
        "aux_upsample": first["upsample"]["scale_factor"],
    }


def _maskformer(config: Config) -> tuple[str, dict[str, Any]]:
    head = config["head"]
    predictor, matcher = head["predictor"], head["matcher"]
    return "maskformer", {
        "channels": head["feats_channels"],
        "mask_channels": head["mask_feats_channels"],
        "pool_sizes": head["pool_scales"],
        "query_channels": predictor["hidden_dim"],
        "num_queries": predictor["num_queries"],
        "num_layers": predictor["dec_layers"],
        "num_heads": predictor["nheads"],
        "feedforward_channels": predictor["dim_feedforward"],
        "dropout": predictor["dropout"],
        "class_weight": matcher["cost_class"],
        "mask_weight": matcher["cost_mask"],
        "dice_weight": matcher["cost_dice"],
    }


_METHODS: Mapping[str, Callable[[Config], tuple[str, dict[str, Any]]]] = {
    "FCN": _fcn,
    "PSPNet": _simple("pspnet", pool_sizes="pool_scales"),
    "Deeplabv3": _simple("deeplabv3", dilations="dilations"),
    "Deeplabv3Plus": _simple("deeplabv3plus", dilations="dilations", shortcut_channels="shortcut_channels"),
    "UPerNet": _simple("upernet", pool_sizes="pool_scales"),
    "OCRNet": _ocrnet,
    "ENCNet": _encnet,
    "EMANet": _emanet,
    "PointRend": _pointrend,
    "Segformer": _segformer,
    "MaskFormer": _maskformer,
    "ICNet": _icnet,
    "CE2P": _ce2p,
    "MCIBI": _mcibi,
    "DepthwiseSeparableFCN": _fastscnn,
}
_BACKBONE_METHODS: Mapping[tuple[str, str], Callable[[Config], tuple[str, dict[str, Any]]]] = {
    ("FCN", "CGNet"): _cgnet,
    ("FCN", "BiSeNetV1"): _bisenet("bisenetv1"),
    ("FCN", "BiSeNetV2"): _bisenet("bisenetv2"),
}


def _criteria(losses: Config, where: str) -> dict[str, Terms]:
    main = losses.get("loss_cls") or losses.get("loss_cls_stage2")
    if not main:
        return {"losses": [{"name": "cross_entropy"}]}
    auxiliary = [_terms(terms) for name, terms in losses.items() if name.startswith("loss_aux")]
    return criteria(_terms(main), auxiliary, where)


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
