"""transformers' UPerNet."""

from __future__ import annotations

from typing import Any

from vitrail.backbones.levels import levels_of
from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.renaming import Names, Renaming, combine, under
from vitrail.checkpoints.sources.settings import Settings
from vitrail.checkpoints.sources.transformers.encoders import ENCODERS, backbone_of, described_backbone
from vitrail.checkpoints.sources.transformers.records import ModelRecord, Translation
from vitrail.recipes import ModelConfig


def upernet_heads(block: Names, pool: str = "psp_modules.*.1", fuse: str = "bottleneck") -> Names:
    """Return the names of the heads' modules.

    Parameters
    ----------
    block : mapping
        Names inside of a convolution with its norm.
    pool, fuse : str
        Where the convolutions of the pyramid pooling are, and the one that fuses them.
    """
    return {
        f"decode_head.{pool}": ("head.pyramid.stages.*.1", block),
        f"decode_head.{fuse}": ("head.pyramid_fuse", block),
        "decode_head.lateral_convs.*": ("head.laterals.*", block),
        "decode_head.fpn_convs.*": ("head.smooth.*", block),
        "decode_head.fpn_bottleneck": ("head.fuse", block),
        "decode_head.classifier": "head.classifier",
        "auxiliary_head.convs.*": ("auxiliary.0.convs.*", block),
        "auxiliary_head.classifier": "auxiliary.0.classifier",
    }


_HEADS = upernet_heads({"batch_norm": "bn"})


def _upernet(settings: Settings) -> Translation:
    kind, encoder = backbone_of(settings)
    options = {"channels": settings.take("hidden_size"), "pool_sizes": as_lists(settings.take("pool_scales"))}
    settings.must_be("loss_ignore_index", 255)
    settings.pass_over("auxiliary_in_channels")
    renaming = combine(Renaming(_HEADS), under("backbone", "backbone", ENCODERS[kind].renaming))
    return Translation("upernet", encoder, renaming, options, auxiliary_of(settings))


def auxiliary_of(settings: Settings) -> dict[str, Any]:
    """Return the auxiliary heads that a configuration describes, as `vitrail.recipes.AuxiliaryConfig` has them."""
    weight = settings.take("auxiliary_loss_weight", 0.4)
    described = {
        "channels": [settings.take("auxiliary_channels", 256)],
        "num_convs": settings.take("auxiliary_num_convs", 1),
        "concat_input": settings.take("auxiliary_concat_input", False),
    }
    return {"weight": weight, **described} if settings.take("use_auxiliary_head", True) else {"weight": 0.0}


def _describe_upernet(model: ModelConfig) -> dict[str, Any]:
    auxiliary, encoder = model.auxiliary, described_backbone(model)
    described = {
        "backbone_config": encoder,
        "hidden_size": model.options["channels"],
        "pool_scales": list(model.options["pool_sizes"]),
        "use_auxiliary_head": bool(auxiliary.weight),
    }
    if auxiliary.weight:
        described["auxiliary_loss_weight"] = auxiliary.weight
        described["auxiliary_channels"] = (auxiliary.channels or (256,))[0]
        described["auxiliary_num_convs"] = auxiliary.num_convs
        described["auxiliary_concat_input"] = auxiliary.concat_input
        described["auxiliary_in_channels"] = levels_of(model.backbone or "").channels[-2]
    return described


UPERNET = ModelRecord(
    "UperNetForSemanticSegmentation", _upernet, "upernet", _describe_upernet, "SegformerImageProcessor"
)
