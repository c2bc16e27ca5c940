"""PointRend: a coarse prediction whose uncertain points are predicted again."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, head_options, loss_weight

# A feature pyramid and the sum of its levels.
FEATURE_PYRAMID: Names = {
    "fpn_neck.lateral_convs.*": ("head.pyramid.laterals.*", CONV_NORM),
    "fpn_neck.fpn_convs.*": ("head.pyramid.smooth.*", CONV_NORM),
    # every other member of their sequences enlarges
    **{f"scale_heads.*.{2 * i}": (f"head.fuse.levels.*.{i}", CONV_NORM) for i in range(3)},
}
RENAMING = Renaming(
    {
        **FEATURE_PYRAMID,
        "auxiliary_decoder.1": "head.classifier",
        "fcs": "head.points.layers",
        "decoder.1": "head.points.classifier",
    }
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    training, testing = config["head"]["train"], config["head"]["test"]
    options = head_options(
        config, channels="feats_channels", coarse_channels="scale_head_channels", num_layers="num_fcs"
    )
    options |= {
        "num_points": training["num_points"],
        "oversample": float(training["oversample_ratio"]),
        "importance_ratio": training["importance_sample_ratio"],
        "steps": testing["subdivision_steps"],
        "points_per_step": testing["subdivision_num_points"],
        "coarse_weight": loss_weight(config, "loss_aux"),
    }
    return options, {}


METHODS.add("pointrend", MethodRecord("PointRend", translate, RENAMING), module=__name__)
