"""The same network, the same weights: predictions and figures against those of the toolboxes it comes from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from parity.references import build_mmseg, build_ssseg, require_mmseg
from vitrail.backbones import Backbone
from vitrail.evaluation.confusion import ConfusionMatrix
from vitrail.evaluation.result import Evaluation
from vitrail.inference import Predictor
from vitrail.recipes import EvalConfig
from vitrail.segmentors import Head, ModelCard, Segmentor

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:When align_corners=True", "ignore:The shape of value"),  # MMSegmentation's
]

CLASSES = 7
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SIZE, ORIGINAL = (70, 102), (85, 121)


class Borrowed(Backbone):
    """A reference's encoder."""

    def __init__(self, encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.encoder(images))


class BorrowedHead(Head):
    """A reference's decoder, which may want the last map only."""

    def __init__(self, decoder, align_corners: bool, last_only: bool) -> None:
        super().__init__(CLASSES, align_corners=align_corners)
        self.decoder = decoder
        self.last_only = last_only

    def forward(self, features) -> Tensor:
        return self.decoder(features[-1] if self.last_only else features)


def dressed(backbone, decoder, align_corners, *, last_only=False) -> Segmentor:
    """Return a reference's encoder and decoder as a segmentor of ours."""
    model = Segmentor(Borrowed(backbone), BorrowedHead(decoder, align_corners, last_only)).eval()
    names = tuple(f"class {index}" for index in range(CLASSES))
    model.card = ModelCard(classes=names, palette=((0, 0, 0),) * CLASSES, mean=MEAN, std=STD)
    return model


@torch.no_grad()
def liven(model: Segmentor) -> None:
    """Give an untrained network logits that differ from pixel to pixel: of zero mean and unit variance."""
    logits = model.head(model.backbone(normalised(picture())))[0].flatten(1)
    (classifier,) = (m for m in model.head.modules() if isinstance(m, torch.nn.Conv2d) and m.out_channels == CLASSES)
    std, mean = torch.std_mean(logits, dim=1)
    classifier.weight /= std[:, None, None, None]
    bias = torch.zeros(CLASSES) if classifier.bias is None else classifier.bias.detach()
    classifier.bias = torch.nn.Parameter((bias - mean) / std)


def picture() -> Tensor:
    """Return an image with blobs of colour."""
    generator = torch.Generator().manual_seed(1)
    small = torch.rand(1, 3, 9, 12, generator=generator) * 255
    return F.interpolate(small, size=SIZE, mode="bicubic")[0].clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module", params=[False, True], ids=["half_pixel", "align_corners"])
def mmseg_model(request):
    changes = {"decode_head.align_corners": request.param, "decode_head.num_classes": CLASSES}
    torch.manual_seed(0)
    model = build_mmseg("fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024", {"auxiliary_head": None, **changes}).eval()
    liven(dressed(model.backbone, model.decode_head, request.param))
    return model


@pytest.fixture
def ours(mmseg_model):
    return dressed(mmseg_model.backbone, mmseg_model.decode_head, mmseg_model.align_corners)


@pytest.fixture
def image():
    return picture()


def normalised(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return ((image.float() - mean) / std)[None]


def mmseg_prediction(model, image, test_cfg, *, original=ORIGINAL, flip=False):
    """MMSegmentation's whole way from an image to a `SegDataSample` at the original size."""
    from mmengine.config import ConfigDict
    from mmseg.structures import SegDataSample

    model.test_cfg = ConfigDict(test_cfg)
    meta = {"img_shape": tuple(image.shape[-2:]), "ori_shape": original, "pad_shape": tuple(image.shape[-2:])}
    meta |= {"img_path": "", "padding_size": [0, 0, 0, 0]}
    sample = SegDataSample(metainfo={**meta, "flip": flip, "flip_direction": "horizontal" if flip else None})
    with torch.no_grad():
        return model.predict(normalised(image.flip(-1) if flip else image), [sample])[0]


def compare(scores: Tensor, mask: Tensor, expected: Tensor) -> None:
    largest = expected.abs().max()
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-4 * float(largest))
    assert len(expected.argmax(0).unique()) > 2, "the reference sees one class only: nothing is compared"
    assert (mask != expected.argmax(0)).float().mean() < 1e-3


def ours_at(model, image, **settings):
    predictor = Predictor(model, EvalConfig(**settings), device=torch.device("cpu"))
    return predictor.scores([image], [ORIGINAL])[0], predictor.segment([image], [ORIGINAL])[0]


def test_whole_images(mmseg_model, ours, image):
    expected = mmseg_prediction(mmseg_model, image, {"mode": "whole"}).seg_logits.data
    compare(*ours_at(ours, image), expected)


@pytest.mark.parametrize(("window", "stride"), [((48, 48), (32, 32)), ((48, 64), (20, 31)), ((96, 64), (96, 64))])
def test_sliding_windows(mmseg_model, ours, image, window, stride):
    test_cfg = {"mode": "slide", "crop_size": window, "stride": stride}
    expected = mmseg_prediction(mmseg_model, image, test_cfg).seg_logits.data
    settings = {"mode": "slide", "window": window, "stride": stride, "average": "logits", "batch_size": 4}
    compare(*ours_at(ours, image, **settings), expected)


def test_scales_and_mirrors(mmseg_model, ours, image):
    from mmseg.models import SegTTAModel

    views = []
    for scale in (0.75, 1.0, 1.25):
        size = [int(side * scale + 0.5) for side in SIZE]
        scaled = F.interpolate(image[None].float(), size=size, mode="bilinear")[0]
        views += [mmseg_prediction(mmseg_model, scaled, {"mode": "whole"}, flip=flip) for flip in (False, True)]
    expected = sum(view.seg_logits.data.softmax(0) for view in views) / len(views)
    tta = SegTTAModel.__new__(SegTTAModel)
    torch.nn.Module.__init__(tta)
    tta.module = mmseg_model
    merged = tta.merge_preds([views])[0].pred_sem_seg.data
    scores, mask = ours_at(ours, image, scales=(0.75, 1.0, 1.25), flip=True, average="probabilities")
    compare(scores, mask, expected)
    assert (mask != merged).float().mean() < 1e-3


def test_sssegmentations_windows_scales_and_mirrors(image):
    torch.manual_seed(0)
    reference = build_ssseg("cgnet/fcn_cgnetm3n21_cityscapes", {"num_classes": CLASSES}).eval()
    model = dressed(reference.backbone_net, reference.decoder, reference.align_corners, last_only=True)
    liven(model)
    window, stride, scales = (48, 56), (24, 30), (0.5, 1.0, 1.5)
    reference.cfg["inference"] = {
        "forward": {"mode": "slide", "cropsize": window, "stride": stride},
        "tta": {"multiscale": scales, "flip": True, "use_probs_before_resize": True, "fixed_seg_target_pairs": None},
    }
    with torch.no_grad():
        views = reference.auginference(normalised(image))
    align_corners = reference.align_corners
    at_size = [F.interpolate(view, size=ORIGINAL, mode="bilinear", align_corners=align_corners) for view in views]
    settings = {"mode": "slide", "window": window, "stride": stride, "scales": scales, "flip": True, "batch_size": 2}
    compare(*ours_at(model, image, average="probabilities", **settings), (sum(at_size) / len(at_size))[0])


def test_figures_are_those_of_mmsegmentations_metric():
    require_mmseg()
    from mmseg.evaluation import IoUMetric

    generator = torch.Generator().manual_seed(0)
    matrix, results = ConfusionMatrix(CLASSES), []
    for _ in range(4):
        # Class 5 is predicted but never true, class 6 occurs nowhere.
        prediction = torch.randint(6, (40, 50), generator=generator, dtype=torch.uint8)
        mask = torch.where(torch.rand(40, 50, generator=generator) < 0.6, prediction, 2).clamp(max=4)
        mask[torch.rand(40, 50, generator=generator) < 0.1] = 255
        matrix.update(prediction, mask.to(torch.uint8))
        results.append(IoUMetric.intersect_and_union(prediction.long(), mask.long(), CLASSES, 255))
    areas = [sum(area) for area in zip(*results, strict=True)]
    expected = IoUMetric.total_area_to_metrics(*areas, ["mIoU", "mDice"])
    names = tuple(f"class {index}" for index in range(CLASSES))
    evaluation = Evaluation(matrix.reduce(), names, ((0, 0, 0),) * CLASSES)
    np.testing.assert_allclose(evaluation.iou, expected["IoU"], rtol=1e-6)
    np.testing.assert_allclose(evaluation.acc, expected["Acc"], rtol=1e-6)
    np.testing.assert_allclose(evaluation.dice, expected["Dice"], rtol=1e-6)
    assert evaluation.miou == pytest.approx(np.nanmean(expected["IoU"]))
    assert evaluation.macc == pytest.approx(np.nanmean(expected["Acc"]))
    assert evaluation.mdice == pytest.approx(np.nanmean(expected["Dice"]))
    assert evaluation.aacc == pytest.approx(float(expected["aAcc"]))
