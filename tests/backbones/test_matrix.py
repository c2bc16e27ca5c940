"""Every method on encoders of every kind: it trains a step, or says what it needs."""

from __future__ import annotations

import pytest
import torch
from backbones.narrow import narrowed
from segmentors.small import SMALL

from vitrail import ModelError, create_backbone, create_model, list_segmentors

# A hierarchy with strides 4 to 32, a plain transformer, maps from coarse to fine, and three maps of unlike strides.
KINDS = {
    "swin_tiny_patch4_window7_224": {},
    "vit_tiny_patch16_224": {},
    "unet_s5": {"base_channels": 8},
    "cgnet_m3n21": {"num_blocks": (2, 2)},
}
CLASSES = 5


@pytest.mark.parametrize("backbone", KINDS)
@pytest.mark.parametrize("method", list_segmentors())
def test_trains_a_step(method: str, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    narrowed(monkeypatch, "swin_tiny_patch4_window7_224", embed_dim=16, depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8))
    narrowed(monkeypatch, "vit_tiny_patch16_224", embed_dim=48, depth=4, num_heads=3)
    encoder = create_backbone(backbone, **KINDS[backbone])
    try:
        model = create_model(method, encoder, CLASSES, **SMALL.get(method, {}))
    except ModelError as error:
        assert method in ("bisenetv2", "icnet"), error  # built around an encoder of one kind, as they say
        return
    model.train()
    losses = model(torch.randn(2, 3, 64, 64), torch.randint(0, CLASSES, (2, 64, 64)))
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    total.backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())
    model.eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 65, 97)).shape == (1, CLASSES, 65, 97)
