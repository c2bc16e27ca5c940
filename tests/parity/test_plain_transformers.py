"""UPerNet on narrow BEiT, MAE and ViT, at every size, against MMSegmentation and SSSegmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.narrow import narrowed

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
from vitrail import Auxiliary, create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.checkpoints.sources.renaming import Table
from vitrail.losses import CrossEntropyLoss
from vitrail.segmentors import Segmentor

pytestmark = pytest.mark.parity

MMSEG_TERMS = {"seg": "decode.loss_ce", "aux0_seg": "aux.loss_ce"}
SSSEG_TERMS = {"seg": "loss_cls", "aux0_seg": "loss_aux"}


def mean_over_all(ours: Segmentor) -> Segmentor:
    """Let ignored pixels count in the means of the losses, as MMSegmentation does."""
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    return ours


NARROW: dict[str, Any] = {"channels": 64, "dropout": 0.0}
NARROW_SSSEG: dict[str, Any] = {
    "num_classes": CLASSES,
    "head__feats_channels": 64,
    "auxiliary__out_channels": 32,
    "backbone__structure_type": "any",
}
NARROW_MMSEG = small_mmseg()


def upernet(backbone: str, *, auxiliary_weight: float = 0.4, **options: Any) -> Segmentor:
    options = {"drop_path_rate": 0.0, **options}
    auxiliary = Auxiliary(weight=auxiliary_weight, channels=(32,))
    return create_model("upernet", backbone, CLASSES, backbone_options=options, auxiliary=auxiliary, **NARROW)


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
        return upernet("vit_base_patch16_224", auxiliary_weight=0.0, **options, neck_channels=WIDTH)
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
