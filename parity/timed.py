"""The rows of the table of comparisons that benchmarks measure: heads at their published widths, on small encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from parity.case import Case
from parity.cases import DETAIL_KERNELS, FOUR_MAPS, KERNELS, R18_ENCODER, RESNET18_WITHOUT_DILATION, SMALL_WINDOWS
from parity.efficientvit import EfficientViT, import_efficientvit
from parity.huggingface import EoMT, OneFormer, import_eomt, import_oneformer
from parity.reference import Reference
from parity.regseg import RegSeg, import_regseg
from parity.sctnet import SCTNet, import_sctnet
from parity.smp import Smp, import_smp
from parity.toolboxes import (
    Mmseg,
    MmsegMask2Former,
    MmsegSAN,
    MmsegSegNeXt,
    MmsegSmallWindows,
    MmsegWithEdges,
    Ssseg,
    SssegCascade,
    SssegMaskFormer,
    SssegMemory,
    SssegWithEdges,
    Torchvision,
)
from parity.torchvision_import import import_fcn
from vitrail.segmentors import Progress

CLASSES = 19
NARROW = 128  # the width of UPerNet's head, whose published 512 would hide the encoders


@dataclass(frozen=True)
class Timed:
    """A row and what it is listed as.

    Attributes
    ----------
    method, backbone : str
        Names of the method and of its encoder; empty for a method with an encoder of its own.
    case : Case
        The comparison.
    """

    method: str
    backbone: str
    case: Case


def timed(method: str, backbone: str, reference: Reference, **settings: Any) -> Timed:
    """Return a row at the size of the images, where all toolboxes can be compared."""
    name = f"{reference.toolbox}/{method}_{backbone or 'own'}"
    return Timed(method, backbone, Case(name, reference, classes=CLASSES, at_image_size=True, **settings))


def mmseg(method: str, backbone: str, config: str, changes: Mapping[str, Any] | None = None) -> Timed:
    """Return a row of MMSegmentation."""
    return timed(method, backbone, Mmseg(config, changes or {}))


def smp(method: str, kind: str) -> Timed:
    """Return a row of segmentation_models_pytorch, on a ResNet-18."""
    arguments = {"encoder_name": "resnet18"}
    reference = Smp(kind, tuple(arguments.items()), CLASSES)
    return timed(method, "resnet18", reference, imports=partial(import_smp, kind, arguments, classes=CLASSES))


R18_MMSEG = {"backbone.depth": 18, "auxiliary_head.in_channels": 256}
NARROW_MMSEG = {"decode_head.channels": NARROW, "auxiliary_head.channels": NARROW}
CLASSES_SSSEG = {"num_classes": CLASSES}
MASKFORMER_SSSEG = {
    **CLASSES_SSSEG,
    "head.feats_channels": 256,
    "head.predictor.dropout": 0.0,
    "head.predictor.act_cfg": {"type": "ReLU", "inplace": False},
}

VIT_TINY_MMSEG = {
    "backbone.img_size": (256, 256),
    "backbone.embed_dims": 192,
    "backbone.num_layers": 12,
    "backbone.num_heads": 3,
}
_THREE_AUXILIARY = tuple(f"auxiliary_head.{index}" for index in range(3))


def _in_channels(*heads: str) -> dict[str, int]:
    """Return the settings of heads that read the maps of the smallest plain transformer."""
    return {f"{head}.in_channels": 192 for head in heads}


_EOMT = EoMT(image_size=256, classes=CLASSES, head={})
_ONEFORMER = OneFormer(classes=CLASSES, head={"dropout": 0})

TIMED = [
    mmseg("upernet", "resnet18c", "upernet/upernet_r18_4xb2-40k_cityscapes-512x1024", NARROW_MMSEG),
    mmseg(
        "upernet",
        "swin_tiny_patch4_window7_224",
        "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512",
        {**NARROW_MMSEG, "decode_head.num_classes": CLASSES, "auxiliary_head.num_classes": CLASSES},
    ),
    timed(
        "upernet",
        "convnext_tiny",
        Ssseg(
            "convnext/upernet_convnexttiny_ade20k",
            {**CLASSES_SSSEG, "head.feats_channels": NARROW, "auxiliary.out_channels": NARROW},
        ),
    ),
    mmseg("deeplabv3", "resnet18c", "deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024"),
    mmseg("deeplabv3plus", "resnet18c", "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024"),
    mmseg(
        "ocrnet",
        "resnet18c",
        "ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024",
        {"backbone.depth": 18, "decode_head.0.in_channels": 256, "decode_head.1.in_channels": 512},
    ),
    mmseg("ocrnet", "hrnet_w18_small_v2", "ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024"),
    mmseg(
        "encnet",
        "resnet18c",
        "encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024",
        {**R18_MMSEG, "decode_head.in_channels": [128, 256, 512]},
    ),
    mmseg(
        "emanet",
        "resnet18c",
        "emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024",
        {**R18_MMSEG, "decode_head.in_channels": 512},
    ),
    *(
        mmseg(
            method,
            "resnet18c",
            f"{folder}/{config}_r50-d8_4xb2-80k_cityscapes-512x1024",
            {**R18_MMSEG, "decode_head.in_channels": [256, 512] if method == "annnet" else 512},
        )
        for method, folder, config in (
            ("danet", "danet", "danet"),
            ("ccnet", "ccnet", "ccnet"),
            ("nonlocalnet", "nonlocal_net", "nonlocal"),
            ("gcnet", "gcnet", "gcnet"),
            ("annnet", "ann", "ann"),
            ("dnlnet", "dnlnet", "dnl"),
            ("isanet", "isanet", "isanet"),
            ("apcnet", "apcnet", "apcnet"),
            ("dmnet", "dmnet", "dmnet"),
        )
    ),
    mmseg(
        "pointrend",
        "resnet18c",
        "point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024",
        {"backbone.depth": 18, "neck.in_channels": FOUR_MAPS},
    ),
    mmseg(
        "semanticfpn",
        "resnet18c",
        "sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024",
        {"backbone.depth": 18, "neck.in_channels": FOUR_MAPS},
    ),
    mmseg(
        "fastfcn_pspnet",
        "resnet18c",
        "fastfcn/fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024",
        {
            **R18_MMSEG,
            "backbone.dilations": (1, 1, 1, 1),
            "neck.in_channels": (128, 256, 512),
        },
    ),
    *(
        timed(
            method,
            "resnet18c",
            Ssseg(
                f"{method}/{config}",
                {
                    **CLASSES_SSSEG,
                    **R18_ENCODER,
                    "head.in_channels": 512,
                    "auxiliary.in_channels": 256,
                },
            ),
        )
        for method, config in (
            ("isnet", "isnet_resnet50os8_ade20k"),
            ("idrnet", "idrnet_aspp_resnet50os8_ade20k"),
        )
    ),
    mmseg(
        "segformer",
        "mit_b0",
        "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512",
        {"decode_head.num_classes": CLASSES},
    ),
    *(
        timed(
            "maskformer",
            backbone,
            SssegMaskFormer("maskformer/maskformer_swintiny_ade20k", {**MASKFORMER_SSSEG, **changes}),
            keep=("criterion.",),
        )
        for backbone, changes in (
            ("resnet18c", {"backbone": RESNET18_WITHOUT_DILATION, "head.in_channels_list": FOUR_MAPS}),
            ("swin_tiny_patch4_window7_224", {}),
        )
    ),
    timed(
        "lraspp",
        "tf_mobilenetv3_small_100",
        MmsegSmallWindows("mobilenet-v3-d8-s_lraspp_4xb4-320k_cityscapes-512x1024"),
        **SMALL_WINDOWS,  # the published ones are wider than the maps of small images
    ),
    mmseg(
        "setr",
        "vit_tiny_patch16_224",
        "setr/setr_vit-l_pup_8xb1-80k_cityscapes-768x768",
        {**VIT_TINY_MMSEG, "backbone.out_indices": (2, 5, 8, 11), **_in_channels("decode_head", *_THREE_AUXILIARY)},
    ),
    mmseg(
        "segmenter",
        "vit_tiny_patch16_224",
        "segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512",
        {"backbone.img_size": (256, 256), "decode_head.num_classes": CLASSES},
    ),
    mmseg(
        "dpt",
        "vit_tiny_patch16_224",
        "dpt/dpt_vit-b16_8xb2-160k_ade20k-512x512",
        {**VIT_TINY_MMSEG, "decode_head.embed_dims": 192, "decode_head.num_classes": CLASSES},
    ),
    timed(
        "segnext",
        "mscan_t",
        MmsegSegNeXt("segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512", {"decode_head.num_classes": CLASSES}),
    ),
    mmseg(
        "knet",
        "resnet18c",
        "knet/knet-s3_r50-d8_upernet_8xb2-adamw-80k_ade20k-512x512",
        {
            **R18_MMSEG,
            "auxiliary_head.num_classes": CLASSES,
            f"{KERNELS}.in_channels": FOUR_MAPS,
            f"{KERNELS}.num_classes": CLASSES,
        },
    ),
    smp("unet", "Unet"),
    smp("unetplusplus", "UnetPlusPlus"),
    smp("manet", "MAnet"),
    smp("linknet", "Linknet"),
    smp("fpn", "FPN"),
    smp("pan", "PAN"),
    timed("stdc", "", Mmseg("stdc/stdc1_4xb12-80k_cityscapes-512x1024"), keep=DETAIL_KERNELS),
    mmseg("ddrnet", "", "ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024"),
    timed(
        "pidnet",
        "",
        MmsegWithEdges(
            "pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes",
            {"decode_head.loss_decode.0.class_weight": None},  # with which it stumbles over ignored pixels
        ),
    ),
    timed(
        "mask2former",
        "resnet18",
        MmsegMask2Former(
            "mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024",
            {"backbone.depth": 18, "decode_head.in_channels": FOUR_MAPS},
        ),
        dtype=torch.float32,
        same_points=True,
    ),
    timed(
        "san",
        "vit_base_patch16_clip_quickgelu_224",
        MmsegSAN(
            "san/san-vit-b16_coco-stuff164k-640x640",
            {
                "decode_head.num_classes": CLASSES,
                "decode_head.loss_decode.0.class_weight": [1.0] * CLASSES + [0.1],
                "text_encoder.dataset_name": None,
                "text_encoder.vocabulary": [f"class {index}" for index in range(CLASSES)],
            },
        ),
        dtype=torch.float32,
        same_points=True,
    ),
    timed(
        "eomt",
        "vit_small_patch16_224",
        _EOMT,
        dtype=torch.float32,
        keep=("criterion.",),
        fixed={"attn_mask_probs": [1.0] * 4},
        same_points=True,
        imports=partial(import_eomt, _EOMT),
    ),
    timed(
        "oneformer",
        "resnet18",
        _ONEFORMER,
        dtype=torch.float32,
        keep=("criterion.empty_weight",),
        same_points=True,
        imports=partial(import_oneformer, _ONEFORMER),
    ),
    timed("efficientvit", "efficientvit_b0", EfficientViT("b0", "cityscapes"), imports=import_efficientvit),
    timed("regseg", "", RegSeg("exp48_decoder26"), imports=import_regseg),
    timed("sctnet", "", SCTNet("s", "cityscapes"), imports=partial(import_sctnet, "s", "cityscapes")),
    mmseg("bisenetv2", "", "bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024"),
    mmseg("icnet", "resnet18c", "icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832"),
    timed(
        "ce2p",
        "resnet18c",
        SssegWithEdges(
            "ce2p/ce2p_resnet50os16_voc", {**CLASSES_SSSEG, **R18_ENCODER, "head.in_channels_list": FOUR_MAPS}
        ),
    ),
    timed(
        "mcibi",
        "resnet18c",
        SssegMemory(
            "mcibi/mcibi_deeplabv3_resnet50os8_ade20k",
            {
                **CLASSES_SSSEG,
                **R18_ENCODER,
                "head.in_channels": 512,
                "auxiliary": {"in_channels": 256, "out_channels": 512, "dropout": 0.0},
                "head.update_cfg.momentum_cfg.base_lr": 0.01,
                "head.update_cfg.ignore_index": 255,
            },
        ),
        progress=Progress(epoch=2, lr_factor=1.0),  # in which both update and supervise their memories
    ),
    timed(
        "mcibiplusplus",
        "resnet18c",
        SssegCascade(
            "mcibiplusplus/mcibiplusplus_aspp_resnet50os8_ade20k",
            {**CLASSES_SSSEG, **R18_ENCODER, "head.in_channels": 512, "auxiliary.in_channels": 256},
        ),
        fixed={"memory_module.memory": [[0.1 * index - 1, 0.5 + 0.1 * index] for index in range(CLASSES)]},
    ),
    # Compact, with which SSSegmentation needs no compiled operator; its masks are as large as the map at 256×256.
    timed(
        "psanet",
        "resnet18c",
        Ssseg(
            "psanet/psanet_resnet50os8_ade20k",
            {
                **CLASSES_SSSEG,
                **R18_ENCODER,
                "head.in_channels": 512,
                "auxiliary.in_channels": 256,
                "head.mask_size": [16, 16],
                "head.compact": True,
            },
        ),
    ),
    mmseg("fcn", "resnet50c", "fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024"),
    timed("fcn", "resnet50", Torchvision("fcn_resnet50", CLASSES), imports=import_fcn),
    mmseg("pspnet", "resnet50c", "pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024"),
    mmseg(
        "cgnet",
        "",
        "cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680",
        {"decode_head.loss_decode.class_weight": None},  # with weights its loss cannot take ignored pixels
    ),
    mmseg("fastscnn", "", "fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024"),
]
