"""MaskFormer: a class and a mask for each of a set of queries."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.sources.mmseg.encoders import check_norm
from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError

_CONVOLUTION: Names = {"conv": "0", "gn": "1"}
_LAYER: Names = {
    "self_attn.attn": "self_attn",
    "cross_attn.attn": "cross_attn",
    "ffn.layers.0.0": "fc1",
    "ffn.layers.1": "fc2",
    "norms.0": "norm1",
    "norms.1": "norm2",
    "norms.2": "norm3",
}
RENAMING = Renaming(
    {
        "decode_head.pixel_decoder.last_feat_conv": ("head.pixel_decoder.deepest", _CONVOLUTION),
        # The pyramid is counted from the finest map there, from the coarsest here.
        **{
            f"decode_head.pixel_decoder.{theirs}.{i}": (f"head.pixel_decoder.{ours}.{2 - i}", _CONVOLUTION)
            for theirs, ours in (("lateral_convs", "laterals"), ("output_convs", "smooth"))
            for i in range(3)
        },
        "decode_head.pixel_decoder.mask_feature": "head.pixel_decoder.project",
        "decode_head.decoder_input_proj": "head.query_decoder.project",
        "decode_head.query_embed": "head.query_decoder.queries",
        "decode_head.transformer_decoder.post_norm": "head.query_decoder.norm",
        "decode_head.transformer_decoder.layers.*": ("head.query_decoder.layers.*", _LAYER),
        "decode_head.cls_embed": "head.classifier",
        **{f"decode_head.mask_embed.{2 * i}": f"head.mask_mlp.{i}" for i in range(3)},
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = Settings(model.decode_heads[0], f"{model.where}.decode_head")
    num_classes = head.take("num_classes")
    options = {
        "channels": head.take("feat_channels"),
        "mask_channels": head.take("out_channels"),
        "num_queries": head.take("num_queries"),
        **({"align_corners": True} if head.take("align_corners", False) else {}),
        **transformer_options(head.section("transformer_decoder")),
        **loss_options(head, num_classes, focal=True),
    }
    _check_pixel_decoder(head.section("pixel_decoder"))
    head.must_be("enforce_decoder_input_project", False)
    head.must_be("positional_encoding", {"num_feats": 128, "normalize": True})
    head.must_be("in_index", (0, 1, 2, 3))
    head.must_be("ignore_index", 255)
    head.pass_over("type", "in_channels", "init_cfg", "train_cfg", "test_cfg")
    head.finish()
    return Translation(model.encoder, num_classes, options, [{"name": "cross_entropy"}])


def _check_pixel_decoder(pixels: Settings) -> None:
    pixels.must_be("type", "mmdet.PixelDecoder")
    pixels.must_be("norm_cfg", {"type": "GN", "num_groups": 32})
    pixels.must_be("act_cfg", {"type": "ReLU"})
    pixels.pass_over("init_cfg")
    pixels.finish()


def transformer_options(decoder: Settings) -> dict[str, Any]:
    """Return what the section of a transformer decoder says, as options of ours."""
    layer = decoder.section("layer_cfg")
    attention, cross, feedforward = (layer.section(f"{name}_cfg") for name in ("self_attn", "cross_attn", "ffn"))
    options = {
        "query_channels": feedforward.take("embed_dims"),
        "num_layers": decoder.take("num_layers"),
        "num_heads": attention.take("num_heads"),
        "feedforward_channels": feedforward.take("feedforward_channels"),
        "dropout": attention.take("attn_drop", 0.0),
    }
    feedforward.must_be("num_fcs", 2)
    feedforward.must_be("act_cfg", {"type": "ReLU", "inplace": True}, {"type": "ReLU"})
    feedforward.must_be("add_identity", True)
    cross.must_be("num_heads", options["num_heads"])
    for part in (attention, cross):
        part.must_be("embed_dims", options["query_channels"])
        part.must_be("batch_first", True)
    shares = (cross.take("attn_drop", 0.0), attention.take("proj_drop", 0.0), cross.take("proj_drop", 0.0))
    if {*shares, feedforward.take("ffn_drop", 0.0)} != {options["dropout"]}:
        raise UnsupportedError(f"{layer.where} has several shares of dropout, of which vitrail has one")
    for part in (attention, cross, feedforward):
        part.must_be("dropout_layer", None)
        part.pass_over("init_cfg")
        part.finish()
    check_norm(layer, "LN")
    decoder.must_be("post_norm_cfg", {"type": "LN"})
    decoder.must_be("return_intermediate", True)
    for part in (layer, decoder):
        part.pass_over("init_cfg")
        part.finish()
    return options


def loss_options(head: Settings, num_classes: int, *, focal: bool) -> dict[str, Any]:
    """Return the weights of the losses; `focal` says whether that of masks is focal, or else a cross entropy."""
    classes, masks, dice = (head.section(f"loss_{name}") for name in ("cls", "mask", "dice"))
    weights = classes.take("class_weight")
    if list(weights) != [1.0] * num_classes + [weights[-1]]:
        raise UnsupportedError(f"{classes.where}.class_weight weighs the classes differently")
    options = {
        "class_weight": float(classes.take("loss_weight", 1.0)),
        "mask_weight": float(masks.take("loss_weight", 1.0)),
        "dice_weight": float(dice.take("loss_weight", 1.0)),
        "no_object_weight": weights[-1],
    }
    classes.must_be("type", "mmdet.CrossEntropyLoss")
    classes.must_be("use_sigmoid", False)
    masks.must_be("type", "mmdet.FocalLoss" if focal else "mmdet.CrossEntropyLoss")
    if focal:
        masks.must_be("gamma", 2.0)
        masks.must_be("alpha", 0.25)
    dice.must_be("type", "mmdet.DiceLoss")
    dice.must_be("activate", True)
    if (dice.take("naive_dice", False), dice.take("eps", 1e-3)) != (True, 1.0):
        raise UnsupportedError(f"{dice.where} is another Dice loss than the one with a plain sum and eps=1")
    for part in (masks, dice):
        part.must_be("use_sigmoid", True)
    for part in (classes, masks, dice):
        part.must_be("reduction", "mean")
        part.finish()
    return options


METHODS.add(
    "maskformer",
    MethodRecord("MaskFormerHead", translate, RENAMING, optimizer_keys={"query_embed": ("queries",)}),
    module=__name__,
)
