"""Auxiliary heads: described once, built alike for every method, and refused with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
import torch
from helpers.small import CLASSES, SMALL, small_settings
from torch import Tensor, nn

from vitrail import Auxiliary, FeatureMaps, create_model, list_segmentors
from vitrail.checkpoints import load_model, save_model
from vitrail.errors import ModelError, RecipeError
from vitrail.layers.skip_init import shapes_only
from vitrail.recipes import AuxiliaryConfig, load_recipe, model_config_from_dict
from vitrail.registry import keyword_arguments
from vitrail.segmentors import SEGMENTORS, Head, ModelCard, Segmentor, build_model
from vitrail.segmentors.auxiliary import NO_AUXILIARY
from vitrail.segmentors.fcn import FCNHead

methods = pytest.mark.parametrize("name", list_segmentors())


def build(name: str, auxiliary: Any = None, **options: Any) -> Segmentor:
    """Build a small method, with a recipe's section of auxiliary heads."""
    settings = small_settings(name, **options)
    return build_model(model_config_from_dict(settings | ({} if auxiliary is None else {"auxiliary": auxiliary})), 5)


def direct(name: str, auxiliary: Auxiliary | None) -> Segmentor:
    settings = small_settings(name)
    stride = settings["output_stride"]
    return create_model(
        name, settings["backbone"], CLASSES, output_stride=stride, auxiliary=auxiliary, **SMALL.get(name, {})
    )


@methods
def test_the_methods_own_auxiliary_heads_are_the_default(name: str) -> None:
    wanted = SEGMENTORS[name].auxiliary
    with shapes_only():
        model = direct(name, None)
    assert [head.index for head in model.auxiliary] == ([] if wanted.weight == 0 else list(wanted.maps))
    assert model.auxiliary_weights == (wanted.weight,) * len(model.auxiliary)
    widths = [head.convs[-1].conv.out_channels for head in model.auxiliary]
    assert widths == list(wanted.channels * len(widths) if len(wanted.channels) == 1 else wanted.channels)
    assert all(len(head.convs) == wanted.num_convs for head in model.auxiliary)


@methods
def test_weight_0_builds_none(name: str) -> None:
    assert len(build(name, {"weight": 0.0, "channels": [8], "losses": [{"name": "dice"}]}).auxiliary) == 0
    with shapes_only():
        assert len(direct(name, Auxiliary(weight=0.0)).auxiliary) == 0


@methods
def test_every_method_takes_heads_on_any_maps(name: str) -> None:
    model = build(name, {"weight": 0.5, "maps": [0, -1], "channels": [8, 12], "num_convs": 1, "kernel_size": 1}).train()
    count = len(model.backbone.channels)
    assert [tuple(head.convs[0].conv.weight.shape) for head in model.auxiliary] == [
        (8, model.backbone.channels[0], 1, 1),
        (12, model.backbone.channels[count - 1], 1, 1),
    ]
    images, targets = torch.randn(2, 3, 64, 64), torch.randint(0, 5, (2, 64, 64))
    losses = model(images, targets)
    assert {"aux0_seg", "aux1_seg"} <= losses.keys()
    (losses["aux0_seg"] + losses["aux1_seg"]).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.auxiliary.parameters())
    assert not any(p.grad is not None and p.grad.any() for p in model.head.parameters())


class Constant(nn.Module):
    """A criterion that returns a constant."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return logits.sum() * 0 + self.value


def test_losses_are_weighted_and_have_the_criterion_of_the_model_or_their_own() -> None:
    images, targets = torch.randn(2, 3, 64, 64), torch.randint(0, 5, (2, 64, 64))
    half = Auxiliary(weight=0.5, channels=(8,))
    model = create_model("fcn", "test_resnet", 5, auxiliary=half, criterion=Constant(2.0), channels=8)
    assert {name: loss.item() for name, loss in model(images, targets).items()} == {"seg": 2, "aux0_seg": 1}
    model = create_model(
        "fcn", "test_resnet", 5, auxiliary=half, criterion=Constant(2.0), auxiliary_criterion=Constant(6.0), channels=8
    )
    assert {name: loss.item() for name, loss in model(images, targets).items()} == {"seg": 2, "aux0_seg": 3}


def test_a_model_file_holds_the_weights_of_neither_criterion(tmp_path: Any) -> None:
    card = ModelCard(tuple("abcde"), ((0, 0, 0),) * 5, recipe={"model": small_settings("fcn")})
    model = build("fcn")
    model.criterion, model.auxiliary_criterion, model.card = Constant(1.0), Constant(2.0), card
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert {f"{part}criterion.value" for part in ("", "auxiliary_")} == model.state_dict().keys() - again.state_dict()


def test_what_is_left_out_is_the_methods_option() -> None:
    """Dropout, dilation and leaky ReLUs follow the head; the alignment of corners always does."""
    fcn = build("fcn", {}, dropout=0.3, dilation=2, leaky=True, align_corners=True).auxiliary[0]
    assert (fcn.dropout.p, fcn.convs[0].conv.dilation, fcn.align_corners) == (0.3, (2, 2), True)
    assert any(isinstance(module, nn.LeakyReLU) for module in fcn.modules())
    fcn = build("fcn", {"dropout": 0.2, "dilation": 1, "leaky": False}, dropout=0.3, dilation=2, leaky=True).auxiliary[
        0
    ]
    assert (fcn.dropout.p, fcn.convs[0].conv.dilation) == (0.2, (1, 1))
    assert not any(isinstance(module, nn.LeakyReLU) for module in fcn.modules())
    mcibi = build("mcibi", {"channels": [8]}, leaky=True)
    for part in (mcibi.head, mcibi.auxiliary[0]):
        assert not any(isinstance(module, nn.ReLU) for module in part.modules())


def test_heads_that_enlarge_their_map() -> None:
    head = FCNHead(FeatureMaps((4,), (4,)), 3, channels=6, num_convs=2, upsample=2).eval()
    x = torch.randn(1, 4, 5, 7)
    expected = head.convs[1](nn.functional.interpolate(head.convs[0](x), scale_factor=2.0))
    expected = head.classifier(nn.functional.interpolate(expected, scale_factor=2.0))
    assert head([x]).shape == (1, 3, 20, 28)
    torch.testing.assert_close(head([x]), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": -0.1}, "auxiliary.weight must be 0 or more, not -0.1"),
        ({"weight": float("nan")}, "auxiliary.weight must be 0 or more, not nan"),
        ({"maps": ()}, "auxiliary.maps is empty"),
        ({"maps": (0, 1, 2), "channels": (8, 8)}, r"2 numbers for 3 maps, \[0, 1, 2\]: give one number for each"),
        ({"maps": (7,)}, r"auxiliary.maps: there is no feature map 7; the backbone has 4 maps, 0 \(finest\) to 3"),
        ({"maps": (-5,)}, "auxiliary.maps: there is no feature map -5"),
        ({"concat_input": True, "upsample": 2}, "concat_input needs upsample=1"),
    ],
)
def test_impossible_heads_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model("fcn", "test_resnet", 5, auxiliary=Auxiliary(**values))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("weight=-1", "model.auxiliary.weight: should be greater than or equal to 0, not -1"),
        ("channels=64", "model.auxiliary.channels: should be a list, not 64"),
        ("maps=[]", "model.auxiliary.maps: should be a list of 1 or more"),
        ("width=64", "model.auxiliary.width: unknown key. Did you mean .*weight"),
    ],
)
def test_recipes_with_wrong_values_do_not_load(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("fcn_resnet50os8_voc", [f"model.auxiliary.{override}"])


def test_a_method_without_auxiliary_heads_needs_their_weight_as_its_message_says() -> None:
    section = {"channels": [8], "losses": [{"name": "dice"}]}
    message = "gives channels, losses, but 'segformer' has no .* also give model.auxiliary.weight"
    with pytest.raises(ModelError, match=message):
        build("segformer", section)
    model = build("segformer", section | {"weight": 0.4})
    assert len(model.auxiliary) == 1
    assert model.auxiliary_criterion is not None


def test_heads_of_a_method_are_forgotten_with_the_method_but_their_losses_are_not() -> None:
    recipe = load_recipe("fcn_unets5os16_cedice_drive", ["model.segmentor=pspnet"])
    assert recipe.model.options == {}
    assert recipe.model.auxiliary == AuxiliaryConfig(losses=recipe.model.auxiliary.losses)
    assert [loss.name for loss in recipe.model.auxiliary.losses or ()] == ["cross_entropy"]


def test_recipes_describe_all_there_is() -> None:
    names = {field.name for field in fields(Auxiliary)}
    assert AuxiliaryConfig.model_fields.keys() == names | {"losses"}
    assert names - {"weight", "maps", "channels"} <= keyword_arguments(FCNHead).keys()
    other = Auxiliary(0.3, (0,), (8,), 2, 5, False, 2, "bilinear", 0.2, 2, True)
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(other).items()}
    (head,) = build("fcn", given).auxiliary
    reference = FCNHead(
        FeatureMaps((head.convs[0].conv.in_channels,), (4,)),
        5,
        index=0,
        channels=8,
        num_convs=2,
        kernel_size=5,
        upsample=2,
        upsample_mode="bilinear",
        dropout=0.2,
        dilation=2,
        leaky=True,
    )
    assert repr(head) == repr(reference)
    assert head.upsample == 2


def test_registered_defaults_can_be_changed_in_part() -> None:
    own = SEGMENTORS["bisenetv2"].auxiliary
    with shapes_only():
        model = create_model("bisenetv2", None, 5, auxiliary=replace(own, weight=0.4))
    assert model.auxiliary_weights == (0.4,) * 4
    assert NO_AUXILIARY.heads == []


class PointHead(Head):
    """A head with no option at all."""

    def __init__(self, maps: FeatureMaps, num_classes: int) -> None:
        super().__init__(num_classes)
        self.classifier = nn.Conv2d(maps.channels[-1], num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.classifier(features[-1])


def test_a_head_without_options_gets_those_of_fcn(monkeypatch: pytest.MonkeyPatch) -> None:
    from vitrail.segmentors import Method

    monkeypatch.setitem(SEGMENTORS._entries, "point", Method(PointHead, "test_resnet", None, Auxiliary(channels=(8,))))
    monkeypatch.setitem(SEGMENTORS._modules, "point", __name__)
    (head,) = create_model("point", None, 5).auxiliary
    assert head.dropout.p == 0.1
    with pytest.raises(ModelError, match=r"takes no argument .channels..* It takes: none"):
        create_model("point", None, 5, channels=8)
