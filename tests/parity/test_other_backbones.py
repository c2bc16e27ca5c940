"""Methods on the other encoders they are published with, against MMSegmentation and SSSegmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from backbones.narrow import narrowed
from parity.references import build_mmseg, build_ssseg
from parity.same_function import (
    CLASSES,
    SQUARE_WIDE_ODD,
    assert_same_logits,
    assert_same_training,
    carry,
    images_and_targets,
    small_mmseg,
)

from vitrail import create_model
from vitrail.losses import CrossEntropyLoss
from vitrail.segmentors import Segmentor
from vitrail.zoo import encoders, heads
from vitrail.zoo.renaming import Table

pytestmark = pytest.mark.parity

MMSEG_TERMS = {"seg": "decode.loss_ce", "aux0_seg": "aux.loss_ce"}
SSSEG_TERMS = {"seg": "loss_cls", "aux0_seg": "loss_aux"}


def mean_over_all(ours: Segmentor) -> Segmentor:
    """Let ignored pixels count in the means of the losses, as MMSegmentation does."""
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    return ours


def test_ocrnet_on_hrnet_mmseg() -> None:
    narrow: dict[str, Any] = {"decode_head__1__channels": 64, "decode_head__1__ocr_channels": 24}
    classes = {f"decode_head__{i}__num_classes": CLASSES for i in (0, 1)}
    theirs = build_mmseg("ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024", **narrow, **classes)
    ours = create_model(
        "ocrnet",
        "hrnet_w18_small_v2",
        CLASSES,
        channels=64,
        attention_channels=24,
        fuse_kernel_size=1,
        coarse_channels=270,
        coarse_kernel_size=1,
        backbone_options={"concat": True},
    )
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, encoders.PLAIN, heads.OCRNET_MMSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "decode_1.loss_ce", "coarse": "decode_0.loss_ce"})


def test_ocrnet_on_hrnet_ssseg(configs: Path) -> None:
    narrow: dict[str, Any] = {"head__feats_channels": 64, "head__transform_channels": 24, "auxiliary__out_channels": 32}
    theirs = build_ssseg("ocrnet/ocrnet_hrnetv2w18s_ade20k", configs, num_classes=CLASSES, **narrow)
    ours = create_model(
        "ocrnet",
        "hrnet_w18_small_v2",
        CLASSES,
        channels=64,
        attention_channels=24,
        coarse_channels=32,
        backbone_options={"concat": True},
    )
    carry(theirs, ours, encoders.PLAIN, heads.OCRNET_SSSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "loss_cls", "coarse": "loss_aux"})


NARROW: dict[str, Any] = {"channels": 64, "aux_channels": 32, "dropout": 0.0}
NARROW_SSSEG: dict[str, Any] = {
    "num_classes": CLASSES,
    "head__feats_channels": 64,
    "auxiliary__out_channels": 32,
    "backbone__structure_type": "any",
}
NARROW_MMSEG = small_mmseg()


# --- UPerNet --------------------------------------------------------------------------------------------------------
def upernet(backbone: str, *, aux_weight: float = 0.4, **options: Any) -> Segmentor:
    options = {"drop_path_rate": 0.0, **options}
    return create_model("upernet", backbone, CLASSES, backbone_options=options, aux_weight=aux_weight, **NARROW)


def test_upernet_on_swin_mmseg() -> None:
    theirs = build_mmseg("swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512", **NARROW_MMSEG)
    ours = mean_over_all(upernet("swin_tiny_patch4_window7_224"))
    carry(theirs, ours, encoders.SWIN, heads.UPERNET_MMSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, MMSEG_TERMS)


def test_upernet_on_swin_ssseg(configs: Path) -> None:
    theirs = build_ssseg("swin/upernet_swinsmall_ade20k", configs, **NARROW_SSSEG)
    ours = upernet("swin_small_patch4_window7_224")
    carry(theirs, ours, encoders.SWIN, heads.UPERNET_SSSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, SSSEG_TERMS)


def test_upernet_on_convnext_ssseg(configs: Path) -> None:
    theirs = build_ssseg("convnext/upernet_convnexttiny_ade20k", configs, **NARROW_SSSEG)
    ours = upernet("convnext_tiny")
    carry(theirs, ours, encoders.CONVNEXT, heads.UPERNET_SSSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, SSSEG_TERMS)


@pytest.mark.parametrize("kind", ["svt-s_uperhead_8xb2", "pcpvt-s_uperhead_8xb4"])
def test_upernet_on_twins_mmseg(kind: str) -> None:
    theirs = build_mmseg(f"twins/twins_{kind}-160k_ade20k-512x512", **NARROW_MMSEG)
    ours = mean_over_all(upernet(f"twins_{kind.partition('-')[0]}_small"))
    carry(theirs, ours, encoders.TWINS, heads.UPERNET_MMSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, MMSEG_TERMS)


@pytest.mark.parametrize("kind", ["svt", "pcpvt"])
def test_upernet_on_twins_ssseg(kind: str, configs: Path) -> None:
    theirs = build_ssseg(f"twins/upernet_{kind}small_ade20k", configs, **NARROW_SSSEG)
    ours = upernet(f"twins_{kind}_small")
    carry(theirs, ours, encoders.TWINS, heads.UPERNET_SSSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, SSSEG_TERMS)


# Plain transformers, of four narrow blocks, with a pyramid between them and the head.
WIDTH = 48
BLOCKS: dict[str, Any] = {
    "backbone__embed_dims": WIDTH,
    "backbone__num_layers": 4,
    "backbone__num_heads": 3,
    "backbone__out_indices": (0, 1, 2, 3),
    "backbone__drop_path_rate": 0.0,
}
PLAIN_MMSEG = {**NARROW_MMSEG, **BLOCKS, "decode_head__in_channels": [WIDTH] * 4, "auxiliary_head__in_channels": WIDTH}
PLAIN_SSSEG = {
    **NARROW_SSSEG,
    **BLOCKS,
    "head__in_channels_list": [WIDTH] * 4,
    "auxiliary__in_channels": WIDTH,
    "head__feature2pyramid__embed_dim": WIDTH,
}
SIZED: dict[str, tuple[str, Table]] = {
    "beit": ("beit_base_patch16_224", encoders.BEIT),
    "mae": ("mae_vit_base_patch16", encoders.MAE),
}


def narrow_transformer(monkeypatch: pytest.MonkeyPatch, kind: str, size: tuple[int, int]) -> Segmentor:
    """Build UPerNet on a narrow transformer whose positions are laid out for images of a size."""
    for name in ("beit_base_patch16_224", "vit_base_patch16_224"):
        narrowed(monkeypatch, name, embed_dim=WIDTH, depth=4, num_heads=3)
    whole = tuple(16 * (side // 16) for side in size)
    options: dict[str, Any] = {"img_size": whole, "out_indices": (0, 1, 2, 3)}
    if kind == "vit":
        return upernet("vit_base_patch16_224", aux_weight=0.0, **options, neck_channels=WIDTH)
    return upernet(SIZED[kind][0], **options, pyramid=True)


@pytest.mark.parametrize("kind", ["beit", "mae"])
@pytest.mark.parametrize("toolbox", ["mmseg", "ssseg"])
def test_upernet_on_sized_transformers(toolbox: str, kind: str, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The references take images of one size only, so that each gets models of its own."""
    training_size = tuple(images_and_targets()[0].shape[-2:])
    for size in (*SQUARE_WIDE_ODD, training_size):
        if toolbox == "mmseg":
            name = {"beit": "8xb2-160k_ade20k-640x640", "mae": "8xb2-amp-160k_ade20k-512x512"}[kind]
            name = f"{kind}/{kind}-base_upernet_{name}"
            theirs = build_mmseg(name, **PLAIN_MMSEG, neck__embed_dim=WIDTH, backbone__img_size=size)
        else:
            name = {"beit": "beit/upernet_beitbase_ade20k", "mae": "mae/upernet_maevitbase_ade20k"}[kind]
            theirs = build_ssseg(name, configs, **PLAIN_SSSEG, backbone__img_size=size)
        ours = narrow_transformer(monkeypatch, kind, size)
        head = heads.UPERNET_MMSEG if toolbox == "mmseg" else heads.UPERNET_SSSEG
        carry(theirs, ours, SIZED[kind][1], head, neck=encoders.NECK)
        if size != training_size:
            assert_same_logits(theirs, ours, sizes=[size])
    mean = mean_over_all if toolbox == "mmseg" else lambda model: model
    assert_same_training(theirs, mean(ours), MMSEG_TERMS if toolbox == "mmseg" else SSSEG_TERMS)


def test_upernet_on_vit_mmseg(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {key: value for key, value in PLAIN_MMSEG.items() if not key.startswith("auxiliary")}
    theirs = build_mmseg(
        "vit/vit_vit-b16_mln_upernet_8xb2-160k_ade20k-512x512",
        **changes,
        neck__in_channels=[WIDTH] * 4,
        neck__out_channels=WIDTH,
        backbone__img_size=(96, 96),
        auxiliary_head=None,
    )
    ours = mean_over_all(narrow_transformer(monkeypatch, "vit", (96, 96)))
    carry(theirs, ours, encoders.VIT, heads.UPERNET_MMSEG, neck=encoders.NECK)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "decode.loss_ce"})


# --- DeepLabv3 and DeepLabv3+ ---------------------------------------------------------------------------------------
DEEPLABS = pytest.mark.parametrize("method", ["deeplabv3", "deeplabv3plus"])
DEEPLAB_MMSEG = {"deeplabv3": heads.DEEPLABV3_MMSEG, "deeplabv3plus": heads.DEEPLABV3PLUS_MMSEG}
DEEPLAB_SSSEG = {"deeplabv3": heads.DEEPLABV3_SSSEG, "deeplabv3plus": heads.DEEPLABV3PLUS_SSSEG}


@DEEPLABS
@pytest.mark.parametrize("kind", ["mobilenet-v2", "resnest_s101"])
def test_deeplab_mmseg(kind: str, method: str) -> None:
    changes = {} if kind == "mobilenet-v2" else {"backbone__depth": 50, "backbone__stem_channels": 64}
    name = f"{kind.replace('mobilenet-v2', 'mobilenet_v2').partition('_s101')[0]}/{kind}-d8_{method}"
    theirs = build_mmseg(f"{name}_4xb2-80k_cityscapes-512x1024", **NARROW_MMSEG, **changes)
    ours = mean_over_all(deeplab(method, kind))
    table = encoders.MOBILENET_V2 if kind == "mobilenet-v2" else encoders.DEEP_STEM
    carry(theirs, ours, table, DEEPLAB_MMSEG[method])
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, MMSEG_TERMS)


@DEEPLABS
@pytest.mark.parametrize("kind", ["mobilenetv2", "resnest101"])
def test_deeplab_ssseg(kind: str, method: str, configs: Path) -> None:
    changes = {} if kind == "mobilenetv2" else {"backbone__depth": 50, "backbone__stem_channels": 64}
    theirs = build_ssseg(f"{kind.removesuffix('101')}/{method}_{kind}os8_voc", configs, **NARROW_SSSEG, **changes)
    ours = deeplab(method, kind)
    table = encoders.MOBILENET_V2 if kind == "mobilenetv2" else encoders.DEEP_STEM
    carry(theirs, ours, table, DEEPLAB_SSSEG[method])
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, SSSEG_TERMS)


def deeplab(method: str, kind: str) -> Segmentor:
    backbone = "mobilenetv2_100" if kind.startswith("mobilenet") else "resnest50d"
    return create_model(method, backbone, CLASSES, output_stride=8, **NARROW)


class KeptType(dict[str, Any]):
    """Survives SSSegmentation's U-Net, which takes "type" out of the settings that its blocks share."""

    def pop(self, key: str) -> Any:
        return super().pop(key, "InterpConv")


@pytest.mark.parametrize("toolbox", ["mmseg", "ssseg"])
def test_deeplabv3_on_unet(toolbox: str, configs: Path) -> None:
    """The references take no sizes but multiples of 16."""
    dilations = (1, 12, 24, 36) if toolbox == "mmseg" else (1, 6, 12, 18)
    ours = create_model(
        "deeplabv3", "unet_s5", CLASSES, dilations=dilations, backbone_options={"base_channels": 16}, **NARROW
    )
    if toolbox == "mmseg":
        widths = {"backbone__base_channels": 16, "decode_head__in_channels": 16, "auxiliary_head__in_channels": 32}
        theirs = build_mmseg("unet/unet-s5-d16_deeplabv3_4xb4-40k_drive-64x64", **NARROW_MMSEG, **widths)
        mean_over_all(ours)
        carry(theirs, ours, encoders.UNET_MMSEG, heads.DEEPLABV3_MMSEG)
    else:
        widths = {"backbone__base_channels": 16, "head__in_channels": 16, "auxiliary__in_channels": 32}
        widths |= {"backbone__upsample_cfg": KeptType()}
        theirs = build_ssseg("unet/deeplabv3_unets5os16_drive", configs, **NARROW_SSSEG, **widths)
        carry(theirs, ours, encoders.UNET_SSSEG, heads.DEEPLABV3_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(96, 96), (64, 96)])
    assert_same_training(theirs, ours, MMSEG_TERMS if toolbox == "mmseg" else SSSEG_TERMS, size=(96, 128))
