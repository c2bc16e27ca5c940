"""SAN: a side adapter beside a frozen CLIP, for an open vocabulary."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vitrail.checkpoints.plain import as_lists, as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import Change, OnlyOurs, as_convolution, as_matrix
from vitrail.checkpoints.sources.mmseg.encoders import ATTENTION, FEEDFORWARD, known_shape
from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.recipes import ModelConfig

# CLIP's image encoders by width, heads and patch size, with the number of their blocks.
_SHAPES = {
    (768, 12, 16): "vit_base_patch16_clip_quickgelu_224",
    (1024, 16, 14): "vit_large_patch14_clip_quickgelu_336",
}
_LAYER_NORM = {"type": "LN", "eps": 1e-5}
_QUICK_GELU = {"type": "QuickGELU"}
_PARALLEL: Names = {
    "attentions.0.attn.in_proj_weight": "attn.qkv.weight",
    "attentions.0.attn.in_proj_bias": "attn.qkv.bias",
}
_BLOCK: Names = {
    **_PARALLEL,
    "attentions.0.attn.out_proj": "attn.proj",
    "ffns.0.layers.0.0": "mlp.fc1",
    "ffns.0.layers.1": "mlp.fc2",
    "norms.0": "norm1",
    "norms.1": "norm2",
}
_TEXT_LAYER: Names = {
    "attentions.0.attn": "attn",
    "ffns.0.layers.0.0": "fc1",
    "ffns.0.layers.1": "fc2",
    "norms.0": "norm1",
    "norms.1": "norm2",
}
_ADAPTER: Names = {
    "patch_embed.projection": "patch_embed",
    "encode_layers.*": ("blocks.*", {"ln1": "norm1", "ln2": "norm2", **ATTENTION, **FEEDFORWARD}),
    "conv_clips.*.1.conv": "fuse.*.1",
    "conv_clips": "fuse",
    "mask_decoder.query_mlp.layers": "query_mlp",
    "mask_decoder.pix_mlp.layers": "pixel_mlp",
    "mask_decoder.attn_mlp.layers": "bias_mlp",
    "mask_decoder.bias_scaling": "bias_scale",
}
_NAMES: Names = {
    "image_encoder": (
        "backbone.trunk.encoder",
        {
            "patch_embed.projection": "patch_embed.proj",
            "ln_pre": "norm_pre",
            "layers.*": ("blocks.*", {"ln1": "norm1", "ln2": "norm2", **ATTENTION, **FEEDFORWARD}),
        },
    ),
    "text_encoder": (
        "head.texts",
        {
            "token_embedding": "encoder.tokens",
            "positional_embedding": "encoder.positions",
            "transformer.*": ("encoder.layers.*", _TEXT_LAYER),
            "ln_final": "encoder.norm",
            "text_projection": "project.weight",
        },
    ),
    "text_encoder.logit_scale": "head.logit_scale",
    "text_encoder.bg_embed": "head.no_object",
    "decode_head.side_adapter_network": ("head.adapter", _ADAPTER),
    "decode_head.rec_with_attnbias": (
        "head",
        {"layers.*": ("blocks.*", _BLOCK), "ln_post": "norm", "proj": "project"},
    ),
}


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming; theirs always has a text encoder, which makes the vectors of the classes anew.

    Raises
    ------
    UnsupportedError
        For a model without one.
    """
    if not model.options["text_layers"]:
        raise UnsupportedError("MMSegmentation's SAN has a text encoder, and this model has none")
    matrices = tuple(
        Change(f"head.adapter.{mlp}.{index}.weight", as_matrix, as_convolution)
        for mlp in ("pixel_mlp", "bias_mlp")
        for index in range(3)
    )
    layouts = (
        Change("head.texts.project.weight", _transposed, _transposed),
        Change("head.logit_scale", lambda scale: scale.reshape(1), lambda scale: scale.reshape(())),
        OnlyOurs(("head.class_embeddings",)),
    )
    return Renaming(_NAMES, (*matrices, *layouts))


def _transposed(weight: Tensor) -> Tensor:
    return weight.t().contiguous()


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = Settings(model.decode_heads[0], f"{model.where}.decode_head")
    texts = Settings(model.values["text_encoder"], f"{model.where}.text_encoder")
    images = Settings(model.values["image_encoder"], f"{model.where}.image_encoder")
    num_classes = head.take("num_classes")
    adapter, recogniser = head.section("san_cfg"), head.section("maskgen_cfg")
    options = {
        **_adapter_options(adapter, recogniser.peek("num_heads")),
        **_text_options(texts),
        "early_layers": as_lists(head.take("deep_supervision_idxs")),
        **_loss_options(head, num_classes),
        **({"align_corners": True} if head.take("align_corners", False) else {}),
    }
    encoder = _encoder(images, recogniser)
    _check_recogniser(recogniser, options)
    scale = model.values.get("encoder_resolution") if model.values.get("asymetric_input", True) else 1.0
    if not isinstance(scale, int | float):
        raise UnsupportedError(f"{model.where}.encoder_resolution is {scale!r}, not a number")
    options["image_scale"] = float(scale)
    head.must_be("ignore_index", 255)
    head.pass_over("type", "init_cfg")
    head.finish()
    return Translation(encoder, num_classes, options, [{"name": "cross_entropy"}])


def _encoder(images: Settings, recogniser: Settings) -> Encoder:
    """Return CLIP's whole image encoder, of which the head has the last blocks."""
    kept, left = images.take("num_layers"), recogniser.take("num_layers")
    width, heads = images.take("embed_dims"), images.take("num_heads")
    name = known_shape(_SHAPES, (width, heads, images.take("patch_size")), images.where)
    indices = as_tuples(images.take("out_indices"))
    if indices[-1] != kept - 1:
        raise UnsupportedError(f"{images.where}.out_indices ends before the last layer: {indices}")
    options: dict[str, Any] = {
        "out_indices": [*indices, kept + left - 1],
        "img_size": as_lists(images.take("img_size")),
    }
    options["interpolation"] = images.take("interpolate_mode", "bicubic")
    for part in (recogniser, images):
        part.must_be("mlp_ratio", 4)
        part.must_be("num_fcs", 2)
        part.must_be("qkv_bias", True)
        part.must_be("act_cfg", _QUICK_GELU)
        part.must_be("norm_cfg", _LAYER_NORM)
    recogniser.must_be("embed_dims", width)
    recogniser.must_be("num_heads", heads)
    for key, value in (
        *(("patch_pad", 0), ("out_origin", True), ("with_cls_token", True), ("output_cls_token", True)),
        *(("pre_norm", True), ("final_norm", False), ("patch_norm", False), ("patch_bias", False)),
        *(("drop_rate", 0.0), ("attn_drop_rate", 0.0), ("drop_path_rate", 0.0), ("frozen_exclude", ("pos_embed",))),
    ):
        images.must_be(key, value)
    images.pass_over("type", "pretrained", "init_cfg", "with_cp", "norm_eval")
    in_channels = images.take("in_channels", 3)
    images.finish()
    return Encoder(name, None, options, in_channels, tuple(range(len(indices) + 1)))


def _check_recogniser(recogniser: Settings, options: dict[str, Any]) -> None:
    recogniser.must_be("sos_token_format", "cls_token")
    recogniser.must_be("sos_token_num", options["num_queries"])
    recogniser.must_be("cross_attn", False)
    recogniser.must_be("out_dims", options["embedding_channels"])
    recogniser.must_be("final_norm", True)
    recogniser.must_be("frozen_exclude", ())
    recogniser.finish()


def _adapter_options(adapter: Settings, clip_heads: int) -> dict[str, Any]:
    encoder, decoder = adapter.section("cfg_encoder"), adapter.section("cfg_decoder")
    options = {
        "channels": adapter.take("embed_dims"),
        "num_layers": encoder.take("num_encode_layer"),
        "num_heads": encoder.take("num_heads"),
        "num_queries": adapter.take("num_queries"),
        "mask_channels": decoder.take("embed_channels"),
        "clip_heads": decoder.take("num_heads"),
    }
    encoder.must_be("mlp_ratio", 4)
    decoder.must_be("mlp_channels", options["mask_channels"])
    decoder.must_be("num_layers", 1)
    decoder.must_be("num_mlp", 3)
    decoder.must_be("rescale", True)
    adapter.must_be("patch_size", 16)
    adapter.must_be("patch_bias", True)
    adapter.must_be("norm_cfg", {"type": "LN", "eps": 1e-6})
    indices = as_tuples(adapter.take("fusion_index"))
    if indices != tuple(range(len(indices))) or options["clip_heads"] != clip_heads:
        raise UnsupportedError(f"{adapter.where} fuses maps after other layers, or has other heads, than vitrail's")
    adapter.pass_over("in_channels", "clip_channels")
    for part in (encoder, decoder, adapter):
        part.finish()
    return options


def _text_options(texts: Settings) -> dict[str, Any]:
    options = {
        "embedding_channels": texts.take("output_dims", 512),
        "text_channels": texts.take("embed_dims", 512),
        "text_layers": texts.take("num_layers", 12),
        "vocabulary_size": texts.take("total_vocab_size", 49408),
        "prompts": texts.take("templates", "vild"),
    }
    if not isinstance(options["prompts"], str):
        raise UnsupportedError(f"{texts.where}.templates are sentences of their own, which vitrail does not take")
    texts.must_be("context_length", 77)
    texts.must_be("num_heads", max(1, options["text_channels"] // 64))
    texts.must_be("mlp_ratio", 4)
    texts.must_be("norm_cfg", _LAYER_NORM)
    texts.must_be("cat_bg", True)
    texts.pass_over("type", "init_cfg", "cache_feature", "dataset_name", "vocabulary")  # the file names the classes
    texts.finish()
    return options


def _loss_options(head: Settings, num_classes: int) -> dict[str, Any]:
    classes, masks, dice = (Settings(each, f"{head.where}.loss_decode") for each in head.take("loss_decode"))
    for part, kind, name in (
        (classes, "CrossEntropyLoss", "loss_cls_ce"),
        (masks, "CrossEntropyLoss", "loss_mask_ce"),
        (dice, "DiceLoss", "loss_mask_dice"),
    ):
        part.must_be("type", kind)
        part.must_be("loss_name", name)
    weights = classes.take("class_weight")
    if list(weights) != [1.0] * (len(weights) - 1) + [weights[-1]]:
        raise UnsupportedError(f"{classes.where} weighs the classes differently")
    options = {
        "class_weight": float(classes.take("loss_weight", 1.0)),
        "mask_weight": float(masks.take("loss_weight", 1.0)),
        "dice_weight": float(dice.take("loss_weight", 1.0)),
        "no_object_weight": weights[-1],
    }
    masks.must_be("use_sigmoid", True)
    dice.must_be("ignore_index", None)
    dice.must_be("naive_dice", True)
    dice.must_be("eps", 1)
    for part in (classes, masks, dice):
        part.finish()
    training = head.section("train_cfg")
    costs = {cost["type"]: cost["weight"] for cost in training.take("assigner")["match_costs"]}
    names = {"class": "ClassificationCost", "mask": "CrossEntropyLossCost", "dice": "DiceCost"}
    if costs != {cost: options[f"{name}_weight"] for name, cost in names.items()}:
        raise UnsupportedError(f"{training.where}.assigner weighs its costs differently from the losses")
    options |= {
        "num_points": training.take("num_points"),
        "oversample": training.take("oversample_ratio"),
        "importance_ratio": training.take("importance_sample_ratio"),
    }
    training.finish()
    return options


METHODS.add(
    "san",
    MethodRecord(
        "SideAdapterCLIPHead",
        translate,
        renaming,
        encoder=Renaming(),
        optimizer_keys={"img_encoder": (), "norm": ()},  # no parameter that is trained is called so there
    ),
    module=__name__,
)
