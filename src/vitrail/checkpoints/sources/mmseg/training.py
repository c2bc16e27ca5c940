"""How a config of MMSegmentation trains: a whole recipe, and what it leaves out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.mmseg.config import recipe_from_config
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES
from vitrail.checkpoints.sources.mmseg.heads import METHODS, encoder_section
from vitrail.checkpoints.sources.records import find_backbone

Values = Mapping[str, Any]
# Steps of the training pipeline that say what the dataset and the crop say already.
_IMPLIED = ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs", "Pad")
# The default options of the optimizers, here and there.
_USUAL = {"momentum": 0.9, "betas": [0.9, 0.999], "eps": 1e-8}
# What the keys of `custom_keys` match in our names, where neither the method's nor the encoder's record says.
_MATCHES: Mapping[str, tuple[str, ...]] = {
    "norm": ("norm",),
    "pos_embed": ("pos_embed",),
    "cls_token": ("cls_token",),
    "relative_position_bias_table": ("relative_position_bias_table",),
    "absolute_pos_embed": (),  # no encoder here has them
    "pos_block": (),  # no parameter of the encoders that it is given for is called so
}


@dataclass
class Training:
    """A recipe in the making.

    Attributes
    ----------
    recipe : dict
        As plain data.
    left_out : list of str
        The settings of the config that vitrail does not take, each with its value or the difference that it makes.
    """

    recipe: dict[str, Any]
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, key: str, value: Any) -> None:
        """Note a setting that is not taken."""
        self.left_out.append(f"{key}={as_lists(value)}")


def training_from_config(config: Values, name: str) -> Training:
    """Return the recipe that trains as a config does.

    What concerns logging, files and the machine is passed over: the hooks, the visualizer, the loaders' processes, and
    test-time augmentation, which is a choice of the command line there.

    Parameters
    ----------
    config : mapping
        The whole config, as MMEngine reads it.
    name : str
        What it is called; "4xb2" in it says that four devices take two images each.

    Raises
    ------
    UnsupportedError
        When vitrail has no such model.
    """
    made = Training(recipe_from_config(config, name, name))
    _read_model(config, made)
    _read_data(config, made)
    _read_length(config, name, made)
    _read_optimizer(config, made)
    _read_schedule(config, made)
    return made


def _read_model(config: Values, made: Training) -> None:
    """Take which weights the encoder starts from, and what of it is frozen; the dataset says how many classes."""
    del made.recipe["model"]["num_classes"]
    model, backbone = config["model"], encoder_section(config["model"])
    backbone = backbone.get("backbone_cfg", backbone)
    init = backbone.get("init_cfg") or {}
    init = init[0] if isinstance(init, (list, tuple)) else init
    weights = model.get("pretrained") or backbone.get("pretrained") or init.get("checkpoint")
    if weights:
        made.recipe["model"]["pretrained"] = True
        made.left_out.append(f"the encoder's weights {weights}: those that vitrail has for it are taken")
    if backbone.get("norm_eval"):
        made.recipe["train"]["freeze_norms"] = True
    if (backbone.get("frozen_stages") or -1) >= 0 or backbone.get("frozen_stages") == 0:
        made.recipe["train"]["freeze_stages"] = backbone["frozen_stages"]
    if backbone.get("with_cp"):
        made.recipe["train"]["activation_checkpointing"] = True
    for key in ("drop_rate", "attn_drop_rate"):
        if backbone.get(key):
            made.leave_out(f"model.backbone.{key}", backbone[key])


def _read_data(config: Values, made: Training) -> None:
    """Take the split and the training pipeline."""
    if made.recipe["data"]["dataset"] == "folder":
        made.leave_out("dataset_type", config["dataset_type"])
    dataset = config["train_dataloader"]["dataset"]
    if dataset["type"] == "ConcatDataset":
        files = [each.get("ann_file") for each in dataset["datasets"]]
        if files == ["ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/aug.txt"]:
            made.recipe["data"]["train_split"] = "trainaug"
        else:
            made.leave_out("train_dataloader.dataset.datasets", files)
    augment: dict[str, Any] = {"flip": 0.0, "photometric": False}
    for step in config["train_pipeline"]:
        kind = step["type"]
        if kind == "RandomResize" and step["keep_ratio"]:
            augment |= {"resize": {"size": sorted(step["scale"])}, "scale": as_lists(step["ratio_range"])}
        elif kind == "RandomChoiceResize" and step.get("resize_type") == "ResizeShortestEdge":
            augment["shortest_edge"] = {"lengths": as_lists(step["scales"]), "max_size": step["max_size"]}
        elif kind == "RandomCrop":
            augment |= {"crop": as_lists(step["crop_size"]), "max_class_share": step.get("cat_max_ratio", 1.0)}
        elif kind == "RandomFlip":
            augment["flip"] = step["prob"]
        elif kind == "PhotoMetricDistortion":
            augment["photometric"] = True
        elif kind not in _IMPLIED:
            made.left_out.append(f"train_pipeline: {kind}")
    made.recipe["data"]["augment"] = augment


def _read_length(config: Values, name: str, made: Training) -> None:
    """Take the length of the run and the images of a step."""
    train, loop, loader = made.recipe["train"], config["train_cfg"], config["train_dataloader"]
    train |= {"iterations": loop["max_iters"], "eval_every": loop["val_interval"]}
    if loop.get("val_begin", 1) > 1:
        made.leave_out("train_cfg.val_begin", loop["val_begin"])
    devices = re.search(r"(\d+)xb?\d+[-_]", name)
    if devices is None:
        made.left_out.append("the number of devices, which the name does not say: one is assumed")
    parts = config["optim_wrapper"].get("accumulative_counts", 1)
    train["batch_size"] = loader["batch_size"] * parts * (int(devices[1]) if devices else 1)
    train |= {"accumulate": parts} if parts > 1 else {}
    seed = (config.get("randomness") or {}).get("seed")
    train |= {"seed": seed} if seed is not None else {}


def _read_optimizer(config: Values, made: Training) -> None:
    """Take the optimizer, the clipping of gradients and the precision."""
    wrapper = dict(config["optim_wrapper"])
    values = dict(wrapper.pop("optimizer"))
    optimizer = made.recipe["optimizer"] = {"name": values.pop("type").lower(), "lr": values.pop("lr")}
    optimizer["weight_decay"] = values.pop("weight_decay")
    options = {key: as_lists(value) for key, value in values.items() if _USUAL.get(key) != as_lists(value)}
    if options:
        optimizer["options"] = options
    if wrapper.pop("type") == "AmpOptimWrapper":
        made.recipe["train"]["amp"] = "float16"
    clip = wrapper.pop("clip_grad", None)
    if clip:
        made.recipe["train"]["clip_grad_norm"] = clip["max_norm"]
    wrapper.pop("accumulative_counts", None)
    constructor, parameters = wrapper.pop("constructor", None), wrapper.pop("paramwise_cfg", None) or {}
    if constructor in ("LayerDecayOptimizerConstructor", "LearningRateDecayOptimizerConstructor"):
        _read_layer_decay(parameters, made)
    elif constructor is not None:
        made.leave_out("optim_wrapper.constructor", constructor)
    else:
        _read_parameter_groups(dict(parameters), config, made)
    for key, value in wrapper.items():  # such as how the loss is scaled in half precision
        made.leave_out(f"optim_wrapper.{key}", value)


def _read_layer_decay(parameters: Values, made: Training) -> None:
    """Take rates that fall from layer to layer of BEiT and MAE, or from stage to stage of ConvNeXt."""
    optimizer = made.recipe["optimizer"]
    rate = parameters.get("decay_rate", parameters.get("layer_decay_rate"))
    assert isinstance(rate, float)
    optimizer |= {"decay_norms": False, "decay_biases": False}
    if parameters.get("decay_type", "layer_wise") == "layer_wise":
        # the neck counts as a layer here, but not there
        optimizer |= {"layer_decay": rate, "backbone_lr": round(1 / rate, 10)}
        optimizer["rules"] = [{"match": ".gamma_", "weight_decay": 0.0}]
        return
    head = parameters["num_layers"] + 1
    names = {f"backbone.encoder.stages.{stage}": head - stage - 1 for stage in (3, 2, 1, 0)}
    names |= {"backbone.encoder.stem": head, ".downsample.": head}
    optimizer["rules"] = [{"match": match, "lr": round(rate**power, 10)} for match, power in names.items()]
    optimizer["rules"].append({"match": ".gamma", "weight_decay": 0.0})


def _read_parameter_groups(parameters: dict[str, Any], config: Values, made: Training) -> None:
    """Take multipliers of learning rate and weight decay; MMSegmentation applies the longest key that matches."""
    optimizer, rules = made.recipe["optimizer"], []
    keys = parameters.pop("custom_keys", {})
    of_backbone = keys.get("backbone", {}).get("lr_mult", 1.0)
    if parameters.get("norm_decay_mult") == 0.0:
        del parameters["norm_decay_mult"]
        optimizer["decay_norms"] = False
    encoder = find_backbone(BACKBONES, encoder_section(config["model"])["type"])
    method = METHODS[made.recipe["model"]["segmentor"]]
    ours = {**_MATCHES, **(encoder.optimizer_keys if encoder else {}), **method.optimizer_keys}
    for key in sorted(keys, key=lambda each: (len(each), each)):
        values = dict(keys[key])
        lr, decay = values.pop("lr_mult", 1.0), values.pop("decay_mult", 1.0)
        known = ours.get(key)
        if values:  # mmengine passes over them too
            made.leave_out(f"optim_wrapper.paramwise_cfg.custom_keys.{key}", values)
        elif key in ("head", "backbone") and decay == 1.0:
            optimizer[f"{key}_lr"] = lr
            rules += [{"match": match, "lr": lr} for match in known or ()]
        elif known is not None and (not known or lr in (1.0, of_backbone)):
            implied = key.endswith("norm") and decay == 0.0 and not optimizer.get("decay_norms", True)
            rules += [] if implied else [{"match": match, "weight_decay": decay} for match in known]
        else:
            made.leave_out(f"optim_wrapper.paramwise_cfg.custom_keys.{key}", keys[key])
    for key, value in parameters.items():
        made.leave_out(f"optim_wrapper.paramwise_cfg.{key}", value)
    if rules:
        optimizer["rules"] = rules


def _read_schedule(config: Values, made: Training) -> None:
    """Take a warm-up, and a polynomial or a step schedule."""
    schedule: dict[str, Any] = {}
    first = 0
    for values in config["param_scheduler"]:
        kind, begin = values["type"], values["begin"]
        if kind == "LinearLR" and begin == 0:
            schedule["warmup"] = {"iterations": values["end"], "ratio": values["start_factor"]}
        elif kind == "PolyLR":
            schedule |= {"name": "poly", "power": values["power"], "min_lr": values["eta_min"]}
            if values["end"] != config["train_cfg"]["max_iters"]:
                made.leave_out("param_scheduler.end", values["end"])
            first = begin
        elif kind == "MultiStepLR":
            length = config["train_cfg"]["max_iters"]
            schedule |= {"name": "step", "milestones": [step / length for step in values["milestones"]]}
            schedule["gamma"] = values.get("gamma", 0.1)
        else:
            made.leave_out("param_scheduler", values)
    if first and schedule.get("warmup", {}).get("iterations") == first:
        schedule["warmup"]["delay_schedule"] = True
    elif first:
        made.leave_out("param_scheduler.begin", first)
    made.recipe["schedule"] = schedule


def described(name: str, left_out: Sequence[str]) -> str:
    """Return the description of a recipe, which says what was left out of the config."""
    rest = "; ".join(left_out)
    return f"MMSegmentation's {name}." + (f" Not taken: {rest}." if rest else "")
