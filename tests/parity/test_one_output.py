"""Two classes told apart by one output: MMSegmentation's own checkpoint gives its masks and its losses here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from parity.references import require_mmseg
from vitrail.checkpoints import load
from vitrail.inference import predict

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
CONFIG = """
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder', pretrained=None,
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_val=0, seg_pad_val=255),
    backbone=dict(
        type='ResNetV1c', depth=18, num_stages=4, out_indices=(0, 1, 2, 3), dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1), norm_cfg=norm_cfg, norm_eval=False, style='pytorch', contract_dilation=True),
    decode_head=dict(
        type='FCNHead', in_channels=512, in_index=3, channels=16, num_convs=2, concat_input=True, dropout_ratio=0.0,
        num_classes=2, out_channels=1, threshold=THRESHOLD, norm_cfg=norm_cfg, align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0)),
    auxiliary_head=dict(
        type='FCNHead', in_channels=256, in_index=2, channels=16, num_convs=1, concat_input=False, dropout_ratio=0.0,
        num_classes=2, out_channels=1, norm_cfg=norm_cfg, align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.4)),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
"""


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_masks_and_losses(tmp_path: Path, threshold: float | None) -> None:
    require_mmseg()
    from mmengine.config import Config
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules()
    torch.manual_seed(0)
    text = CONFIG.replace("THRESHOLD", str(threshold))
    config = Config.fromstring(text, ".py")
    theirs = MODELS.build(config.model).eval()
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    pixels = (torch.from_numpy(image) - torch.tensor(MEAN)) / torch.tensor(STD)
    batch = pixels.permute(2, 0, 1)[None].float()
    with torch.no_grad():  # half of the pixels are on either side of the threshold
        middle = theirs.encode_decode(batch, [{"img_shape": (64, 96)}]).median()
        theirs.decode_head.conv_seg.bias += torch.logit(torch.tensor(threshold or 0.3)) - middle
    meta = {"cfg": config.pretty_text, "dataset_meta": {"classes": ("ground", "water"), "palette": None}}
    torch.save({"meta": meta, "state_dict": theirs.state_dict()}, tmp_path / "iter_1.pth")
    ours = load(tmp_path / "iter_1.pth")

    with torch.no_grad():
        logits = theirs.encode_decode(batch, [{"img_shape": (64, 96)}])
        sample = theirs.postprocess_result(logits)[0]
    expected = sample.pred_sem_seg.data[0].numpy()
    assert 0 < expected.mean() < 1
    mask = predict(ours, image).mask
    assert (mask != expected).mean() < 1e-3  # pixels at the threshold, by rounding

    target = (torch.arange(64 * 96).reshape(64, 96) % 7 < 3).long()
    target[:5] = 255
    label = SegDataSample(gt_sem_seg=PixelData(data=target[None]), metainfo={"img_shape": (64, 96)})
    theirs.train(), ours.train()
    given = {key: float(value) for key, value in theirs.loss(batch, [label]).items() if "loss" in key}
    found = ours(batch, target[None])
    assert float(sum(found.values())) == pytest.approx(sum(given.values()), rel=1e-4)
