"""Encoders against MMSegmentation and SSSegmentation with the same weights: every feature map, at any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest
import torch
from helpers.narrow import narrowed
from torch import Tensor, nn

from parity import references
from parity.encoders import DILATIONS, hrnet_stages, mmpretrain_backbone, mmseg_backbone, ssseg_backbone
from parity.importing import import_encoder
from parity.missing import require
from parity.renaming import Rules, rename
from parity.weights import randomise
from vitrail import create_backbone

pytestmark = pytest.mark.parity

SQUARE_WIDE_ODD = ((128, 128), (128, 192), (129, 161))
TOLERANCE = 1e-4


def assert_same(
    reference: nn.Module,
    ours: nn.Module,
    backbone: str,
    *,
    toolbox: str | None = None,
    options: Mapping[str, Any] | None = None,
    take: Sequence[int] | None = None,
    sizes: Sequence[tuple[int, int]] = SQUARE_WIDE_ODD,
) -> None:
    """Carry the weights over as the importer of the toolbox does for a backbone of this name, and compare every map.

    `toolbox` is the one whose names the reference uses, where it is not the reference's own; `options` those of ours
    that the names depend on; `take` picks the maps of the reference that correspond to ours.
    """
    randomise(reference)
    toolbox = toolbox or type(reference).__module__.partition(".")[0]
    import_encoder(ours, reference.state_dict(), toolbox, backbone, options)
    assert_same_maps(reference, ours, take=take, sizes=sizes)


def assert_same_renamed(
    reference: nn.Module, ours: nn.Module, rules: Rules, sizes: Sequence[tuple[int, int]] = SQUARE_WIDE_ODD
) -> None:
    """Carry the weights over by rules of this file, for encoders that no importer knows, and compare every map."""
    randomise(reference)
    ours.load_state_dict(rename(reference.state_dict(), rules), strict=True)
    assert_same_maps(reference, ours, sizes=sizes)


def assert_same_maps(
    reference: nn.Module,
    ours: nn.Module,
    *,
    take: Sequence[int] | None = None,
    sizes: Sequence[tuple[int, int]] = SQUARE_WIDE_ODD,
) -> None:
    """Compare every map of two encoders that carry the same weights."""
    reference.eval()
    ours.eval()
    for size in sizes:
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            theirs = reference(images)
            expected = [theirs] if isinstance(theirs, Tensor) else list(theirs)
            maps = ours(images)
        expected = expected if take is None else [expected[i] for i in take]
        assert len(maps) == len(expected)
        for index, (a, b) in enumerate(zip(maps, expected, strict=True)):
            assert a.shape == b.shape, f"map {index} at {size}"
            error = float((a - b).abs().max() / b.abs().max())
            assert error < TOLERANCE, f"map {index} at {size} differs by {error:.1e} of the largest value"


class Last(nn.Module):
    """An encoder's last map alone, for references that return no other; parameters keep their names."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def load_state_dict(self, state: Any, strict: bool = True) -> Any:
        return self.backbone.load_state_dict(state, strict)

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.backbone(images)[-1:]


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize(("depth", "name"), [(18, "resnet18c"), (50, "resnet50c")])
class TestResNet:
    def test_mmseg(self, depth: int, name: str, output_stride: int) -> None:
        strides, dilations = DILATIONS[output_stride]
        theirs = mmseg_backbone("ResNetV1c", depth=depth, strides=strides, dilations=dilations, contract_dilation=True)
        ours = create_backbone(name, output_stride=output_stride)
        assert_same(theirs, ours, "resnet50c")

    def test_ssseg(self, depth: int, name: str, output_stride: int) -> None:
        theirs = ssseg_backbone("ResNet", depth=depth, outstride=output_stride)
        ours = create_backbone(name, output_stride=output_stride)
        assert_same(theirs, ours, "resnet50c", sizes=[(129, 161)])


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("depth", [18, 50])
class TestResNetStems:
    """The other stems: one 7×7 convolution ("V1b"), and three 3×3 ones with averaging shortcuts ("V1d")."""

    def test_plain_mmseg(self, depth: int, output_stride: int) -> None:
        strides, dilations = DILATIONS[output_stride]
        theirs = mmseg_backbone("ResNet", depth=depth, strides=strides, dilations=dilations, contract_dilation=True)
        ours = create_backbone(f"resnet{depth}", output_stride=output_stride)
        assert_same(theirs, ours, "resnet50")

    def test_plain_ssseg(self, depth: int, output_stride: int) -> None:
        theirs = ssseg_backbone("ResNet", depth=depth, outstride=output_stride, use_conv3x3_stem=False)
        ours = create_backbone(f"resnet{depth}", output_stride=output_stride)
        assert_same(theirs, ours, "resnet50", sizes=[(129, 161)])

    def test_averaging_mmseg(self, depth: int, output_stride: int) -> None:
        strides, dilations = DILATIONS[output_stride]
        theirs = mmseg_backbone("ResNetV1d", depth=depth, strides=strides, dilations=dilations, contract_dilation=True)
        ours = create_backbone(f"resnet{depth}d", output_stride=output_stride)
        assert_same(theirs, ours, "resnet50c")

    def test_averaging_ssseg(self, depth: int, output_stride: int) -> None:
        theirs = ssseg_backbone("ResNet", depth=depth, outstride=output_stride, use_avg_for_downsample=True)
        ours = create_backbone(f"resnet{depth}d", output_stride=output_stride)
        assert_same(theirs, ours, "resnet50c", sizes=[(129, 161)])


class TestUncommonResNets:
    """Settings that single published models have."""

    def test_wide_stem(self) -> None:
        strides, dilations = DILATIONS[8]
        theirs = mmseg_backbone(
            "ResNetV1c", depth=50, stem_channels=128, strides=strides, dilations=dilations, contract_dilation=True
        )
        assert_same(theirs, create_backbone("resnet50s", output_stride=8), "resnet50c", sizes=[(129, 161)])

    @pytest.mark.parametrize(("depth", "grid"), [(18, (2, 4)), (50, (1, 2, 4))])
    def test_multi_grid(self, depth: int, grid: tuple[int, ...]) -> None:
        strides, dilations = DILATIONS[16]
        theirs = mmseg_backbone(
            "ResNetV1c",
            depth=depth,
            strides=strides,
            dilations=dilations,
            contract_dilation=True,
            multi_grid=grid,
        )
        ours = create_backbone(f"resnet{depth}c", output_stride=16, multi_grid=grid)
        assert_same(theirs, ours, "resnet50c")

    @pytest.mark.parametrize("depth", [18, 50])
    def test_dilated_at_its_own_strides(self, depth: int) -> None:
        theirs = mmseg_backbone(
            "ResNet", depth=depth, strides=(1, 2, 2, 2), dilations=(1, 1, 2, 4), contract_dilation=True
        )
        ours = create_backbone(f"resnet{depth}", stage_dilations=(1, 1, 2, 4))
        assert_same(theirs, ours, "resnet50")


MOBILENET_V2_DILATIONS = {
    8: ((1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 2, 4, 4)),
    16: ((1, 2, 2, 2, 1, 1, 1), (1, 1, 1, 1, 1, 2, 2)),
    32: ((1, 2, 2, 2, 1, 2, 1), (1, 1, 1, 1, 1, 1, 1)),
}


@pytest.mark.parametrize("output_stride", [8, 16, 32])
class TestMobileNetV2:
    def test_mmseg(self, output_stride: int) -> None:
        strides, dilations = MOBILENET_V2_DILATIONS[output_stride]
        theirs = mmseg_backbone("MobileNetV2", strides=strides, dilations=dilations, out_indices=(1, 2, 4, 6))
        assert_same(theirs, create_backbone("mobilenetv2_100", output_stride=output_stride), "mobilenetv2_100")

    def test_ssseg(self, output_stride: int) -> None:
        theirs = ssseg_backbone("MobileNetV2", outstride=output_stride)
        assert_same(theirs, create_backbone("mobilenetv2_100", output_stride=output_stride), "mobilenetv2_100")


def test_convnext_ssseg() -> None:
    theirs = ssseg_backbone(
        "ConvNeXt",
        arch="tiny",
        norm_cfg={"type": "LayerNorm2d", "eps": 1e-6},
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
    )
    assert_same(theirs, create_backbone("convnext_tiny"), "convnext_tiny")


def test_convnext_mmpretrain() -> None:
    theirs = mmpretrain_backbone(
        "ConvNeXt", arch="tiny", out_indices=(0, 1, 2, 3), layer_scale_init_value=1.0, gap_before_final_norm=False
    )
    assert_same(theirs, create_backbone("convnext_tiny"), "convnext_tiny", toolbox="mmseg")


class TestMobileViT:
    def test_ssseg(self) -> None:
        ours = create_backbone("mobilevit_s", out_indices=(0, 1, 2, 3, 4), project_act=False)
        assert_same(ssseg_backbone("MobileViT"), ours, "mobilevit_s")

    def test_mmpretrain(self) -> None:
        theirs = mmpretrain_backbone("MobileViT", arch="small", out_indices=(0, 1, 2, 3, 4))
        ours = create_backbone("mobilevit_s", out_indices=(0, 1, 2, 3, 4))
        assert_same(theirs, ours, "mobilevit_s", toolbox="ssseg")

    def test_second_version_ssseg(self) -> None:
        theirs = ssseg_backbone("MobileViTV2")
        assert_same(theirs, create_backbone("mobilevitv2_050", out_indices=(0, 1, 2, 3, 4)), "mobilevitv2_050")


class TestCGNet:
    def test_mmseg(self) -> None:
        theirs = mmseg_backbone("CGNet", norm_cfg={"type": "BN", "eps": 1e-3})
        assert_same(theirs, create_backbone("cgnet_m3n21"), "cgnet_m3n21")

    def test_ssseg(self) -> None:
        theirs = ssseg_backbone("CGNet", num_blocks=(2, 4))
        ours = create_backbone("cgnet_m3n21", num_blocks=(2, 4), norm_eps=1e-5)
        assert_same(theirs, ours, "cgnet_m3n21")


class TestFastSCNN:
    def test_mmseg(self) -> None:
        assert_same(mmseg_backbone("FastSCNN"), create_backbone("fastscnn"), "fastscnn")

    def test_ssseg(self) -> None:
        assert_same(ssseg_backbone("FastSCNN"), create_backbone("fastscnn", depthwise_act=True), "fastscnn")


class TestHRNet:
    def test_mmseg(self) -> None:
        theirs = mmseg_backbone("HRNet", extra=hrnet_stages((18, 36, 72, 144), (1, 3, 2), 2))
        assert_same(theirs, create_backbone("hrnet_w18_small_v2"), "hrnet_w18_small_v2")

    def test_ssseg(self) -> None:
        references.require_ssseg()
        from ssseg.modules.models.backbones.hrnet import HRModule

        HRModule.use_checkpoint = False  # 1.7.0 reads this attribute without ever setting it
        theirs = ssseg_backbone("HRNet", arch="hrnetv2_w18_small")
        ours = create_backbone("hrnet_w18_small_v2", concat=True)
        assert_same(theirs, ours, "hrnet_w18_small_v2", take=(0, 0, 0, 0))


@pytest.mark.parametrize("output_stride", [8, 16, 32])
class TestResNeSt:
    def test_mmseg(self, output_stride: int) -> None:
        strides, dilations = DILATIONS[output_stride]
        theirs = mmseg_backbone(
            "ResNeSt", depth=50, stem_channels=64, strides=strides, dilations=dilations, contract_dilation=True
        )
        assert_same(theirs, create_backbone("resnest50d", output_stride=output_stride), "resnest50d")

    def test_ssseg(self, output_stride: int) -> None:
        theirs = ssseg_backbone("ResNeSt", depth=50, stem_channels=64, outstride=output_stride)
        ours = create_backbone("resnest50d", output_stride=output_stride)
        assert_same(theirs, ours, "resnest50d", sizes=[(129, 161)])


SWIN_TINY = {"embed_dims": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}


class TestSwin:
    """At 128 pixels the last map is smaller than a window; at 224 it is one; the odd size pads everywhere."""

    sizes = (*SQUARE_WIDE_ODD, (224, 224))

    def narrow(self, monkeypatch: pytest.MonkeyPatch) -> str:
        shape = {"embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}
        return narrowed(monkeypatch, "swin_tiny_patch4_window7_224", **shape)

    def test_mmseg(self, monkeypatch: pytest.MonkeyPatch) -> None:
        theirs = mmseg_backbone("SwinTransformer", **SWIN_TINY)
        assert_same(theirs, create_backbone(self.narrow(monkeypatch)), "swin_tiny_patch4_window7_224", sizes=self.sizes)

    def test_ssseg(self, monkeypatch: pytest.MonkeyPatch) -> None:
        theirs = ssseg_backbone("SwinTransformer", **SWIN_TINY, norm_cfg={"type": "LayerNorm"})
        assert_same(theirs, create_backbone(self.narrow(monkeypatch)), "swin_tiny_patch4_window7_224", sizes=self.sizes)


class TestMiT:
    settings: ClassVar[dict[str, Any]] = {
        "embed_dims": 32,
        "num_layers": [2, 2, 2, 2],
        "num_heads": [1, 2, 5, 8],
        "qkv_bias": True,
    }

    def test_mmseg(self) -> None:
        theirs = mmseg_backbone("MixVisionTransformer", **self.settings)
        assert_same(theirs, create_backbone("mit_b0"), "mit_b0")

    def test_ssseg(self) -> None:
        theirs = ssseg_backbone("MixVisionTransformer", **self.settings, norm_cfg={"type": "LayerNorm", "eps": 1e-6})
        assert_same(theirs, create_backbone("mit_b0"), "mit_b0")


class TestBiSeNetV2:
    def test_mmseg(self) -> None:
        theirs = mmseg_backbone("BiSeNetV2")
        assert_same(theirs, create_backbone("bisenetv2"), "bisenetv2", take=(1, 2, 3, 4, 0))

    def test_ssseg(self) -> None:
        theirs = ssseg_backbone("BiSeNetV2")
        assert_same(theirs, create_backbone("bisenetv2", pointwise_bias=False), "bisenetv2")


class TestBiSeNetV1:
    def test_mmseg(self) -> None:
        theirs = mmseg_backbone("BiSeNetV1", backbone_cfg={"type": "ResNet", "depth": 18})
        assert_same(theirs, create_backbone("bisenetv1_resnet18"), "bisenetv1_resnet18", take=(1, 2, 0))

    def test_mmseg_resnet50(self) -> None:
        theirs = mmseg_backbone(
            "BiSeNetV1",
            backbone_cfg={"type": "ResNet", "depth": 50},
            context_channels=(512, 1024, 2048),
            spatial_channels=(256, 256, 256, 512),
            out_channels=1024,
        )
        ours = create_backbone("bisenetv1_resnet50")
        assert_same(theirs, ours, "bisenetv1_resnet18", take=(1, 2, 0), sizes=[(97, 65)])

    def test_ssseg(self) -> None:
        context = {
            "type": "ResNet",
            "depth": 18,
            "structure_type": "resnet18conv3x3stem",
            "outstride": 32,
            "use_conv3x3_stem": True,
            "pretrained": False,
        }
        theirs = ssseg_backbone("BiSeNetV1", backbone_cfg=context)
        ours = create_backbone("bisenetv1_resnet18", deep_stem=True)
        assert_same(theirs, ours, "bisenetv1_resnet18", options={"deep_stem": True})


class TestViT:
    """Positions are laid out for 96 pixels, so every size but one interpolates them."""

    shape: ClassVar[dict[str, Any]] = {"embed_dim": 48, "depth": 5, "num_heads": 3}
    settings: ClassVar[dict[str, Any]] = {
        "embed_dims": 48,
        "num_layers": 5,
        "num_heads": 3,
        "img_size": (96, 96),
        "out_indices": (0, 2, 3, 4),
        "patch_bias": True,
    }
    sizes = ((96, 96), *SQUARE_WIDE_ODD, (64, 64))

    @pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
    @pytest.mark.parametrize("final_norm", [True, False])
    def test_mmseg(self, monkeypatch: pytest.MonkeyPatch, interpolation: str, final_norm: bool) -> None:
        theirs = mmseg_backbone(
            "VisionTransformer",
            **self.settings,
            norm_cfg={"type": "LN", "eps": 1e-6},
            interpolate_mode=interpolation,
            final_norm=final_norm,
        )
        ours = create_backbone(
            narrowed(monkeypatch, "vit_base_patch16_224", **self.shape),
            img_size=96,
            out_indices=(0, 2, 3, 4),
            interpolation=interpolation,
            final_norm=final_norm,
        )
        assert_same(theirs, ours, "vit_base_patch16_224", sizes=self.sizes)

    def test_ssseg(self, monkeypatch: pytest.MonkeyPatch) -> None:
        theirs = ssseg_backbone("VisionTransformer", **self.settings, norm_cfg={"type": "LayerNorm", "eps": 1e-6})
        ours = create_backbone(
            narrowed(monkeypatch, "vit_base_patch16_224", **self.shape),
            img_size=96,
            out_indices=(0, 2, 3, 4),
            interpolation="bilinear",
        )
        assert_same(theirs, ours, "vit_base_patch16_224", sizes=self.sizes)


class WithNeck(nn.Module):
    """An encoder of MMSegmentation and the neck over it; parameters are named as in its checkpoints."""

    def __init__(self, backbone: nn.Module, neck: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck

    def forward(self, images: Tensor) -> Any:
        return self.neck(self.backbone(images))


def assert_same_with_neck(
    encoder: nn.Module,
    neck: nn.Module,
    ours: nn.Module,
    backbone: str,
    sizes: Sequence[tuple[int, int]] = SQUARE_WIDE_ODD,
) -> None:
    """Carry the weights of an encoder and its neck over and compare every map."""
    reference = WithNeck(encoder, neck)
    randomise(reference)
    tensors = {name.removeprefix("backbone."): tensor for name, tensor in reference.state_dict().items()}
    import_encoder(ours, tensors, "mmseg", backbone)
    assert_same_maps(reference, ours, sizes=sizes)


class TestNecks:
    """Pyramids over plain transformers; at the odd size a map of odd sides is halved."""

    def test_projected(self, monkeypatch: pytest.MonkeyPatch) -> None:
        encoder = mmseg_backbone(
            "VisionTransformer", **TestViT.settings, norm_cfg={"type": "LN", "eps": 1e-6}, final_norm=True
        )
        neck = mmseg_backbone("MultiLevelNeck", in_channels=[48] * 4, out_channels=40, scales=[4, 2, 1, 0.5])
        ours = create_backbone(
            narrowed(monkeypatch, "vit_base_patch16_224", **TestViT.shape),
            img_size=96,
            out_indices=(0, 2, 3, 4),
            final_norm=True,
            neck_channels=40,
        )
        assert_same_with_neck(encoder, neck, ours, "vit_base_patch16_224")

    @pytest.mark.parametrize("size", [(128, 128), (128, 192), (112, 80)])
    def test_transposed(self, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
        encoder = mmseg_backbone(
            "BEiT",
            img_size=size,
            embed_dims=48,
            num_layers=4,
            num_heads=3,
            out_indices=(0, 1, 2, 3),
            norm_cfg={"type": "LN", "eps": 1e-6},
            init_values=0.1,
        )
        neck = mmseg_backbone(
            "Feature2Pyramid", embed_dim=48, rescales=[4, 2, 1, 0.5], norm_cfg={"type": "BN", "requires_grad": True}
        )
        name = narrowed(monkeypatch, "beit_base_patch16_224", **TestBEiT.shape)
        ours = create_backbone(name, img_size=size, pyramid=True)
        assert_same_with_neck(encoder, neck, ours, "beit_base_patch16_224", sizes=[size])


BEIT_TRANSFORMERS: Rules = (
    (r"^encoder\.beit\.embeddings\.cls_token$", "encoder.cls_token"),
    (r"^encoder\.beit\.embeddings\.patch_embeddings\.projection\.", "encoder.patch_embed.proj."),
    (r"^encoder\.beit\.layers\.", "encoder.blocks."),
    (r"\.lambda_(\d)$", r".gamma_\1"),
    (r"\.attention\.(\w)_proj\.weight$", r".attn.\1.weight"),
    (r"\.attention\.([qv])_proj\.bias$", r".attn.\1_bias"),
    (r"\.attn\.o\.", ".attn.proj."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.relative_position_bias\.relative_position_bias_table$", ".attn.relative_position_bias_table"),
)


class TestBEiT:
    shape: ClassVar[dict[str, Any]] = {"embed_dim": 48, "depth": 4, "num_heads": 3}

    @pytest.mark.parametrize("size", [(128, 128), (128, 192), (129, 161)])
    def test_mmseg(self, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
        theirs = mmseg_backbone(
            "BEiT",
            img_size=size,
            embed_dims=48,
            num_layers=4,
            num_heads=3,
            out_indices=(0, 1, 2, 3),
            norm_cfg={"type": "LN", "eps": 1e-6},
            init_values=0.1,
        )
        name = narrowed(monkeypatch, "beit_base_patch16_224", **self.shape)
        ours = create_backbone(name, img_size=tuple(16 * (side // 16) for side in size))
        assert_same(theirs, ours, "beit_base_patch16_224", sizes=[size])

    def test_ssseg(self, monkeypatch: pytest.MonkeyPatch) -> None:
        theirs = ssseg_backbone(
            "BEiT",
            img_size=(128, 192),
            embed_dims=48,
            num_layers=4,
            num_heads=3,
            out_indices=(0, 1, 2, 3),
            norm_cfg={"type": "LayerNorm", "eps": 1e-6},
        )
        ours = create_backbone(
            narrowed(monkeypatch, "beit_base_patch16_224", **self.shape), img_size=(128, 192), out_indices=(0, 1, 2, 3)
        )
        assert_same(theirs, ours, "beit_base_patch16_224", sizes=[(128, 192)])

    def test_transformers_at_other_sizes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        transformers = require("transformers", "transformers")
        config = transformers.BeitConfig(
            image_size=96,
            hidden_size=48,
            num_hidden_layers=4,
            num_attention_heads=3,
            intermediate_size=192,
            use_relative_position_bias=True,
            layer_norm_eps=1e-6,
            layer_scale_init_value=0.1,
            add_pooling_layer=False,
            out_indices=[1, 2, 3, 4],
            reshape_hidden_states=True,
            add_fpn=False,
        )
        encoder = transformers.BeitBackbone(config)

        class Maps(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.encoder = encoder

            def forward(self, images: Tensor) -> Any:
                return self.encoder(images).feature_maps

        name = narrowed(monkeypatch, "beit_base_patch16_224", **self.shape)
        ours = create_backbone(name, img_size=96, out_indices=(0, 1, 2, 3))
        sizes = [(96, 96), (128, 128), (128, 192), (64, 64)]
        reference = Maps()
        randomise(reference)
        state = rename(reference.state_dict(), BEIT_TRANSFORMERS)
        for name in [name for name in state if name.endswith(".attn.q.weight")]:
            parts = [state.pop(name.replace(".attn.q.", f".attn.{letter}.")) for letter in "qkv"]
            state[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat(parts)
        ours.load_state_dict(state, strict=True)
        assert_same_maps(reference, ours, sizes=sizes)


class TestTwins:
    """128×192 pads windows one way only or not at all at some stages, the odd size both ways."""

    sizes = (*SQUARE_WIDE_ODD, (112, 224))
    dims: ClassVar[dict[str, Any]] = {"embed_dims": [16, 32, 64, 128], "depths": [2, 2, 2, 2]}

    def narrow(self, monkeypatch: pytest.MonkeyPatch, name: str, heads: tuple[int, ...]) -> str:
        return narrowed(monkeypatch, name, embed_dims=(16, 32, 64, 128), depths=(2, 2, 2, 2), num_heads=heads)

    @pytest.mark.parametrize("build", [mmseg_backbone, ssseg_backbone])
    def test_svt(self, monkeypatch: pytest.MonkeyPatch, build: Any) -> None:
        norm = {"type": "LN" if build is mmseg_backbone else "LayerNorm"}
        theirs = build(
            "SVT",
            **self.dims,
            num_heads=[2, 4, 8, 16],
            mlp_ratios=[4, 4, 4, 4],
            windiow_sizes=[7, 7, 7, 7],
            patch_sizes=[4, 2, 2, 2],
            strides=[4, 2, 2, 2],
            sr_ratios=[8, 4, 2, 1],
            qkv_bias=True,
            norm_cfg=norm,
        )
        ours = create_backbone(self.narrow(monkeypatch, "twins_svt_small", (2, 4, 8, 16)))
        assert_same(theirs, ours, "twins_svt_small", sizes=self.sizes)

    @pytest.mark.parametrize("build", [mmseg_backbone, ssseg_backbone])
    def test_pcpvt(self, monkeypatch: pytest.MonkeyPatch, build: Any) -> None:
        norm = {"type": "LN" if build is mmseg_backbone else "LayerNorm"}
        theirs = build(
            "PCPVT", **self.dims, num_heads=[1, 2, 4, 8], mlp_ratios=[8, 8, 4, 4], qkv_bias=True, norm_cfg=norm
        )
        ours = create_backbone(self.narrow(monkeypatch, "twins_pcpvt_small", (1, 2, 4, 8)))
        assert_same(theirs, ours, "twins_svt_small", sizes=self.sizes)


class TestERFNet:
    def test_mmseg(self) -> None:
        assert_same(mmseg_backbone("ERFNet"), Last(create_backbone("erfnet")), "erfnet")

    @pytest.mark.parametrize("prelu", [False, True])
    def test_ssseg(self, prelu: bool) -> None:
        theirs = ssseg_backbone("ERFNet", act_cfg={"type": "PReLU" if prelu else "ReLU"})
        ours = create_backbone("erfnet", prelu=prelu, downsample_bias=False, norm_eps=1e-5)
        assert_same(theirs, Last(ours), "erfnet")


class TestUNet:
    """The references refuse sizes that are no multiples of 16; ours at such sizes is in the contract tests."""

    sizes = ((64, 64), (64, 96))

    def test_mmseg(self) -> None:
        theirs = mmseg_backbone("UNet", base_channels=16)
        assert_same(theirs, create_backbone("unet_s5", base_channels=16), "unet_s5", sizes=self.sizes)

    def test_ssseg(self) -> None:
        class Kept(dict[str, Any]):
            """Survives the reference, which takes "type" out of the settings that its blocks share."""

            def pop(self, key: str) -> Any:
                return super().pop(key, "InterpConv")

        theirs = ssseg_backbone("UNet", base_channels=16, upsample_cfg=Kept())
        assert_same(theirs, create_backbone("unet_s5", base_channels=16), "unet_s5", sizes=self.sizes)


_V3_STAGES = {"large": (1, 2, 3, 4, 2, 3), "small": (1, 2, 3, 2, 3)}


def mobilenet_v3_rules(size: str) -> Rules:
    """Return the rules of MMSegmentation's names, which those of SSSegmentation become by `_V3_SEQUENCES`."""
    stages = _V3_STAGES[size]
    places = [(stage, block) for stage, count in enumerate(stages) for block in range(count)]
    layers = tuple((rf"^layer{i + 1}\.", f"encoder.blocks.{stage}.{block}.") for i, (stage, block) in enumerate(places))
    first = (  # its expansion is left out, so what follows is called the first
        (r"^encoder\.blocks\.0\.0\.depthwise_conv\.conv\.", "encoder.blocks.0.0.conv_dw."),
        (r"^encoder\.blocks\.0\.0\.depthwise_conv\.bn\.", "encoder.blocks.0.0.bn1."),
        (r"^encoder\.blocks\.0\.0\.linear_conv\.conv\.", "encoder.blocks.0.0.conv_pw."),
        (r"^encoder\.blocks\.0\.0\.linear_conv\.bn\.", "encoder.blocks.0.0.bn2."),
    )
    return (
        (r"^layer0\.conv\.", "encoder.conv_stem."),
        (r"^layer0\.bn\.", "encoder.bn1."),
        (rf"^layer{len(places) + 1}\.conv\.", f"encoder.blocks.{len(stages)}.0.conv."),
        (rf"^layer{len(places) + 1}\.bn\.", f"encoder.blocks.{len(stages)}.0.bn1."),
        *layers,
        *first,
        (r"\.expand_conv\.conv\.", ".conv_pw."),
        (r"\.expand_conv\.bn\.", ".bn1."),
        (r"\.depthwise_conv\.conv\.", ".conv_dw."),
        (r"\.depthwise_conv\.bn\.", ".bn2."),
        (r"\.linear_conv\.conv\.", ".conv_pwl."),
        (r"\.linear_conv\.bn\.", ".bn3."),
        (r"\.se\.conv1\.conv\.", ".se.conv_reduce."),
        (r"\.se\.conv2\.conv\.", ".se.conv_expand."),
    )


_V3_SEQUENCES: Rules = tuple(
    (rf"^(layer\d+\.\w+_conv|layer\d+\.se\.conv\d)\.{i}\.", rf"\1.{member}.") for i, member in enumerate(("conv", "bn"))
)


class TestMobileNetV3:
    """The published ones are TensorFlow's, whose strided convolutions pad as little as the size needs."""

    def test_mmseg_large(self) -> None:
        theirs = mmseg_backbone(
            "MobileNetV3", arch="large", out_indices=(1, 3, 16), norm_cfg={"type": "BN", "eps": 1e-3}
        )
        ours = create_backbone("tf_mobilenetv3_large_100", output_stride=8, out_indices=(0, 1, 4))
        assert_same_renamed(theirs, ours, mobilenet_v3_rules("large"))

    @pytest.mark.parametrize("size", ["large", "small"])
    def test_ssseg(self, size: str) -> None:
        theirs = ssseg_backbone(
            "MobileNetV3",
            arch_type=size,
            out_indices=(1, 3, 16) if size == "large" else (0, 1, 12),
            norm_cfg={"type": "BatchNorm2d", "eps": 1e-3},
        )
        ours = create_backbone(f"tf_mobilenetv3_{size}_100", output_stride=8, out_indices=(0, 1, 4))
        assert_same_renamed(theirs, ours, (*_V3_SEQUENCES, *mobilenet_v3_rules(size)))

    def test_mmseg_small(self) -> None:
        theirs = mmseg_backbone(
            "MobileNetV3", arch="small", out_indices=(0, 1, 12), norm_cfg={"type": "BN", "eps": 1e-3}
        )
        ours = create_backbone("tf_mobilenetv3_small_100", output_stride=8, out_indices=(0, 1, 4))
        assert_same_renamed(theirs, ours, mobilenet_v3_rules("small"))


@pytest.mark.parametrize("build", [mmseg_backbone, ssseg_backbone])
def test_mae(monkeypatch: pytest.MonkeyPatch, build: Any) -> None:
    theirs = build(
        "MAE",
        img_size=(128, 128),
        embed_dims=48,
        num_layers=4,
        num_heads=3,
        out_indices=(0, 1, 2, 3),
        norm_cfg={"type": "LN" if build is mmseg_backbone else "LayerNorm", "eps": 1e-6},
        init_values=1.0,
    )
    narrowed(monkeypatch, "beit_base_patch16_224", embed_dim=48, depth=4, num_heads=3)
    ours = create_backbone("mae_vit_base_patch16", img_size=128, out_indices=(0, 1, 2, 3))
    assert_same(theirs, ours, "mae_vit_base_patch16", sizes=[(128, 128)])
