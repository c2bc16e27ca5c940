"""Every method on an encoder of every family: it trains a step and predicts at an odd size, or says what it needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.narrow import narrowed
from helpers.small import SMALL

from vitrail import ModelError, create_backbone, create_model, list_segmentors
from vitrail.segmentors import SEGMENTORS

# A small encoder of each family, by the options that make it quick, and by those of timm's builder that make it narrow.
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "beit_base_patch16_224": ({}, {"embed_dim": 24, "depth": 4, "num_heads": 3}),
    "bisenetv1_resnet18": ({}, {}),
    "bisenetv2": ({}, {}),
    "cgnet_m3n21": ({"num_blocks": (2, 2)}, {}),
    "convnext_atto": ({}, {"depths": (1, 1, 1, 1), "dims": (8, 16, 32, 64)}),
    "erfnet": ({}, {}),
    "fastscnn": ({}, {}),
    "hrnet_w18_small": ({}, {}),
    "mit_b0": ({}, {}),
    "mobilenetv2_035": ({}, {}),
    "mobilenetv3_small_050": ({}, {}),
    "resnest14d": ({}, {}),
    "resnet10t": ({}, {}),
    "swin_tiny_patch4_window7_224": ({}, {"embed_dim": 16, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 4, 8)}),
    "twins_pcpvt_small": ({}, {"embed_dims": (8, 16, 32, 64), "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8)}),
    "twins_svt_small": ({}, {"embed_dims": (16, 32, 64, 128), "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}),
    "unet_s5": ({"base_channels": 8}, {}),
    "vit_tiny_patch16_224": ({}, {"embed_dim": 24, "depth": 4, "num_heads": 3}),
}
# Methods made for an encoder of their own, and the families that they take; the others they must refuse.
TAKES = {
    "bisenetv2": {"bisenetv2", "unet_s5"},
    "icnet": {"resnest14d", "resnet10t"},
}
CLASSES = 5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", list_segmentors())
def test_trains_a_step(method: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options, shape = FAMILIES[family]
    if shape:
        narrowed(monkeypatch, family, **shape)
    encoder = create_backbone(family, **options)
    auxiliary = replace(SEGMENTORS[method].auxiliary, channels=(16,))
    auxiliary = replace(SEGMENTORS[method].auxiliary, channels=(16,))
    if family not in TAKES.get(method, FAMILIES):
        with pytest.raises(ModelError, match=r"needs a ResNet|there is no feature map"):
            create_model(method, encoder, CLASSES, auxiliary=auxiliary, **SMALL.get(method, {}))
        return
    model = create_model(method, encoder, CLASSES, auxiliary=auxiliary, **SMALL.get(method, {}))
    model.train()
    losses = model(torch.randn(2, 3, 64, 64), torch.randint(0, CLASSES, (2, 64, 64)))
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    total.backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())
    model.eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 65, 97)).shape == (1, CLASSES, 65, 97)
