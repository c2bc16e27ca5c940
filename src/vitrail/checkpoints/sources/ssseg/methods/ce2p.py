"""CE2P: parsing refined with edges."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM, triples
from vitrail.checkpoints.sources.ssseg.heads import METHODS, PYRAMID, Config, Options, loss_weight

RENAMING = Renaming(
    {
        **PYRAMID,
        "ppm_net.bottleneck": ("head.fuse", CONV_NORM),
        "shortcut": ("head.shortcut", CONV_NORM),
        "edge_net.edge_conv": "head.edges.edge",
        "edge_net.fuse_conv": "head.edges.fuse",
        "edge_net.branches.*": ("head.edges.branches.*", CONV_NORM),
        "decoder_stage1": ("head.parse", triples(2)),
        "decoder_stage1.7": "head.early_classifier",
        "decoder_stage2": ("head.refine", triples(2)),
        "decoder_stage2.7": "head.classifier",
    }
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    head = config["head"]
    options = {
        "channels": head["feats_channels"],
        "shortcut_channels": head["shortcut_feats_channels"],
        "edge_channels": head["epm_hidden_channels"],
        "pool_sizes": head["pool_scales"],
        "edge_weights_in_mean": config["losses"]["loss_edge"].get("norm_loss_with_class_weight", True),
        "early_weight": loss_weight(config, "loss_cls_stage1"),
        "edge_weight": loss_weight(config, "loss_edge"),
        "dropout": head["dropout_stage2"],
        "early_dropout": float(head["dropout_stage1"]),
    }
    return options, {}


METHODS.add("ce2p", MethodRecord("CE2P", translate, RENAMING), module=__name__)
