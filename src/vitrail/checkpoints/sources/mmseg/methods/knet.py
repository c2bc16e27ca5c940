"""K-Net: kernels of another method's head, updated for each image."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.layouts import Change, UnnumberedWhenAlone
from vitrail.checkpoints.sources.mmseg.heads import (
    AUXILIARY,
    METHODS,
    Head,
    ModelSection,
    Translation,
    one_auxiliary,
    translation,
)
from vitrail.checkpoints.sources.mmseg.methods.deeplabv3 import average_first, average_last
from vitrail.checkpoints.sources.records import MethodRecord, renaming_for
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.layers import default_dilations
from vitrail.recipes import ModelConfig

_DECODERS = {"FCNHead": "fcn", "PSPHead": "pspnet", "ASPPHead": "deeplabv3", "UPerHead": "upernet"}
_GATE: Names = {
    "dynamic_layer": "feature_layer",
    "input_layer": "kernel_layer",
    "input_gate": "kernel_gate",
    "update_gate": "feature_gate",
    "norm_in": "feature_gate_norm",
    "norm_out": "feature_norm",
    "input_norm_in": "kernel_gate_norm",
    "input_norm_out": "kernel_norm",
    "fc_layer": "out",
    "fc_norm": "out_norm",
}
_UPDATE: Names = {
    "feat_transform.conv": "transform",
    "kernel_update_conv": ("gate", _GATE),
    "attention.attn": "attn",
    "attention_norm": "attn_norm",
    "ffn.layers.0.0": "fc1",
    "ffn.layers.1": "fc2",
    "ffn_norm": "mlp_norm",
    "mask_fcs.0": "mask.0",
    "mask_fcs.1": "mask.1",
    "fc_mask": "mask.3",
}


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on the head of the other method."""
    decoder = model.options["decoder"]
    head = renaming_for(METHODS[decoder].renaming, model).names["decode_head"]
    assert isinstance(head, tuple)  # as `head_renaming` makes it: the head's place and the names below
    order = Change("decoder.pyramid.fuse.conv.weight", average_last, average_first)
    return Renaming(
        {
            "decode_head.kernel_generate_head": ("head.decoder", head[1]),
            "decode_head.kernel_update_head.*": ("head.updates.*", _UPDATE),
            **AUXILIARY,
        },
        (order,) if decoder == "deeplabv3" else (),
        before=(UnnumberedWhenAlone("auxiliary_head"),),
    )


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    where = f"{model.where}.decode_head"
    settings = Settings(model.values["decode_head"], where)
    settings.pass_over("type")
    updates = [_update(values, f"{where}.kernel_update_head") for values in settings.take("kernel_update_head")]
    if not updates or any(each != updates[0] for each in updates):
        raise UnsupportedError(f"{where}: the updates of vitrail's K-Net are alike")
    settings.must_be("num_stages", len(updates))
    values = settings.take("kernel_generate_head")
    settings.finish()
    kind = values.get("type")
    if kind not in _DECODERS:
        raise UnsupportedError(f"{where}: vitrail's K-Net does not begin with a {kind}")
    head = Head(values, f"{where}.kernel_generate_head")
    _check_decoder(_DECODERS[kind], head, model)
    width = updates[0].pop("channels")
    if width != head.channels:
        raise UnsupportedError(f"{where}: {width} channels in the updates, {head.channels} before them")
    options = {"decoder": _DECODERS[kind], "channels": width, "num_updates": len(updates), **updates[0]}
    return translation(head, model.encoder, options, one_auxiliary(model))


def _check_decoder(name: str, head: Head, model: ModelSection) -> None:
    """Refuse other settings of the head than those of vitrail's."""
    if name == "upernet":
        if as_lists(head.in_index) != [0, 1, 2, 3] or model.encoder.order != (0, 1, 2, 3):
            raise UnsupportedError(f"{head.where} reads the maps {head.in_index}, where vitrail's reads four")
    else:
        head.read_last_map(model.encoder)
    if name == "fcn" and head.convolutions() != {
        "num_convs": 2,
        "kernel_size": 3,
        "dilation": 1,
        "concat_input": True,
    }:
        raise UnsupportedError(f"{head.where} has other convolutions than vitrail's K-Net")
    if name == "deeplabv3":
        head.settings.must_be("dilations", default_dilations(model.encoder.output_stride or 32))
    head.settings.must_be("pool_scales", (1, 2, 3, 6))
    head.finish()


def _update(values: Any, where: str) -> dict[str, Any]:
    """Return what a section says about an update, as options of ours."""
    settings = Settings(values, where)
    settings.must_be("type", "KernelUpdateHead")
    width = settings.take("in_channels", 256)
    gate = settings.section("kernel_updator_cfg")
    gate.must_be("type", "KernelUpdator")
    gate_width = gate.take("in_channels", 256)
    for key in ("feat_channels", "out_channels"):
        gate.must_be(key, gate_width)
    gate.must_be("gate_sigmoid", True)
    gate.must_be("gate_norm_act", False)
    gate.must_be("activate_out", False)
    gate.must_be("norm_cfg", {"type": "LN"})
    described = {
        "channels": width,
        "gate_channels": gate_width,
        "num_heads": settings.take("num_heads", 8),
        "feedforward_channels": settings.take("feedforward_channels", 2048),
        "update_dropout": settings.take("dropout", 0.0),
    }
    settings.must_be("out_channels", width)
    settings.must_be("feat_transform_cfg", {"conv_cfg": {"type": "Conv2d"}, "act_cfg": None})
    fixed = {"num_ffn_fcs": 2, "conv_kernel_size": 1, "with_ffn": True, "feat_gather_stride": 1}
    for key, value in {**fixed, "mask_transform_stride": 1, "kernel_init": False}.items():
        settings.must_be(key, value)
    if settings.take("num_mask_fcs", 3) != 1:
        raise UnsupportedError(f"{where}: vitrail's K-Net has one layer before that of the masks")
    for part, key in ((settings, "act_cfg"), (settings, "ffn_act_cfg"), (gate, "act_cfg")):
        part.must_be(key, {"type": "ReLU"}, {"type": "ReLU", "inplace": True})
    settings.pass_over("num_classes")
    for part in (settings, gate):
        part.finish()
    return described


METHODS.add("knet", MethodRecord("IterativeDecodeHead", translate, renaming), module=__name__)
