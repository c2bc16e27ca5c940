"""MobileNetV3, whose strided convolutions pad as TensorFlow's do."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm, known_shape
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.recipes import ModelConfig

NORM_EPS = 1e-3
# The maps of the published models, by the layers there.
OUT_INDICES = {("large", (1, 3, 16)): (0, 1, 4), ("small", (0, 1, 12)): (0, 1, 4)}
# Blocks of each stage.
_STAGES = {"large": (1, 2, 3, 4, 2, 3), "small": (1, 2, 3, 2, 3)}
_SQUEEZE: Names = {"se.conv1.conv": "se.conv_reduce", "se.conv2.conv": "se.conv_expand"}
_FIRST_BLOCK: Names = {  # which does not widen
    "depthwise_conv.conv": "conv_dw",
    "depthwise_conv.bn": "bn1",
    "linear_conv.conv": "conv_pw",
    "linear_conv.bn": "bn2",
    **_SQUEEZE,
}
_BLOCK: Names = {
    "expand_conv.conv": "conv_pw",
    "expand_conv.bn": "bn1",
    "depthwise_conv.conv": "conv_dw",
    "depthwise_conv.bn": "bn2",
    "linear_conv.conv": "conv_pwl",
    "linear_conv.bn": "bn3",
    **_SQUEEZE,
}


def names(size: str) -> Names:
    """Return the names of the large or the small encoder."""
    stages = _STAGES[size]
    blocks = [(stage, block) for stage, count in enumerate(stages) for block in range(count)]
    last = f"encoder.blocks.{len(stages)}.0"
    return {
        "layer0.conv": "encoder.conv_stem",
        "layer0.bn": "encoder.bn1",
        **{
            f"layer{index}": (f"encoder.blocks.{stage}.{block}", _BLOCK if index > 1 else _FIRST_BLOCK)
            for index, (stage, block) in enumerate(blocks, start=1)
        },
        f"layer{len(blocks) + 1}.conv": f"{last}.conv",
        f"layer{len(blocks) + 1}.bn": f"{last}.bn1",
    }


def size_of(model: ModelConfig) -> str:
    """Return whether the encoder of a model is the large or the small one."""
    return "small" if "small" in (model.backbone or "") else "large"


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming of the encoder of a model."""
    return Renaming(names(size_of(model)))


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    arch = settings.take("arch", "small")
    key = (arch, as_tuples(settings.take("out_indices", (0, 1, 12))))
    known_shape(dict.fromkeys(OUT_INDICES, ""), key, settings.where)
    eps = (settings.peek("norm_cfg") or {}).get("eps")
    if eps != NORM_EPS:
        raise UnsupportedError(f"{settings.where} has norms with an epsilon of {eps}, not of {NORM_EPS}")
    check_norm(settings, "BN", "SyncBN", eps=NORM_EPS)
    settings.must_be("conv_cfg", None)
    settings.must_be("reduction_factor", 1)
    options = {"out_indices": list(OUT_INDICES[key])}
    return Encoder(f"tf_mobilenetv3_{arch}_100", 8, options, order=(0, 1, 2))


BACKBONES.add(
    "mobilenet_v3",
    BackboneRecord(("MobileNetV3",), r"tf_mobilenetv3_(large|small)_100", translate, renaming),
    module=__name__,
)
