"""PointRend: a coarse prediction whose uncertain points are predicted again."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation, pyramid_channels, translation
from vitrail.checkpoints.sources.mmseg.losses import first_weight
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError

PYRAMID: Names = {
    "neck.lateral_convs.*.conv": "head.pyramid.laterals.*",
    "neck.fpn_convs.*.conv": "head.pyramid.smooth.*",
}


def scale_heads(head: str) -> Names:
    """Return the names of the sum of a pyramid's levels: every other member of their sequences enlarges."""
    return {f"{head}.scale_heads.*.{2 * i}": f"head.fuse.levels.*.{i}" for i in range(3)}


RENAMING = Renaming(
    {
        **PYRAMID,
        **scale_heads("decode_head.0"),
        "decode_head.0.conv_seg": "head.classifier",
        "decode_head.1.fcs.*.conv": "head.points.layers.*.0",
        "decode_head.1.fc_seg": "head.points.classifier",
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    width = pyramid_channels(model)
    coarse, head = model.decode_head(0), model.decode_head(1)
    coarse.settings.must_be("feature_strides", (4, 8, 16, 32))
    head.settings.must_be("coarse_pred_each_layer", True)
    training, testing = model.values.get("train_cfg") or {}, model.values.get("test_cfg") or {}
    if width != head.channels or testing.get("scale_factor", 2) != 2:
        raise UnsupportedError(f"{model.where} has a pyramid of {width} channels and an MLP of {head.channels}")
    options = {
        "channels": head.channels,
        "coarse_channels": coarse.channels,
        "num_layers": head.settings.take("num_fcs", 3),
        "norm": False,
        "num_points": training.get("num_points", 2048),
        "oversample": float(training.get("oversample_ratio", 3)),
        "importance_ratio": training.get("importance_sample_ratio", 0.75),
        "steps": testing["subdivision_steps"],
        "points_per_step": testing["subdivision_num_points"],
        "coarse_weight": first_weight(coarse.losses),
    }
    coarse.finish()
    head.finish()
    return translation(head, model.encoder_below_neck, options)


METHODS.add("pointrend", MethodRecord("FPNHead+PointHead", translate, RENAMING), module=__name__)
