"""EoMT: the encoder that it takes, the layers that it takes over, and the annealing of its masks."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from helpers.small import small

from vitrail import create_backbone, create_model
from vitrail.errors import ModelError
from vitrail.optim import parameter_groups
from vitrail.recipes import WarmupConfig, load_recipe
from vitrail.segmentors import Progress


def test_the_last_blocks_and_the_norm_belong_to_the_head() -> None:
    whole = create_backbone("test_vit")
    norm, blocks = whole.last_norm, list(whole.encoder.blocks)
    model = create_model("eomt", whole, 3, num_blocks=2, num_queries=5)
    assert list(model.backbone.trunk.encoder.blocks) == blocks[:-2]
    assert list(model.head.blocks) == blocks[-2:] and model.head.norm is norm
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len(set(names)) and not any("backbone" in name and name == "norm.weight" for name in names)
    depths = model.backbone.parameter_depths()
    assert depths["trunk.encoder.patch_embed.proj.weight"] == depths["trunk.encoder.blocks.0.norm1.weight"] == 1
    copied = copy.deepcopy(model)  # as for a moving average
    assert all(a is not b for a, b in zip(copied.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("share, expected", [(0.0, [1, 1]), (0.375, [0.5**0.9, 1]), (0.5, [0, 1]), (1.0, [0, 0])])
def test_masks_are_annealed_from_block_to_block(share: float, expected: list[float]) -> None:
    head = small("eomt").head
    head.set_progress(Progress(epoch=1, lr_factor=1.0, done=share))
    torch.testing.assert_close(head.mask_probability, torch.tensor(expected, dtype=torch.float32))


def test_a_trained_model_predicts_once_and_without_masks() -> None:
    model = small("eomt").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = model.backbone(images)
        masked = model.head.queries(features)
        assert len(masked) == 3
        model.set_progress(Progress(epoch=1, lr_factor=1.0, done=1.0))
        (plain,) = model.head.queries(features)
        assert not torch.allclose(plain.masks, masked[-1].masks)
        other = small("eomt").eval()
        other.load_state_dict(model.state_dict())
        (again,) = other.head.queries(other.backbone(images))
        torch.testing.assert_close(again.masks, plain.masks)
        assert len(model.train().head.queries(features)) == 3  # all are supervised


def test_no_query_sees_patches_outside_of_its_mask() -> None:
    head = small("eomt").head
    masks = torch.randn(2, 20, 16, 16)
    mask = head._attention_mask(masks, (4, 4), 20 + 1 + 16, 0)
    assert mask.shape == (2, 1, 37, 37) and mask[:, :, 20:].all() and mask[:, :, :, :21].all()
    inside = torch.nn.functional.interpolate(masks, (4, 4), mode="bilinear").flatten(2) > 0
    assert torch.equal(mask[:, 0, :20, 21:], inside)


def test_what_it_cannot_be_built_on_is_said() -> None:
    for backbone in ("resnet18", "beit_base_patch16_224"):
        with torch.device("meta"), pytest.raises(ModelError, match="needs a plain vision transformer"):
            create_model("eomt", backbone, 3)
    with pytest.raises(ModelError, match="without a neck"):
        create_model("eomt", "test_vit", 3, backbone_options={"pyramid": True, "out_indices": (0, 1, 2, 5)})
    with pytest.raises(ModelError, match="num_blocks is 1 to 5 for an encoder of 6"):
        create_model("eomt", "test_vit", 3, num_blocks=6)
    with pytest.raises(ModelError, match="2 shares of the run each"):
        create_model("eomt", "test_vit", 3, num_blocks=2, annealing_starts=[0.5, 0.6], annealing_ends=[0.5, 0.7])


def test_an_encoder_with_rotary_positions_and_checkpointing() -> None:
    model = create_model("eomt", "vit_small_patch16_dinov3", 3, num_queries=5, num_points=64, num_blocks=2)
    images, targets = torch.randn(1, 3, 64, 96), torch.randint(0, 3, (1, 64, 96))
    model.backbone.set_grad_checkpointing()
    sum(model.train()(images, targets).values()).backward()
    assert model.backbone.trunk.encoder.patch_embed.proj.weight.grad.any()
    assert model.eval()(images).shape == (1, 3, 64, 96)


@pytest.mark.parametrize(
    "recipe, start, iterations", [("eomt_dinov2large_ade20k", 500, 1000), ("eomt_dinov3large_ade20k", 2000, 3000)]
)
def test_published_recipes_warm_up_the_encoder_after_the_rest(recipe: str, start: int, iterations: int) -> None:
    optimizer, schedule = load_recipe(recipe).optimizer, load_recipe(recipe).schedule
    assert schedule.warmup == WarmupConfig(iterations=start, ratio=0, delay_schedule=True)
    encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    model = create_model("eomt", "vit_tiny_patch16_224", num_classes=3)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    own = WarmupConfig(start=start, iterations=iterations, ratio=0, delay_schedule=True).model_dump()
    groups = [group for group in parameter_groups(model, optimizer) if group.get("warmup") == own]
    later = {names[id(parameter)] for group in groups for parameter in group["params"]}
    assert len(later) == len(list(encoder.parameters()))
    new = ("head.query_tokens.", "head.classifier.", "head.mask_mlp.", "head.upscale.")
    assert all(name.startswith(new) for name in set(names.values()) - later)
