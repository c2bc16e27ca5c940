"""Published recipes against the settings and results that SSSegmentation published."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from recipes.published_names import BACKBONES, DATASETS, DEFAULTS, OPTIONS, REPEATED, RULES, SEGMENTORS, VALUES

from vitrail.datasets import benchmarks
from vitrail.layers import default_dilations
from vitrail.recipes import AugmentConfig, LossConfig, OptimizerConfig, Recipe, ResizeConfig, list_recipes, load_recipe
from vitrail.segmentors import SEGMENTORS as METHODS

# What SETR-MLA adds to its encoder, which is a part of the head in SSSegmentation.
AGGREGATION = ["backbone.trunk.norms", "backbone.projections", "backbone.convs"]
LOSSES = {"cross_entropy": False, "binary_cross_entropy": True}
# Options that some recipes of a method set, and that have the builder's default in the others.
LEFT_OUT = {
    "ce2p": ["edge_weights_in_mean"],
    "mcibi": ["leaky", "memory_weight", "momentum"],
    "danet": ["position_weight", "channel_weight"],
    "nonlocalnet": ["pairwise"],
    "gcnet": ["pooling", "fusions"],
    "isnet": ["leaky", "shortcut_channels"],
    "idrnet": ["early_from_pixels", "pyramid_channels"],
    "mcibiplusplus": [
        *("attend", "halve", "kernel_size", "pixel_kernel_size", "context_kernel_size", "pyramid_channels"),
        "read_by_pixels",
    ],
}

REFERENCES = {name: recipe for name in list_recipes() if (recipe := load_recipe(name)).reference is not None}
PUBLISHED = {n: r for n, r in REFERENCES.items() if r.reference and r.reference.source == "SSSegmentation"}


@lru_cache
def configs(reference_data: Path) -> dict[str, dict[str, Any]]:
    """SSSegmentation's configurations by name."""
    data = json.loads((reference_data / "ssseg_configs.json").read_text())
    named = {key.partition("/")[2]: value for key, value in data.items()}
    # These were collected after another file had changed what both share; on their own they say otherwise.
    del named["fcn_bisenetv2_cityscapes"]["fp16_cfg"]
    named["upernet_beitlarge_ade20k"]["inference"]["tta"]["use_probs_before_resize"] = False
    named["deeplabv3_mobilevitv2050_voc-cocosubvoc"]["dataset"] = named["deeplabv3_mobilevitv2100_voc-cocosubvoc"][
        "dataset"
    ]
    for config in named.values():
        if config["dataset"]["type"] == "MultipleDataset":
            config["dataset"] = several_datasets(config["dataset"])
    return named


def several_datasets(config: dict[str, Any]) -> dict[str, Any]:
    """Return the section of training on VOC and COCO's images of its classes as those of one dataset are."""
    voc, coco = config["train"].values()
    assert voc["train"]["data_pipelines"] == coco["train"]["data_pipelines"]
    assert voc["train"]["set"] == "trainaug"  # to which vitrail's "train" adds those of COCO
    return {
        "type": config["type"],
        "train": {**voc["train"], "set": "train"},
        "test": config["test"]["VOCDataset"]["test"],
    }


@lru_cache
def zoo(reference_data: Path) -> list[dict[str, str]]:
    """The rows of SSSegmentation's tables of results."""
    return json.loads((reference_data / "ssseg_zoo.json").read_text())


def theirs(name: str) -> str:
    return name.replace("_fp16_", "_apexfp16_")


def pipeline(config: dict[str, Any], part: str) -> dict[str, dict[str, Any]]:
    return dict(config["dataset"][part]["data_pipelines"])


def test_there_are_published_recipes_for_every_method() -> None:
    assert {recipe.model.segmentor for recipe in PUBLISHED.values()} >= set(SEGMENTORS)


def test_none_of_the_methods_published_configurations_is_missing(reference_data: Path) -> None:
    published = (
        r"(fcn|pspnet)_(resnet|resnest|mobilenet|unet)|.*(cgnet|fastscnn|bisenetv|erfnet)|(icnet|ce2p|mcibi)_|"
        r"(maskformer|mask2former|pointrend)_|"
        r"(semanticfpn|setr(?:naive|pup|mla)|lrasppnet|fastfcn|psanet|isnet|idrnet|mcibiplusplus)_|"
        r"(deeplabv3|deeplabv3plus|upernet|ocrnet|segformer|encnet|emanet)_|"
        r"(danet|ccnet|nonlocalnet|gcnet|annnet|dnlnet|isanet|apcnet|dmnet)_"
    )
    names = [name for name in configs(reference_data) if re.match(published, name)]
    benchmarks = [name for name in names if configs(reference_data)[name]["dataset"]["type"] in DATASETS.values()]
    assert sorted(map(theirs, PUBLISHED)) == sorted(benchmarks)


def check_model(recipe: Recipe, config: dict[str, Any]) -> None:
    assert SEGMENTORS[recipe.model.segmentor] == config["type"]
    assert recipe.model.backbone is not None
    for key, value in BACKBONES[recipe.model.backbone].items():
        assert config["backbone"][key] == value
    assert recipe.model.output_stride == config["backbone"].get("outstride")
    encoder = config["backbone"].get("backbone_cfg", config["backbone"])
    assert recipe.model.pretrained == encoder["pretrained"]
    check_backbone_options(recipe.model.backbone_options, config)
    if recipe.model.segmentor in OPTIONS:
        assert config["align_corners"] == recipe.model.options.get("align_corners", False)
        for option, value in options_in_force(recipe).items():
            assert value == published_option(config, OPTIONS[recipe.model.segmentor][option]), option
        return
    head, options = config["head"], recipe.model.options
    assert options.get("depthwise_act", False) is (recipe.model.segmentor == "fastscnn")
    assert options["dropout"] == head["dropout"]
    assert options.get("pool_sizes") == head.get("pool_scales")
    if recipe.model.segmentor == "fcn":
        assert options["num_convs"] == head.get("num_convs", 2)
    if recipe.model.segmentor == "cgnet":
        return
    if config["auxiliary"] is None:
        assert (options["channels"], recipe.model.auxiliary.weight) == (head["feats_channels"], 0.0)
    else:
        assert options["channels"] == head["feats_channels"]
        assert config["align_corners"] == options.get("align_corners", False)
        auxiliary = config["auxiliary"] if isinstance(config["auxiliary"], list) else [config["auxiliary"]]
        assert {aux["out_channels"] for aux in auxiliary} == set(recipe.model.auxiliary.channels or ())
        assert {aux["dropout"] for aux in auxiliary} == {options["dropout"]}


def check_backbone_options(options: Mapping[str, Any], config: dict[str, Any]) -> None:
    backbone = config["backbone"]
    beit = backbone["type"] == "BEiT"  # its drop path and image size are left to SSSegmentation's defaults
    assert options.get("drop_path_rate", 0.0) == backbone.get("drop_path_rate", 0.1 if beit else 0.0)
    plain = backbone["type"] == "VisionTransformer"
    assert options.get("img_size") == {"BEiT": 640, "MAE": 512}.get(
        backbone["type"], backbone["img_size"][0] if plain else None
    )
    mobile = [0, 1, 4] if backbone["type"] == "MobileNetV3" else None
    assert options.get("out_indices") == (backbone["out_indices"] if plain else mobile)
    assert options.get("interpolation") == ("bilinear" if plain else None)
    assert options.get("norm_outputs", False) is (plain and "norm_cfg" in config["head"])
    assert options.get("pyramid", False) is ("feature2pyramid" in config["head"])
    assert options.get("concat", False) is (backbone["type"] == "HRNet")
    assert options.get("pointwise_bias", True) is (backbone["type"] != "BiSeNetV2")
    assert options.get("depthwise_act", False) is (backbone["type"] == "FastSCNN")
    assert options.get("norm_eps") == (1e-5 if backbone["type"] in ("CGNet", "ERFNet") else None)
    assert options.get("downsample_bias", True) is (backbone["type"] != "ERFNet")
    assert options.get("prelu", False) is (backbone.get("act_cfg", {}).get("type") == "PReLU")
    within = backbone.get("backbone_cfg", {})
    assert options.get("deep_stem", False) is within.get("use_conv3x3_stem", False)
    assert within.get("depth", 18) == 18


def options_in_force(recipe: Recipe) -> dict[str, Any]:
    """Return the method's options, with those that are left out and the dilations that follow the output stride."""
    options = dict(recipe.model.options)
    if recipe.model.segmentor in ("deeplabv3", "deeplabv3plus") and "dilations" not in options:
        assert recipe.model.output_stride is not None
        options["dilations"] = list(default_dilations(recipe.model.output_stride))
    for name, value in recipe.model.auxiliary.model_dump(exclude_none=True, exclude={"losses"}).items():
        one_width = name == "channels" and len(value) == 1
        options[f"auxiliary.{name}"] = value[0] if one_width else list(value) if isinstance(value, tuple) else value
    defaults = METHODS[recipe.model.segmentor].options
    return {name: defaults[name].default for name in LEFT_OUT.get(recipe.model.segmentor, ())} | options


def published_option(config: dict[str, Any], path: str) -> Any:
    """Return what lies at a dotted path of a configuration, in our terms."""
    if path == "losses.loss_aux.scale_factor" and "loss_aux" not in config["losses"]:
        weights = {term["scale_factor"] for name, term in config["losses"].items() if name.startswith("loss_aux")}
        return weights.pop() if weights else 0.0
    if path == "losses.loss_edge.norm_loss_with_class_weight":
        return config["losses"]["loss_edge"].get("norm_loss_with_class_weight", True)  # SSSegmentation's default
    if path == "bilinear":  # it has no other
        return path
    value: Any = config
    for key in path.split("."):
        if path in DEFAULTS and key not in value:
            return DEFAULTS[path]
        if key.isdigit():
            value = value[int(key)]
        else:
            value = [part[key] for part in value] if isinstance(value, list) else value[key]
    if path == "auxiliary":  # one head on each map but the last, or the first sum of maps
        first = int(config["type"] == "SETRMLA")
        return list(range(first, first + len(value)))
    if path.endswith("momentum_cfg"):  # it follows the learning rate: its value at the full one
        return pytest.approx(value["base_momentum"] / value["base_lr"] * config["scheduler"]["optimizer"]["lr"])
    if path == "head.shortcut":
        return value["feats_channels"] if value["is_on"] else 0
    if path == "head.context_within_image":
        return value["type"] if value["is_on"] else "none"
    if path == "head.predictor.dec_layers" and "pixel_decoder" in config["head"]:
        return value - 1  # Mask2Former counts the prediction before the first layer there
    if path == "head":  # when IDRNet's context attends to itself
        whens = [when for when in ("before", "after") if value[f"use_sa_on_coarsecontext_{when}"]]
        return whens[0] if whens else "none"
    if path == "head.type":
        return ["collect", "distribute"] if value == "bi-direction" else [value]
    if path == "act_cfg.type":
        return value == "LeakyReLU"
    if path == "norm_cfg":
        return bool(value)
    if path in VALUES:
        return VALUES[path][tuple(value) if isinstance(value, list) else value]
    return value > 1 if path.endswith("stride") else value


def check_losses(recipe: Recipe, config: dict[str, Any]) -> None:
    losses = dict(config["losses"])
    loss, *others = recipe.model.losses
    if isinstance(losses.get("loss_cls"), list):
        losses["loss_cls"], second = losses["loss_cls"]
        check_dice(others, second)
        assert recipe.model.auxiliary.losses == (LossConfig(),)
    else:
        assert not others and recipe.model.auxiliary.losses is None
    if recipe.model.segmentor in OPTIONS:  # their weights are options
        assert loss.name == "cross_entropy" and loss.weight == 1.0
        for name, term in losses.items():
            assert term["type"] == "CrossEntropyLoss" and not term.get("class_weight")
            assert term.get("use_sigmoid", False) is (name == "loss_se")
            assert term["scale_factor"] == 1.0 or re.search(r"aux|stage1|(se|pr)$", name)
        return
    for name, term in losses.items():
        assert term["type"] == "CrossEntropyLoss"
        assert term.get("use_sigmoid", False) == LOSSES[loss.name]
        assert term.get("class_weight") == loss.options.get("class_weights")
        weight = loss.weight if name == "loss_cls" else loss.weight * recipe.model.auxiliary.weight
        assert term["scale_factor"] == weight


def check_dice(others: list[LossConfig], theirs: dict[str, Any]) -> None:
    (ours,) = others
    assert theirs == {"type": "DiceLoss", "scale_factor": ours.weight, "ignore_index": -100, "reduction": "mean"}
    # these are SSSegmentation's defaults
    assert (ours.name, ours.options) == ("dice", {"sigmoid": True, "squared": True, "per_class": False})


def check_data(recipe: Recipe, config: dict[str, Any]) -> None:
    data = recipe.data
    assert DATASETS[data.dataset] == config["dataset"]["type"]
    benchmark = benchmarks()[data.dataset]
    assert len(benchmark.classes) == config["num_classes"]
    ours = "train" if data.train_split == "train_videos" else data.train_split  # one frame of each, as theirs
    assert ours == config["dataset"]["train"]["set"]
    judged = config["dataset"]["test"]["set"]
    assert data.eval_split == ("val" if judged == "test" else judged)  # nobody has the labels of a test set
    for part in ("train", "test"):
        steps = pipeline(config, part)
        assert steps["Normalize"] == {"mean": list(data.mean), "std": list(data.std)}
        if part == "train" and data.augment.shortest_edge is not None:
            check_shortest_edge(data.augment, steps)
            continue
        resize: ResizeConfig | None = data.augment.resize if part == "train" else data.eval_resize
        assert resize is not None
        assert sorted(resize.size) == sorted(steps["Resize"]["output_size"])
        assert resize.keep_ratio is steps["Resize"]["keep_ratio"]
    steps = pipeline(config, "train")
    augment = data.augment
    rotation = {"RandomRotation": {"angle_upper": augment.rotate_degrees, "prob": augment.rotate}}
    resized = next(step for step in steps if step.endswith("Resize"))
    expected = [resized, "RandomCrop", "RandomFlip", *(rotation if augment.rotate else ()), "PhotoMetricDistortion"]
    if augment.extra:
        check_blur(augment, steps)  # which comes before the other changes of colours there
        expected = [resized, "RandomFlip", "RandomCrop", "PILRandomGaussianBlur", "PhotoMetricDistortion", *rotation]
    expected += ["Normalize", "ToTensor", "Padding"]
    assert [step for step in steps if step != "EdgeExtractor"] == expected
    assert not augment.rotate or rotation["RandomRotation"] == steps["RandomRotation"]
    assert augment.shortest_edge or list(augment.scale) == steps["Resize"]["scale_range"]
    assert augment.crop is not None
    assert list(augment.crop) == steps["RandomCrop"]["crop_size"] == steps["Padding"]["output_size"]
    assert augment.max_class_share == steps["RandomCrop"]["one_category_max_ratio"]
    assert augment.flip == steps["RandomFlip"]["prob"]
    pairs = steps["RandomFlip"].get("fixed_seg_target_pairs", [])
    assert set(map(frozenset, benchmark.flip_pairs)) == set(map(frozenset, pairs))
    assert augment.photometric


def check_shortest_edge(augment: AugmentConfig, steps: dict[str, Any]) -> None:
    edge = augment.shortest_edge
    assert edge is not None
    if edge.between is not None:  # the largest length is never drawn there
        low, high = edge.between
        assert steps["RandomShortestEdgeResize"] == {"short_edge_range": [low, high + 1], "max_size": edge.max_size}
        return
    ours = {"scales": list(edge.choices), "max_size": edge.max_size}
    assert {**ours, "resize_type": "ResizeShortestEdge"} == steps["RandomChoiceResize"]


def check_blur(augment: AugmentConfig, steps: dict[str, Any]) -> None:
    (blur,) = augment.extra
    assert (blur.name, {"prob": blur.probability}) == ("GaussianBlur", steps["PILRandomGaussianBlur"])
    assert blur.options["sigma"] == pytest.approx([0.0, 1.0], abs=1e-3)  # SSSegmentation's default radius


def check_optimizer(recipe: Recipe, config: dict[str, Any]) -> None:
    theirs = config["scheduler"]["optimizer"]
    ours = recipe.optimizer
    assert ours.name == theirs["type"].lower()
    assert ours.lr == theirs["lr"]
    assert ours.weight_decay == theirs["weight_decay"]
    assert ours.options == {}  # so the momentum is 0.9, betas are 0.9 and 0.999, and eps is 1e-8
    assert theirs.get("momentum", 0.9) == 0.9
    assert theirs.get("eps", 1e-8) == 1e-8
    assert theirs.get("betas", [0.9, 0.999]) == [0.9, 0.999]
    rules = theirs["params_rules"]
    if "decay_type" in rules:
        check_layer_decay(ours, rules)
    else:
        rules = dict(rules)
        norms = rules.pop("base_setting", {"norm_wd_multiplier": 1.0})
        assert (ours.decay_norms, ours.decay_biases, ours.layer_decay) == (
            bool(norms["norm_wd_multiplier"]),
            True,
            None,
        )
        check_rules(ours, rules, config["backbone"]["type"])


def check_rules(ours: OptimizerConfig, theirs: dict[str, dict[str, float]], backbone: str) -> None:
    """Compare multipliers by parts of names; "convs" and "decoder" are all of SegFormer's head."""
    head = [rule for key, rule in theirs.items() if key in ("convs", "decoder")]
    assert all(rule == {"lr_multiplier": ours.head_lr, "wd_multiplier": 1.0} for rule in head)
    assert (ours.head_lr == 1.0) is (not head)
    if backbone == "VisionTransformer":
        assert theirs == {"backbone_net": {"lr_multiplier": ours.backbone_lr, "wd_multiplier": 1.0}}
        # the norms of the maps are the encoder's here, the head's there
        assert [rule.match for rule in ours.rules] in (["backbone.norms"], AGGREGATION)
        assert all((rule.lr, rule.weight_decay) == (1.0, None) for rule in ours.rules)
        return
    theirs = dict(theirs)
    encoder = theirs.pop("backbone_net", {"lr_multiplier": 1.0, "wd_multiplier": 1.0})
    assert encoder == {"lr_multiplier": ours.backbone_lr, "wd_multiplier": 1.0}
    theirs = without_norms(theirs, ours, encoder)
    expected = {match: rule for key, rule in theirs.items() if rule not in head for match in RULES[backbone, key]}
    assert {rule.match: {"wd_multiplier": rule.weight_decay} for rule in ours.rules} == expected
    assert all(rule.lr is None for rule in ours.rules)


def without_norms(
    theirs: dict[str, dict[str, float]], ours: OptimizerConfig, encoder: dict[str, float]
) -> dict[str, dict[str, float]]:
    """Return the rules there without those that repeat what the recipe says of all norms and of the encoder's rate."""
    if ours.decay_norms:
        return theirs
    rate = encoder["lr_multiplier"]
    left = {}
    for key, rule in theirs.items():
        if key.startswith("backbone_net.") and "norm" in key:
            assert rule == {"lr_multiplier": rate, "wd_multiplier": 0.0}
        else:
            of_encoder = key in ("relative_position_bias_table", "absolute_pos_embed")
            assert rule["lr_multiplier"] == (rate if of_encoder else 1.0)
            left[key] = {"wd_multiplier": rule["wd_multiplier"]}
    return left


def check_layer_decay(ours: OptimizerConfig, theirs: dict[str, Any]) -> None:
    """Compare rates that fall from layer to layer; neither norms nor biases nor single channels' factors decay then."""
    assert (ours.decay_norms, ours.decay_biases, ours.head_lr) == (False, False, 1.0)
    rate = theirs["decay_rate"]
    rates = {rule.match: rule.lr for rule in ours.rules if rule.lr is not None}
    assert [rule.weight_decay for rule in ours.rules if rule.match not in rates] == [0.0]
    if theirs["decay_type"] == "layer_wise_vit":
        assert (ours.layer_decay, rates) == (rate, {})
        assert ours.backbone_lr == pytest.approx(1 / rate)  # the neck, a layer here, is none there
    else:
        assert (ours.layer_decay, ours.backbone_lr) == (None, 1.0)
        head = theirs["num_layers"] + 1
        expected = {f"backbone.encoder.stages.{stage}": rate ** (head - stage - 1) for stage in range(4)}
        for first in ("backbone.encoder.stem", ".downsample."):
            expected[first] = rate**head
        assert rates == pytest.approx(expected)


def check_schedule(recipe: Recipe, config: dict[str, Any]) -> None:
    scheduler = config["scheduler"]
    assert recipe.schedule.name == {"PolyScheduler": "poly", "CosineScheduler": "cosine"}[scheduler["type"]]
    assert recipe.schedule.name != "poly" or recipe.schedule.power == scheduler["power"]
    # SSSegmentation's default floor is a hundredth of the learning rate.
    assert recipe.schedule.min_lr == pytest.approx(scheduler.get("min_lr", 0.01 * recipe.optimizer.lr), rel=1e-12)
    warmup = recipe.schedule.warmup
    ours = None if warmup is None else {"type": "linear", "ratio": warmup.ratio, "iters": warmup.iterations}
    assert ours == scheduler.get("warmup_cfg")
    if recipe.data.dataset in REPEATED:
        images = REPEATED[recipe.data.dataset] * config["dataset"]["train"]["repeat_times"]
        assert recipe.train.iterations == scheduler["max_epochs"] * (images // recipe.train.batch_size)
    else:
        assert recipe.train.epochs == scheduler["max_epochs"]


def check_training_and_evaluation(recipe: Recipe, config: dict[str, Any]) -> None:
    assert recipe.train.batch_size == config["dataloader"]["expected_total_train_bs_for_assert"]
    every = config["eval_interval_epochs"]
    assert recipe.train.eval_every == (None if every > config["scheduler"]["max_epochs"] else every)
    assert recipe.train.ema == (1 - config["ema_cfg"]["momentum"] if "ema_cfg" in config else None)
    assert recipe.train.clip_grad_norm == config["scheduler"].get("clipgrad_cfg", {}).get("max_norm")
    assert recipe.train.amp == ("float16" if "fp16_cfg" in config else "none")
    forward = config["inference"]["forward"]
    assert forward["mode"] == recipe.evaluation.mode
    for ours, theirs in ((recipe.evaluation.window, "cropsize"), (recipe.evaluation.stride, "stride")):
        assert (None if ours is None else list(ours)) == forward[theirs]
    assert config["inference"]["tta"]["multiscale"] == list(recipe.evaluation.scales)
    assert config["inference"]["tta"]["flip"] == recipe.evaluation.flip
    if forward["mode"] == "slide":
        averaged = {True: "probabilities", False: "logits"}[config["inference"]["tta"]["use_probs_before_resize"]]
        assert recipe.evaluation.average == averaged


def check_result(recipe: Recipe, row: dict[str, str]) -> None:
    assert recipe.reference is not None
    (figures,) = (value for key, value in row.items() if key.startswith(("mIoU", "mDice")))
    if not figures:
        assert (recipe.reference.miou, recipe.reference.mdice) == (None, None)
    elif "mDice" in row:
        expected = pytest.approx(float(figures.rstrip("%")) / 100, abs=1e-9) if figures else None
        assert (recipe.reference.miou, recipe.reference.mdice) == (None, expected)
    elif "mIoU (ms+flip)" in row:  # a figure of another kind
        assert recipe.reference.miou is None
    else:
        single_scale = figures.split("/")[0].rstrip("%")
        assert recipe.reference.miou == pytest.approx(float(single_scale) / 100, abs=1e-9)
    assert recipe.reference.source


WITHOUT_RESULT = {"mcibiplusplus_upernet_resnet50os8_vspw"}  # a configuration of which nothing else is published
CHECKS = (check_model, check_losses, check_data, check_optimizer, check_schedule, check_training_and_evaluation)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_published_settings_and_result(name: str, reference_data: Path) -> None:
    recipe, config = PUBLISHED[name], configs(reference_data)[theirs(name)]
    rows = [row for row in zoo(reference_data) if row["cfg"].endswith(f"/{theirs(name)}.py")]
    assert len(rows) == (name not in WITHOUT_RESULT)
    found = [difference(check, recipe, config) for check in CHECKS]
    found += [difference(check_result, recipe, row) for row in rows]
    differences = [text for text in found if text is not None]
    assert not differences, "\n\n".join(differences)


def difference(check: Callable[..., None], recipe: Recipe, published: Any) -> str | None:
    """Return what a check finds different; None where all is the same."""
    try:
        check(recipe, published)
    except AssertionError as error:
        return f"{check.__name__}: {error}"
    return None
