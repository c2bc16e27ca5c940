"""From the parameter names of other projects' heads to ours: ordered rules, as in `renaming.py`.

The names are those of a whole model without its encoder. Tables say all there is to know about a renaming, so they can
move to the importers as they are.
"""

from __future__ import annotations

import torch
from parity.renaming import Rules
from torch import Tensor

# --- MMSegmentation: what all its heads share -----------------------------------------------------------------------
MMSEG_AUXILIARY: Rules = (
    (r"^auxiliary_head\.(\d+)\.", r"auxiliary.\1."),
    (r"^auxiliary_head\.", "auxiliary.0."),
)
MMSEG_SHARED: Rules = (
    *MMSEG_AUXILIARY,
    (r"^decode_head\.", "head."),
    (r"\.conv_seg\.", ".classifier."),
)
# --- SSSegmentation: its auxiliary heads of one convolution ---------------------------------------------------------
SSSEG_AUXILIARY: Rules = (
    (r"^auxiliary_decoder\.(\d)\.(\d)\.", r"auxiliary.\1.\2."),
    (r"^auxiliary_decoder\.", "auxiliary.0."),
    (r"^(auxiliary\.\d)\.0\.", r"\1.convs.0.conv."),
    (r"^(auxiliary\.\d)\.1\.", r"\1.convs.0.bn."),
    (r"^(auxiliary\.\d)\.4\.", r"\1.classifier."),
)

FCN_MMSEG: Rules = (*MMSEG_SHARED, (r"\.conv_cat\.", ".fuse."))
FCN_SSSEG: Rules = (
    *SSSEG_AUXILIARY,
    (r"^decoder\.0\.", "head.convs.0.conv."),
    (r"^decoder\.1\.", "head.convs.0.bn."),
    (r"^decoder\.3\.", "head.convs.1.conv."),
    (r"^decoder\.4\.", "head.convs.1.bn."),
    (r"^decoder\.7\.", "head.classifier."),
)
PSPNET_MMSEG: Rules = (*MMSEG_SHARED, (r"\.psp_modules\.", ".pyramid.stages."), (r"\.bottleneck\.", ".fuse."))
PYRAMID_SSSEG: Rules = (
    (r"^ppm_net\.branches\.(\d)\.1\.", r"head.pyramid.stages.\1.1.conv."),
    (r"^ppm_net\.branches\.(\d)\.2\.", r"head.pyramid.stages.\1.1.bn."),
)
PSPNET_SSSEG: Rules = (
    *SSSEG_AUXILIARY,
    *PYRAMID_SSSEG,
    (r"^ppm_net\.bottleneck\.0\.", "head.fuse.conv."),
    (r"^ppm_net\.bottleneck\.1\.", "head.fuse.bn."),
    (r"^decoder\.1\.", "head.classifier."),
)
CGNET_HEAD_MMSEG: Rules = MMSEG_SHARED
CGNET_HEAD_SSSEG: Rules = ((r"^decoder\.1\.", "head.classifier."),)
FASTSCNN_HEAD_MMSEG: Rules = (
    (r"^auxiliary_head\.0\.", "auxiliary_head.deep."),  # MMSegmentation lists the deeper of the two first
    (r"^auxiliary_head\.1\.", "auxiliary_head.0."),
    (r"^auxiliary_head\.deep\.", "auxiliary_head.1."),
    *MMSEG_SHARED,
    (r"\.depthwise_conv\.", ".depthwise."),
    (r"\.pointwise_conv\.", ".pointwise."),
)
FASTSCNN_HEAD_SSSEG: Rules = (
    *SSSEG_AUXILIARY,
    (r"^decoder\.([01])\.", r"head.convs.\1."),
    (r"\.(depthwise|pointwise)_(conv|bn)\.", r".\1.\2."),
    (r"^decoder\.3\.", "head.classifier."),
)

# --- DeepLabv3 and v3+ ----------------------------------------------------------------------------------------------
DEEPLABV3_MMSEG: Rules = (
    *MMSEG_SHARED,
    (r"\.image_pool\.", ".pyramid.pool."),
    (r"\.aspp_modules\.", ".pyramid.branches."),
    (r"^head\.bottleneck\.", "head.pyramid.fuse."),
)
DEEPLABV3PLUS_MMSEG: Rules = (
    *DEEPLABV3_MMSEG,
    (r"\.c1_bottleneck\.", ".shortcut."),
    (r"\.sep_bottleneck\.", ".decoder."),
    (r"\.depthwise_conv\.", ".depthwise."),
    (r"\.pointwise_conv\.", ".pointwise."),
)
ASPP_SSSEG: Rules = (
    (r"^aspp_net\.parallel_branches\.(\d)\.0\.", r"head.pyramid.branches.\1.conv."),
    (r"^aspp_net\.parallel_branches\.(\d)\.1\.", r"head.pyramid.branches.\1.bn."),
    (r"^aspp_net\.parallel_branches\.(\d)\.", r"head.pyramid.branches.\1."),
    (r"^aspp_net\.global_branch\.1\.", "head.pyramid.pool.1.conv."),
    (r"^aspp_net\.global_branch\.2\.", "head.pyramid.pool.1.bn."),
    (r"^aspp_net\.bottleneck\.0\.", "head.pyramid.fuse.conv."),
    (r"^aspp_net\.bottleneck\.1\.", "head.pyramid.fuse.bn."),
)
DEEPLABV3_SSSEG: Rules = (*SSSEG_AUXILIARY, *ASPP_SSSEG, (r"^decoder\.1\.", "head.classifier."))
DEEPLABV3PLUS_SSSEG: Rules = (
    *SSSEG_AUXILIARY,
    *ASPP_SSSEG,
    (r"^shortcut\.0\.", "head.shortcut.conv."),
    (r"^shortcut\.1\.", "head.shortcut.bn."),
    (r"^decoder\.([01])\.", r"head.decoder.\1."),
    (r"\.(depthwise|pointwise)_(conv|bn)\.", r".\1.\2."),
    (r"^decoder\.3\.", "head.classifier."),
)


def average_last(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """MMSegmentation joins the image's average before the branches of the pyramid, we and SSSegmentation after."""
    name = "head.pyramid.fuse.conv.weight"
    width = state[name].shape[0]
    return {**state, name: state[name].roll(-width, dims=1)}


# --- UPerNet --------------------------------------------------------------------------------------------------------
UPERNET_MMSEG: Rules = (
    *MMSEG_SHARED,
    (r"\.psp_modules\.", ".pyramid.stages."),
    (r"^head\.bottleneck\.", "head.pyramid_fuse."),
    (r"\.lateral_convs\.", ".laterals."),
    (r"\.fpn_convs\.", ".smooth."),
    (r"\.fpn_bottleneck\.", ".fuse."),
)
UPERNET_SSSEG: Rules = (
    *SSSEG_AUXILIARY,
    *PYRAMID_SSSEG,
    (r"^ppm_net\.bottleneck\.", "head.pyramid_fuse."),
    (r"^lateral_convs\.", "head.laterals."),
    (r"^fpn_convs\.", "head.smooth."),
    (r"^decoder\.4\.", "head.classifier."),
    (r"^decoder\.", "head.fuse."),
    (r"^(head\.(?:pyramid_fuse|fuse|laterals\.\d|smooth\.\d))\.0\.", r"\1.conv."),
    (r"^(head\.(?:pyramid_fuse|fuse|laterals\.\d|smooth\.\d))\.1\.", r"\1.bn."),
)

# --- OCRNet ---------------------------------------------------------------------------------------------------------
_OBJECT_ATTENTION: Rules = (
    (r"object_context_block\.bottleneck\.", "head.fuse."),
    (r"object_context_block\.(query|key)_project\.", r"head.attention.\1."),
    (r"object_context_block\.(value|out)_project\.", r"head.attention.\1.0."),
)
OCRNET_MMSEG: Rules = (
    (r"^decode_head\.0\.conv_seg\.", "head.coarse.classifier."),
    (r"^decode_head\.0\.", "head.coarse."),
    (r"^decode_head\.1\.conv_seg\.", "head.classifier."),
    (r"^decode_head\.1\.bottleneck\.", "head.pixels."),
    (r"^decode_head\.1\.", ""),
    *_OBJECT_ATTENTION,
)
OCRNET_SSSEG: Rules = (
    *SSSEG_AUXILIARY,
    (r"^auxiliary\.0\.", "head.coarse."),
    (r"^decoder\.1\.", "head.classifier."),
    (r"^bottleneck\.", "head.pixels."),
    *_OBJECT_ATTENTION,
    (r"^(head\.(?:pixels|fuse|attention\.\w+\.\d))\.0\.", r"\1.conv."),
    (r"^(head\.(?:pixels|fuse|attention\.\w+\.\d))\.1\.", r"\1.bn."),
)

# --- SegFormer ------------------------------------------------------------------------------------------------------
SEGFORMER_MMSEG: Rules = (
    *MMSEG_SHARED,
    (r"^head\.convs\.", "head.projections."),
    (r"^head\.fusion_conv\.", "head.fuse."),
)
SEGFORMER_SSSEG: Rules = (
    (r"^convs\.(\d)\.0\.", r"head.projections.\1.conv."),
    (r"^convs\.(\d)\.1\.", r"head.projections.\1.bn."),
    (r"^decoder\.0\.", "head.fuse.conv."),
    (r"^decoder\.1\.", "head.fuse.bn."),
    (r"^decoder\.4\.", "head.classifier."),
)
SEGFORMER_TRANSFORMERS: Rules = (
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.proj\.", r"backbone.stages.\1.embed.proj."),
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.layer_norm\.", r"backbone.stages.\1.embed.norm."),
    (r"^segformer\.stages\.(\d)\.layer_norm\.", r"backbone.stages.\1.norm."),
    (r"^segformer\.stages\.", "backbone.stages."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.sequence_reduction\.sequence_reduction\.", ".attn.shrink."),
    (r"\.attention\.sequence_reduction\.layer_norm\.", ".attn.norm."),
    (r"\.attention\.q_proj\.(\w+)$", r".attn.qkv.\1#0"),
    (r"\.attention\.k_proj\.(\w+)$", r".attn.qkv.\1#1"),
    (r"\.attention\.v_proj\.(\w+)$", r".attn.qkv.\1#2"),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.mlp\.dwconv\.dwconv\.", ".mlp.conv."),
    (r"^decode_head\.linear_projections\.(\d)\.proj\.", r"head.projections.\1."),
    (r"^decode_head\.linear_fuse\.", "head.fuse.conv."),
    (r"^decode_head\.batch_norm\.", "head.fuse.bn."),
    (r"^decode_head\.classifier\.", "head.classifier."),
)


def finest_first(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors and transformers join the coarsest map first and keep projections as matrices."""
    state = {k: v[:, :, None, None] if ".projections." in k and v.dim() == 2 else v for k, v in state.items()}
    name = "head.fuse.conv.weight"
    return {**state, name: torch.cat(state[name].chunk(4, dim=1)[::-1], dim=1)}


# --- BiSeNetV2 ------------------------------------------------------------------------------------------------------
BISENETV2_HEAD_SSSEG: Rules = (
    (r"^auxiliary_decoder\.(\d)\.([03])\.", r"auxiliary.\1.convs.\2.conv."),
    (r"^auxiliary_decoder\.(\d)\.1\.", r"auxiliary.\1.convs.0.bn."),
    (r"^auxiliary_decoder\.(\d)\.4\.", r"auxiliary.\1.convs.1.bn."),
    (r"^auxiliary_decoder\.(\d)\.7\.", r"auxiliary.\1.classifier."),
    (r"\.convs\.3\.conv\.", ".convs.1.conv."),
    (r"^decoder\.0\.", "head.convs.0.conv."),
    (r"^decoder\.1\.", "head.convs.0.bn."),
    (r"^decoder\.4\.", "head.classifier."),
)

# --- EncNet ---------------------------------------------------------------------------------------------------------
_ENCODING: Rules = (
    (r"enc_module\.encoding_project\.", "head.project."),
    (r"enc_module\.encoding\.", "head.encode."),
    (r"enc_module\.fc\.0\.", "head.gate."),
    (r"se_layer\.", "head.presence."),
)
ENCNET_MMSEG: Rules = (
    *MMSEG_AUXILIARY,
    (r"^decode_head\.conv_seg\.", "head.classifier."),
    (r"^(auxiliary.*)\.conv_seg\.", r"\1.classifier."),
    (r"^decode_head\.bottleneck\.", "head.reduce."),
    (r"^decode_head\.lateral_convs\.", "head.laterals."),
    (r"^decode_head\.fusion\.", "head.lateral_fuse."),
    (r"^decode_head\.", ""),
    *_ENCODING,
)
ENCNET_SSSEG: Rules = (
    *SSSEG_AUXILIARY,
    (r"^bottleneck\.0\.", "head.reduce.conv."),
    (r"^bottleneck\.1\.", "head.reduce.bn."),
    (r"^enc_module\.encoding_project\.0\.", "head.project.conv."),
    (r"^enc_module\.encoding_project\.1\.", "head.project.bn."),
    *_ENCODING,
    (r"^decoder\.1\.", "head.classifier."),
)

# --- EMANet ---------------------------------------------------------------------------------------------------------
_EMA: Rules = (
    (r"ema_in_conv\.", "head.reduce."),
    (r"ema_mid_conv\.(conv\.)?", "head.signed."),
    (r"ema_module\.", "head.attention."),
    (r"ema_out_conv\.", "head.restore."),
)
EMANET_MMSEG: Rules = (
    *MMSEG_AUXILIARY,
    (r"^decode_head\.conv_seg\.", "head.classifier."),
    (r"^(auxiliary.*)\.conv_seg\.", r"\1.classifier."),
    (r"^decode_head\.bottleneck\.", "head.smooth."),
    (r"^decode_head\.conv_cat\.", "head.fuse."),
    (r"^decode_head\.", ""),
    *_EMA,
)
EMANET_SSSEG: Rules = (
    *SSSEG_AUXILIARY,
    *_EMA,
    (r"^bottleneck\.", "head.smooth."),
    (r"^decoder\.4\.", "head.classifier."),
    (r"^decoder\.", "head.fuse."),
    (r"^(head\.(?:reduce|restore|smooth|fuse))\.0\.", r"\1.conv."),
    (r"^(head\.(?:reduce|restore|smooth|fuse))\.1\.", r"\1.bn."),
)


def one_set_of_bases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Others keep the bases with a leading axis of one."""
    name = "head.attention.bases"
    return {**state, name: state[name][0]}
