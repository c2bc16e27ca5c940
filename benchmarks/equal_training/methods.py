"""The methods: what each toolbox calls them, and how they are trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.equal_training.settings import Groups, Settings
from parity.toolboxes import Mmseg, MmsegMaskFormer, Ssseg, SssegMaskFormer
from vitrail.datasets.camvid import CAMVID

CLASSES = len(CAMVID.classes)
_SSSEG_RESNET18 = {"backbone.depth": 18, "backbone.structure_type": "resnet18conv3x3stem", "num_classes": CLASSES}


@dataclass(frozen=True)
class Method:
    """A method and the models of other toolboxes that it is compared with.

    Attributes
    ----------
    name, title : str
        On the command line and in tables.
    stage : int
        The most telling ones are 1.
    settings : Settings
        How it is trained by everyone.
    mmseg : Mmseg or None
        MMSegmentation's model.
    ssseg : Ssseg or None
        SSSegmentation's model.
    """

    name: str
    title: str
    stage: int
    settings: Settings = field(default_factory=Settings)
    mmseg: Mmseg | None = None
    ssseg: Ssseg | None = None

    def reference(self, toolbox: str) -> Mmseg | Ssseg | None:
        """Return the model of a toolbox."""
        found: Mmseg | Ssseg | None = getattr(self, toolbox)
        return found


def _classes(*heads: str) -> dict[str, Any]:
    return {f"{head}.num_classes": CLASSES for head in heads}


_FASTSCNN_PARTS = ("backbone", "decode_head", "auxiliary_head.0", "auxiliary_head.1")
_ONE_AUXILIARY = _classes("decode_head", "auxiliary_head")
_NARROW_HEAD = {"head.feats_channels": 128, "auxiliary.out_channels": 64, "auxiliary.in_channels": 256}
# Learning rates of transformers are higher than published ones: those are for pretrained encoders.
_TRANSFORMER: dict[str, Any] = {
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "power": 1.0,
    "min_lr": 0.0,
    "warmup": 0.05,
}
_WITHOUT_NORMS: list[dict[str, Any]] = [
    {"match": name, "weight_decay": 0.0} for name in ("embed.norm", "norm1", "attn.norm", "norm2")
]

METHODS = (
    Method(
        "pspnet",
        "PSPNet, ResNet-18",
        1,
        mmseg=Mmseg("pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024", _ONE_AUXILIARY),
        ssseg=Ssseg("pspnet/pspnet_resnet50os8_ade20k", {**_SSSEG_RESNET18, **_NARROW_HEAD, "head.in_channels": 512}),
    ),
    Method(
        "segformer",
        "SegFormer, MiT-B0",
        1,
        Settings(
            **_TRANSFORMER,
            lr=3e-4,
            groups=Groups(
                vitrail={"head_lr": 10.0, "rules": _WITHOUT_NORMS},
                mmseg={
                    "pos_block": {"decay_mult": 0.0},
                    "norm": {"decay_mult": 0.0},
                    "head": {"lr_mult": 10.0},
                },
                ssseg={
                    "norm": {"wd_multiplier": 0.0},
                    "convs": {"lr_multiplier": 10.0, "wd_multiplier": 1.0},
                    "decoder": {"lr_multiplier": 10.0, "wd_multiplier": 1.0},
                },
            ),
        ),
        mmseg=Mmseg("segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512", _classes("decode_head")),
        ssseg=Ssseg("segformer/segformer_mitb0_ade20k", {"num_classes": CLASSES}),
    ),
    Method(
        "fastscnn",
        "Fast-SCNN",
        1,
        Settings(lr=0.05, weight_decay=4e-5),
        mmseg=Mmseg(
            "fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024",
            {
                **_classes("decode_head", "auxiliary_head.0", "auxiliary_head.1"),
                # as everyone's: its config has 0.01, which belongs to the recipe and not to the model
                **{f"{part}.norm_cfg.momentum": 0.1 for part in _FASTSCNN_PARTS},
            },
        ),
        ssseg=Ssseg("fastscnn/depthwiseseparablefcn_fastscnn_cityscapes", {"num_classes": CLASSES}),
    ),
    Method(
        "bisenetv2",
        "BiSeNetV2",
        1,
        Settings(lr=0.05, warmup=0.05, warmup_ratio=0.1),
        mmseg=Mmseg(
            "bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024",
            _classes("decode_head", *(f"auxiliary_head.{index}" for index in range(4))),
        ),
        ssseg=Ssseg("bisenetv2/fcn_bisenetv2_cityscapes", {"num_classes": CLASSES}),
    ),
    Method(
        "deeplabv3plus",
        "DeepLabv3+, ResNet-18",
        2,
        mmseg=Mmseg("deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024", _ONE_AUXILIARY),
        ssseg=Ssseg(
            "deeplabv3plus/deeplabv3plus_resnet50os16_ade20k",
            {**_SSSEG_RESNET18, **_NARROW_HEAD, "head.in_channels": [64, 512]},
        ),
    ),
    Method(
        "cgnet",
        "CGNet",
        2,
        Settings(optimizer="adam", lr=0.001),
        mmseg=Mmseg(
            "cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680",
            # with class weights its loss cannot take ignored pixels
            {**_classes("decode_head"), "decode_head.loss_decode.class_weight": None},
        ),
        ssseg=Ssseg("cgnet/fcn_cgnetm3n21_cityscapes", {"num_classes": CLASSES, "losses.loss_cls.class_weight": None}),
    ),
    Method(
        "ocrnet",
        "OCRNet, ResNet-18",
        2,
        mmseg=Mmseg(
            "ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024",
            {
                "backbone.depth": 18,
                "decode_head.0.in_channels": 256,
                "decode_head.0.channels": 64,
                "decode_head.1.in_channels": 512,
                "decode_head.1.channels": 128,
                "decode_head.1.ocr_channels": 64,
                **_classes("decode_head.0", "decode_head.1"),
            },
        ),
        ssseg=Ssseg(
            "ocrnet/ocrnet_resnet50os8_ade20k",
            {
                **_SSSEG_RESNET18,
                "head.in_channels": 512,
                "head.feats_channels": 128,
                "head.transform_channels": 64,
                "auxiliary.in_channels": 256,
                "auxiliary.out_channels": 64,
            },
        ),
    ),
    Method(
        "upernet",
        "UPerNet, Swin-Tiny",
        2,
        Settings(
            **_TRANSFORMER,
            lr=3e-4,
            groups=Groups(
                vitrail={
                    "rules": [
                        {"match": "norm", "weight_decay": 0.0},
                        {"match": "relative_position_bias_table", "weight_decay": 0.0},
                    ]
                },
                mmseg={
                    "absolute_pos_embed": {"decay_mult": 0.0},
                    "relative_position_bias_table": {"decay_mult": 0.0},
                    "norm": {"decay_mult": 0.0},
                },
                ssseg={
                    "norm": {"wd_multiplier": 0.0},
                    "relative_position_bias_table": {"wd_multiplier": 0.0},
                },
            ),
        ),
        mmseg=Mmseg("swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512", _ONE_AUXILIARY),
        ssseg=Ssseg("swin/upernet_swintiny_ade20k", {"num_classes": CLASSES}),
    ),
    Method(
        "maskformer",
        "MaskFormer, ResNet-18 and Swin-Tiny",
        2,
        Settings(optimizer="adamw", lr=3e-4, weight_decay=1e-4, min_lr=0.0, clip=0.01),
        mmseg=MmsegMaskFormer(
            "maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512",
            {
                **_classes("decode_head"),
                "decode_head.loss_cls.class_weight": [1.0] * CLASSES + [0.1],
                "backbone.depth": 18,
                "backbone.norm_eval": False,
                "decode_head.in_channels": [64, 128, 256, 512],
            },
        ),
        ssseg=SssegMaskFormer("maskformer/maskformer_swintiny_ade20k", {"num_classes": CLASSES}),
    ),
)
