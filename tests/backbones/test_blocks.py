"""The blocks of encoders: what they hold, and that a training step calls each of them as a whole."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from vitrail import create_backbone
from vitrail.backbones.blocks import find_blocks

NARROW = {"embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}


@pytest.mark.parametrize(
    ("name", "first", "last", "count"),
    [
        ("vit_tiny_patch16_224", "encoder.patch_embed", "encoder.blocks.11", 13),
        ("resnet18c", "encoder.conv1", "encoder.layer4.1", 9),
        ("mit_b0", "stages.0.embed", "stages.3.blocks.1.mlp", 16),  # the last blocks hold an eighth each
        ("swin_tiny_patch4_window7_224", "encoder.layers.0.blocks.0.mlp", "encoder.layers.3.blocks.1.mlp", 15),
    ],
)
def test_blocks_hold_most_parameters_and_are_called_once(name: str, first: str, last: str, count: int) -> None:
    backbone = create_backbone(name).train()
    backbone.set_grad_checkpointing()
    next(module for module in backbone.modules() if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d))).eval()
    modes = [module.training for module in backbone.modules()]
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    blocks = find_blocks(backbone)
    assert (next(iter(blocks)), list(blocks)[-1], len(blocks)) == (first, last, count)
    assert [module.training for module in backbone.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())
    held = Counter(id(parameter) for block in blocks.values() for parameter in block.parameters())
    assert set(held.values()) == {1}
    sizes = {id(parameter): parameter.numel() for parameter in backbone.parameters()}
    assert sum(sizes[key] for key in held) > 0.6 * sum(sizes.values())
    backbone.set_grad_checkpointing(False)
    calls: Counter[str] = Counter()
    for key, block in blocks.items():
        block.register_forward_pre_hook(lambda module, args, key=key: calls.update([key]))
    backbone(torch.randn(2, 3, 64, 96))
    assert calls == Counter(list(blocks))


def test_a_module_that_shares_a_parameter_with_another_is_no_block() -> None:
    backbone = create_backbone("vit_tiny_patch16_224")
    tokens: nn.Linear = backbone.get_submodule("encoder.blocks.0.mlp.fc1")  # type: ignore[assignment]
    others: nn.Linear = backbone.get_submodule("encoder.blocks.3.mlp.fc1")  # type: ignore[assignment]
    others.weight = tokens.weight
    blocks = find_blocks(backbone)
    assert "encoder.blocks.2" in blocks and "encoder.blocks.3" not in blocks and "encoder.blocks.0" not in blocks
