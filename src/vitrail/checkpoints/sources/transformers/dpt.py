"""transformers' DPT for semantic segmentation, on a plain transformer."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import Change, Join, PartsLeftOut, as_convolution, as_matrix
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.transformers.encoders import TRANSFORMER_BLOCK, known
from vitrail.checkpoints.sources.transformers.records import ModelRecord, Translation

_SHAPES = {
    (192, 12, 3): "vit_tiny_patch16_224",
    (384, 12, 6): "vit_small_patch16_224",
    (768, 12, 12): "vit_base_patch16_224",
    (1024, 24, 16): "vit_large_patch16_224",
}
_UNIT: Names = {
    "convolution1": "body.1",
    "batch_norm1": "body.2",
    "convolution2": "body.4",
    "batch_norm2": "body.5",
}


def _renaming(blocks_read: int, depth: int) -> Renaming:
    behind = tuple(f"dpt.encoder.layer.{index}." for index in range(blocks_read, depth))
    # The auxiliary head reads what the head reads, where ours read maps; the first residual unit is not used.
    unused = (
        "auxiliary_head.",
        "dpt.layernorm.",
        "dpt.pooler.",
        "neck.fusion_stage.layers.0.residual_layer1.",
        *behind,
    )
    return Renaming(
        {
            "dpt.embeddings.cls_token": "backbone.encoder.cls_token",
            "dpt.embeddings.position_embeddings": "backbone.encoder.pos_embed",
            "dpt.embeddings.patch_embeddings.projection": "backbone.encoder.patch_embed.proj",
            "dpt.encoder.layer.*": ("backbone.encoder.blocks.*", TRANSFORMER_BLOCK),
            "neck.reassemble_stage.readout_projects.*.0": "head.reassemble.*.readout",
            "neck.reassemble_stage.layers.*": ("head.reassemble.*", {"projection": "project", "resize": "rescale"}),
            "neck.convs.*": "head.convs.*",
            "neck.fusion_stage.layers.*": (
                "head.fusions.*",
                {"projection": "project", "residual_layer1": ("side", _UNIT), "residual_layer2": ("refine", _UNIT)},
            ),
            "head.head.0": "head.project.conv",
            "head.head.1": "head.project.bn",
            "head.head.4": "head.classifier",
        },
        (
            *(Join([(f"attn.{x}.{kind}", 1) for x in "qkv"], f"attn.qkv.{kind}") for kind in ("weight", "bias")),
            Change("readout.weight", as_convolution, as_matrix),
        ),
        (PartsLeftOut(unused),),
    )


def _dpt(settings: Settings) -> Translation:
    where = settings.where
    settings.must_be("is_hybrid", False)
    settings.must_be("backbone_config", None)
    shape = tuple(settings.take(key) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    settings.must_be("intermediate_size", 4 * shape[0])
    settings.must_be("hidden_act", "gelu")
    settings.must_be("qkv_bias", True)
    settings.must_be("patch_size", 16)
    settings.must_be("reassemble_factors", (4, 2, 1, 0.5))
    settings.must_be("head_in_index", -1)
    settings.must_be("neck_ignore_stages", (), (0, 1))  # of hybrid encoders only
    settings.must_be("semantic_loss_ignore_index", 255)
    if not settings.take("use_batch_norm_in_fusion_residual", False):
        raise UnsupportedError(f"{where}: vitrail has only DPTs with use_batch_norm_in_fusion_residual")
    settings.must_be("use_bias_in_fusion_residual", None, False)
    indices = as_lists(settings.take("backbone_out_indices", (2, 5, 8, 11)))
    readout = settings.take("readout_type", "project")
    options: dict[str, Any] = {
        "img_size": settings.take("image_size", 384),
        "out_indices": indices,
        "layer_norm_eps": settings.take("layer_norm_eps", 1e-12),
        "interpolation": "bilinear",
        **({} if readout == "ignore" else {"append_class_token": True}),
    }
    head = {
        "channels": settings.take("fusion_hidden_size", 256),
        "map_channels": as_lists(settings.take("neck_hidden_sizes", (96, 192, 384, 768))),
        "readout": readout,
        "dropout": settings.take("semantic_classifier_dropout", 0.1),
        "double_logits": True,
    }
    settings.pass_over(
        *("hidden_dropout_prob", "attention_probs_dropout_prob", "add_projection", "auxiliary_loss_weight"),
        *("use_auxiliary_head", "backbone_featmap_shape", "pooler_output_size", "pooler_act", "backbone_kwargs"),
        *("backbone", "use_pretrained_backbone", "use_timm_backbone"),
    )
    encoder = Encoder(known(_SHAPES, shape, where), None, options, settings.take("num_channels", 3))
    return Translation("dpt", encoder, _renaming(max(indices) + 1, shape[1]), head)


DPT = ModelRecord("DPTForSemanticSegmentation", _dpt)
