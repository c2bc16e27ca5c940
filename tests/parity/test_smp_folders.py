"""Folders that segmentation_models_pytorch saved, loaded from there: the same logits and map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitrail
from parity.smp import smp
from parity.weights import randomise

pytestmark = pytest.mark.parity

CLASSES = 5
SIZE = (64, 96)
SWIN = "tu-swin_tiny_patch4_window7_224"
VIT = {"encoder_name": "tu-vit_tiny_patch16_224", "decoder_intermediate_channels": (16, 16, 32, 32)}
# The class, its arguments, and the size of the image: multiples of what the class asks for.
MODELS: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "unet": ("Unet", {"encoder_name": "resnet18"}, (65, 97)),
    "unet, one class": ("Unet", {"encoder_name": "resnet18", "classes": 1}, SIZE),
    "unet, gated and bilinear": (
        "Unet",
        {"encoder_name": "resnet18", "decoder_attention_type": "scse", "decoder_interpolation": "bilinear"},
        SIZE,
    ),
    "unet, four stages": (
        "Unet",
        {"encoder_name": "resnet18", "encoder_depth": 4, "decoder_channels": (64, 32, 16, 16)},
        SIZE,
    ),
    "unet on MiT, gated": ("Unet", {"encoder_name": "mit_b0", "decoder_attention_type": "scse"}, SIZE),
    "unet on ResNeXt": ("Unet", {"encoder_name": "resnext50_32x4d"}, SIZE),
    "unet on ConvNeXt": ("Unet", {"encoder_name": "tu-convnext_atto"}, SIZE),
    "unet on EfficientNet": ("Unet", {"encoder_name": "tu-efficientnet_b0"}, SIZE),
    "unet on MobileNetV3": ("Unet", {"encoder_name": "tu-mobilenetv3_small_050"}, SIZE),
    "unet on RegNet": ("Unet", {"encoder_name": "timm-regnetx_002"}, SIZE),
    "unet on ResNeSt": ("Unet", {"encoder_name": "timm-resnest14d"}, SIZE),
    "unet on Res2Net": ("Unet", {"encoder_name": "timm-res2net50_26w_4s"}, SIZE),
    "unet on Swin": ("Unet", {"encoder_name": SWIN, "img_size": (256, 288)}, (256, 288)),
    "unet on Swin, where windows cover maps": ("Unet", {"encoder_name": SWIN, "img_size": 128}, (128, 128)),
    "unetplusplus": ("UnetPlusPlus", {"encoder_name": "resnet18"}, SIZE),
    "unetplusplus on ConvNeXt, gated": (
        "UnetPlusPlus",
        {"encoder_name": "tu-convnext_atto", "decoder_attention_type": "scse"},
        SIZE,
    ),
    "manet": ("MAnet", {"encoder_name": "resnet18"}, SIZE),
    "manet on MiT": ("MAnet", {"encoder_name": "mit_b0"}, SIZE),
    "linknet": ("Linknet", {"encoder_name": "resnet18"}, SIZE),
    "linknet on ConvNeXt": ("Linknet", {"encoder_name": "tu-convnext_atto"}, SIZE),
    "fpn": ("FPN", {"encoder_name": "resnet18"}, SIZE),
    "fpn on MiT, concatenated": ("FPN", {"encoder_name": "mit_b0", "decoder_merge_policy": "cat"}, SIZE),
    "pan": ("PAN", {"encoder_name": "resnet18"}, (128, 192)),
    "pan on ResNet-50": ("PAN", {"encoder_name": "resnet50"}, (128, 192)),
    "pan on timm's ResNet": ("PAN", {"encoder_name": "tu-resnet18"}, (128, 192)),
    "pan at stride 32": ("PAN", {"encoder_name": "tu-convnext_atto", "encoder_output_stride": 32}, (256, 288)),
    "deeplabv3": ("DeepLabV3", {"encoder_name": "resnet18"}, SIZE),
    "deeplabv3, separable": (
        "DeepLabV3",
        {"encoder_name": "resnet50", "decoder_aspp_separable": True, "encoder_output_stride": 16},
        SIZE,
    ),
    "deeplabv3plus": ("DeepLabV3Plus", {"encoder_name": "resnet18"}, SIZE),
    "deeplabv3plus at stride 8": (
        "DeepLabV3Plus",
        {"encoder_name": "tu-resnet18", "encoder_output_stride": 8, "decoder_aspp_separable": False, "upsampling": 4},
        SIZE,
    ),
    "pspnet": ("PSPNet", {"encoder_name": "resnet18"}, SIZE),
    "pspnet on timm's ResNet": ("PSPNet", {"encoder_name": "tu-resnet18"}, SIZE),
    "upernet": ("UPerNet", {"encoder_name": "resnet18"}, SIZE),
    "upernet on ConvNeXt": ("UPerNet", {"encoder_name": "tu-convnext_atto"}, SIZE),
    "upernet on Swin": ("UPerNet", {"encoder_name": SWIN, "img_size": 128}, (128, 128)),
    "segformer": ("Segformer", {"encoder_name": "mit_b0"}, SIZE),
    "segformer on ConvNeXt": ("Segformer", {"encoder_name": "tu-convnext_atto"}, SIZE),
    "dpt": ("DPT", VIT, (224, 224)),
    "dpt at another size": ("DPT", {**VIT, "dynamic_img_size": True}, SIZE),
    "dpt, ignoring the token": ("DPT", {**VIT, "decoder_readout": "ignore"}, (224, 224)),
    "dpt, adding the token": ("DPT", {**VIT, "decoder_readout": "add"}, (224, 224)),
}


@pytest.mark.filterwarnings("ignore:.*timm-.*:DeprecationWarning")
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_the_logits_and_the_map_are_those_of_smp(name: str, tmp_path: Path) -> None:
    kind, arguments, size = MODELS[name]
    theirs = getattr(smp(), kind)(encoder_weights=None, **{"classes": CLASSES, **arguments}).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    ours = vitrail.load(tmp_path)
    image = np.random.RandomState(0).randint(0, 255, (*size, 3), dtype=np.uint8)
    inputs = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 - _mean(ours, "mean")) / _mean(ours, "std")
    expected, found = theirs(inputs), ours(inputs)
    one = expected.shape[1] == 1
    assert (found[:, 1:] if one else found).sub(expected).abs().max() < 1e-4 * expected.abs().max()
    wanted = (expected > 0)[0, 0].long() if one else expected.argmax(1)[0]
    prediction = next(iter(vitrail.Predictor(ours, device="cpu")([image])))
    assert (torch.as_tensor(prediction.mask) != wanted).float().mean() < 0.001


def _mean(model: vitrail.Segmentor, which: str) -> torch.Tensor:
    return torch.tensor(getattr(model.card, which))[:, None, None] / 255
