"""Checkpoints of CGNet's authors: `{"epoch": …, "model": state_dict}` (github.com/wutianyiRosun/CGNet, MIT licence)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vitrail.checkpoints.sources.renaming import Part, Rules, State, Table
from vitrail.checkpoints.sources.source import Content, Importer
from vitrail.datasets import benchmarks
from vitrail.errors import CheckpointError
from vitrail.segmentors import ModelCard

# The authors subtract the mean of blue from red and the other way round, and divide by nothing.
CAMVID_MEAN = (105.658, 103.330, 99.625)

BLOCK_RULES: Rules = (
    (r"\.reduce\.conv\.", ".project."),
    (r"\.conv1x1\.", ".reduce."),
    (r"\.F_loc\.conv\.", ".local."),
    (r"\.F_sur\.conv\.", ".surround."),
    (r"\.F_glo\.fc\.", ".context.weights."),
    (r"^(level[23]_0|level[23]\.\d+)\.bn_prelu\.", r"\1.joint."),
    (r"^(level[23]_0)\.(bn|act)\.", r"\1.joint.\2."),
    (r"\.bn\.", ".norm."),
)

STAGE_RULES: Rules = (
    (r"^level1_(\d)\.", r"backbone.stem.\1."),
    (r"^b1\.", "backbone.norm0."),
    (r"^bn_prelu_2\.", "backbone.norm1."),
    (r"^bn_prelu_3\.", "backbone.norm2."),
    (r"^level2_0\.", "backbone.level1.0."),
    (r"^level3_0\.", "backbone.level2.0."),
    (r"^classifier\.\d\.conv\.", "head.classifier."),
)


def _level_rules(theirs: str, ours: str, blocks: int) -> Rules:
    """Shift the blocks of a level by one: ours begin with the one that halves the map."""
    return [(rf"^{theirs}\.{index}\.", f"backbone.{ours}.{index + 1}.") for index in range(blocks)]


def _weights(content: Content) -> Mapping[str, Any]:
    weights = content.get("model")
    named = weights if isinstance(weights, Mapping) else {}
    return {str(name).removeprefix("module."): tensor for name, tensor in named.items()}


def _recognise(content: Content) -> bool:
    return {"b1.bn.weight", "level2_0.F_sur.conv.weight", "bn_prelu_3.bn.weight"} <= _weights(content).keys()


def _read_card(content: Content, source: str) -> ModelCard:
    weights = _weights(content)
    blocks = [_count(weights, rf"level{level}\.(\d+)\.") for level in (2, 3)]
    return _card(_num_classes(weights, source), (blocks[0] + 1, blocks[1] + 1), source)


def _parts(model: Mapping[str, Any]) -> list[Part]:
    first, second = model["backbone_options"]["num_blocks"]
    rules = (
        *BLOCK_RULES,
        *STAGE_RULES,
        *_level_rules("level2", "level1", first - 1),
        *_level_rules("level3", "level2", second - 1),
    )
    return [Part(Table(rules, (_zero_bias,)))]


def _count(weights: Mapping[str, Any], pattern: str) -> int:
    return len({found[1] for name in weights if (found := re.match(pattern, name))})


def _num_classes(weights: Mapping[str, Any], source: str) -> int:
    for name, value in weights.items():
        if re.match(r"classifier\.\d\.conv\.weight$", name) and isinstance(value, Tensor):
            return value.shape[0]
    raise CheckpointError(f"{source} is a checkpoint of CGNet's authors without a classifier")


def _card(num_classes: int, blocks: tuple[int, int], source: str) -> ModelCard:
    camvid = benchmarks()["camvid"]
    if num_classes != len(camvid.classes):
        raise CheckpointError(
            f"{source} is a checkpoint of CGNet's authors for {num_classes} classes; only those for CamVid's "
            f"{len(camvid.classes)} can be read, since nothing in such a file says which classes they are"
        )
    return ModelCard(
        classes=camvid.classes,
        palette=camvid.palette,
        mean=CAMVID_MEAN,
        std=(1.0, 1.0, 1.0),
        recipe={
            "name": "cgnet_camvid",
            "model": {
                "segmentor": "cgnet",
                "backbone": "cgnet_m3n21",
                "backbone_options": {"num_blocks": list(blocks)},
                "options": {"dropout": 0.0},
            },
            "data": {"dataset": "camvid", "mean": list(CAMVID_MEAN), "std": [1.0, 1.0, 1.0]},
            "train": {"epochs": 800, "batch_size": 8},
            "evaluation": {"mode": "whole"},
        },
        name="cgnet_m3n21_camvid",
        source="https://github.com/wutianyiRosun/CGNet",
        license="MIT",
    )


def _zero_bias(state: State) -> State:
    """Add the bias that their classifier does not have, as zeros."""
    weight = state.get("head.classifier.weight")
    if weight is None:
        return state
    return {**state, "head.classifier.bias": weight.new_zeros(weight.shape[0])}


CGNET_AUTHORS = Importer("CGNet's authors", recognise=_recognise, weights=_weights, card=_read_card, parts=_parts)
