"""From the `backbone` section of an MMSegmentation config to the name and options of the same encoder here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vitrail.checkpoints.sources.settings import Settings, UnsupportedError, as_lists, as_tuples

_TRAINING_ONLY = (
    "type",
    "pretrained",
    "init_cfg",
    "with_cp",
    "norm_eval",
    "frozen_stages",
    "zero_init_residual",
    "attn_drop_rate",
    "drop_rate",
)
# Strides and dilations of a ResNet's four stages, by output stride.
_RESNET_STRIDES = {
    ((1, 2, 2, 2), (1, 1, 1, 1)): None,
    ((1, 2, 2, 1), (1, 1, 1, 2)): 16,
    ((1, 2, 1, 1), (1, 1, 2, 4)): 8,
}
_MOBILENET_STRIDES = {
    ((1, 2, 2, 2, 1, 2, 1), (1, 1, 1, 1, 1, 1, 1)): None,
    ((1, 2, 2, 2, 1, 1, 1), (1, 1, 1, 1, 1, 2, 2)): 16,
    ((1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 2, 4, 4)): 8,
}
_SWINS = {
    (96, (2, 2, 6, 2), 7): "swin_tiny_patch4_window7_224",
    (96, (2, 2, 18, 2), 7): "swin_small_patch4_window7_224",
    (128, (2, 2, 18, 2), 7): "swin_base_patch4_window7_224",
    (128, (2, 2, 18, 2), 12): "swin_base_patch4_window12_384",
    (192, (2, 2, 18, 2), 7): "swin_large_patch4_window7_224",
    (192, (2, 2, 18, 2), 12): "swin_large_patch4_window12_384",
}
_VITS = {
    (192, 12, 3): "vit_tiny_patch16_224",
    (384, 12, 6): "vit_small_patch16_224",
    (768, 12, 12): "vit_base_patch16_224",
    (1024, 24, 16): "vit_large_patch16_224",
}
_BEITS = {(768, 12, 12): "beit_base_patch16_224", (1024, 24, 16): "beit_large_patch16_224"}
_TWINS = {
    ("PCPVT", (64, 128, 320, 512), (3, 4, 6, 3)): "twins_pcpvt_small",
    ("PCPVT", (64, 128, 320, 512), (3, 4, 18, 3)): "twins_pcpvt_base",
    ("PCPVT", (64, 128, 320, 512), (3, 8, 27, 3)): "twins_pcpvt_large",
    ("SVT", (64, 128, 256, 512), (2, 2, 10, 4)): "twins_svt_small",
    ("SVT", (96, 192, 384, 768), (2, 2, 18, 2)): "twins_svt_base",
    ("SVT", (128, 256, 512, 1024), (2, 2, 18, 2)): "twins_svt_large",
}
_MITS = {
    (32, (2, 2, 2, 2)): "mit_b0",
    (64, (2, 2, 2, 2)): "mit_b1",
    (64, (3, 4, 6, 3)): "mit_b2",
    (64, (3, 4, 18, 3)): "mit_b3",
    (64, (3, 8, 27, 3)): "mit_b4",
    (64, (3, 6, 40, 3)): "mit_b5",
}
# HRNets by their width, the modules of their last three stages, and the blocks in each.
_HRNETS = {
    (18, (1, 3, 2), 2): "hrnet_w18_small_v2",
    **{(width, (1, 4, 3), 4): f"hrnet_w{width}" for width in (18, 30, 32, 40, 44, 48, 64)},
}


@dataclass(frozen=True)
class Encoder:
    """An encoder of another project, in the terms of `vitrail.create_backbone`.

    Attributes
    ----------
    name : str
        The backbone's name.
    output_stride : int or None
        Of dilated encoders.
    options : dict
        Further arguments of the builder.
    in_channels : int
        Channels of the images.
    order : tuple of int
        For each of their maps, which of ours it is.
    """

    name: str
    output_stride: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    in_channels: int = 3
    order: tuple[int, ...] = (0, 1, 2, 3)


def translate_backbone(values: Mapping[str, Any], neck: Mapping[str, Any] | None, where: str) -> Encoder:
    """Return the encoder that a config's `backbone` section, and its neck over plain transformers, describe.

    Raises
    ------
    UnsupportedError
        When vitrail has no encoder that computes the same.
    """
    kind = str(values.get("type", "")).removeprefix("mmpretrain.")
    if kind not in _TRANSLATIONS:
        raise UnsupportedError(f"{where}: vitrail has no encoder like MMSegmentation's {kind}")
    settings = Settings(values, f"{where}.{kind}")
    options = _neck_options(neck, f"{where}.neck") if kind in _PLAIN_TRANSFORMERS else {}
    encoder = _TRANSLATIONS[kind](settings, kind)
    settings.pass_over(*_TRAINING_ONLY)
    settings.finish()
    encoder.options.update(options)
    return encoder


def check_norm(settings: Settings, *kinds: str, eps: float = 1e-5) -> None:
    """Refuse a `norm_cfg` of another kind, or with another epsilon, than vitrail's layers have."""
    norm = settings.take("norm_cfg", None)
    if norm is None:
        return
    found = Settings(norm, f"{settings.where}.norm_cfg")
    found.must_be("type", *kinds)
    found.must_be("eps", eps)
    found.pass_over("requires_grad", "momentum")
    found.finish()


def _known(table: Mapping[Any, str], key: Any, where: str) -> str:
    if key not in table:
        raise UnsupportedError(f"{where}: vitrail has no encoder of this shape: {key}")
    return table[key]


def _resnet(settings: Settings, kind: str) -> Encoder:
    depth = settings.take("depth")
    deep = settings.take("deep_stem", kind != "ResNet")
    averaged = settings.take("avg_down", kind == "ResNetV1d")
    suffix = {(False, False): "", (True, False): "c", (True, True): "d"}.get((deep, averaged))
    if suffix is None:
        raise UnsupportedError(f"{settings.where} averages in its shortcuts without a deep stem")
    stride, options = _dilation(settings)
    grid = settings.take("multi_grid", None)
    if grid is not None:
        options["multi_grid"] = as_lists(grid)
    settings.must_be("num_stages", 4)
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("style", "pytorch")
    settings.must_be("stem_channels", 64)
    settings.must_be("base_channels", 64)
    for key in ("conv_cfg", "dcn", "plugins"):
        settings.must_be(key, None)
    settings.must_be("stage_with_dcn", (False, False, False, False))
    check_norm(settings, "BN", "SyncBN")
    return Encoder(f"resnet{depth}{suffix}", stride, options, settings.take("in_channels", 3))


def _dilation(settings: Settings) -> tuple[int | None, dict[str, Any]]:
    strides = as_tuples(settings.take("strides", (1, 2, 2, 2)))
    dilations = as_tuples(settings.take("dilations", (1, 1, 1, 1)))
    if max(dilations) > 1:
        settings.must_be("contract_dilation", True)
    settings.pass_over("contract_dilation")
    if (strides, dilations) in _RESNET_STRIDES:
        return _RESNET_STRIDES[strides, dilations], {}
    if strides == (1, 2, 2, 2):
        return None, {"stage_dilations": list(dilations)}
    raise UnsupportedError(f"{settings.where} has strides {strides} with dilations {dilations}")


def _resnest(settings: Settings, kind: str) -> Encoder:
    names = {(50, 64): "resnest50d", (101, 128): "resnest101e", (200, 128): "resnest200e", (269, 128): "resnest269e"}
    name = _known(names, (settings.take("depth"), settings.take("stem_channels", 64)), settings.where)
    settings.must_be("radix", 2)
    settings.must_be("reduction_factor", 4)
    settings.must_be("avg_down_stride", True)
    settings.must_be("groups", 1)
    return Encoder(name, _resnet_like(settings))


def _resnet_like(settings: Settings) -> int | None:
    stride, options = _dilation(settings)
    if options:
        raise UnsupportedError(f"{settings.where} is dilated at its own stride")
    settings.must_be("num_stages", 4)
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("style", "pytorch")
    check_norm(settings, "BN", "SyncBN")
    return stride


def _mobilenet_v2(settings: Settings, kind: str) -> Encoder:
    key = (as_tuples(settings.take("strides")), as_tuples(settings.take("dilations")))
    if key not in _MOBILENET_STRIDES:
        raise UnsupportedError(f"{settings.where} has strides and dilations {key}")
    settings.must_be("widen_factor", 1.0)
    settings.must_be("out_indices", (1, 2, 4, 6))
    check_norm(settings, "BN", "SyncBN")
    return Encoder("mobilenetv2_100", _MOBILENET_STRIDES[key])


def _hrnet(settings: Settings, kind: str) -> Encoder:
    stages = settings.take("extra")
    last = stages["stage4"]
    width, blocks = last["num_channels"][0], last["num_blocks"][0]
    modules = tuple(stages[f"stage{i}"]["num_modules"] for i in (2, 3, 4))
    if as_tuples(last["num_channels"]) != tuple(width * 2**i for i in range(4)):
        raise UnsupportedError(f"{settings.where} does not double its channels from branch to branch")
    check_norm(settings, "BN", "SyncBN")
    return Encoder(
        _known(_HRNETS, (width, modules, blocks), settings.where), in_channels=settings.take("in_channels", 3)
    )


def _swin(settings: Settings, kind: str) -> Encoder:
    window = settings.take("window_size", 7)
    key = (settings.take("embed_dims", 96), as_tuples(settings.take("depths", (2, 2, 6, 2))), window)
    settings.must_be("num_heads", tuple(key[0] // 32 * 2**i for i in range(4)))
    settings.must_be("patch_size", 4)
    settings.must_be("mlp_ratio", 4)
    settings.must_be("strides", (4, 2, 2, 2))
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("qkv_bias", True)
    settings.must_be("qk_scale", None)
    settings.must_be("patch_norm", True)
    settings.must_be("use_abs_pos_embed", False)
    settings.must_be("act_cfg", {"type": "GELU"})
    check_norm(settings, "LN")
    settings.pass_over("pretrain_img_size")
    rate = settings.take("drop_path_rate", 0.1)
    return Encoder(_known(_SWINS, key, settings.where), None, {"drop_path_rate": rate}, settings.take("in_channels", 3))


def _convnext(settings: Settings, kind: str) -> Encoder:
    arch = settings.take("arch", "tiny")
    names = {name: f"convnext_{name}" for name in ("tiny", "small", "base", "large", "xlarge")}
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("gap_before_final_norm", False)
    settings.pass_over("layer_scale_init_value")
    return Encoder(_known(names, arch, settings.where), None, {"drop_path_rate": settings.take("drop_path_rate", 0.0)})


def _mit(settings: Settings, kind: str) -> Encoder:
    key = (settings.take("embed_dims", 64), as_tuples(settings.take("num_layers", (3, 4, 6, 3))))
    settings.must_be("num_stages", 4)
    settings.must_be("num_heads", (1, 2, 5, 8))
    settings.must_be("patch_sizes", (7, 3, 3, 3))
    settings.must_be("strides", (4, 2, 2, 2))
    settings.must_be("sr_ratios", (8, 4, 2, 1))
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("mlp_ratio", 4)
    settings.must_be("qkv_bias", True)
    settings.must_be("act_cfg", {"type": "GELU"})
    check_norm(settings, "LN", eps=1e-6)
    rate = settings.take("drop_path_rate", 0.0)
    return Encoder(_known(_MITS, key, settings.where), None, {"drop_path_rate": rate}, settings.take("in_channels", 3))


def _twins(settings: Settings, kind: str) -> Encoder:
    key = (kind, as_tuples(settings.take("embed_dims")), as_tuples(settings.take("depths")))
    settings.must_be("norm_after_stage", kind == "SVT")
    settings.must_be("patch_sizes", (4, 2, 2, 2))
    settings.must_be("strides", (4, 2, 2, 2))
    settings.must_be("sr_ratios", (8, 4, 2, 1))
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("qkv_bias", True)
    settings.must_be("windiow_sizes", (7, 7, 7, 7))  # spelled so there
    settings.pass_over("num_heads", "mlp_ratios")  # go with the embedding dimensions
    check_norm(settings, "LN")
    rate = settings.take("drop_path_rate", 0.0)
    return Encoder(_known(_TWINS, key, settings.where), None, {"drop_path_rate": rate}, settings.take("in_channels", 3))


def _vit_shape(settings: Settings) -> tuple[int, int, int]:
    settings.must_be("patch_size", 16)
    settings.must_be("mlp_ratio", 4)
    settings.must_be("act_cfg", {"type": "GELU"})
    settings.must_be("patch_norm", False)
    settings.must_be("num_fcs", 2)
    check_norm(settings, "LN", eps=1e-6)
    return (settings.take("embed_dims", 768), settings.take("num_layers", 12), settings.take("num_heads", 12))


def _transformer_options(settings: Settings, num_layers: int) -> dict[str, Any]:
    indices = settings.take("out_indices", -1)
    indices = indices if isinstance(indices, (list, tuple)) else [indices]
    return {
        "img_size": as_lists(settings.take("img_size", 224)),
        "out_indices": [index % num_layers for index in indices],
        "drop_path_rate": settings.take("drop_path_rate", 0.0),
    }


def _vit(settings: Settings, kind: str) -> Encoder:
    shape = _vit_shape(settings)
    name = _known(_VITS, shape, settings.where)
    options = _transformer_options(settings, shape[1])
    options["interpolation"] = settings.take("interpolate_mode", "bicubic")
    options["final_norm"] = settings.take("final_norm", False)
    settings.must_be("with_cls_token", True)
    settings.must_be("output_cls_token", False)
    settings.must_be("qkv_bias", True)
    settings.must_be("pre_norm", False)
    settings.must_be("out_origin", False)
    settings.must_be("patch_pad", "corner")
    settings.pass_over("patch_bias")  # a file without it has it as zeros
    order = tuple(range(len(options["out_indices"])))
    return Encoder(name, None, options, settings.take("in_channels", 3), order)


def _beit(settings: Settings, kind: str) -> Encoder:
    shape = _vit_shape(settings)
    names = _BEITS if kind == "BEiT" else {(768, 12, 12): "mae_vit_base_patch16"}
    options = _transformer_options(settings, shape[1])
    settings.must_be("qv_bias", True)
    settings.must_be("final_norm", False)
    settings.pass_over("init_values")
    return Encoder(_known(names, shape, settings.where), None, options, settings.take("in_channels", 3))


def _neck_options(neck: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    if neck is None:
        return {}
    settings = Settings(neck, where)
    kind = settings.take("type")
    if kind == "Feature2Pyramid":
        settings.must_be("rescales", (4, 2, 1, 0.5))
        check_norm(settings, "BN", "SyncBN")
        options: dict[str, Any] = {"pyramid": True}
        settings.pass_over("embed_dim")
    elif kind == "MultiLevelNeck":
        settings.must_be("scales", (4, 2, 1, 0.5))
        settings.must_be("norm_cfg", None)
        settings.must_be("act_cfg", None)
        options = {"neck_channels": settings.take("out_channels")}
        settings.pass_over("in_channels")
    else:
        raise UnsupportedError(f"{where}: vitrail puts no {kind} over a plain transformer")
    settings.finish()
    return options


def _unet(settings: Settings, kind: str) -> Encoder:
    settings.must_be("num_stages", 5)
    settings.must_be("strides", (1, 1, 1, 1, 1))
    settings.must_be("enc_num_convs", (2, 2, 2, 2, 2))
    settings.must_be("dec_num_convs", (2, 2, 2, 2))
    settings.must_be("downsamples", (True, True, True, True))
    settings.must_be("enc_dilations", (1, 1, 1, 1, 1))
    settings.must_be("dec_dilations", (1, 1, 1, 1))
    settings.must_be("conv_cfg", None)
    settings.must_be("act_cfg", {"type": "ReLU"})
    settings.must_be("upsample_cfg", {"type": "InterpConv"})
    check_norm(settings, "BN", "SyncBN")
    options = {"base_channels": settings.take("base_channels", 64)}
    return Encoder("unet_s5", None, options, settings.take("in_channels", 3), order=(0, 1, 2, 3, 4))


def _cgnet(settings: Settings, kind: str) -> Encoder:
    settings.must_be("num_channels", (32, 64, 128))
    settings.must_be("dilations", (2, 4))
    settings.must_be("reductions", (8, 16))
    settings.must_be("act_cfg", {"type": "PReLU"})
    check_norm(settings, "BN", "SyncBN", eps=1e-3)
    options = {"num_blocks": as_lists(settings.take("num_blocks", (3, 21)))}
    return Encoder("cgnet_m3n21", None, options, settings.take("in_channels", 3), order=(0, 1, 2))


def _fastscnn(settings: Settings, kind: str) -> Encoder:
    settings.must_be("downsample_dw_channels", (32, 48))
    settings.must_be("global_in_channels", 64)
    settings.must_be("global_block_channels", (64, 96, 128))
    settings.must_be("global_block_strides", (2, 2, 1))
    settings.must_be("global_out_channels", 128)
    settings.must_be("higher_in_channels", 64)
    settings.must_be("lower_in_channels", 128)
    settings.must_be("fusion_out_channels", 128)
    settings.must_be("out_indices", (0, 1, 2))
    settings.must_be("align_corners", False)
    check_norm(settings, "BN", "SyncBN")
    return Encoder("fastscnn", in_channels=settings.take("in_channels", 3), order=(0, 1, 2))


def _erfnet(settings: Settings, kind: str) -> Encoder:
    settings.must_be("enc_downsample_channels", (16, 64, 128))
    settings.must_be("enc_stage_non_bottlenecks", (5, 8))
    settings.must_be("enc_non_bottleneck_dilations", (2, 4, 8, 16))
    settings.must_be("enc_non_bottleneck_channels", (64, 128))
    settings.must_be("dec_upsample_channels", (64, 16))
    settings.must_be("dec_stages_non_bottleneck", (2, 2))
    settings.must_be("dec_non_bottleneck_channels", (64, 16))
    options = {"dropout": settings.take("dropout_ratio", 0.1)}
    return Encoder("erfnet", None, options, settings.take("in_channels", 3), order=(-1,))


def _bisenetv1(settings: Settings, kind: str) -> Encoder:
    context = translate_backbone(settings.take("backbone_cfg"), None, settings.where)
    if context.output_stride or context.options:
        raise UnsupportedError(f"{settings.where} has a dilated context path")
    shape = context.name.removeprefix("resnet")
    deep, depth = shape.endswith("c"), shape.rstrip("c")
    narrow = depth == "18"
    settings.must_be("spatial_channels", (64, 64, 64, 128) if narrow else (256, 256, 256, 512))
    settings.must_be("context_channels", (128, 256, 512) if narrow else (512, 1024, 2048))
    settings.must_be("out_channels", 256 if narrow else 1024)
    settings.must_be("out_indices", (0, 1, 2))
    settings.must_be("align_corners", False)
    check_norm(settings, "BN", "SyncBN")
    options = {"deep_stem": True} if deep else {}
    return Encoder(f"bisenetv1_resnet{depth}", None, options, settings.take("in_channels", 3), order=(2, 0, 1))


def _bisenetv2(settings: Settings, kind: str) -> Encoder:
    settings.must_be("detail_channels", (64, 64, 128))
    settings.must_be("semantic_channels", (16, 32, 64, 128))
    settings.must_be("semantic_expansion_ratio", 6)
    settings.must_be("bga_channels", 128)
    settings.must_be("out_indices", (0, 1, 2, 3, 4))
    settings.must_be("align_corners", False)
    check_norm(settings, "BN", "SyncBN")
    return Encoder("bisenetv2", in_channels=settings.take("in_channels", 3), order=(4, 0, 1, 2, 3))


_PLAIN_TRANSFORMERS = ("VisionTransformer", "BEiT", "MAE")
_TRANSLATIONS: Mapping[str, Callable[[Settings, str], Encoder]] = {
    "ResNet": _resnet,
    "ResNetV1c": _resnet,
    "ResNetV1d": _resnet,
    "ResNeSt": _resnest,
    "MobileNetV2": _mobilenet_v2,
    "HRNet": _hrnet,
    "SwinTransformer": _swin,
    "ConvNeXt": _convnext,
    "MixVisionTransformer": _mit,
    "PCPVT": _twins,
    "SVT": _twins,
    "VisionTransformer": _vit,
    "BEiT": _beit,
    "MAE": _beit,
    "UNet": _unet,
    "CGNet": _cgnet,
    "FastSCNN": _fastscnn,
    "ERFNet": _erfnet,
    "BiSeNetV1": _bisenetv1,
    "BiSeNetV2": _bisenetv2,
}
