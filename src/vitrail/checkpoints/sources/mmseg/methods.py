"""From the heads of an MMSegmentation config to a method of vitrail and its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vitrail.checkpoints.sources.mmseg.backbones import Encoder, check_norm, translate_backbone
from vitrail.checkpoints.sources.mmseg.losses import first_weight, translate_losses
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError, as_lists

_PLAIN_LOSS = {"type": "CrossEntropyLoss"}


@dataclass(frozen=True)
class Translation:
    """A model of MMSegmentation in vitrail's terms.

    Attributes
    ----------
    segmentor : str
        The method's name.
    encoder : Encoder
        What it stands on.
    num_classes : int
        K, the number of classes.
    options : dict
        Arguments of the method's builder.
    losses : list of dict
        Terms of the main head's criterion.
    """

    segmentor: str
    encoder: Encoder
    num_classes: int
    options: dict[str, Any]
    losses: list[dict[str, Any]]


def translate_model(model: Mapping[str, Any], where: str) -> Translation:
    """Return what a config's `model` section describes.

    Raises
    ------
    UnsupportedError
        When vitrail does not compute the same; the message says what it lacks.
    """
    kind = model.get("type")
    if kind not in ("EncoderDecoder", "CascadeEncoderDecoder"):
        raise UnsupportedError(f"{where}: vitrail has no method like MMSegmentation's {kind}")
    for key in ("backbone", "decode_head"):
        if key not in model:
            raise UnsupportedError(f"{where}: the model has no {key}")
    backbone = model["backbone"]
    heads = model["decode_head"] if isinstance(model["decode_head"], (list, tuple)) else [model["decode_head"]]
    name = "+".join(str(head.get("type")) for head in heads)
    method = _BACKBONE_METHODS.get((backbone.get("type"), name)) or _METHODS.get(name)
    if method is None:
        raise UnsupportedError(f"{where}: vitrail has no method with MMSegmentation's {name}")
    return method(model, heads, where)


def auxiliary_losses(model: Mapping[str, Any], where: str) -> list[list[dict[str, Any]]]:
    """Return the terms of each auxiliary head's criterion.

    Raises
    ------
    UnsupportedError
        For a loss that vitrail does not have.
    """
    values = model.get("auxiliary_head") or ()
    where = f"{where}.auxiliary_head"
    heads = [Settings(head, where) for head in (values if isinstance(values, (list, tuple)) else [values])]
    return [
        translate_losses(head.take("loss_decode", _PLAIN_LOSS), head.take("sampler", None), where) for head in heads
    ]


def _encoder(model: Mapping[str, Any], where: str) -> Encoder:
    encoder = translate_backbone(model["backbone"], model.get("neck"), f"{where}.backbone")
    plain = {"pyramid", "neck_channels"} & encoder.options.keys()
    if model.get("neck") is not None and not plain:
        raise UnsupportedError(f"{where} has a {model['neck'].get('type')} between encoder and head")
    return encoder


class _Head:
    """A decode or auxiliary head: what all of them say is read here, the rest by the method."""

    def __init__(self, values: Mapping[str, Any], encoder: Encoder | None, where: str) -> None:
        settings = self.settings = Settings(values, where)
        self.losses = settings.take("loss_decode", _PLAIN_LOSS)
        self.sampler = settings.take("sampler", None)
        self.num_classes: int = settings.take("num_classes")
        self.channels: int = settings.take("channels")
        self.align_corners: bool = settings.take("align_corners", False)
        self.dropout = max(0.0, float(settings.take("dropout_ratio", 0.1)))
        self.joined = settings.take("input_transform", None) == "resize_concat"
        settings.must_be("out_channels", None, self.num_classes)
        settings.must_be("conv_cfg", None)
        settings.must_be("act_cfg", {"type": "ReLU"})
        settings.must_be("threshold", None)
        settings.must_be("ignore_index", 255)
        settings.pass_over("type", "in_channels", "init_cfg")
        if settings.peek("num_convs") != 0:  # a bare classifier has no norms
            check_norm(settings, "BN", "SyncBN")
        settings.pass_over("norm_cfg")
        index = settings.take("in_index", -1)
        self.index: int | None = None
        if encoder is not None and not isinstance(index, (list, tuple)):
            self.index = (
                encoder.order[index] - len(encoder.order) if encoder.order[index] >= 0 else encoder.order[index]
            )

    def finish(self) -> None:
        self.settings.finish()

    def convolutions(self, default: int = 2) -> dict[str, Any]:
        """Return what FCN heads say about their convolutions."""
        return {
            "num_convs": self.settings.take("num_convs", default),
            "kernel_size": self.settings.take("kernel_size", 3),
            "dilation": self.settings.take("dilation", 1),
            "concat_input": self.settings.take("concat_input", True),
        }


def _auxiliary(model: Mapping[str, Any], encoder: Encoder, where: str, *, dilation: int = 1) -> dict[str, Any]:
    """Return the options of the one auxiliary head that most methods have, an FCN of one convolution."""
    values = model.get("auxiliary_head")
    if not values:
        return {"aux_weight": 0.0}
    if isinstance(values, (list, tuple)):
        if len(values) > 1:
            raise UnsupportedError(f"{where} has {len(values)} auxiliary heads, where vitrail's method has one")
        values = values[0]
    where = f"{where}.auxiliary_head"
    if values.get("type") != "FCNHead":
        raise UnsupportedError(f"{where} is a {values.get('type')}, not an FCNHead")
    head = _Head(values, encoder, where)
    expected = {"num_convs": 1, "kernel_size": 3, "dilation": dilation, "concat_input": False}
    if head.convolutions() != expected:
        raise UnsupportedError(f"{where} has other convolutions than one of 3 × 3")
    head.finish()
    options: dict[str, Any] = {"aux_weight": first_weight(head.losses), "aux_channels": head.channels}
    if head.index != -2:
        options["aux_index"] = head.index
    return options


def _translation(segmentor: str, head: _Head, encoder: Encoder, options: dict[str, Any], where: str) -> Translation:
    losses = translate_losses(head.losses, head.sampler, f"{where}.decode_head.loss_decode")
    common: dict[str, Any] = {"dropout": head.dropout}
    if head.align_corners:
        common["align_corners"] = True
    return Translation(segmentor, encoder, head.num_classes, {**options, **common}, losses)


def _last_map(head: _Head, where: str) -> None:
    if head.index != -1 and not head.joined:
        raise UnsupportedError(f"{where}.decode_head reads map {head.index}, where vitrail's method reads the last")


def _joined(head: _Head, encoder: Encoder, where: str) -> Encoder:
    """Return the encoder with its maps joined, for heads that do so themselves."""
    if not head.joined:
        return encoder
    if not encoder.name.startswith("hrnet"):
        raise UnsupportedError(f"{where}: vitrail joins the maps of HRNets only")
    return replace(encoder, options={**encoder.options, "concat": True})


def _fcn(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
    encoder = _encoder(model, where)
    head = _Head(heads[0], encoder, f"{where}.decode_head")
    _last_map(head, where)
    options = {"channels": head.channels, **head.convolutions()}
    head.finish()
    options |= _auxiliary(model, encoder, where, dilation=options["dilation"])
    return _translation("fcn", head, _joined(head, encoder, where), options, where)


def _on_last_map(
    segmentor: str, keys: Mapping[str, str]
) -> Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]], str], Translation]:
    """Return the translation of a method that reads the last map and has one auxiliary head.

    `keys` are the head's own settings by the names of our options.
    """

    def translate(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
        encoder = _encoder(model, where)
        head = _Head(heads[0], encoder, f"{where}.decode_head")
        _last_map(head, where)
        options = {"channels": head.channels}
        options |= {ours: as_lists(head.settings.take(theirs)) for ours, theirs in keys.items()}
        head.settings.pass_over("c1_in_channels")
        head.finish()
        options |= _auxiliary(model, encoder, where)
        return _translation(segmentor, head, encoder, options, where)

    return translate


def _upernet(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
    encoder = _encoder(model, where)
    head = _Head(heads[0], None, f"{where}.decode_head")
    options = {"channels": head.channels, "pool_sizes": as_lists(head.settings.take("pool_scales", (1, 2, 3, 6)))}
    head.finish()
    options |= _auxiliary(model, encoder, where)
    return _translation("upernet", head, encoder, options, where)


def _encnet(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
    encoder = _encoder(model, where)
    head = _Head(heads[0], None, f"{where}.decode_head")
    presence = head.settings.take("loss_se_decode", {"loss_weight": 0.2})
    options = {
        "channels": head.channels,
        "num_codes": head.settings.take("num_codes", 32),
        "lateral": head.settings.take("add_lateral", False),
        "presence_weight": first_weight(presence) if head.settings.take("use_se_loss", True) else 0.0,
    }
    head.finish()
    options |= _auxiliary(model, encoder, where)
    return _translation("encnet", head, encoder, options, where)


def _segformer(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
    encoder = _encoder(model, where)
    head = _Head(heads[0], None, f"{where}.decode_head")
    head.settings.must_be("interpolate_mode", "bilinear")
    head.finish()
    return _translation("segformer", head, encoder, {"channels": head.channels}, where)


def _ocrnet(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
    encoder = _encoder(model, where)
    coarse = _Head(heads[0], encoder, f"{where}.decode_head[0]")
    head = _Head(heads[1], encoder, f"{where}.decode_head[1]")
    if not head.joined and (coarse.index, head.index) != (-2, -1):
        raise UnsupportedError(f"{where} reads other maps than the last two")
    convolutions = coarse.convolutions()
    kernel_size = convolutions.pop("kernel_size")
    if convolutions != {"num_convs": 1, "dilation": 1, "concat_input": False}:
        raise UnsupportedError(f"{where}.decode_head[0] has other convolutions than a single one")
    options = {
        "channels": head.channels,
        "attention_channels": head.settings.take("ocr_channels"),
        "fuse_kernel_size": 1,
        "coarse_channels": coarse.channels,
        "coarse_kernel_size": kernel_size,
        "coarse_weight": first_weight(coarse.losses),
    }
    head.settings.must_be("scale", 1)
    coarse.finish()
    head.finish()
    return _translation("ocrnet", head, _joined(head, encoder, where), options, where)


def _pointrend(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
    neck = Settings(model.get("neck") or {}, f"{where}.neck")
    neck.must_be("type", "FPN")
    width = neck.take("out_channels")
    neck.must_be("num_outs", 4)
    neck.pass_over("in_channels")
    neck.finish()
    encoder = translate_backbone(model["backbone"], None, f"{where}.backbone")
    coarse = _Head(heads[0], None, f"{where}.decode_head[0]")
    coarse.settings.must_be("feature_strides", (4, 8, 16, 32))
    head = _Head(heads[1], None, f"{where}.decode_head[1]")
    head.settings.must_be("coarse_pred_each_layer", True)
    training, testing = model.get("train_cfg") or {}, model.get("test_cfg") or {}
    if width != head.channels or testing.get("scale_factor", 2) != 2:
        raise UnsupportedError(f"{where} has a pyramid of {width} channels and an MLP of {head.channels}")
    options = {
        "channels": head.channels,
        "coarse_channels": coarse.channels,
        "num_layers": head.settings.take("num_fcs", 3),
        "norm": False,
        "num_points": training.get("num_points", 2048),
        "oversample": float(training.get("oversample_ratio", 3)),
        "important": training.get("importance_sample_ratio", 0.75),
        "steps": testing["subdivision_steps"],
        "points_per_step": testing["subdivision_num_points"],
        "coarse_weight": first_weight(coarse.losses),
    }
    coarse.finish()
    head.finish()
    return _translation("pointrend", head, encoder, options, where)


def _fastscnn(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
    encoder = _encoder(model, where)
    head = _Head(heads[0], encoder, f"{where}.decode_head")
    head.settings.must_be("concat_input", False)
    head.settings.must_be("num_convs", 2)
    head.finish()
    options = {"channels": head.channels, **_several_auxiliary(model, encoder, where, indices=(-2, -3), num_convs=1)}
    options["aux_channels"] = _one_width(options["aux_channels"], where)
    return _translation("fastscnn", head, encoder, options, where)


def _bisenet(
    segmentor: str, num_convs: int
) -> Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]], str], Translation]:
    def translate(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
        encoder = _encoder(model, where)
        head = _Head(heads[0], encoder, f"{where}.decode_head")
        _last_map(head, where)
        if head.convolutions() != {"num_convs": 1, "kernel_size": 3, "dilation": 1, "concat_input": False}:
            raise UnsupportedError(f"{where}.decode_head has other convolutions than one of 3 × 3")
        head.finish()
        indices = range(-len(encoder.order), -1)
        options = {"channels": head.channels, **_several_auxiliary(model, encoder, where, indices, num_convs)}
        return _translation(segmentor, head, encoder, options, where)

    return translate


def _several_auxiliary(
    model: Mapping[str, Any], encoder: Encoder, where: str, indices: Sequence[int], num_convs: int
) -> dict[str, Any]:
    """Return the options of one auxiliary head, an FCN, on each of the maps at `indices`, in that order."""
    heads = [_Head(values, encoder, f"{where}.auxiliary_head") for values in model["auxiliary_head"]]
    if [head.index for head in heads] != list(indices):
        raise UnsupportedError(f"{where} has auxiliary heads on maps {[head.index for head in heads]}")
    for head in heads:
        expected = {"num_convs": num_convs, "kernel_size": 3, "dilation": 1, "concat_input": False}
        if head.convolutions() != expected:
            raise UnsupportedError(f"{where}.auxiliary_head has other convolutions than {num_convs} of 3 × 3")
        head.finish()
    weights = {first_weight(head.losses) for head in heads}
    if len(weights) > 1:
        raise UnsupportedError(f"{where} weighs its auxiliary heads differently: {sorted(weights)}")
    return {"aux_weight": weights.pop(), "aux_channels": [head.channels for head in heads]}


def _one_width(widths: Sequence[int], where: str) -> int:
    if len(set(widths)) > 1:
        raise UnsupportedError(f"{where} has auxiliary heads of different widths: {widths}")
    return widths[0]


def _cgnet(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
    encoder = _encoder(model, where)
    head = _Head(heads[0], encoder, f"{where}.decode_head")
    if head.convolutions()["num_convs"] != 0:
        raise UnsupportedError(f"{where}.decode_head has convolutions before its classifier")
    head.finish()
    return _translation("cgnet", head, encoder, {}, where)


def _icnet(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
    cascade = Settings(model["backbone"], f"{where}.backbone")
    trunk = translate_backbone(cascade.take("backbone_cfg"), None, f"{where}.backbone.backbone_cfg")
    neck = Settings(model.get("neck") or {}, f"{where}.neck")
    neck.must_be("type", "ICNeck")
    check_norm(neck, "BN", "SyncBN")
    head = _Head(heads[0], None, f"{where}.decode_head")
    early = [_Head(values, None, f"{where}.auxiliary_head") for values in model["auxiliary_head"]]
    expected = {"num_convs": 1, "kernel_size": 3, "dilation": 1, "concat_input": False}
    if any(each.convolutions() != expected for each in (head, *early)):
        raise UnsupportedError(f"{where} has heads with other convolutions than one of 3 × 3")
    branches = as_lists(cascade.take("out_channels", (64, 256, 256)))
    options = {
        "channels": _one_width([neck.take("out_channels"), *(each.channels for each in (head, *early))], where),
        "branch_channels": branches,
        "light_channels": cascade.take("light_branch_middle_channels", 32),
        "pool_channels": cascade.take("psp_out_channels", 512),
        "early_weight": first_weight(early[0].losses),
    }
    check_norm(cascade, "BN", "SyncBN")
    for settings in (cascade, neck):
        settings.must_be("align_corners", False)
    cascade.must_be("pool_scales", (1, 2, 3, 6))
    cascade.pass_over("type", "in_channels", "layer_channels", "init_cfg", "pretrained")
    neck.pass_over("in_channels")
    for settings in (cascade, neck, head.settings, *(each.settings for each in early)):
        settings.finish()
    return _translation("icnet", head, trunk, options, where)


def _maskformer(model: Mapping[str, Any], heads: Sequence[Mapping[str, Any]], where: str) -> Translation:
    encoder = _encoder(model, where)
    head = Settings(heads[0], f"{where}.decode_head")
    decoder = head.section("transformer_decoder")
    layer = decoder.section("layer_cfg")
    feedforward, attention = layer.section("ffn_cfg"), layer.section("self_attn_cfg")
    pixels = head.section("pixel_decoder")
    pixels.must_be("type", "mmdet.PixelDecoder")
    pixels.must_be("norm_cfg", {"type": "GN", "num_groups": 32})
    head.must_be("enforce_decoder_input_project", False)
    if head.take("positional_encoding") != {"num_feats": 128, "normalize": True}:
        raise UnsupportedError(f"{where}.decode_head has another encoding of positions")
    num_classes = head.take("num_classes")
    no_object = head.take("loss_cls")["class_weight"][-1]
    options = {
        "channels": head.take("feat_channels"),
        "mask_channels": head.take("out_channels"),
        "query_channels": feedforward.take("embed_dims"),
        "num_queries": head.take("num_queries"),
        "num_layers": decoder.take("num_layers"),
        "num_heads": attention.take("num_heads"),
        "feedforward_channels": feedforward.take("feedforward_channels"),
        "dropout": attention.take("attn_drop", 0.0),
        "class_weight": 1.0,
        "mask_weight": float(head.take("loss_mask")["loss_weight"]),
        "dice_weight": float(head.take("loss_dice")["loss_weight"]),
        "no_object_weight": no_object,
    }
    return Translation("maskformer", encoder, num_classes, options, [{"name": "cross_entropy"}])


Method = Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]], str], Translation]
# Methods that are a head of another with an encoder of their own.
_BACKBONE_METHODS: Mapping[tuple[Any, str], Method] = {
    ("CGNet", "FCNHead"): _cgnet,
    ("BiSeNetV1", "FCNHead"): _bisenet("bisenetv1", num_convs=1),
    ("BiSeNetV2", "FCNHead"): _bisenet("bisenetv2", num_convs=2),
    ("ICNet", "FCNHead"): _icnet,
}
_METHODS: Mapping[str, Method] = {
    "FCNHead": _fcn,
    "PSPHead": _on_last_map("pspnet", {"pool_sizes": "pool_scales"}),
    "ASPPHead": _on_last_map("deeplabv3", {"dilations": "dilations"}),
    "DepthwiseSeparableASPPHead": _on_last_map(
        "deeplabv3plus", {"dilations": "dilations", "shortcut_channels": "c1_channels"}
    ),
    "EMAHead": _on_last_map(
        "emanet",
        {
            "attention_channels": "ema_channels",
            "num_bases": "num_bases",
            "num_stages": "num_stages",
            "momentum": "momentum",
        },
    ),
    "UPerHead": _upernet,
    "EncHead": _encnet,
    "SegformerHead": _segformer,
    "FCNHead+OCRHead": _ocrnet,
    "FPNHead+PointHead": _pointrend,
    "DepthwiseSeparableFCNHead": _fastscnn,
    "MaskFormerHead": _maskformer,
}
