"""Renaming tables of encoders, to the names that vitrail and timm give them.

The two projects share most of their names. Where they do not, MMSegmentation's `ConvModule` calls its members `conv`
and `bn` while SSSegmentation numbers them: the tables of the latter then begin or end with `conv_and_norm`.
"""

from __future__ import annotations

from vitrail.checkpoints.sources import layouts
from vitrail.checkpoints.sources.renaming import Rules, Table, conv_and_norm

# --- ResNet and its relations ---------------------------------------------------------------------------------------
PLAIN = Table(((r"^", "encoder."),))  # ResNet with one 7 × 7 convolution, and HRNet: everybody kept the authors' names
DEEP_STEM_RULES: Rules = (
    (r"^stem\.7\.", "bn1."),
    (r"^stem\.(\d)\.", r"conv1.\1."),
)
DEEP_STEM = Table((*DEEP_STEM_RULES, (r"^", "encoder.")))  # ResNet-C, ResNet-D, ResNeSt

# --- MobileNetV2 ----------------------------------------------------------------------------------------------------
MOBILENET_V2 = Table(
    (
        (r"^conv1\.conv\.", "conv_stem."),
        (r"^conv1\.bn\.", "bn1."),
        (r"^layer1\.0\.conv\.0\.conv\.", "blocks.0.0.conv_dw."),
        (r"^layer1\.0\.conv\.0\.bn\.", "blocks.0.0.bn1."),
        (r"^layer1\.0\.conv\.1\.conv\.", "blocks.0.0.conv_pw."),
        (r"^layer1\.0\.conv\.1\.bn\.", "blocks.0.0.bn2."),
        *((rf"^layer{i + 1}\.", f"blocks.{i}.") for i in range(1, 7)),
        (r"\.conv\.0\.conv\.", ".conv_pw."),
        (r"\.conv\.1\.conv\.", ".conv_dw."),
        (r"\.conv\.2\.conv\.", ".conv_pwl."),
        (r"\.conv\.0\.bn\.", ".bn1."),
        (r"\.conv\.1\.bn\.", ".bn2."),
        (r"\.conv\.2\.bn\.", ".bn3."),
        (r"^", "encoder."),
    )
)

# --- MobileNetV3 ----------------------------------------------------------------------------------------------------
_MOBILENET_V3_STAGES = {"large": (1, 2, 3, 4, 2, 3), "small": (1, 2, 3, 2, 3)}


def _mobilenet_v3(size: str) -> Rules:
    stages = _MOBILENET_V3_STAGES[size]
    places = [(stage, block) for stage, count in enumerate(stages) for block in range(count)]
    layers = tuple((rf"^layer{i + 1}\.", f"encoder.blocks.{stage}.{block}.") for i, (stage, block) in enumerate(places))
    first = (  # its expansion is left out, so what follows is called the first
        (r"^encoder\.blocks\.0\.0\.depthwise_conv\.conv\.", "encoder.blocks.0.0.conv_dw."),
        (r"^encoder\.blocks\.0\.0\.depthwise_conv\.bn\.", "encoder.blocks.0.0.bn1."),
        (r"^encoder\.blocks\.0\.0\.linear_conv\.conv\.", "encoder.blocks.0.0.conv_pw."),
        (r"^encoder\.blocks\.0\.0\.linear_conv\.bn\.", "encoder.blocks.0.0.bn2."),
    )
    return (
        (r"^layer0\.conv\.", "encoder.conv_stem."),
        (r"^layer0\.bn\.", "encoder.bn1."),
        (rf"^layer{len(places) + 1}\.conv\.", f"encoder.blocks.{len(stages)}.0.conv."),
        (rf"^layer{len(places) + 1}\.bn\.", f"encoder.blocks.{len(stages)}.0.bn1."),
        *layers,
        *first,
        (r"\.expand_conv\.conv\.", ".conv_pw."),
        (r"\.expand_conv\.bn\.", ".bn1."),
        (r"\.depthwise_conv\.conv\.", ".conv_dw."),
        (r"\.depthwise_conv\.bn\.", ".bn2."),
        (r"\.linear_conv\.conv\.", ".conv_pwl."),
        (r"\.linear_conv\.bn\.", ".bn3."),
        (r"\.se\.conv1\.conv\.", ".se.conv_reduce."),
        (r"\.se\.conv2\.conv\.", ".se.conv_expand."),
    )


MOBILENET_V3_LARGE_MMSEG = Table(_mobilenet_v3("large"))
MOBILENET_V3_SMALL_MMSEG = Table(_mobilenet_v3("small"))
_V3_SEQUENCES = conv_and_norm(r"layer\d+\.\w+_conv|layer\d+\.se\.conv\d")
MOBILENET_V3_LARGE_SSSEG = Table((*_V3_SEQUENCES, *MOBILENET_V3_LARGE_MMSEG.rules))
MOBILENET_V3_SMALL_SSSEG = Table((*_V3_SEQUENCES, *MOBILENET_V3_SMALL_MMSEG.rules))

# --- MobileViT ------------------------------------------------------------------------------------------------------
_INVERTED_RESIDUAL: Rules = (
    (r"^(encoder\.stages\.\d\.\d)\.conv\.0\.", r"\1.conv1_1x1."),
    (r"^(encoder\.stages\.\d\.\d)\.conv\.1\.", r"\1.conv2_kxk."),
    (r"^(encoder\.stages\.\d\.\d)\.conv\.2\.", r"\1.conv3_1x1."),
)
MOBILEVIT_SSSEG = Table(
    (
        (r"^stem\.", "encoder.stem."),
        (r"^layers\.", "encoder.stages."),
        *_INVERTED_RESIDUAL,
        (r"\.local_rep\.0\.", ".conv_kxk."),
        (r"\.local_rep\.1\.conv\.", ".conv_1x1."),
        (r"\.global_rep\.(\d)\.(weight|bias)$", r".norm.\2"),
        (r"\.global_rep\.", ".transformer."),
        (r"\.ln(\d)\.", r".norm\1."),
        (r"\.attn\.attn\.in_proj_", ".attn.qkv."),
        (r"\.attn\.attn\.out_proj\.", ".attn.proj."),
        (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
        (r"^conv_1x1_exp\.", "encoder.final_conv."),
    )
)
MOBILEVIT_V2_SSSEG = Table(((r"^(stem|stages)\.", r"encoder.\1."), *_INVERTED_RESIDUAL))

# --- ConvNeXt -------------------------------------------------------------------------------------------------------
CONVNEXT = Table(
    (
        (r"^downsample_layers\.0\.", "encoder.stem."),
        (r"^downsample_layers\.(\d)\.", r"encoder.stages.\1.downsample."),
        (r"^stages\.(\d)\.(\d+)\.", r"encoder.stages.\1.blocks.\2."),
        (r"\.depthwise_conv\.", ".conv_dw."),
        (r"\.pointwise_conv1\.", ".mlp.fc1."),
        (r"\.pointwise_conv2\.", ".mlp.fc2."),
        (r"^norm(\d)\.", r"norms.\1."),
    )
)

# --- CGNet ----------------------------------------------------------------------------------------------------------
_CGNET: Rules = (
    (r"^norm_prelu_(\d)\.0\.", r"norm\1.norm."),
    (r"^norm_prelu_(\d)\.1\.", r"norm\1.act."),
    (r"\.conv1x1\.", ".reduce."),
    (r"\.f_loc\.", ".local."),
    (r"\.f_sur\.", ".surround."),
    (r"^(level\d\.\d+)\.bn\.", r"\1.joint.norm."),
    (r"^(level\d\.\d+)\.activate\.", r"\1.joint.act."),
    (r"\.bottleneck\.", ".project."),
    (r"\.f_glo\.fc\.", ".context.weights."),
)
CGNET_MMSEG = Table(
    (
        *_CGNET,
        (r"^(stem\.\d|.*\.reduce)\.bn\.", r"\1.norm."),
        (r"^(stem\.\d|.*\.reduce)\.activate\.", r"\1.act."),
    )
)
CGNET_SSSEG = Table((*_CGNET, *conv_and_norm(r"stem\.\d|.*\.reduce", act=True)))

# --- Fast-SCNN ------------------------------------------------------------------------------------------------------
_FASTSCNN: Rules = (
    (r"^learning_to_downsample\.conv\.", "downsample.0."),
    (r"^learning_to_downsample\.dsconv(\d)\.", r"downsample.\1."),
    (r"\.depthwise_conv\.", ".depthwise."),
    (r"\.pointwise_conv\.", ".pointwise."),
    *(
        (rf"^global_feature_extractor\.bottleneck{group + 1}\.{block}\.", f"bottlenecks.{3 * group + block}.")
        for group in range(3)
        for block in range(3)
    ),
    (r"^(bottlenecks\.\d)\.conv\.0\.", r"\1.widen."),
    (r"^(bottlenecks\.\d)\.conv\.1\.", r"\1.filter."),
    (r"^(bottlenecks\.\d)\.conv\.2\.", r"\1.narrow."),
    (r"^global_feature_extractor\.ppm\.(\d)\.", r"pool.stages.\1."),
    (r"^global_feature_extractor\.out\.", "project."),
    (r"^feature_fusion\.dwconv\.", "fusion.smooth."),
    (r"^feature_fusion\.conv_lower_res\.", "fusion.deep."),
    (r"^feature_fusion\.conv_higher_res\.", "fusion.shallow."),
)
FASTSCNN_MMSEG = Table(_FASTSCNN)
FASTSCNN_SSSEG = Table(
    (
        *_FASTSCNN,
        (r"\.depthwise\.(weight|bias)$", r".depthwise.conv.\1"),
        (r"\.pointwise\.(weight|bias)$", r".pointwise.conv.\1"),
        (r"\.depthwise_bn\.", ".depthwise.bn."),
        (r"\.pointwise_bn\.", ".pointwise.bn."),
        (r"^(pool\.stages\.\d)\.1\.", r"\1.1.conv."),
        (r"^(pool\.stages\.\d)\.2\.", r"\1.1.bn."),
        *conv_and_norm(r"downsample\.0|project|fusion\.\w+"),
    )
)

# --- Swin -----------------------------------------------------------------------------------------------------------
SWIN = Table(
    (
        (r"relative_position_index$", None),
        (r"^patch_embed\.projection\.", "encoder.patch_embed.proj."),
        (r"^patch_embed\.norm\.", "encoder.patch_embed.norm."),
        (r"^norm(\d)\.", r"norms.\1."),
        *((rf"^stages\.{i}\.downsample\.", f"encoder.layers.{i + 1}.downsample.") for i in range(3)),
        (r"^stages\.", "encoder.layers."),
        (r"\.attn\.w_msa\.", ".attn."),
        (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
    ),
    layouts.SWIN,
)

# --- MiT ------------------------------------------------------------------------------------------------------------
MIT = Table(
    (
        (r"^layers\.(\d)\.0\.projection\.", r"stages.\1.embed.proj."),
        (r"^layers\.(\d)\.0\.norm\.", r"stages.\1.embed.norm."),
        (r"^layers\.(\d)\.1\.", r"stages.\1.blocks."),
        (r"^layers\.(\d)\.2\.", r"stages.\1.norm."),
        (r"\.attn\.attn\.in_proj_", ".attn.qkv."),
        (r"\.attn\.attn\.out_proj\.", ".attn.proj."),
        (r"\.attn\.sr\.", ".attn.shrink."),
        (r"\.ffn\.layers\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.conv."),
        (r"\.ffn\.layers\.4\.", ".mlp.fc2."),
    ),
    layouts.MIT,
)

# --- BiSeNetV2 ------------------------------------------------------------------------------------------------------
_BISENETV2: Rules = (
    (r"^detail\.detail_branch\.", "detail."),
    (r"^semantic\.stage1\.conv_first\.", "stem.first."),
    (r"^semantic\.stage1\.convs\.", "stem.convs."),
    (r"^semantic\.stage1\.fuse_last\.", "stem.fuse."),
    (r"^semantic\.stage4_CEBlock\.gap\.1\.", "context.norm."),
    (r"^semantic\.stage4_CEBlock\.conv_gap\.", "context.project."),
    (r"^semantic\.stage4_CEBlock\.conv_last\.", "context.fuse."),
    (r"^semantic\.stage4\.", "stage5."),
    (r"^semantic\.stage3\.", "stage4."),
    (r"^semantic\.stage2\.", "stage3."),
    (r"^(stage\d\.\d)\.conv1\.", r"\1.gather."),
    (r"^(stage\d\.\d)\.dwconv\.", r"\1.expand."),
    (r"^(stage\d\.\d)\.conv2\.", r"\1.project."),
    (r"^bga\.detail_dwconv\.", "aggregate.detail."),
    (r"^bga\.detail_down\.", "aggregate.detail_down."),
    (r"^bga\.semantic_conv\.", "aggregate.semantic_up."),
    (r"^bga\.semantic_dwconv\.", "aggregate.semantic."),
    (r"^bga\.conv\.", "aggregate.fuse."),
)
BISENETV2_MMSEG = Table(
    (
        *_BISENETV2,
        (r"^(aggregate\.(?:detail|semantic)|stage\d\.0\.shortcut)\.0\.depthwise_conv\.", r"\1.0."),
        (r"^(aggregate\.(?:detail|semantic)|stage\d\.0\.shortcut)\.0\.pointwise_conv\.", r"\1.1."),
        (r"^(aggregate\.(?:detail|semantic)\.1)\.conv\.", r"\1."),
        (r"^aggregate\.semantic_up\.0\.", "aggregate.semantic_up."),
        (r"^(stage\d\.\d\.project)\.0\.", r"\1."),
    )
)
_BISENETV2_SEQUENCES = r"^(stem\.\w+|context\.\w+|stage\d\.\d\.(?:gather|project)|aggregate\.(?:semantic_up|fuse))"
BISENETV2_SSSEG = Table(
    (
        *_BISENETV2,
        (r"^(aggregate\.(?:detail|semantic)|stage\d\.0\.shortcut)\.0\.depthwise_conv\.", r"\1.0.conv."),
        (r"^(aggregate\.(?:detail|semantic)|stage\d\.0\.shortcut)\.0\.depthwise_bn\.", r"\1.0.bn."),
        (r"^(aggregate\.(?:detail|semantic))\.0\.pointwise_conv\.", r"\1.1."),
        (r"^(stage\d\.0\.shortcut)\.0\.pointwise_conv\.", r"\1.1.conv."),
        (r"^(stage\d\.0\.shortcut)\.0\.pointwise_bn\.", r"\1.1.bn."),
        (r"^aggregate\.detail_down\.0\.", "aggregate.detail_down.0.conv."),
        (r"^aggregate\.detail_down\.1\.", "aggregate.detail_down.0.bn."),
        # sequences of sequences, written flat: the third of three begins at 6, the second at 3, the first at 0
        (r"^(detail\.\d|stem\.convs)\.6\.", r"\1.2.conv."),
        (r"^(detail\.\d|stem\.convs)\.7\.", r"\1.2.bn."),
        (r"^(detail\.\d|stem\.convs)\.4\.", r"\1.1.bn."),
        (r"^(detail\.\d|stem\.convs)\.3\.", r"\1.1.conv."),
        (r"^(detail\.\d|stem\.convs)\.1\.(?!conv|bn)", r"\1.0.bn."),
        (r"^(detail\.\d|stem\.convs)\.0\.(?!conv|bn)", r"\1.0.conv."),
        (r"^(stage\d\.\d\.expand)\.3\.", r"\1.1.bn."),
        (r"^(stage\d\.\d\.expand)\.2\.", r"\1.1.conv."),
        (r"^(stage\d\.\d\.expand)\.1\.(?!conv|bn)", r"\1.0.bn."),
        (r"^(stage\d\.\d\.expand)\.0\.(?!conv|bn)", r"\1.0.conv."),
        (rf"{_BISENETV2_SEQUENCES}\.0\.(?!conv|bn)", r"\1.conv."),
        (rf"{_BISENETV2_SEQUENCES}\.1\.(?!conv|bn)", r"\1.bn."),
    )
)

# --- BiSeNetV1 ------------------------------------------------------------------------------------------------------
_BISENETV1: Rules = (
    (r"^context_path\.backbone(_net)?\.stem\.7\.", "context.encoder.encoder.bn1."),
    (r"^context_path\.backbone(_net)?\.stem\.", "context.encoder.encoder.conv1."),
    (r"^context_path\.backbone(_net)?\.", "context.encoder.encoder."),
    (r"^context_path\.arm(\d+)\.conv_layer\.", r"context.refine\1.conv."),
    (r"^context_path\.arm(\d+)\.atten_conv_layer\.", r"context.refine\1.attention."),
    (r"^context_path\.gap_conv\.", "context.average."),
    (r"^context_path\.conv_head32\.", "context.smooth16."),
    (r"^context_path\.conv_head16\.", "context.smooth8."),
    *((rf"^spatial_path\.layer{i + 1}\.", f"spatial.{i}.") for i in range(4)),
    (r"^ffm\.conv1\.", "fuse.join."),
    (r"^ffm\.conv_atten\.", "fuse.attention."),
)
BISENETV1_MMSEG = Table(
    (
        *_BISENETV1,
        (r"^(context\.refine\d+\.attention|context\.average)\.1\.", r"\1."),
        (r"^fuse\.attention\.0\.", "fuse.attention."),
    )
)
BISENETV1_SSSEG = Table(
    (
        *_BISENETV1,
        (r"^(context\.refine\d+\.attention|context\.average)\.1\.", r"\1.conv."),
        (r"^(context\.refine\d+\.attention|context\.average)\.2\.", r"\1.bn."),
        *conv_and_norm(r"context\.refine\d+\.conv|context\.smooth\d+|spatial\.\d|fuse\.\w+"),
    )
)

# --- ViT, BEiT, MAE -------------------------------------------------------------------------------------------------
VIT = Table(
    (
        (r"^(cls_token|pos_embed)$", r"encoder.\1"),
        (r"^patch_embed\.projection\.", "encoder.patch_embed.proj."),
        (r"^layers\.", "encoder.blocks."),
        (r"\.ln(\d)\.", r".norm\1."),
        (r"\.attn\.attn\.in_proj_", ".attn.qkv."),
        (r"\.attn\.attn\.out_proj\.", ".attn.proj."),
        (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
        (r"^(norm1|ln1)\.", "final_norm."),
    ),
    (layouts.patch_bias,),
)
BEIT = Table((*VIT.rules, (r"relative_position_index$", None), (r"^final_norm\.", None)))
MAE = Table(BEIT.rules, layouts.MAE)

# --- Twins ----------------------------------------------------------------------------------------------------------
TWINS = Table(
    (
        (r"^norm1\.", None),  # of a classifier, never applied
        (r"^patch_embeds\.(\d)\.projection\.", r"encoder.patch_embeds.\1.proj."),
        (r"^patch_embeds\.(\d)\.norm\.", r"encoder.patch_embeds.\1.norm."),
        (r"^position_encodings\.(\d)\.proj\.", r"encoder.pos_block.\1.proj.0."),
        (r"^norm_list\.", "norms."),
        (r"^layers\.", "encoder.blocks."),
        (r"\.attn\.attn\.out_proj\.", ".attn.proj."),
        (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
    ),
    layouts.TWINS,
)

# --- ERFNet ---------------------------------------------------------------------------------------------------------
ERFNET = Table(
    (
        (r"\.convs_layers\.(1|4|6)\.weight$", None),  # an activation that is used several times is listed several times
        (r"^encoder\.0\.", "stem."),
        *((rf"^encoder\.{i}\.", f"stage1.{i - 1}.") for i in range(1, 7)),
        *((rf"^encoder\.{i}\.", f"stage2.{i - 7}.") for i in range(7, 16)),
        *((rf"^decoder\.{i}\.", f"up1.{i}.") for i in range(3)),
        *((rf"^decoder\.{i}\.", f"up2.{i - 3}.") for i in range(3, 6)),
        (r"\.convs_layers\.0\.", ".tall1."),
        (r"\.convs_layers\.2\.", ".wide1."),
        (r"\.convs_layers\.3\.", ".norm1."),
        (r"\.convs_layers\.5\.", ".tall2."),
        (r"\.convs_layers\.7\.", ".wide2."),
        (r"\.convs_layers\.8\.", ".norm2."),
        (r"\.bn\.", ".norm."),
    )
)

# --- U-Net ----------------------------------------------------------------------------------------------------------
_UNET: Rules = (
    (r"^encoder\.0\.0\.convs\.", "down.0."),
    (r"^encoder\.(\d)\.1\.convs\.", r"down.\1."),
    (r"^decoder\.(\d)\.conv_block\.convs\.", r"up.\1.convs."),
    (r"^decoder\.(\d)\.upsample\.interp_upsample\.1\.", r"up.\1.project."),
)
UNET_MMSEG = Table(_UNET)
UNET_SSSEG = Table((*_UNET, *conv_and_norm(r"down\.\d\.\d|up\.\d\.convs\.\d|up\.\d\.project")))

# --- Necks that turn the maps of a plain transformer into a pyramid -------------------------------------------------
NECK = Table(
    (
        (r"^upsample_4x\.", "up4."),
        (r"^upsample_2x\.0\.", "up2."),
        (r"^lateral_convs\.(\d)\.conv\.", r"lateral.\1."),
        (r"^convs\.(\d)\.conv\.", r"smooth.\1."),
    )
)
