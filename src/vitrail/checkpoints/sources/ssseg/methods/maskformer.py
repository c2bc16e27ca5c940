"""MaskFormer: a class and a mask for each of a set of queries."""

from __future__ import annotations

from torch import Tensor

from vitrail.checkpoints.sources.layouts import OnlyTheirs
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options

_NO_OBJECT = 0.1  # the weight that its criterion gives the class of queries without an object
_LAYER: Names = {"multihead_attn": "cross_attn", "linear1": "fc1", "linear2": "fc2"}


def class_weights(bias: Tensor) -> Tensor:
    """Return the criterion's weights of the classes [K + 1], from the bias of the classifier [K + 1]."""
    weights = bias.new_ones(len(bias))
    weights[-1] = _NO_OBJECT
    return weights


RENAMING = Renaming(
    {
        "ppm_net.branches.*": ("head.pixel_decoder.deepest.0.stages.*", {"1": "1.conv", "2": "1.bn"}),
        "ppm_net.bottleneck": ("head.pixel_decoder.deepest.1", CONV_NORM),
        # These are counted from the finest map there, from the coarsest here; the next from the coarsest in both.
        **{f"lateral_convs.{i}": (f"head.pixel_decoder.laterals.{2 - i}", CONV_NORM) for i in range(3)},
        "fpn_convs.*": ("head.pixel_decoder.smooth.*", CONV_NORM),
        "decoder_mask.0": "head.pixel_decoder.project",
        "decoder_predictor.class_embed": "head.classifier",
        "decoder_predictor.mask_embed.layers": "head.mask_mlp",
        "decoder_predictor.query_embed": "head.query_decoder.queries",
        "decoder_predictor.input_proj": "head.query_decoder.project",
        "decoder_predictor.transformer.decoder": ("head.query_decoder", {"layers.*": ("layers.*", _LAYER)}),
    },
    (OnlyTheirs("criterion.empty_weight", "head.classifier.bias", class_weights),),
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    head = config["head"]
    predictor, matcher = head["predictor"], head["matcher"]
    options = {
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
    return options, {}


METHODS.add("maskformer", MethodRecord("MaskFormer", translate, RENAMING), module=__name__)
