"""Every method on every kind of encoder: it trains a step and predicts at an odd size, or says what it needs.

All that a head sees of an encoder is how many maps there are, their strides and widths, and their layout in memory. So
every method is tested on encoders of each such shape that consist of nothing else, and every real encoder with one
method; the product of the two runs in `make nightly`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.narrow import narrowed
from helpers.plain_encoder import SHAPES, plain_encoder
from helpers.small import SMALL

from vitrail import ModelError, create_backbone, create_model, list_segmentors
from vitrail.backbones import Backbone
from vitrail.segmentors import SEGMENTORS

CLASSES = 5


U_SHAPED = ("unet", "unetplusplus", "manet", "linknet")  # they read maps from the finest to the coarsest
# Methods that do not take encoders of every shape: those that they take. They refuse the others.
FITTING: dict[str, set[str]] = {
    **{name: SHAPES.keys() - {"three maps", "five maps, the last the finest"} for name in U_SHAPED},
    "fpn": SHAPES.keys() - {"three maps"},
    "bisenetv2": {"five maps, the last the finest"},
    "dpt": SHAPES.keys() - {"three maps"},
    "eomt": set(),
    "icnet": set(),
    "san": set(),
    "stdc": SHAPES.keys() - {"three maps"},
}
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
    "eomt": {"vit_tiny_patch16_224"},
    "san": {"vit_tiny_patch16_224"},
}
NEEDS_FOUR_MAPS = {"dpt", "fpn", "stdc"}
UNORDERED = {"bisenetv1_resnet18", "bisenetv2", "erfnet", "fastscnn", "unet_s5"}
WITH_THREE_MAPS = {"bisenetv1_resnet18", "cgnet_m3n21", "fastscnn"}
REFUSAL = r"needs a ResNet|needs a plain vision transformer|there is no feature map|reads maps from the finest"


def narrow_options(method: str) -> dict[str, Any]:
    options = {"auxiliary": replace(SEGMENTORS[method].auxiliary, channels=(16,)), **SMALL.get(method, {})}
    return options | ({"clip_heads": 3} if method == "san" else {})  # as many as the small ViT has


def assert_trains_and_predicts(method: str, encoder: Backbone) -> None:
    model = create_model(method, encoder, CLASSES, **narrow_options(method))
    model.train()
    losses = model(torch.randn(2, 3, 64, 64), torch.randint(0, CLASSES, (2, 64, 64)))
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    total.backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())
    model.eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 65, 97)).shape == (1, CLASSES, 65, 97)


def assert_refused(method: str, encoder: Backbone) -> None:
    with pytest.raises(ModelError, match=REFUSAL):
        create_model(method, encoder, CLASSES, **narrow_options(method))


def real_encoder(family: str, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    options, shape = FAMILIES[family]
    if shape:
        narrowed(monkeypatch, family, **shape)
    return create_backbone(family, **options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", list_segmentors())
def test_every_method_on_every_shape(method: str, shape: str) -> None:
    encoder = plain_encoder(shape)
    if shape in FITTING.get(method, SHAPES):
        assert_trains_and_predicts(method, encoder)
    else:
        assert_refused(method, encoder)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_trains_and_predicts("fcn", real_encoder(family, monkeypatch))


@pytest.mark.parametrize(
    ("method", "family"), [(method, family) for method in TAKES for family in sorted(TAKES[method])]
)
def test_methods_with_encoders_of_their_own(method: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_trains_and_predicts(method, real_encoder(family, monkeypatch))


@pytest.mark.nightly
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", list_segmentors())
def test_every_method_on_every_family(method: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = real_encoder(family, monkeypatch)
    if method in U_SHAPED:
        takes = FAMILIES.keys() - UNORDERED
    elif method in NEEDS_FOUR_MAPS:
        takes = FAMILIES.keys() - WITH_THREE_MAPS
    else:
        takes = TAKES.get(method, FAMILIES.keys())
    if family in takes:
        assert_trains_and_predicts(method, encoder)
    else:
        assert_refused(method, encoder)
