"""The table of comparisons: which models are compared with which other toolbox's, and how they are made small.

Nothing here says how our side is built: the importer of the toolbox derives that from the same settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from parity.case import CLASSES, FULL_SIZE, SQUARE_WIDE_ODD, Case
from parity.efficientvit import EFFICIENTVIT
from parity.eomt import EOMT_AUTHORS
from parity.huggingface import HUGGING_FACE
from parity.regseg import REGSEG
from parity.sctnet import SCTNETS
from parity.smp import SMP
from parity.toolboxes import (
    Mmseg,
    MmsegMask2Former,
    MmsegMaskFormer,
    MmsegSAN,
    MmsegSegNeXt,
    MmsegSmallWindows,
    MmsegWithEdges,
    Ssseg,
    SssegCascade,
    SssegMask2Former,
    SssegMaskFormer,
    SssegMemory,
    SssegPoints,
    SssegSmallWindows,
    SssegUpsampled,
    SssegWithEdges,
    Torchvision,
)
from parity.torchvision_import import import_fcn
from vitrail.segmentors import Progress

Changes = Mapping[str, Any]

# --- MMSegmentation: names of losses, and settings that make a model narrow -----------------------------------------
ONE_AUXILIARY = {"seg": "decode.loss_ce", "aux0_seg": "aux.loss_ce"}
NARROW_MMSEG = {
    "decode_head.channels": 64,
    "decode_head.num_classes": CLASSES,
    "auxiliary_head.channels": 32,
    "auxiliary_head.num_classes": CLASSES,
}
AUXILIARY_LOSS = {"aux0_seg": "aux.loss_ce"}
KERNELS = "decode_head.kernel_generate_head"
KERNEL_UPDATE = {
    **{"in_channels": 64, "out_channels": 64, "feedforward_channels": 96, "num_classes": CLASSES},
    **{f"kernel_updator_cfg.{key}": 32 for key in ("in_channels", "feat_channels", "out_channels")},
}
R18_MMSEG = {"backbone.depth": 18, "decode_head.in_channels": 512, "auxiliary_head.in_channels": 256}


def mmseg(name: str, config: str, changes: Changes | None = None, **settings: Any) -> Case:
    """Return the row of a narrow config of MMSegmentation, by default with one auxiliary head."""
    reference = Mmseg(config, {**NARROW_MMSEG, **(changes or {})}, settings.pop("hidden", {}))
    return Case(f"mmseg/{name}", reference, **{"terms": ONE_AUXILIARY, **settings})


def classes_of(*heads: str) -> dict[str, Any]:
    """Return the settings that give heads the classes of the comparisons."""
    return {f"{head}.num_classes": CLASSES for head in heads}


ON_RESNETS_MMSEG = [
    mmseg("fcn_r18-d8", "fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024"),
    mmseg("pspnet_r18-d8", "pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024"),
    mmseg("deeplabv3_r18-d8", "deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024"),
    mmseg("deeplabv3plus_r18-d8", "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024"),
    mmseg("upernet_r18", "upernet/upernet_r18_4xb2-40k_cityscapes-512x1024"),
    mmseg(
        "emanet_r18-d8",
        "emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024",
        {**R18_MMSEG, "decode_head.ema_channels": 64, "decode_head.num_bases": 16},
        moves={"head.attention.bases": "decode_head.ema_module.bases"},
    ),
    *(
        mmseg(
            f"encnet_r18-d8{suffix}",
            "encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024",
            {**R18_MMSEG, "decode_head.in_channels": [128, 256, 512], "decode_head.add_lateral": lateral},
            terms={**ONE_AUXILIARY, "presence": "decode.loss_se"},
        )
        for suffix, lateral in (("", False), ("_lateral", True))
    ),
    mmseg(
        "danet_r18-d8",
        "danet/danet_r50-d8_4xb2-80k_cityscapes-512x1024",
        {**R18_MMSEG, "decode_head.pam_channels": 24},
        terms={
            "seg": "decode.pam_cam.loss_ce",
            "position": "decode.pam.loss_ce",
            "channel": "decode.cam.loss_ce",
            "aux0_seg": "aux.loss_ce",
        },
    ),
    mmseg("ccnet_r18-d8", "ccnet/ccnet_r50-d8_4xb2-80k_cityscapes-512x1024", R18_MMSEG),
    *(
        mmseg(
            f"nonlocalnet_r18-d8_{mode}",
            "nonlocal_net/nonlocal_r50-d8_4xb2-80k_cityscapes-512x1024",
            {**R18_MMSEG, "decode_head.mode": mode},
            # whose scores it divides in place, so that it cannot be trained there
            terms={} if mode == "concatenation" else ONE_AUXILIARY,
        )
        for mode in ("embedded_gaussian", "gaussian", "dot_product", "concatenation")
    ),
    *(
        mmseg(
            f"gcnet_r18-d8_{pooling}_{'_'.join(fusions)}",
            "gcnet/gcnet_r50-d8_4xb2-80k_cityscapes-512x1024",
            {**R18_MMSEG, "decode_head.pooling_type": pooling, "decode_head.fusion_types": fusions},
        )
        for pooling, fusions in (("att", ("channel_add",)), ("avg", ("channel_add", "channel_mul")))
    ),
    mmseg(
        "annnet_r18-d8",
        "ann/ann_r50-d8_4xb2-80k_cityscapes-512x1024",
        {**R18_MMSEG, "decode_head.in_channels": [256, 512], "decode_head.project_channels": 24},
    ),
    mmseg("dnlnet_r18-d8", "dnlnet/dnl_r50-d8_4xb2-80k_cityscapes-512x1024", R18_MMSEG),
    mmseg(
        "isanet_r18-d8",
        "isanet/isanet_r50-d8_4xb2-80k_cityscapes-512x1024",
        {**R18_MMSEG, "decode_head.isa_channels": 24},
    ),
    mmseg("apcnet_r18-d8", "apcnet/apcnet_r50-d8_4xb2-80k_cityscapes-512x1024", R18_MMSEG),
    *(
        mmseg(
            f"dmnet_r18-d8{suffix}",
            "dmnet/dmnet_r50-d8_4xb2-80k_cityscapes-512x1024",
            {**R18_MMSEG, "decode_head.filter_sizes": sizes},
        )
        for suffix, sizes in (("", (1, 3, 5, 7)), ("_even", (2, 4)))
    ),
    Case(
        "mmseg/ocrnet_r18-d8",
        Mmseg(
            "ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024",
            {
                "backbone.depth": 18,
                "decode_head.0.in_channels": 256,
                "decode_head.0.channels": 32,
                "decode_head.1.in_channels": 512,
                "decode_head.1.channels": 64,
                "decode_head.1.ocr_channels": 24,
                **classes_of("decode_head.0", "decode_head.1"),
            },
        ),
        {"seg": "decode_1.loss_ce", "coarse": "decode_0.loss_ce"},
    ),
    Case(
        "mmseg/pointrend_r18",
        Mmseg(
            "point_rend/pointrend_r50_4xb4-160k_ade20k-512x512",
            {
                "backbone.depth": 18,
                "neck.in_channels": [64, 128, 256, 512],
                "neck.out_channels": 32,
                "decode_head.0.in_channels": [32] * 4,
                "decode_head.0.channels": 16,
                "decode_head.1.in_channels": [32],
                "decode_head.1.channels": 32,
                "train_cfg.num_points": 256,
                "test_cfg.subdivision_num_points": 512,
                **classes_of("decode_head.0", "decode_head.1"),
            },
        ),
        {"seg": "decode_0.loss_ce", "point": "decode_1.pointloss_ce"},
        at_image_size=True,  # before that, its forward without labels leaves the refinement out
        dtype=torch.float32,
        seeded=True,
    ),
    *(
        mmseg(
            f"fastfcn_{name}_r18",
            f"fastfcn/fastfcn_r50-d32_jpu_{config}_4xb2-80k_cityscapes-512x1024",
            {
                "backbone.depth": 18,
                "backbone.dilations": (1, 1, 1, 1),
                "neck.in_channels": (128, 256, 512),
                "neck.mid_channels": 16,
                "decode_head.in_channels": [128, 256, 64] if config == "enc" else 64,
                "auxiliary_head.in_channels": 256,
            },
            terms={**ONE_AUXILIARY, **({"presence": "decode.loss_se"} if config == "enc" else {})},
        )
        for name, config in (("pspnet", "psp"), ("deeplabv3", "aspp"), ("encnet", "enc"))
    ),
    mmseg(
        "psanet_r18-d8",
        "psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024",
        {**R18_MMSEG, "decode_head.mask_size": (13, 15)},
    ),
    Case(
        "mmseg/semanticfpn_r18",
        Mmseg(
            "sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512",
            {
                "backbone.depth": 18,
                "neck.in_channels": [64, 128, 256, 512],
                "neck.out_channels": 32,
                "decode_head.in_channels": [32] * 4,
                "decode_head.channels": 16,
                **classes_of("decode_head"),
            },
        ),
        {"seg": "decode.loss_ce"},
    ),
    *(
        Case(
            f"mmseg/knet_{name}_r18",
            Mmseg(
                f"knet/knet-s3_r50-d8_{name}_8xb2-adamw-80k_ade20k-512x512",
                {
                    "backbone.depth": 18,
                    "auxiliary_head.channels": 32,
                    "auxiliary_head.in_channels": 256,
                    "auxiliary_head.num_classes": CLASSES,
                    f"{KERNELS}.in_channels": [64, 128, 256, 512] if name == "upernet" else 512,
                    f"{KERNELS}.channels": 64,
                    f"{KERNELS}.num_classes": CLASSES,
                    **{
                        f"decode_head.kernel_update_head.{i}.{key}": value
                        for i in range(3)
                        for key, value in KERNEL_UPDATE.items()
                    },
                },
            ),
            {"seg": "decode.loss_ce.s3", **{f"stage{i}": f"decode.loss_ce.s{i}" for i in range(3)}, **AUXILIARY_LOSS},
            heavy=name in ("fcn", "pspnet"),  # the others' tensors need more than new names
        )
        for name in ("fcn", "pspnet", "deeplabv3", "upernet")
    ),
    Case(
        "mmseg/icnet_r18-d8",
        Mmseg(
            "icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832",
            {
                **{
                    f"{head}.{key}": 16
                    for head in ("decode_head", "auxiliary_head.0", "auxiliary_head.1")
                    for key in ("in_channels", "channels")
                },
                **classes_of("decode_head", "auxiliary_head.0", "auxiliary_head.1"),
                "backbone.psp_out_channels": 32,
                "neck.out_channels": 16,
            },
        ),
        {"seg": "decode.loss_ce", "quarter": "aux_0.loss_ce", "half": "aux_1.loss_ce"},
    ),
]
OWN_ENCODERS_MMSEG = [
    Case(
        "mmseg/bisenetv1",
        Mmseg(
            "bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024",
            classes_of("decode_head", "auxiliary_head.0", "auxiliary_head.1"),
        ),
        {"seg": "decode.loss_ce", "aux0_seg": "aux_0.loss_ce", "aux1_seg": "aux_1.loss_ce"},
    ),
    Case(
        "mmseg/bisenetv2",
        Mmseg(
            "bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024",
            classes_of("decode_head", *(f"auxiliary_head.{index}" for index in range(4))),
        ),
        {"seg": "decode.loss_ce", **{f"aux{index}_seg": f"aux_{index}.loss_ce" for index in range(4)}},
    ),
    Case(
        "mmseg/cgnet",
        Mmseg(
            "cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680",
            # with class weights its loss cannot take ignored pixels
            {**classes_of("decode_head"), "decode_head.loss_decode.class_weight": None},
        ),
        {"seg": "decode.loss_ce"},
    ),
    Case(
        "mmseg/fastscnn",
        Mmseg(
            "fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024",
            classes_of("decode_head", "auxiliary_head.0", "auxiliary_head.1"),
        ),
        {"seg": "decode.loss_ce", "aux0_seg": "aux_1.loss_ce", "aux1_seg": "aux_0.loss_ce"},
    ),
    Case(
        "mmseg/segformer_mit-b0",
        Mmseg(
            "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512",
            {**classes_of("decode_head"), "decode_head.channels": 64},
        ),
        {"seg": "decode.loss_ce"},
    ),
    Case(
        "mmseg/segnext_mscan-t",
        MmsegSegNeXt(
            "segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512",
            {**classes_of("decode_head"), "decode_head.channels": 64, "decode_head.ham_channels": 96},
        ),
        {"seg": "decode.loss_ce"},
        same_points=True,
    ),
]

# --- the encoders that methods are published with -------------------------------------------------------------------
# The U-Net of the references takes no image that it would have to pad.
UNET: dict[str, Any] = {
    "sizes": ((128, 128), (128, 192)),
    "trained": (96, 128),
    "model": {"backbone_options": {"base_channels": 16}},
}
# The windows that LR-ASPP averages are 49 pixels of the last map wide, at stride 8.
WIDE_WINDOWS: dict[str, Any] = {"sizes": ((385, 545),), "trained": (385, 393), "heavy": True}
SMALL_WINDOWS: dict[str, Any] = {"model": {"options": {"pool_size": 5, "pool_strides": [2, 3]}}}
UNET_MMSEG = {"backbone.base_channels": 16, "decode_head.in_channels": 16, "auxiliary_head.in_channels": 32}
UNET_SSSEG = {"backbone.base_channels": 16, "head.in_channels": 16, "auxiliary.in_channels": 32}
# Position tables of the references fix the number of patches.
FIXED: dict[str, Any] = {
    "hidden": {"backbone.img_size": (96, 128)},
    "model": {"backbone_options": {"img_size": [96, 128]}},
    "sizes": ((96, 128),),
    "trained": (96, 128),
    "heavy": True,
}
ON_OTHERS_MMSEG = [
    *(
        mmseg(config.partition("_4xb")[0].partition("_8xb")[0], config, heavy="resnest" in config)
        for config in (
            "swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512",
            "convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512",
            "twins_svt-s_uperhead_8xb2-160k_ade20k-512x512",
            "twins_pcpvt-s_uperhead_8xb4-160k_ade20k-512x512",
            "vit_deit-s16_upernet_8xb2-80k_ade20k-512x512",
            "vit_deit-s16-ln_mln_upernet_8xb2-160k_ade20k-512x512",
            "mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024",
            "mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024",
            "resnest_s101-d8_deeplabv3_4xb2-80k_cityscapes-512x1024",
            "resnest_s101-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024",
        )
    ),
    *(
        Case(
            f"mmseg/mobilenet-v3{size}_lraspp",
            kind(f"mobilenet-v3-d8{size}_lraspp_4xb4-320k_cityscapes-512x1024", classes_of("decode_head")),
            {"seg": "decode.loss_ce"},
            **windows,
        )
        for kind, size, windows in ((Mmseg, "", WIDE_WINDOWS), (MmsegSmallWindows, "-s", SMALL_WINDOWS))
    ),
    *(
        Case(
            f"mmseg/twins_{name}_semanticfpn",
            Mmseg(f"twins_{name}_fpn_fpnhead_8xb4-80k_ade20k-512x512", {"decode_head.num_classes": CLASSES}),
            {"seg": "decode.loss_ce"},
        )
        for name in ("pcpvt-s", "svt-s")
    ),
    Case(
        "mmseg/poolformer_s12_semanticfpn",
        Mmseg(
            "poolformer/fpn_poolformer_s12_8xb4-40k_ade20k-512x512",
            {"decode_head.num_classes": CLASSES},
            {"backbone.frozen_stages": -1},  # as published it never trains its first convolution
        ),
        {"seg": "decode.loss_ce"},
    ),
    mmseg("beit-base_upernet", "beit-base_upernet_8xb2-160k_ade20k-640x640", **FIXED),
    mmseg("mae-base_upernet", "mae-base_upernet_8xb2-amp-160k_ade20k-512x512", **FIXED),
    mmseg("unet-s5-d16_deeplabv3", "unet-s5-d16_deeplabv3_4xb4-40k_drive-64x64", hidden=UNET_MMSEG, **UNET),
    mmseg(
        "unet-s5-d16_deeplabv3_dice",
        "unet-s5-d16_deeplabv3_4xb4-ce-1.0-dice-3.0-40k_drive-64x64",
        hidden=UNET_MMSEG,
        terms={**ONE_AUXILIARY, "seg": "decode.loss_ce+decode.loss_dice"},
        **UNET,
    ),
    Case(
        "mmseg/ocrnet_hr18s",
        Mmseg(
            "ocrnet_hr18s_4xb2-40k_cityscapes-512x1024",
            {
                "decode_head.0.channels": 270,
                "decode_head.1.channels": 64,
                "decode_head.1.ocr_channels": 24,
                **classes_of("decode_head.0", "decode_head.1"),
            },
        ),
        {"seg": "decode_1.loss_ce", "coarse": "decode_0.loss_ce"},
    ),
]
# Constants of STDC's detail targets.
DETAIL_KERNELS = ("auxiliary_head.2.laplacian_kernel", "auxiliary_head.2.fusion_kernel")
# The maps of their branches fit only where stride 8 divides the images.
MULTIPLES_OF_8 = {"sizes": ((64, 64), (64, 96), (72, 88)), "trained": (96, 128)}
SEVERAL_RESOLUTIONS_MMSEG = [
    Case(
        "mmseg/ddrnet_23-slim",
        Mmseg(
            "ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024",
            {
                **classes_of("decode_head"),
                **{f"decode_head.loss_decode.{i}.class_weight": [0.5, 2.0, 1.0] * 3 for i in range(2)},
                **{f"decode_head.loss_decode.{i}.min_kept": 2000 for i in range(2)},
            },
        ),
        {"seg": "decode.loss_context", "early": "decode.loss_spatial"},
        **MULTIPLES_OF_8,
    ),
    *(
        Case(
            f"mmseg/pidnet_{size}",
            MmsegWithEdges(
                f"pidnet/pidnet-{size}_2xb6-120k_1024x1024-cityscapes",
                {
                    **classes_of("decode_head"),
                    "decode_head.loss_decode.0.class_weight": None,  # with which it stumbles over ignored pixels
                    **{f"decode_head.loss_decode.{i}.class_weight": [0.5, 2.0, 1.0] * 3 for i in (1, 3)},
                    **{f"decode_head.loss_decode.{i}.min_kept": 2000 for i in (1, 3)},
                },
            ),
            {
                "seg": "decode.loss_sem_i",
                "early": "decode.loss_sem_p",
                "boundary": "decode.loss_bd",
                "boundary_seg": "decode.loss_sem_bd",
            },
            **MULTIPLES_OF_8,
        )
        for size in ("s", "l")
    ),
    Case(
        "mmseg/stdc_1",
        Mmseg(
            "stdc/stdc1_4xb12-80k_cityscapes-512x1024",
            {
                **classes_of("decode_head", "auxiliary_head.0", "auxiliary_head.1"),
                # an edge at stride 4 alone gives 0.1, which rounding puts on either side of the published 0.1
                "auxiliary_head.2.boundary_threshold": 0.11,
            },
        ),
        {
            "seg": "decode.loss_ce",
            "aux0": "aux_0.loss_ce",
            "aux1": "aux_1.loss_ce",
            "detail": "aux_2.loss_ce",
            "detail_dice": "aux_2.loss_dice",
        },
        keep=DETAIL_KERNELS,
    ),
]
QUERIES = {"class": "loss_cls", "mask": "loss_mask", "dice": "loss_dice"}
MASKFORMER_MMSEG = {
    **classes_of("decode_head"),
    "decode_head.loss_cls.class_weight": [1.0] * CLASSES + [0.1],
    "decode_head.transformer_decoder.num_layers": 3,
}
MASKFORMERS_MMSEG = [
    Case(
        f"mmseg/maskformer_{name}",
        MmsegMaskFormer(config, MASKFORMER_MMSEG, hidden),
        {
            **{ours: f"decode.{theirs}" for ours, theirs in QUERIES.items()},
            **{f"layer{i}_{ours}": f"decode.d{i}.{theirs}" for i in range(2) for ours, theirs in QUERIES.items()},
        },
        at_image_size=True,
    )
    for name, config, hidden in (
        ("swin-t", "maskformer_swin-t_upernet_8xb2-160k_ade20k-512x512", {}),
        # its encoder is trained with the statistics of ImageNet
        ("r50-d32", "maskformer_r50-d32_8xb2-160k_ade20k-512x512", {"backbone.norm_eval": False}),
    )
]
MASK2FORMER_LAYERS = 3


def of_predictions(last: Mapping[str, str], early: Callable[[int, str], str]) -> dict[str, str]:
    """Return the names of a Mask2Former's losses, given those of the last prediction."""
    others = {f"layer{i}_{ours}": early(i, name) for i in range(MASK2FORMER_LAYERS) for ours, name in last.items()}
    return {**last, **others}


_DECODER, _PIXELS = "decode_head.transformer_decoder", "decode_head.pixel_decoder"
_POSITIONS = {"num_feats": 32, "normalize": True}
MASK2FORMER_MMSEG = {
    "decode_head.num_classes": CLASSES,
    "decode_head.loss_cls.class_weight": [1.0] * CLASSES + [0.1],
    "decode_head.feat_channels": 64,
    "decode_head.out_channels": 32,
    "decode_head.num_queries": 20,
    "decode_head.positional_encoding": _POSITIONS,
    "decode_head.train_cfg.num_points": 128,
    f"{_PIXELS}.positional_encoding": _POSITIONS,
    f"{_PIXELS}.encoder.num_layers": 2,
    f"{_PIXELS}.encoder.layer_cfg.self_attn_cfg.embed_dims": 64,
    f"{_PIXELS}.encoder.layer_cfg.ffn_cfg.embed_dims": 64,
    f"{_PIXELS}.encoder.layer_cfg.ffn_cfg.feedforward_channels": 96,
    f"{_DECODER}.layer_cfg.self_attn_cfg.embed_dims": 64,
    f"{_DECODER}.layer_cfg.cross_attn_cfg.embed_dims": 64,
    f"{_DECODER}.layer_cfg.ffn_cfg.embed_dims": 64,
    f"{_DECODER}.layer_cfg.ffn_cfg.feedforward_channels": 96,
    f"{_DECODER}.num_layers": MASK2FORMER_LAYERS,
}
_QUERIES_MMSEG = {ours: f"decode.{theirs}" for ours, theirs in QUERIES.items()}
MASK2FORMERS_MMSEG = [
    Case(
        "mmseg/mask2former_r18",
        MmsegMask2Former(
            "mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024",
            {**MASK2FORMER_MMSEG, "backbone.depth": 18, "decode_head.in_channels": [64, 128, 256, 512]},
        ),
        of_predictions(_QUERIES_MMSEG, lambda i, name: name.replace("decode.", f"decode.d{i}.")),
        at_image_size=True,
        same_points=True,
    ),
]

# --- SSSegmentation -------------------------------------------------------------------------------------------------
ONE_AUXILIARY_SSSEG = {"seg": "loss_cls", "aux0_seg": "loss_aux"}
NARROW_SSSEG = {"num_classes": CLASSES, "head.feats_channels": 64, "auxiliary.out_channels": 32}
R18_ENCODER = {"backbone.depth": 18, "backbone.structure_type": "resnet18conv3x3stem"}
R18_SSSEG = {**R18_ENCODER, "head.in_channels": 512, "auxiliary.in_channels": 256}
FOUR_MAPS = [64, 128, 256, 512]


def ssseg(name: str, config: str, changes: Changes | None = None, **settings: Any) -> Case:
    """Return the row of a narrow configuration of SSSegmentation with one auxiliary head."""
    reference = Ssseg(config, {**NARROW_SSSEG, **(changes or {})}, settings.pop("hidden", {}))
    return Case(f"ssseg/{name}", reference, **{"terms": ONE_AUXILIARY_SSSEG, **settings})


ON_RESNETS_SSSEG = [
    *(
        ssseg(f"{method}_resnet18os{stride}", f"{method}/{method}_resnet50os{stride}_ade20k", R18_SSSEG)
        for method in ("fcn", "pspnet")
        for stride in (8, 16)
    ),
    ssseg("deeplabv3_resnet18os16", "deeplabv3/deeplabv3_resnet50os16_ade20k", R18_SSSEG),
    ssseg(
        "deeplabv3plus_resnet18os16",
        "deeplabv3plus/deeplabv3plus_resnet50os16_ade20k",
        {**R18_SSSEG, "head.in_channels": [64, 512]},
    ),
    *(
        ssseg(
            f"upernet_resnet18os{stride}",
            f"upernet/upernet_resnet50os{stride}_ade20k",
            {**R18_SSSEG, "head.in_channels_list": FOUR_MAPS},
        )
        for stride in (8, 16)
    ),
    ssseg(
        "emanet_resnet18os16",
        "emanet/emanet_resnet50os16_ade20k",
        {**R18_SSSEG, "head.num_bases": 16},
        moves={"head.attention.bases": "ema_module.bases"},
    ),
    ssseg(
        "encnet_resnet18os16",
        "encnet/encnet_resnet50os16_ade20k",
        {**R18_SSSEG, "head.in_channels_list": [128, 256, 512]},
        terms={**ONE_AUXILIARY_SSSEG, "presence": "loss_se"},
    ),
    ssseg(
        "ocrnet_resnet18os8",
        "ocrnet/ocrnet_resnet50os8_ade20k",
        {**R18_SSSEG, "head.transform_channels": 24},
        terms={"seg": "loss_cls", "coarse": "loss_aux"},
    ),
    ssseg(
        "danet_resnet18os16",
        "danet/danet_resnet50os16_ade20k",
        {**R18_SSSEG, "head.transform_channels": 24},
        terms={
            "seg": "loss_cls_pamcam",
            "position": "loss_cls_pam",
            "channel": "loss_cls_cam",
            "aux0_seg": "loss_aux",
        },
    ),
    *(
        ssseg(f"{method}_resnet18os16", f"{method}/{method}_resnet50os16_ade20k", R18_SSSEG)
        for method in ("ccnet", "nonlocalnet", "gcnet", "dnlnet", "apcnet", "dmnet")
    ),
    ssseg(
        "annnet_resnet18os16",
        "annnet/annnet_resnet50os16_ade20k",
        {
            **R18_ENCODER,
            "auxiliary.in_channels": 256,
            "head.in_channels_list": [256, 512],
            "head.transform_channels": 24,
        },
    ),
    ssseg(
        "isanet_resnet18os8",
        "isanet/isanet_resnet50os8_ade20k",
        {**R18_SSSEG, "head.isa_channels": 24},
    ),
    Case(
        "ssseg/pointrend_resnet18os32",
        SssegPoints(
            "pointrend/pointrend_resnet50os32_ade20k",
            {
                **R18_ENCODER,
                "num_classes": CLASSES,
                "head.fpn_in_channels_list": FOUR_MAPS,
                "head.pointrend_in_channels_list": [32],
                "head.feats_channels": 32,
                "head.scale_head_channels": 16,
                "auxiliary.in_channels": 16,
                "head.train.num_points": 256,
                "head.test.subdivision_num_points": 512,
            },
        ),
        {"seg": "loss_aux", "point": "loss_cls"},
        dtype=torch.float32,
        seeded=True,
    ),
    *(
        Case(
            f"ssseg/fastfcn_{name}_resnet18os32",
            SssegUpsampled(
                f"fastfcn/fastfcn_{'pspnet' if name == 'fcn' else name}_resnet50os32_cityscapes",
                {
                    **NARROW_SSSEG,
                    **R18_ENCODER,
                    "head.jpu.in_channels_list": FOUR_MAPS[1:],
                    "head.jpu.mid_channels": 16,
                    "auxiliary.in_channels": 256,
                    **changes,
                },
            ),
            {**ONE_AUXILIARY_SSSEG, **({"presence": "loss_se"} if name == "encnet" else {})},
        )
        for name, changes in (
            ("fcn", {"segmentor": "FCN", "head.num_convs": 2, "head.in_channels": 64}),
            ("pspnet", {"head.in_channels": 64}),
            ("deeplabv3", {"head.in_channels": 64}),
            ("encnet", {"head.in_channels_list": [128, 256, 64]}),
        )
    ),
    ssseg(
        "psanet_resnet18os16",
        "psanet/psanet_resnet50os16_ade20k",
        {**R18_SSSEG, "head.mask_size": [13, 15]},
    ),
    *(
        ssseg(
            f"psanet_resnet18os8_compact-{kind}",
            "psanet/psanet_resnet50os8_ade20k",
            {
                **R18_SSSEG,
                "head.mask_size": [4, 6],
                "head.compact": True,
                "head.type": kind,
                "head.psa_softmax": kind != "collect",
                "head.normalization_factor": 2.0,
            },
            sizes=((64, 96),),
            trained=(64, 96),
        )
        for kind in ("collect", "distribute", "bi-direction")
    ),
    Case(
        "ssseg/semanticfpn_resnet18os32",
        Ssseg(
            "semanticfpn/semanticfpn_resnet50os32_ade20k",
            {
                **R18_ENCODER,
                "num_classes": CLASSES,
                "head.in_channels_list": FOUR_MAPS,
                "head.feats_channels": 32,
                "head.scale_head_channels": 16,
            },
        ),
        {"seg": "loss_cls"},
    ),
    Case(
        "ssseg/icnet_resnet18os8",
        Ssseg(
            "icnet/icnet_resnet50os8_cityscapes",
            {
                **R18_ENCODER,
                "num_classes": CLASSES,
                "head.feats_channels": 16,
                **{f"auxiliary.{i}.{key}": 16 for i in range(2) for key in ("in_channels", "out_channels")},
            },
            # the importer knows only the width of the published ones
            {"head.encoder": {"layer_channels_list": (128, 512), "psp_out_channels": 32}},
        ),
        {"seg": "loss_cls", "quarter": "loss_aux1", "half": "loss_aux2"},
        model={"options": {"pool_channels": 32}},
    ),
    *(
        Case(
            f"ssseg/ce2p_resnet18os{stride}_{dataset}",
            SssegWithEdges(
                f"ce2p/ce2p_resnet50os{stride}_{dataset}",
                {
                    **R18_ENCODER,
                    "num_classes": CLASSES,
                    "head.in_channels_list": FOUR_MAPS,
                    "head.feats_channels": 32,
                    "head.epm_hidden_channels": 16,
                    "head.shortcut_feats_channels": 16,
                },
            ),
            {"seg": "loss_cls_stage2", "early": "loss_cls_stage1", "edge": "loss_edge"},
        )
        for stride in (8, 16)
        for dataset in ("voc", "lip")
    ),
]
OWN_ENCODERS_SSSEG = [
    Case(
        "ssseg/bisenetv1",
        Ssseg("bisenetv1/fcn_bisenetv1_resnet18os32_cityscapes", {"num_classes": CLASSES}),
        {"seg": "loss_cls", "aux0_seg": "loss_aux1", "aux1_seg": "loss_aux2"},
    ),
    Case(
        "ssseg/bisenetv2",
        Ssseg("bisenetv2/fcn_bisenetv2_cityscapes", {"num_classes": CLASSES}),
        {"seg": "loss_cls", **{f"aux{index}_seg": f"loss_aux{index + 1}" for index in range(4)}},
    ),
    Case(
        "ssseg/cgnet",
        Ssseg(
            "cgnet/fcn_cgnetm3n21_cityscapes",
            {
                "num_classes": CLASSES,
                "losses.loss_cls.class_weight": [2.5, 6.7, 3.5, 9.8, 9.6, 9.3, 10.2, 9.9, 4.3],
            },
        ),
        {"seg": "loss_cls"},
    ),
    Case(
        "ssseg/fastscnn",
        Ssseg("fastscnn/depthwiseseparablefcn_fastscnn_cityscapes", {"num_classes": CLASSES}),
        {"seg": "loss_cls", "aux0_seg": "loss_aux1", "aux1_seg": "loss_aux2"},
    ),
    *(
        Case(
            f"ssseg/segformer_mit{size}",
            Ssseg(f"segformer/segformer_mit{size}_ade20k", {"num_classes": CLASSES}),
            # the deeper ones are of the same blocks
            {"seg": "loss_cls"} if size in ("b0", "b1") else {},
            sizes=SQUARE_WIDE_ODD if size in ("b0", "b1") else FULL_SIZE,
            heavy=size not in ("b0", "b1"),
        )
        for size in ("b0", "b1", "b2", "b3", "b4", "b5")
    ),
]
ON_OTHERS_SSSEG = [
    *(
        ssseg(config.rpartition("_")[0], config, heavy="resnest" in config)
        for config in (
            "upernet_swintiny_ade20k",
            "upernet_convnexttiny_ade20k",
            "upernet_svtsmall_ade20k",
            "upernet_pcpvtsmall_ade20k",
            "deeplabv3_mobilenetv2os8_ade20k",
            "deeplabv3_resnest101os8_ade20k",
            "deeplabv3_mobilevits_voc-cocosubvoc",
            "deeplabv3_mobilevitv2050_voc-cocosubvoc",
            "deeplabv3plus_mobilenetv2os8_ade20k",
            "deeplabv3plus_resnest101os8_ade20k",
        )
    ),
    *(
        Case(
            f"ssseg/lraspp_mobilenetv3{size}os8",
            kind(f"lrasppnet/lrasppnet_mobilenetv3{size}os8_ade20k", {"num_classes": CLASSES}),
            {"seg": "loss_cls"},
            **windows,
        )
        for kind, size, windows in ((Ssseg, "l", WIDE_WINDOWS), (SssegSmallWindows, "s", SMALL_WINDOWS))
    ),
    ssseg("upernet_beitbase", "upernet_beitbase_ade20k", **FIXED),
    ssseg("upernet_maevitbase", "upernet_maevitbase_ade20k", **FIXED),
    ssseg("deeplabv3_unets5os16", "deeplabv3_unets5os16_drive", hidden=UNET_SSSEG, **UNET),
    ssseg("deeplabv3_unets5os16_cedice", "deeplabv3_unets5os16_cedice_drive", hidden=UNET_SSSEG, **UNET),
    ssseg(
        "ocrnet_hrnetv2w18s",
        "ocrnet_hrnetv2w18s_ade20k",
        {"head.transform_channels": 24},
        terms={"seg": "loss_cls", "coarse": "loss_aux"},
    ),
]
MASKFORMER_SSSEG = {
    "num_classes": CLASSES,
    "head.feats_channels": 32,
    "head.mask_feats_channels": 32,
    "head.predictor.hidden_dim": 32,
    "head.predictor.num_queries": 20,
    "head.predictor.dec_layers": 3,
    "head.predictor.dim_feedforward": 64,
    "head.predictor.dropout": 0.0,
    "head.predictor.act_cfg": {"type": "ReLU", "inplace": False},
}
RESNET18_WITHOUT_DILATION = {
    "type": "ResNet",
    "depth": 18,
    "structure_type": "resnet18conv3x3stem",
    "pretrained": False,
    "outstride": 32,
    "use_conv3x3_stem": True,
    "selected_indices": [0, 1, 2, 3],
}
QUERIES_SSSEG = {"class": "loss_ce", "mask": "loss_mask", "dice": "loss_dice"}
MASKFORMERS_SSSEG = [
    Case(
        f"ssseg/maskformer_{name}",
        SssegMaskFormer("maskformer/maskformer_swintiny_ade20k", {**MASKFORMER_SSSEG, **changes}),
        {
            **QUERIES_SSSEG,
            **{f"layer{i}_{ours}": f"{theirs}_{i}" for i in range(2) for ours, theirs in QUERIES_SSSEG.items()},
        },
        at_image_size=True,
        keep=("criterion.",),  # the weights of the classes lie among the model's buffers
    )
    for name, changes in (
        ("resnet18", {"backbone": RESNET18_WITHOUT_DILATION, "head.in_channels_list": FOUR_MAPS}),
        ("swintiny", {}),
    )
]
MASK2FORMER_SSSEG = {
    "num_classes": CLASSES,
    "head.pixel_decoder.transformer_enc_layers": 2,
    "head.pixel_decoder.transformer_dim_feedforward": 96,
    "head.pixel_decoder.conv_dim": 64,
    "head.pixel_decoder.mask_dim": 32,
    "head.predictor.in_channels": 64,
    "head.predictor.hidden_dim": 32,
    "head.predictor.mask_dim": 32,
    "head.predictor.num_queries": 20,
    "head.predictor.dec_layers": MASK2FORMER_LAYERS + 1,
    "head.predictor.dim_feedforward": 64,
    "head.matcher.num_points": 128,
    "head.criterion.pixelsampler_cfg.num_points": 128,
}
MASK2FORMERS_SSSEG = [
    Case(
        "ssseg/mask2former_swintiny",
        SssegMask2Former("mask2former/mask2former_swintiny_ade20k", MASK2FORMER_SSSEG),
        of_predictions(QUERIES_SSSEG, lambda i, name: f"{name}_{i}"),
        at_image_size=True,
        keep=("criterion.",),
        same_points=True,
    ),
]
LR_FACTOR = 0.5


def mcibi(
    name: str, config: str, changes: Changes, terms: Mapping[str, str], hidden: Changes | None = None, **settings: Any
) -> Case:
    """Return a row of MCIBI with a class that the memory has not seen yet, in the second epoch."""
    changes = {
        "num_classes": CLASSES,
        "head.feats_channels": 32,
        "head.transform_channels": 16,
        "head.out_channels": 32,
        "head.update_cfg.momentum_cfg.base_lr": 0.01,
        **changes,
    }
    return Case(
        f"ssseg/mcibi_{name}",
        SssegMemory(f"mcibi/mcibi_deeplabv3_{config}_ade20k", changes, hidden or {}, lr_factor=LR_FACTOR),
        {"seg": "loss_cls_stage2", "early": "loss_cls_stage1", "memory": "loss_memory", **terms},
        blank={"memory_module.memory": 3},
        progress=Progress(epoch=2, lr_factor=LR_FACTOR),
        moves={"head.memory.features": "memory_module.memory"},
        **settings,
    )


_MCIBI_AUXILIARY = {"out_channels": 16, "dropout": 0.0}
_MCIBI_VIT = {
    "in_channels": 64,
    "out_channels": 16,
    "dropout": 0.0,
    "num_convs": 2,
    "upsample": {"scale_factor": 4},
}
MCIBIS = [
    mcibi(
        "resnet18os8",
        "resnet50os8",
        {**R18_ENCODER, "head.in_channels": 512, "auxiliary": {"in_channels": 256, **_MCIBI_AUXILIARY}},
        {"aux0_seg": "loss_aux"},
    ),
    mcibi(
        "resnest50os8",
        "resnest101os8",
        {"auxiliary": {"in_channels": 1024, **_MCIBI_AUXILIARY}},
        {"aux0_seg": "loss_aux"},
        {"backbone.depth": 50, "backbone.stem_channels": 64, "backbone.structure_type": "resnest50"},
        model={"backbone": "resnest50d"},
    ),
    mcibi(
        "hrnetv2w18s",
        "hrnetv2w48",
        {
            "backbone.arch": "hrnetv2_w18_small",
            "backbone.structure_type": "hrnetv2_w18_small",
            "head.in_channels": 18 + 36 + 72 + 144,
            "head.downsample_backbone.stride": 2,  # as for Cityscapes
        },
        {},
    ),
    mcibi(
        "vit",
        "vitlarge",
        {"auxiliary": [_MCIBI_VIT] * 3},
        {f"aux{index}_seg": f"loss_aux{index + 1}" for index in range(3)},
        {
            "backbone.num_layers": 4,
            "backbone.out_indices": (0, 1, 2, 3),
            "backbone.embed_dims": 64,
            "backbone.num_heads": 4,
            "backbone.img_size": (64, 64),
            "head.in_channels": 64,
            "head.norm_cfg.in_channels_list": [64] * 4,
        },
        narrow=("vit_large_patch16_384", {"depth": 4, "embed_dim": 64, "num_heads": 4}),
        model={"backbone_options": {"img_size": 64, "out_indices": [0, 1, 2, 3]}},
    ),
]

# --- context from the classes of the pixels and from beyond the image -----------------------------------------------
_ISNET = {**R18_SSSEG, "head.feats_channels": 32, "head.transform_channels": 16}
_TWO_STAGES = {"seg": "loss_cls_stage2", "early": "loss_cls_stage1", "aux0_seg": "loss_aux"}
_IDRNET = {**_ISNET, "head.refine_idcontext_channels": 16, "head.refine_coarsecontext_channels": 16}
_IDRNET.pop("head.transform_channels")
_IDRNET_PYRAMID = {
    "head.fpn.in_channels_list": FOUR_MAPS,
    "head.fpn.feats_channels": 24,
    "head.fpn.out_channels": 24,
}
# so far apart that there is no chance in which of a few classes is left out
_SELDOM = {"selected_classes_counter": [10.0 ** (7 * index - 28) for index in range(CLASSES)]}
_RELATIONS = {
    "head.relations.mean": "class_relations_mean",
    "head.relations.variance": "class_relations_var",
    "head.relations.counts": "selected_classes_counter",
    "head.class_features": "dl_cls_representations",
}
_MEMORY = {"memory_module.memory": [[0.3 * index - 1, 0.5 + 0.2 * index] for index in range(CLASSES)]}
_PIXELS = {"seg": "loss_cls", "pixel": "loss_pr", "aux0_seg": "loss_aux"}
_SOFT = {
    **R18_SSSEG,
    "head.feats_channels": 32,
    "head.transform_channels": 16,
    "head.out_channels": 32,
    **{f"head.decoder.{name}.in_channels": 32 for name in ("pr", "cwi", "cls")},
    **{f"head.decoder.{name}.out_channels": 32 for name in ("pr", "cwi", "cls")},
}


def soft(name: str, config: str, changes: Changes, terms: Mapping[str, str], **settings: Any) -> Case:
    """Return a row of MCIBI++."""
    changes = {**NARROW_SSSEG, **_SOFT, **changes}
    reference = SssegCascade(f"mcibiplusplus/mcibiplusplus_{config}", changes, settings.pop("hidden", {}))
    moves = {"head.memory.statistics": "memory_module.memory"}
    return Case(f"ssseg/mcibiplusplus_{name}", reference, terms, fixed=_MEMORY, moves=moves, **settings)


CLASS_CONTEXTS = [
    *(
        ssseg(f"isnet_resnet18os8_{dataset}", f"isnet/isnet_resnet50os8_{dataset}", changes, terms=_TWO_STAGES)
        for dataset, changes in (
            ("ade20k", _ISNET),
            ("lip", {**_ISNET, "head.shortcut.in_channels": 64, "head.shortcut.feats_channels": 8}),
        )
    ),
    *(
        ssseg(
            f"idrnet_{config}",
            f"idrnet/idrnet_{config.replace('18', '50')}",
            {**_IDRNET, **changes},
            terms=_TWO_STAGES,
            fixed=_SELDOM,
            moves=_RELATIONS,
        )
        for config, changes in (
            ("fcn_resnet18os8_lip", {}),
            ("ppm_resnet18os8_cityscapes", {}),
            ("aspp_resnet18os8_cocostuff10k", {}),
            ("upernet_resnet18os8_ade20k", _IDRNET_PYRAMID),
        )
    ),
    soft("resnet18os8", "resnet50os8_ade20k", {}, _PIXELS),
    soft(
        "aspp_resnet18os8_attending",
        "aspp_resnet50os8_lip",
        {
            "head.context_within_image.use_self_attention": True,
            "head.decoder.cls.in_channels": 64,
            "head.downsample_before_sa": True,
            "inference.tta.cascade": {"times": 2, "forward_default_args": None},
        },
        {**_PIXELS, "context": "loss_cwi"},
    ),
    soft(
        "ppm_resnet18os8",
        "ppm_resnet50os8_ade20k",
        {"head.decoder.cls.in_channels": 64},
        {**_PIXELS, "context": "loss_cwi"},
    ),
    soft(
        "upernet_resnet18os8",
        "upernet_resnet50os8_ade20k",
        {
            "head.decoder.cls.in_channels": 64 + 3 * 24,
            "head.fpn": {"in_channels_list": FOUR_MAPS, "feats_channels": 64, "out_channels": 24},
        },
        {**_PIXELS, "context": "loss_cwi"},
    ),
]

# --- plain transformers at every size: narrow, of four blocks, each model for images of one size --------------------
WIDTH = 48
NARROW_TRANSFORMER = {"embed_dim": WIDTH, "depth": 4, "num_heads": 3}
_BLOCKS = {
    "backbone.embed_dims": WIDTH,
    "backbone.num_layers": 4,
    "backbone.num_heads": 3,
    "backbone.out_indices": (0, 1, 2, 3),
}
_SIZED_MMSEG = {
    "beit": "beit/beit-base_upernet_8xb2-160k_ade20k-640x640",
    "mae": "mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512",
}
_SIZED_SSSEG = {"beit": "beit/upernet_beitbase_ade20k", "mae": "mae/upernet_maevitbase_ade20k"}


def sized(toolbox: str, kind: str, size: tuple[int, int]) -> Case:
    """Return the row of UPerNet on a narrow transformer whose positions are laid out for images of one size."""
    hidden: dict[str, Any] = {**_BLOCKS, "backbone.img_size": size}
    settings: dict[str, Any] = {
        "sizes": (size,),
        "narrow": ("beit_base_patch16_224", NARROW_TRANSFORMER),
        "model": {"backbone_options": {"img_size": [16 * (side // 16) for side in size], "out_indices": [0, 1, 2, 3]}},
    }
    if size != (97, 129):
        settings["terms"] = {}
    name = f"narrow-{kind}_upernet_{size[0]}x{size[1]}"
    if toolbox == "mmseg":
        hidden |= {"decode_head.in_channels": [WIDTH] * 4, "auxiliary_head.in_channels": WIDTH}
        hidden |= {"neck.embed_dim": WIDTH}
        return mmseg(name, _SIZED_MMSEG[kind], hidden=hidden, **settings)
    hidden |= {"head.in_channels_list": [WIDTH] * 4, "auxiliary.in_channels": WIDTH, "backbone.structure_type": "any"}
    hidden |= {"head.feature2pyramid.embed_dim": WIDTH}
    return ssseg(name, _SIZED_SSSEG[kind], hidden=hidden, **settings)


PLAIN_TRANSFORMERS = [
    *(
        sized(toolbox, kind, size)
        for toolbox in ("mmseg", "ssseg")
        for kind in ("beit", "mae")
        for size in (*SQUARE_WIDE_ODD, (97, 129))
    ),
    Case(
        "mmseg/narrow-vit_upernet",
        Mmseg(
            "vit/vit_vit-b16_mln_upernet_8xb2-160k_ade20k-512x512",
            {
                "decode_head.channels": 64,
                "decode_head.num_classes": CLASSES,
                "auxiliary_head": None,
                "neck.out_channels": WIDTH,
            },
            {
                **_BLOCKS,
                "backbone.img_size": (96, 96),
                "decode_head.in_channels": [WIDTH] * 4,
                "neck.in_channels": [WIDTH] * 4,
            },
        ),
        {"seg": "decode.loss_ce"},
        narrow=("vit_base_patch16_224", NARROW_TRANSFORMER),
        model={"backbone_options": {"img_size": [96, 96], "out_indices": [0, 1, 2, 3]}},
    ),
]

# --- SETR, on a narrow transformer of four blocks ---------------------------------------------------------------------
_FOUR_BLOCKS: dict[str, Any] = {"backbone_options": {"img_size": [96, 96], "out_indices": [0, 1, 2, 3]}}
_SETR_MMSEG = {
    "mla": "setr/setr_vit-l_mla_8xb1-80k_cityscapes-768x768",
    "naive": "setr/setr_vit-l_naive_8xb1-80k_cityscapes-768x768",
    "pup": "setr/setr_vit-l_pup_8xb1-80k_cityscapes-768x768",
}


def setr_mmseg(kind: str) -> Case:
    """Return the row of one of SETR's decoders in MMSegmentation."""
    count = 4 if kind == "mla" else 3
    heads = ("decode_head", *(f"auxiliary_head.{index}" for index in range(count)))
    hidden = {**_BLOCKS, "backbone.img_size": (96, 96)}
    if kind == "mla":
        hidden["neck.in_channels"] = [WIDTH] * 4
    else:
        hidden |= {f"{head}.in_channels": WIDTH for head in heads}
    narrow = {} if kind == "mla" else {f"{head}.channels": 16 for head in heads}
    return Case(
        f"mmseg/setr_{kind}",
        Mmseg(_SETR_MMSEG[kind], {**classes_of(*heads), **narrow}, hidden),
        {"seg": "decode.loss_ce", **{f"aux{index}_seg": f"aux_{index}.loss_ce" for index in range(count)}},
        narrow=("vit_large_patch16_224", NARROW_TRANSFORMER),
        model=_FOUR_BLOCKS,
    )


def setr_ssseg(kind: str, dataset: str) -> Case:
    """Return the row of one of SETR's decoders in SSSegmentation."""
    hidden = {
        **_BLOCKS,
        "backbone.img_size": (96, 96),
        "backbone.structure_type": "any",
        "head.in_channels_list": [WIDTH] * 4,
    }
    if kind != "mla":
        hidden |= {f"auxiliary.{index}.in_channels": WIDTH for index in range(3)}
    narrow = {f"auxiliary.{index}.out_channels": 16 for index in range(3)}
    narrow |= {} if kind == "mla" else {"head.feats_channels": 16}
    return Case(
        f"ssseg/setr_{kind}_{dataset}",
        Ssseg(f"setr/setr{kind}_vitlarge_{dataset}", {"num_classes": CLASSES, **narrow}, hidden),
        {"seg": "loss_cls", **{f"aux{index}_seg": f"loss_aux{index + 1}" for index in range(3)}},
        narrow=("vit_large_patch16_384", NARROW_TRANSFORMER),
        model=_FOUR_BLOCKS,
    )


SETRS = [
    *(setr_mmseg(kind) for kind in ("naive", "pup", "mla")),
    *(
        setr_ssseg(kind, dataset)
        for kind, dataset in (("naive", "ade20k"), ("naive", "cityscapes"), ("pup", "ade20k"), ("mla", "ade20k"))
    ),
]

# --- Segmenter and DPT, on a narrow transformer of four blocks --------------------------------------------------------
SEGMENTERS = [
    Case(
        "mmseg/dpt_vit-b16",
        Mmseg(
            "dpt/dpt_vit-b16_8xb2-160k_ade20k-512x512",
            {
                **classes_of("decode_head"),
                "decode_head.channels": 32,
                "decode_head.post_process_channels": [8, 16, 24, 32],
            },
            {**_BLOCKS, "backbone.img_size": (96, 96), "decode_head.embed_dims": WIDTH},
        ),
        {"seg": "decode.loss_ce"},
        narrow=("vit_base_patch16_224", NARROW_TRANSFORMER),
        model=_FOUR_BLOCKS,
    ),
    Case(
        "mmseg/segmenter_vit-s",
        Mmseg(
            "segmenter/segmenter_vit-s_mask_8xb1-160k_ade20k-512x512",
            {
                **classes_of("decode_head"),
                "decode_head.in_channels": WIDTH,
                "decode_head.embed_dims": 32,
                "decode_head.num_heads": 2,
            },
            {**_BLOCKS, "backbone.out_indices": -1, "backbone.img_size": (96, 96)},
        ),
        {"seg": "decode.loss_ce"},
        narrow=("vit_small_patch16_224", NARROW_TRANSFORMER),
        model={"backbone_options": {"img_size": [96, 96], "out_indices": [3]}},
    ),
]

# --- SAN, on a narrow CLIP of four blocks, of which the last recognises --------------------------------------------
_ADAPTER, _RECOGNISER = "decode_head.san_cfg", "decode_head.maskgen_cfg"
SANS = [
    Case(
        "mmseg/san_vit-b16",
        MmsegSAN(
            "san/san-vit-b16_coco-stuff164k-640x640",
            {
                **classes_of("decode_head"),
                "decode_head.loss_decode.0.class_weight": [1.0] * CLASSES + [0.1],
                "decode_head.train_cfg.num_points": 784,
                f"{_ADAPTER}.embed_dims": 32,
                f"{_ADAPTER}.num_queries": 20,
                f"{_ADAPTER}.cfg_encoder.num_heads": 2,
                f"{_ADAPTER}.cfg_decoder.embed_channels": 16,
                f"{_ADAPTER}.cfg_decoder.mlp_channels": 16,
                f"{_RECOGNISER}.sos_token_num": 20,
                f"{_RECOGNISER}.out_dims": 32,
                "text_encoder.dataset_name": None,
                "text_encoder.vocabulary": [f"class {index}" for index in range(CLASSES)],
                "text_encoder.embed_dims": 64,
                "text_encoder.num_layers": 1,
                "text_encoder.num_heads": 1,
                "text_encoder.output_dims": 32,
            },
            {
                "image_encoder.embed_dims": WIDTH,
                "image_encoder.num_layers": 3,
                "image_encoder.num_heads": 3,
                "image_encoder.out_indices": (0, 1, 2),
                "image_encoder.frozen_exclude": ["all"],
                f"{_ADAPTER}.clip_channels": WIDTH,
                f"{_ADAPTER}.cfg_decoder.num_heads": 3,
                f"{_RECOGNISER}.embed_dims": WIDTH,
                f"{_RECOGNISER}.num_layers": 1,
                f"{_RECOGNISER}.num_heads": 3,
                f"{_RECOGNISER}.frozen_exclude": ["all"],
            },
        ),
        {
            f"{ours}{name}": f"decode.{theirs}loss_{term}"
            for ours, theirs in (("", ""), ("layer0_", "d7."))
            for name, term in (("class", "cls_ce"), ("mask", "mask_ce"), ("dice", "mask_dice"))
        },
        trained=(96, 128),
        at_image_size=True,
        same_points=True,
        narrow=("vit_base_patch16_clip_quickgelu_224", NARROW_TRANSFORMER),
        model={"backbone_options": {"out_indices": [0, 1, 2, 3]}, "options": {"clip_heads": 3, "frozen": False}},
    ),
]

# --- as published, at full size -------------------------------------------------------------------------------------
_KEPT = {"keep": ("criterion.",), "at_image_size": True}
FULL = [
    *(
        Case(f"mmseg/{name}", Mmseg(config), classes=None, sizes=FULL_SIZE, heavy=True)
        for name, config in (
            ("fcn_full-size", "fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024"),
            ("fastfcn_pspnet_full-size", "fastfcn/fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024"),
            ("pspnet_full-size", "pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512"),
        )
    ),
    *(
        Case(
            f"ssseg/{config.partition('/')[0]}_full-size",
            kind(config),
            classes=None,
            sizes=FULL_SIZE,
            heavy=True,
            **settings,
        )
        for kind, config, settings in (
            (Ssseg, "annnet/annnet_resnet50os8_ade20k", {}),
            (Ssseg, "apcnet/apcnet_resnet50os8_ade20k", {}),
            (Ssseg, "ccnet/ccnet_resnet50os8_ade20k", {}),
            (Ssseg, "ce2p/ce2p_resnet50os16_lip", {}),
            (Ssseg, "danet/danet_resnet50os8_ade20k", {}),
            (Ssseg, "deeplabv3/deeplabv3_resnet50os8_ade20k", {}),
            (Ssseg, "deeplabv3plus/deeplabv3plus_resnet50os8_ade20k", {}),
            (Ssseg, "dmnet/dmnet_resnet50os8_ade20k", {}),
            (Ssseg, "dnlnet/dnlnet_resnet50os8_ade20k", {}),
            (Ssseg, "emanet/emanet_resnet50os8_ade20k", {}),
            (Ssseg, "encnet/encnet_resnet50os8_ade20k", {}),
            (Ssseg, "gcnet/gcnet_resnet50os8_ade20k", {}),
            (Ssseg, "icnet/icnet_resnet50os8_cityscapes", {}),
            (Ssseg, "isanet/isanet_resnet50os8_ade20k", {}),
            (Ssseg, "maskformer/maskformer_swintiny_ade20k", _KEPT),
            (Ssseg, "mcibi/mcibi_deeplabv3_resnet50os8_ade20k", {}),
            (Ssseg, "nonlocalnet/nonlocalnet_resnet50os8_ade20k", {}),
            (Ssseg, "ocrnet/ocrnet_resnet50os8_ade20k", {}),
            (SssegPoints, "pointrend/pointrend_resnet50os32_ade20k", {}),
            (Ssseg, "semanticfpn/semanticfpn_resnet50os32_ade20k", {}),
            (Ssseg, "upernet/upernet_resnet50os16_ade20k", {}),
        )
    ),
]

# --- toolboxes without an importer ----------------------------------------------------------------------------------
TORCHVISION = [
    Case(
        "torchvision/fcn_resnet50",
        Torchvision("fcn_resnet50", CLASSES),
        {"seg": "out", "aux0_seg": "aux"},
        sizes=FULL_SIZE,
        at_image_size=True,
        imports=import_fcn,
    )
]

CASES: list[Case] = [
    *ON_RESNETS_MMSEG,
    *OWN_ENCODERS_MMSEG,
    *ON_OTHERS_MMSEG,
    *MASKFORMERS_MMSEG,
    *MASK2FORMERS_MMSEG,
    *SEVERAL_RESOLUTIONS_MMSEG,
    *ON_RESNETS_SSSEG,
    *OWN_ENCODERS_SSSEG,
    *ON_OTHERS_SSSEG,
    *MASKFORMERS_SSSEG,
    *MASK2FORMERS_SSSEG,
    *MCIBIS,
    *CLASS_CONTEXTS,
    *PLAIN_TRANSFORMERS,
    *SETRS,
    *SEGMENTERS,
    *SANS,
    *FULL,
    *TORCHVISION,
    *HUGGING_FACE,
    *SMP,
    *EFFICIENTVIT,
    *REGSEG,
    *SCTNETS,
    *EOMT_AUTHORS,
]
