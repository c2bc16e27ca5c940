"""SETR: convolutions on a plain transformer, each followed by a resize; or multi-level aggregation of its maps."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, fcn_names, head_options, loss_weight
from vitrail.recipes import ModelConfig

_AGGREGATION: Names = {
    "mla_neck.norm_layers": "backbone.trunk.norms",
    "mla_neck.mla.channel_proj.*": ("backbone.projections.*", CONV_NORM),
    "mla_neck.mla.feat_extract.*": ("backbone.convs.*", CONV_NORM),
    "up_convs.*": ("head.convs.*", {"0": "0.conv", "1": "0.bn", "3": "1.conv", "4": "1.bn"}),
    "decoder.1": "head.classifier",
}


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads of SETR with naive or progressive upsampling."""
    keys = {"num_convs": "num_convs", "kernel_size": "kernel_size", "upsample": "scale_factor"}
    return head_options(config, channels="feats_channels", **keys), _auxiliary(config, first=0)


def translate_aggregation(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads of SETR with multi-level aggregation."""
    options = head_options(
        config, aggregation_channels="mla_feats_channels", channels="mla_up_channels", upsample="scale_factor"
    )
    return options, _auxiliary(config, first=len(config["head"]["in_channels_list"]) - len(config["auxiliary"]))


def _auxiliary(config: Config, *, first: int) -> Options:
    """Return the description of auxiliary heads that are alike, on neighbouring maps from `first` on."""
    heads = config["auxiliary"]
    if not heads:
        return {"weight": 0.0}
    if any(each != heads[0] for each in heads):
        raise UnsupportedError("the auxiliary heads of vitrail's SETR are alike")
    return {
        "weight": loss_weight(config, "loss_aux1"),
        "channels": [heads[0]["out_channels"]],
        "maps": list(range(first, first + len(heads))),
        "num_convs": heads[0]["num_convs"],
        "kernel_size": heads[0]["kernel_size"],
        "upsample": heads[0]["scale_factor"],
        "upsample_mode": "bilinear",
        "dropout": heads[0]["dropout"],
    }


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on how many convolutions stand before the classifiers."""
    return Renaming(
        {
            "norm_layers": "backbone.norms",
            "decoder": ("head", fcn_names(model.options["num_convs"], upsampled=True)),
            **_auxiliary_names(model),
        }
    )


def renaming_aggregation(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on how many convolutions stand before the auxiliary classifiers."""
    return Renaming({**_AGGREGATION, **_auxiliary_names(model)})


def _auxiliary_names(model: ModelConfig) -> Names:
    return {"auxiliary_decoders.*": ("auxiliary.*", fcn_names(model.auxiliary.num_convs or 0, upsampled=True))}


METHODS.add("setr", MethodRecord("SETRUP", translate, renaming), module=__name__)
METHODS.add(
    "setr_mla", MethodRecord("SETRMLA", translate_aggregation, renaming_aggregation, inside="trunk"), module=__name__
)
