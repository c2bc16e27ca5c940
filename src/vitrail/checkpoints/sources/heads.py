"""Renaming tables of heads, to the names of vitrail's methods.

A table covers a whole model without its encoder: MMSegmentation's `decode_head`, `auxiliary_head` and `neck`, and what
SSSegmentation's segmentors hold at their top.
"""

from __future__ import annotations

from vitrail.checkpoints.sources import layouts
from vitrail.checkpoints.sources.encoders import DEEP_STEM_RULES
from vitrail.checkpoints.sources.renaming import Rules, Table, change, conv_and_norm

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

# --- FCN, also as the head of BiSeNetV1 and CGNet -------------------------------------------------------------------
FCN_MMSEG = Table((*MMSEG_SHARED, (r"\.conv_cat\.", ".fuse.")))


def _fcn_ssseg(theirs: str, ours: str, num_convs: int) -> Rules:
    """Return the rules of an FCN written flat: convolutions, norms and activations, dropout, the classifier."""
    return (
        *((rf"^{theirs}\.{3 * i}\.", f"{ours}.convs.{i}.conv.") for i in range(num_convs)),
        *((rf"^{theirs}\.{3 * i + 1}\.", f"{ours}.convs.{i}.bn.") for i in range(num_convs)),
        (rf"^{theirs}\.{3 * num_convs + 1}\.", f"{ours}.classifier."),
    )


# By how many convolutions stand before the classifier.
FCN_SSSEG = {n: Table((*SSSEG_AUXILIARY, *_fcn_ssseg("decoder", "head", n))) for n in (0, 1, 2)}

# --- PSPNet ---------------------------------------------------------------------------------------------------------
PSPNET_MMSEG = Table((*MMSEG_SHARED, (r"\.psp_modules\.", ".pyramid.stages."), (r"\.bottleneck\.", ".fuse.")))
_PYRAMID_SSSEG: Rules = (
    (r"^ppm_net\.branches\.(\d)\.1\.", r"head.pyramid.stages.\1.1.conv."),
    (r"^ppm_net\.branches\.(\d)\.2\.", r"head.pyramid.stages.\1.1.bn."),
)
PSPNET_SSSEG = Table(
    (
        *SSSEG_AUXILIARY,
        *_PYRAMID_SSSEG,
        (r"^ppm_net\.bottleneck\.", "head.fuse."),
        *conv_and_norm(r"head\.fuse"),
        (r"^decoder\.1\.", "head.classifier."),
    )
)

# --- Fast-SCNN ------------------------------------------------------------------------------------------------------
FASTSCNN_MMSEG = Table(
    (
        (r"^auxiliary_head\.0\.", "auxiliary_head.deep."),  # MMSegmentation lists the deeper of the two first
        (r"^auxiliary_head\.1\.", "auxiliary_head.0."),
        (r"^auxiliary_head\.deep\.", "auxiliary_head.1."),
        *MMSEG_SHARED,
        (r"\.depthwise_conv\.", ".depthwise."),
        (r"\.pointwise_conv\.", ".pointwise."),
    )
)
FASTSCNN_SSSEG = Table(
    (
        *SSSEG_AUXILIARY,
        (r"^decoder\.([01])\.", r"head.convs.\1."),
        (r"\.(depthwise|pointwise)_(conv|bn)\.", r".\1.\2."),
        (r"^decoder\.3\.", "head.classifier."),
    )
)

# --- DeepLabv3 and v3+ ----------------------------------------------------------------------------------------------
_ASPP_MMSEG: Rules = (
    *MMSEG_SHARED,
    (r"\.image_pool\.", ".pyramid.pool."),
    (r"\.aspp_modules\.", ".pyramid.branches."),
    (r"^head\.bottleneck\.", "head.pyramid.fuse."),
)
DEEPLABV3_MMSEG = Table(_ASPP_MMSEG, (layouts.average_last,))
DEEPLABV3PLUS_MMSEG = Table(
    (
        *_ASPP_MMSEG,
        (r"\.c1_bottleneck\.", ".shortcut."),
        (r"\.sep_bottleneck\.", ".decoder."),
        (r"\.depthwise_conv\.", ".depthwise."),
        (r"\.pointwise_conv\.", ".pointwise."),
    ),
    (layouts.average_last,),
)
_ASPP_SSSEG: Rules = (
    (r"^aspp_net\.parallel_branches\.(\d)\.0\.", r"head.pyramid.branches.\1.conv."),
    (r"^aspp_net\.parallel_branches\.(\d)\.1\.", r"head.pyramid.branches.\1.bn."),
    (r"^aspp_net\.parallel_branches\.(\d)\.", r"head.pyramid.branches.\1."),
    (r"^aspp_net\.global_branch\.1\.", "head.pyramid.pool.1.conv."),
    (r"^aspp_net\.global_branch\.2\.", "head.pyramid.pool.1.bn."),
    (r"^aspp_net\.bottleneck\.", "head.pyramid.fuse."),
    *conv_and_norm(r"head\.pyramid\.fuse"),
)
DEEPLABV3_SSSEG = Table((*SSSEG_AUXILIARY, *_ASPP_SSSEG, (r"^decoder\.1\.", "head.classifier.")))
DEEPLABV3PLUS_SSSEG = Table(
    (
        *SSSEG_AUXILIARY,
        *_ASPP_SSSEG,
        (r"^shortcut\.", "head.shortcut."),
        *conv_and_norm(r"head\.shortcut"),
        (r"^decoder\.([01])\.", r"head.decoder.\1."),
        (r"\.(depthwise|pointwise)_(conv|bn)\.", r".\1.\2."),
        (r"^decoder\.3\.", "head.classifier."),
    )
)

# --- UPerNet --------------------------------------------------------------------------------------------------------
UPERNET_MMSEG = Table(
    (
        *MMSEG_SHARED,
        (r"\.psp_modules\.", ".pyramid.stages."),
        (r"^head\.bottleneck\.", "head.pyramid_fuse."),
        (r"\.lateral_convs\.", ".laterals."),
        (r"\.fpn_convs\.", ".smooth."),
        (r"\.fpn_bottleneck\.", ".fuse."),
    )
)
UPERNET_SSSEG = Table(
    (
        *SSSEG_AUXILIARY,
        *_PYRAMID_SSSEG,
        (r"^ppm_net\.bottleneck\.", "head.pyramid_fuse."),
        (r"^lateral_convs\.", "head.laterals."),
        (r"^fpn_convs\.", "head.smooth."),
        (r"^decoder\.4\.", "head.classifier."),
        (r"^decoder\.", "head.fuse."),
        *conv_and_norm(r"head\.(?:pyramid_fuse|fuse|laterals\.\d|smooth\.\d)"),
    )
)

# --- OCRNet ---------------------------------------------------------------------------------------------------------
_OBJECT_ATTENTION: Rules = (
    (r"object_context_block\.bottleneck\.", "head.fuse."),
    (r"object_context_block\.(query|key)_project\.", r"head.attention.\1."),
    (r"object_context_block\.(value|out)_project\.", r"head.attention.\1.0."),
)
OCRNET_MMSEG = Table(
    (
        (r"^decode_head\.0\.conv_seg\.", "head.coarse.classifier."),
        (r"^decode_head\.0\.", "head.coarse."),
        (r"^decode_head\.1\.conv_seg\.", "head.classifier."),
        (r"^decode_head\.1\.bottleneck\.", "head.pixels."),
        (r"^decode_head\.1\.", ""),
        *_OBJECT_ATTENTION,
    )
)
OCRNET_SSSEG = Table(
    (
        *SSSEG_AUXILIARY,
        (r"^auxiliary\.0\.", "head.coarse."),
        (r"^decoder\.1\.", "head.classifier."),
        (r"^bottleneck\.", "head.pixels."),
        *_OBJECT_ATTENTION,
        *conv_and_norm(r"head\.(?:pixels|fuse|attention\.\w+\.\d)"),
    )
)

# --- SegFormer ------------------------------------------------------------------------------------------------------
SEGFORMER_MMSEG = Table(
    (*MMSEG_SHARED, (r"^head\.convs\.", "head.projections."), (r"^head\.fusion_conv\.", "head.fuse."))
)
SEGFORMER_SSSEG = Table(
    (
        (r"^convs\.", "head.projections."),
        (r"^decoder\.4\.", "head.classifier."),
        (r"^decoder\.", "head.fuse."),
        *conv_and_norm(r"head\.(?:projections\.\d|fuse)"),
    )
)

# --- BiSeNetV2 ------------------------------------------------------------------------------------------------------
BISENETV2_MMSEG = Table(MMSEG_SHARED)
BISENETV2_SSSEG = Table(
    (
        *_fcn_ssseg("decoder", "head", 1),
        *(rule for i in range(4) for rule in _fcn_ssseg(rf"auxiliary_decoder\.{i}", f"auxiliary.{i}", 2)),
    )
)

# --- EncNet ---------------------------------------------------------------------------------------------------------
_ENCODING: Rules = (
    (r"enc_module\.encoding_project\.", "head.project."),
    (r"enc_module\.encoding\.", "head.encode."),
    (r"enc_module\.fc\.0\.", "head.gate."),
    (r"se_layer\.", "head.presence."),
)
ENCNET_MMSEG = Table(
    (
        *MMSEG_AUXILIARY,
        (r"^decode_head\.conv_seg\.", "head.classifier."),
        (r"^(auxiliary.*)\.conv_seg\.", r"\1.classifier."),
        (r"^decode_head\.bottleneck\.", "head.reduce."),
        (r"^decode_head\.lateral_convs\.", "head.laterals."),
        (r"^decode_head\.fusion\.", "head.lateral_fuse."),
        (r"^decode_head\.", ""),
        *_ENCODING,
    )
)
ENCNET_SSSEG = Table(
    (
        *SSSEG_AUXILIARY,
        (r"^bottleneck\.", "head.reduce."),
        *_ENCODING,
        *conv_and_norm(r"head\.(?:reduce|project)"),
        (r"^decoder\.1\.", "head.classifier."),
    )
)

# --- EMANet ---------------------------------------------------------------------------------------------------------
_EMA: Rules = (
    (r"ema_in_conv\.", "head.reduce."),
    (r"ema_mid_conv\.(conv\.)?", "head.signed."),
    (r"ema_module\.", "head.attention."),
    (r"ema_out_conv\.", "head.restore."),
)
EMANET_MMSEG = Table(
    (
        *MMSEG_AUXILIARY,
        (r"^decode_head\.conv_seg\.", "head.classifier."),
        (r"^(auxiliary.*)\.conv_seg\.", r"\1.classifier."),
        (r"^decode_head\.bottleneck\.", "head.smooth."),
        (r"^decode_head\.conv_cat\.", "head.fuse."),
        (r"^decode_head\.", ""),
        *_EMA,
    ),
    (layouts.one_set_of_bases,),
)
EMANET_SSSEG = Table(
    (
        *SSSEG_AUXILIARY,
        *_EMA,
        (r"^bottleneck\.", "head.smooth."),
        (r"^decoder\.4\.", "head.classifier."),
        (r"^decoder\.", "head.fuse."),
        *conv_and_norm(r"head\.(?:reduce|restore|smooth|fuse)"),
    ),
    (layouts.one_set_of_bases,),
)

# --- PointRend ------------------------------------------------------------------------------------------------------
_SCALE_HEADS: Rules = tuple(  # every other member of their sequences enlarges
    (rf"^scale_heads\.(\d)\.{2 * i}\.", rf"head.fuse.levels.\1.{i}.") for i in range(3)
)
POINTREND_MMSEG = Table(
    (
        (r"^neck\.lateral_convs\.(\d)\.conv\.", r"head.pyramid.laterals.\1."),
        (r"^neck\.fpn_convs\.(\d)\.conv\.", r"head.pyramid.smooth.\1."),
        (r"^decode_head\.0\.scale_heads\.", "scale_heads."),
        *_SCALE_HEADS,
        (r"^decode_head\.0\.", "decode_head."),
        (r"^decode_head\.1\.fcs\.(\d)\.conv\.", r"head.points.layers.\1.0."),
        (r"^decode_head\.1\.fc_seg\.", "head.points.classifier."),
        *MMSEG_SHARED,
    )
)
POINTREND_SSSEG = Table(
    (
        (r"^fpn_neck\.lateral_convs\.", "head.pyramid.laterals."),
        (r"^fpn_neck\.fpn_convs\.", "head.pyramid.smooth."),
        (r"^scale_heads\.0\.0\.", "head.fuse.levels.0.0."),
        *_SCALE_HEADS,
        *conv_and_norm(r"head\.(?:pyramid\.\w+\.\d|fuse\.levels\.\d\.\d)"),
        (r"^auxiliary_decoder\.1\.", "head.classifier."),
        (r"^fcs\.", "head.points.layers."),
        (r"^decoder\.1\.", "head.points.classifier."),
    )
)

# --- MaskFormer -----------------------------------------------------------------------------------------------------
# The feature pyramid is counted from the finest map there, from the coarsest here; SSSegmentation does both.
MASKFORMER_MMSEG = Table(
    (
        (r"^decode_head\.pixel_decoder\.last_feat_conv\.", "head.pixel_decoder.deepest."),
        *(
            (rf"^decode_head\.pixel_decoder\.lateral_convs\.{i}\.", f"head.pixel_decoder.laterals.{2 - i}.")
            for i in range(3)
        ),
        *(
            (rf"^decode_head\.pixel_decoder\.output_convs\.{i}\.", f"head.pixel_decoder.smooth.{2 - i}.")
            for i in range(3)
        ),
        (r"^(head\.pixel_decoder\..*)\.conv\.", r"\1.0."),
        (r"^(head\.pixel_decoder\..*)\.gn\.", r"\1.1."),
        (r"^decode_head\.pixel_decoder\.mask_feature\.", "head.pixel_decoder.project."),
        (r"^decode_head\.decoder_input_proj\.", "head.query_decoder.project."),
        (r"^decode_head\.query_embed\.", "head.query_decoder.queries."),
        (r"^decode_head\.transformer_decoder\.post_norm\.", "head.query_decoder.norm."),
        (r"^decode_head\.transformer_decoder\.", "head.query_decoder."),
        (r"\.(self|cross)_attn\.attn\.", r".\1_attn."),
        (r"\.ffn\.layers\.0\.0\.", ".fc1."),
        (r"\.ffn\.layers\.1\.", ".fc2."),
        *((rf"\.norms\.{i}\.", f".norm{i + 1}.") for i in range(3)),
        (r"^decode_head\.cls_embed\.", "head.classifier."),
        *((rf"^decode_head\.mask_embed\.{2 * i}\.", f"head.mask_mlp.{i}.") for i in range(3)),
    )
)
MASKFORMER_SSSEG = Table(
    (
        (r"^criterion\.", None),
        (r"^ppm_net\.branches\.(\d)\.1\.", r"pixel.deepest.0.stages.\1.1.conv."),
        (r"^ppm_net\.branches\.(\d)\.2\.", r"pixel.deepest.0.stages.\1.1.bn."),
        (r"^ppm_net\.bottleneck\.", "pixel.deepest.1."),
        *((rf"^lateral_convs\.{i}\.", f"pixel.laterals.{2 - i}.") for i in range(3)),
        (r"^fpn_convs\.", "pixel.smooth."),
        *conv_and_norm(r"pixel\.(?:(?:laterals|smooth)\.\d|deepest\.1)"),
        (r"^decoder_mask\.0\.", "pixel.project."),
        (r"^pixel\.", "head.pixel_decoder."),
        (r"^decoder_predictor\.class_embed\.", "head.classifier."),
        (r"^decoder_predictor\.mask_embed\.layers\.", "head.mask_mlp."),
        (r"^decoder_predictor\.query_embed\.", "head.query_decoder.queries."),
        (r"^decoder_predictor\.input_proj\.", "head.query_decoder.project."),
        (r"^decoder_predictor\.transformer\.decoder\.", "head.query_decoder."),
        (r"\.multihead_attn\.", ".cross_attn."),
        (r"\.linear([12])\.", r".fc\1."),
    )
)

# --- ICNet, whose encoder is the larger part ------------------------------------------------------------------------
_ICNET_TRUNK: Rules = (
    (r"^backbone(_net)?\.", "trunk."),
    *((rf"^trunk\.{pattern.lstrip('^')}", f"trunk.{new}") for pattern, new in DEEP_STEM_RULES),
    (r"^trunk\.", "trunk.encoder."),
    (r"^conv_sub1\.", "branch_full."),
    (r"^conv_sub2\.", "branch_half."),
    (r"^conv_sub4\.", "branch_quarter."),
)
ICNET_ENCODER_MMSEG = Table(
    (*_ICNET_TRUNK, (r"^psp_modules\.", "pyramid.stages."), (r"^psp_bottleneck\.", "fuse.")),
    (change(r"^fuse\.conv\.weight$", layouts.map_first),),
)
ICNET_ENCODER_SSSEG = Table(
    (
        *_ICNET_TRUNK,
        *((rf"^branch_full\.{3 * i}\.", f"branch_full.{i}.conv.") for i in range(3)),
        *((rf"^branch_full\.{3 * i + 1}\.(?!conv|bn)", f"branch_full.{i}.bn.") for i in range(3)),
        (r"^ppm_net\.branches\.(\d)\.1\.", r"pyramid.stages.\1.1.conv."),
        (r"^ppm_net\.branches\.(\d)\.2\.", r"pyramid.stages.\1.1.bn."),
        (r"^ppm_net\.bottleneck\.", "fuse."),
        *conv_and_norm(r"branch_half|branch_quarter|fuse"),
    )
)
_ICNET_NECK: Rules = (
    (r"^neck\.cff_24\.", "head.fuse_half."),
    (r"^neck\.cff_12\.", "head.fuse_full."),
    (r"\.conv_(low|high)\.", r".\1."),
)
ICNET_MMSEG = Table(
    (
        *_ICNET_NECK,
        *MMSEG_AUXILIARY,
        (r"^auxiliary\.", "head.early."),
        (r"^decode_head\.", "head.decoder."),
        (r"\.conv_seg\.", ".classifier."),
    )
)
ICNET_SSSEG = Table(
    (
        *_ICNET_NECK,
        *conv_and_norm(r"head\.fuse_\w+\.\w+"),
        (r"^auxiliary_decoder\.", "head.early."),
        (r"^decoder\.", "head.decoder."),
        (r"^(head\.(?:decoder|early\.\d))\.0\.", r"\1.convs.0.conv."),
        (r"^(head\.(?:decoder|early\.\d))\.1\.", r"\1.convs.0.bn."),
        (r"^(head\.(?:decoder|early\.\d))\.4\.", r"\1.classifier."),
    )
)

# --- CE2P -----------------------------------------------------------------------------------------------------------
CE2P_SSSEG = Table(
    (
        *_PYRAMID_SSSEG,
        (r"^ppm_net\.bottleneck\.", "head.fuse."),
        (r"^shortcut\.", "head.shortcut."),
        (r"^edge_net\.edge_conv\.", "head.edges.edge."),
        (r"^edge_net\.fuse_conv\.", "head.edges.fuse."),
        (r"^edge_net\.branches\.", "head.edges.branches."),
        *conv_and_norm(r"head\.(?:fuse|shortcut|edges\.branches\.\d)"),
        (r"^decoder_stage1\.7\.", "head.early_classifier."),
        (r"^decoder_stage2\.7\.", "head.classifier."),
        (r"^decoder_stage1\.", "head.parse."),
        (r"^decoder_stage2\.", "head.refine."),
        (r"^(head\.(?:parse|refine))\.4\.", r"\1.1.bn."),
        (r"^(head\.(?:parse|refine))\.3\.", r"\1.1.conv."),
        (r"^(head\.(?:parse|refine))\.1\.(?!conv|bn)", r"\1.0.bn."),
        (r"^(head\.(?:parse|refine))\.0\.(?!conv|bn)", r"\1.0.conv."),
    )
)

# --- MCIBI ----------------------------------------------------------------------------------------------------------
MCIBI_SSSEG = Table(
    (
        (r"^norm_layers\.", "backbone.norms."),
        (r"^auxiliary_decoder\.(\d)\.4\.", r"auxiliary.\1.convs.1.conv."),  # three heads have two convolutions each
        (r"^auxiliary_decoder\.(\d)\.5\.", r"auxiliary.\1.convs.1.bn."),
        (r"^auxiliary_decoder\.(\d)\.9\.", r"auxiliary.\1.classifier."),
        *SSSEG_AUXILIARY,
        (r"^downsample_backbone\.", "head.halve."),
        (r"^context_within_image_module\.global_branch\.1\.", "head.context.pool.1.conv."),
        (r"^context_within_image_module\.global_branch\.2\.", "head.context.pool.1.bn."),
        (r"^context_within_image_module\.bottleneck\.", "head.context.fuse."),
        (r"^context_within_image_module\.parallel_branches\.", "head.context.branches."),
        (r"^bottleneck\.", "head.project."),
        (r"^memory_module\.memory$", "head.memory.features"),
        (r"^memory_module\.bottleneck\.", "head.fuse_beyond."),
        (r"^memory_module\.bottleneck_ms\.", "head.fuse_within."),
        (r"^memory_module\.self_attention\.", "head.beyond."),
        (r"^memory_module\.self_attention_ms\.", "head.within."),
        (r"^(head\.(?:beyond|within)\.(?:key|query))_project\.", r"\1."),
        (r"^(head\.(?:beyond|within)\.(?:value|out))_project\.", r"\1.0."),
        (r"^decoder_stage1\.4\.", "head.early_classifier.2."),
        (r"^decoder_stage2\.4\.", "head.classifier.2."),
        (r"^decoder_stage1\.", "head.early_classifier.0."),
        (r"^decoder_stage2\.", "head.classifier.0."),
        *conv_and_norm(
            r"head\.(?:halve|project|fuse_\w+|context\.fuse|context\.branches\.\d|(?:beyond|within)\.\w+\.\d|"
            r"(?:early_)?classifier\.0)"
        ),
    ),
    (layouts.one_per_class,),
)
