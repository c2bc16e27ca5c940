"""What every encoder promises: shapes as declared at any size, gradients everywhere, weights that come back."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from helpers.narrow import narrowed
from torch import nn

from vitrail import Backbone, CheckpointError, ModelError, create_backbone, list_backbones
from vitrail.backbones import BACKBONES, levels
from vitrail.backbones.interleaved import InterleavedConv2d
from vitrail.backbones.timm_families import timm_names

# The same code as their smaller sisters, only larger.
LARGE = {
    *("mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5", "bisenetv1_resnet50", "bisenetv1_resnet101", "resnet34c"),
    *("mscan_s", "mscan_b", "mscan_l", "pidnet_m", "pidnet_l", "ddrnet_23", "stdc2", "regseg_large", "sctnet_b"),
    *("tf_mobilenetv2_050", "tf_mobilenetv2_100", "tf_mobilenetv2_140"),
}
OWN = [name for name in BACKBONES if name not in LARGE]

# One small encoder of each family of the published models.
FAMILIES = (
    "beit_base_patch16_224",
    "convnext_atto",
    "hrnet_w18_small",
    "mobilenetv2_035",
    "mobilenetv3_small_050",
    "resnest14d",
    "resnet10t",
    "swin_tiny_patch4_window7_224",
    "twins_pcpvt_small",
    "twins_svt_small",
    "vit_tiny_patch16_224",
)
# Others of timm's that differ in kind; all go through the same bridge.
OTHERS = (
    "cs3darknet_focus_s",
    "deit_tiny_patch16_224",
    "dla46_c",
    "edgenext_xx_small",
    "efficientnet_b0",
    "efficientvit_b0",
    "fastvit_t8",
    "ghostnet_050",
    "lcnet_050",
    "mobilevit_xxs",
    "pvt_v2_b0",
    "regnetx_002",
    "repvit_m0_9",
    "tiny_vit_5m_224",
    "xcit_nano_12_p8_224",
)
# Classification heads read the last map's class token, or other parts that no map depends on.
UNUSED = {
    "beit_base_patch16_224": ("cls_token",),
    "vit_tiny_patch16_224": ("cls_token",),
    "deit_tiny_patch16_224": ("cls_token",),
    "xcit_nano_12_p8_224": ("cls_token", "cls_attn"),
}
SHAPES = {
    "beit_base_patch16_224": {"embed_dim": 48, "depth": 4, "num_heads": 3},
    "deit_tiny_patch16_224": {"embed_dim": 48, "depth": 4, "num_heads": 3},
    "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)},
    "twins_pcpvt_small": {"embed_dims": (16, 32, 64, 128), "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)},
    "twins_svt_small": {"embed_dims": (16, 32, 64, 128), "depths": (2, 2, 2, 2), "num_heads": (2, 4, 8, 16)},
    "vit_tiny_patch16_224": {"embed_dim": 48, "depth": 4, "num_heads": 3},
    "xcit_nano_12_p8_224": {"embed_dim": 48, "depth": 4, "num_heads": 3},
}
MAIN = (*OWN, *FAMILIES)
EVERY = (*MAIN, *(name for name in OTHERS if timm.is_model(name)))
OPTIONS = {
    "cgnet_m3n21": {"num_blocks": (2, 3)},
    "mae_vit_base_patch16": {"out_indices": (0, 1, 2, 3), "img_size": 64, "drop_path_rate": 0.0},
    "unet_s5": {"base_channels": 8},
}


def build(name: str, **options: object) -> Backbone:
    return create_backbone(name, **OPTIONS.get(name, {}), **options)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, shape in SHAPES.items():
        narrowed(monkeypatch, name, **shape)


@pytest.mark.parametrize("name", EVERY)
def test_maps_are_as_declared_at_any_size(name: str) -> None:
    backbone = build(name).eval()
    assert len(backbone.channels) == len(backbone.strides)
    for height, width in ((32, 32), (33, 45), (65, 97)):
        with torch.no_grad():
            maps = backbone(torch.randn(1, 3, height, width))
        assert len(maps) == len(backbone.channels)
        for x, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
            assert x.shape[:2] == (1, channels)
            # a decoder inside an encoder doubles what was rounded up on the way down
            assert abs(x.shape[2] - height / stride) < (4 if name == "erfnet" else 1.01)
            assert abs(x.shape[3] - width / stride) < (4 if name == "erfnet" else 1.01)
            assert x.isfinite().all()


@pytest.mark.parametrize("name", EVERY)
def test_gradients_reach_every_parameter(name: str) -> None:
    backbone = build(name).train()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):  # maps of a single cell have no variance
            module.eval()
    sum(x.square().mean() for x in backbone(torch.randn(1, 3, 65, 65))).backward()
    without = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert [n for n in without if not any(part in n for part in UNUSED.get(name, ()))] == []


@pytest.mark.parametrize("name", MAIN)
def test_state_dict_round_trips(name: str) -> None:
    first, second = build(name).eval(), build(name).eval()
    second.load_state_dict(first.state_dict())
    images = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        for a, b in zip(first(images), second(images), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("name", EVERY)
def test_stages_and_depths_name_every_parameter(name: str) -> None:
    backbone = build(name)
    names = {n for n, _ in backbone.named_parameters()}
    stages, depths = backbone.parameter_stages(), backbone.parameter_depths()
    assert set(stages) == set(depths) == names
    assert min(stages.values()) == min(depths.values()) == 0
    first = next(n for n, p in backbone.named_parameters() if p.dim() == 4)
    assert depths[first] == 0 or name.startswith("bisenetv1")


@pytest.mark.parametrize("name", MAIN)
def test_frozen_stages_stay_as_they_are(name: str) -> None:
    backbone = build(name)
    backbone.freeze_stages(1)
    backbone.train()
    stages = backbone.parameter_stages()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.requires_grad == (stages[parameter_name] > 1)
    owners = {n.rpartition(".")[0]: stage for n, stage in stages.items()}
    for module_name, module in backbone.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module_name in owners:
            assert module.training == (owners[module_name] > 1)


@pytest.mark.parametrize("name", MAIN)
def test_checkpointing_changes_memory_not_gradients(name: str) -> None:
    backbone = build(name).train()
    for module in backbone.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.Dropout, timm.layers.DropPath)):
            module.eval()
    images = torch.randn(1, 3, 64, 64)

    def gradients() -> list[torch.Tensor]:
        backbone.zero_grad()
        sum(x.square().mean() for x in backbone(images)).backward()
        return [p.grad.clone() for p in backbone.parameters() if p.grad is not None]

    plain = gradients()
    backbone.set_grad_checkpointing()
    for a, b in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()) + 1e-9)


def test_checkpointing_that_timm_lacks() -> None:
    with pytest.raises(ModelError, match="no gradient checkpointing"):
        build("cs3darknet_focus_s").set_grad_checkpointing()


DILATABLE = ("resnet10t", "resnet18c", "resnest14d", "mobilenetv2_035", "mobilenetv3_small_100", "convnext_atto")


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("name", DILATABLE)
def test_output_stride(name: str, output_stride: int) -> None:
    backbone = create_backbone(name, output_stride=output_stride).eval()
    assert backbone.strides == tuple(min(stride, output_stride) for stride in (4, 8, 16, 32))
    maps = backbone(torch.randn(1, 3, 65, 96))
    for x, stride in zip(maps, backbone.strides, strict=True):
        assert abs(x.shape[2] - 65 / stride) < 1 and abs(x.shape[3] - 96 / stride) < 1


@pytest.mark.parametrize("name", ["resnet18c", "mit_b0", "cgnet_m3n21", "vit_tiny_patch16_224", "hrnet_w18_small"])
def test_other_channels(name: str) -> None:
    backbone = build(name, in_channels=5).eval()
    assert backbone(torch.randn(1, 5, 64, 64))[0].shape[0] == 1


def test_pretrained_filters_fit_other_channels(tmp_path: Path) -> None:
    source = timm.create_model("resnet10t")
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    kernel = source.state_dict()["conv1.0.weight"]
    grey = create_backbone("resnet10t", pretrained=path, in_channels=1).state_dict()["encoder.conv1.0.weight"]
    torch.testing.assert_close(grey, kernel.sum(dim=1, keepdim=True))
    same = create_backbone("resnet10t", pretrained=path).state_dict()["encoder.conv1.0.weight"]
    torch.testing.assert_close(same, kernel)


@pytest.mark.parametrize("name", ["resnet10t", "mit_b0", "fastscnn"])
def test_the_encoder_of_a_whole_model_from_a_file(name: str, tmp_path: Path) -> None:
    source = create_backbone(name).state_dict()
    whole = {f"backbone.{key}": value for key, value in source.items()} | {"head.classifier.weight": torch.zeros(3)}
    torch.save({"state_dict": {f"module.{key}": value for key, value in whole.items()}}, tmp_path / "whole.pth")
    loaded = create_backbone(name, pretrained=tmp_path / "whole.pth").state_dict()
    torch.testing.assert_close(loaded, source, rtol=0, atol=0)
    with pytest.raises(ModelError, match=r"does not hold the weights of 'resnet14t': .* train\.start_from"):
        create_backbone("resnet14t", pretrained=tmp_path / "whole.pth")


def test_own_weights_from_a_file(tmp_path: Path) -> None:
    source = create_backbone("mit_b0")
    torch.save({"state_dict": source.state_dict()}, tmp_path / "mit.pth")
    loaded = create_backbone("mit_b0", pretrained=tmp_path / "mit.pth")
    for key, value in source.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value)


@pytest.mark.parametrize("name", ["resnet18c", "convnext_atto", "swin_tiny_patch4_window7_224", "mit_b0"])
def test_stochastic_depth_drops_blocks_in_training_only(name: str) -> None:
    backbone = create_backbone(name, drop_path_rate=0.9).eval()
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        for parameter in backbone.parameters():  # some branches begin at zero
            parameter.add_(0.1 * torch.randn_like(parameter))
        assert torch.equal(backbone(images)[-1], backbone(images)[-1])
        for module in backbone.modules():
            module.training = isinstance(module, timm.layers.DropPath)
        assert not torch.equal(backbone(images)[-1], backbone(images)[-1])


def test_dilations_of_single_convolutions() -> None:
    def rates(**options: object) -> list[list[int]]:
        encoder = create_backbone("resnet50c", **options).encoder
        stages = (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)
        return [[block.conv2.dilation[0] for block in stage] for stage in stages]

    assert rates(output_stride=16) == [[1] * 3, [1] * 4, [1] * 6, [1, 2, 2]]
    assert rates(output_stride=16, multi_grid=(1, 2, 4)) == [[1] * 3, [1] * 4, [1] * 6, [1, 2, 4]]
    assert rates(stage_dilations=(1, 1, 2, 4)) == [[1] * 3, [1] * 4, [1] + [2] * 5, [2, 4, 4]]


@pytest.mark.parametrize("size", [(8, 12), (9, 7), (1, 2)])
def test_interleaved_convolution_is_a_convolution(size: tuple[int, int]) -> None:
    ours = InterleavedConv2d(6, 5, 4).double()
    plain = nn.Conv2d(6, 6, 5, padding=8, dilation=4, groups=6, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(3, 6, *size, dtype=torch.float64)
    for layout in (torch.contiguous_format, torch.channels_last):
        a, b = (images.to(memory_format=layout).requires_grad_() for _ in range(2))
        mine, expected = ours(a), plain(b)
        torch.testing.assert_close(mine, expected)
        weights = torch.randn_like(expected)
        gradients = [
            torch.autograd.grad((y * weights).sum(), (x, m.weight))
            for x, y, m in ((a, mine, ours), (b, expected, plain))
        ]
        torch.testing.assert_close(gradients[0], gradients[1])


class TestPyramids:
    @pytest.mark.parametrize("options", [{"pyramid": True}, {"neck_channels": 24}])
    def test_strides(self, options: dict[str, object]) -> None:
        backbone = create_backbone("vit_tiny_patch16_224", **options).eval()
        assert backbone.strides == (4, 8, 16, 32)
        maps = backbone(torch.randn(1, 3, 64, 96))
        assert [tuple(x.shape[2:]) for x in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
        assert [x.shape[1] for x in maps] == list(backbone.channels)

    def test_not_both(self) -> None:
        with pytest.raises(ModelError, match="not both"):
            create_backbone("vit_tiny_patch16_224", pyramid=True, neck_channels=24)

    def test_four_maps(self) -> None:
        with pytest.raises(ModelError, match="four out_indices"):
            create_backbone("vit_tiny_patch16_224", pyramid=True, out_indices=(3,))


class TestMistakes:
    def test_unknown_name(self) -> None:
        with pytest.raises(ModelError, match="Did you mean 'resnet50c'"):
            create_backbone("resnet50-c")

    @pytest.mark.parametrize("name", ["resnet18", "cgnet_m3n21", "vit_tiny_patch16_224", "hrnet_w18_small"])
    def test_unknown_option(self, name: str) -> None:
        with pytest.raises(ModelError, match=r"takes no argument 'in_channel'.*Did you mean 'in_channels'"):
            create_backbone(name, in_channel=4)

    @pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "hrnet_w18_small"])
    def test_no_dilation(self, name: str) -> None:
        with pytest.raises(ModelError, match="cannot be brought to output_stride=8"):
            create_backbone(name, output_stride=8)

    def test_dilation_of_each_stage(self) -> None:
        with pytest.raises(ModelError, match=r"has 4 stages; stage_dilations=\(1, 2\) has 2 entries"):
            create_backbone("resnet10t", stage_dilations=(1, 2))

    def test_dilation_of_each_block(self) -> None:
        with pytest.raises(ModelError, match=r"has 1 blocks in its last stage; multi_grid=\(1, 2, 4\) has 3 entries"):
            create_backbone("resnet10t", multi_grid=(1, 2, 4))

    def test_feature_level(self) -> None:
        with pytest.raises(ModelError, match="levels 0 to 4; out_indices has 7"):
            create_backbone("resnet10t", out_indices=(2, 7))

    def test_one_size(self) -> None:
        with pytest.raises(ModelError, match="one image size only"):
            create_backbone("cait_xxs24_224")

    def test_pretrained_weights_that_nobody_published(self) -> None:
        with pytest.raises(ModelError, match="'fastscnn' has no published weights to start from"):
            create_backbone("fastscnn", pretrained=True)

    def test_option_that_the_family_lacks(self) -> None:
        with pytest.raises(ModelError, match="takes no argument 'drop_path_rate'"):
            create_backbone("vgg11", drop_path_rate=0.1)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"no file of weights at .*gone\.pth"):
            create_backbone("resnet10t", pretrained=tmp_path / "gone.pth")

    def test_damaged_file(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        path.write_bytes(b"no weights")
        with pytest.raises(CheckpointError, match="is not a checkpoint"):
            create_backbone("resnet10t", pretrained=path)

    @pytest.mark.parametrize("name", ["resnet10t", "mit_b0"])
    def test_file_of_another_model(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        torch.save({"layer.weight": torch.zeros(3)}, path)
        with pytest.raises(ModelError, match="does not hold the weights"):
            create_backbone(name, pretrained=path)

    def test_no_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from timm.models import _builder

        def offline(*args: object, **kwargs: object) -> None:
            raise OSError("no route to host")

        for function in ("load_state_dict_from_hf", "load_state_dict_from_url"):
            monkeypatch.setattr(_builder, function, offline)
        with pytest.raises(ModelError, match=r"no route to host.*pretrained=PATH"):
            create_backbone("resnet10t", pretrained=True)

    @pytest.mark.parametrize("name", ["mit_b0", "ddrnet_23_slim", "pidnet_s", "stdc1", "mscan_t", "regseg", "sctnet_s"])
    def test_weights_that_are_in_files_alone(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="pretrained=PATH"):
            create_backbone(name, pretrained=True)
        written = create_backbone(name)
        torch.save(written.state_dict(), tmp_path / "weights.pth")
        read = create_backbone(name, pretrained=tmp_path / "weights.pth")
        assert all(torch.equal(a, b) for a, b in zip(written.parameters(), read.parameters(), strict=True))


def test_names_are_listed_without_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr(nn.Module, "__init__", never)
    names = list_backbones()
    assert len(names) == len(set(names)) > 500
    assert set(BACKBONES) < set(names)
    assert "resnet50c" in names and "cait_xxs24_224" not in names
    found = {name: (name.channels, name.strides) for name in names if name in levels.known()}
    assert found["resnet50"] == ((256, 512, 1024, 2048), (4, 8, 16, 32))
    assert found["cgnet_m3n21"] == ((35, 131, 256), (2, 4, 8))
    assert len(found) > 0.9 * len(names)  # the others belong to a newer timm than the table


def _one_of_each_family() -> list[str]:
    families: dict[str, list[str]] = {}
    for name in timm_names():
        families.setdefault(timm.models.model_entrypoint(name).__module__, []).append(name)
    smallest = ("nano", "tiny", "small", "_xxs", "_xs", "_s", "_0")
    return [
        min(names, key=lambda name: (not any(part in name for part in smallest), len(name), name))
        for names in families.values()
    ]


@pytest.mark.parametrize(
    "name",
    [
        *OWN,
        *(pytest.param(name, marks=pytest.mark.nightly) for name in sorted(LARGE)),
        *(
            pytest.param(name, marks=[pytest.mark.nightly] if number % 4 else [])
            for number, name in enumerate(_one_of_each_family())
        ),
    ],
)
def test_what_is_known_of_maps_is_what_is_built(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # encoders as they are, not narrow
    with torch.device("cpu" if name.startswith("gemma4") else "meta"), torch.no_grad():  # it looks at values
        backbone = create_backbone(name).eval()
        maps = backbone(torch.empty(1, 3, 75, 130))
    assert levels.levels_of(name) == (backbone.channels, backbone.strides)
    assert tuple(x.shape[1] for x in maps) == backbone.channels


def test_maps_of_an_encoder_registered_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def resnet50(*, in_channels: int = 3) -> Backbone:
        return create_backbone("cgnet_m3n21", in_channels=in_channels, num_blocks=(2, 2))

    monkeypatch.setitem(BACKBONES._entries, "resnet50", resnet50)
    assert levels.BackboneName("resnet50").strides == (2, 4, 8)
