"""What single methods do besides the contract."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from vitrail import FeatureMaps, create_backbone, create_model
from vitrail.errors import ModelError
from vitrail.losses.pixels import classes_present
from vitrail.segmentors import SEGMENTORS
from vitrail.segmentors.annnet import ANNHead
from vitrail.segmentors.emanet import EMAttention
from vitrail.segmentors.encnet import Encoding
from vitrail.segmentors.segformer import SegFormerHead
from vitrail.segmentors.stdc import detail_targets


def test_lraspp_reads_the_published_maps_by_default() -> None:
    model = create_model("lraspp", num_classes=3)
    assert tuple(model.backbone.strides) == (2, 4, 8)
    assert tuple(create_model("lraspp", "resnet18", num_classes=3).backbone.strides) == (4, 8, 16, 32)


def test_bases_move_in_training_only_and_stay_on_the_unit_sphere_without_momentum() -> None:
    attention = EMAttention(6, num_bases=3, num_stages=2, momentum=1.0)
    start = attention.bases.clone()
    attention.eval()(torch.randn(2, 6, 5, 5))
    torch.testing.assert_close(attention.bases, start, rtol=0, atol=0)
    attention.train()(torch.randn(2, 6, 5, 5))
    assert not torch.equal(attention.bases, start)
    torch.testing.assert_close(attention.bases.norm(dim=0), torch.ones(3))


def test_codes_are_sums_of_weighted_residuals() -> None:
    encoding = Encoding(4, 3)
    x = torch.randn(2, 4, 5, 6)
    pixels = x.flatten(2).transpose(1, 2).unsqueeze(2)  # [B, N, 1, C]
    residuals = pixels - encoding.codewords  # [B, N, num_codes, C]
    weights = (encoding.scale * residuals.square().sum(dim=3)).softmax(dim=2)
    torch.testing.assert_close(encoding(x), (weights.unsqueeze(3) * residuals).sum(dim=1), rtol=1e-4, atol=1e-5)


def test_presence_counts_neither_absent_nor_ignored_classes() -> None:
    targets = torch.tensor([[[0, 255], [3, 3]], [[255, 255], [255, 255]]])
    assert classes_present(targets, 4).tolist() == [[True, False, False, True], [False] * 4]


def test_fusing_before_resizing_is_fusing_after() -> None:
    head = SegFormerHead(FeatureMaps((8, 16), (4, 8)), 3, channels=12).eval()
    features = [torch.randn(2, 8, 9, 11), torch.randn(2, 16, 5, 6)]
    maps = [project(f) for project, f in zip(head.projections, features, strict=True)]
    joined = torch.cat([maps[0], F.interpolate(maps[1], (9, 11), mode="bilinear")], dim=1)
    torch.testing.assert_close(head(features), head.classifier(head.fuse(joined)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gcnet", {"pooling": "max"}, r"pooling .*'max'"),
        ("gcnet", {"fusions": []}, "fusions must be some of add, multiply"),
        ("gcnet", {"fusions": ["add", "concat"]}, "fusions must be some of add, multiply"),
        ("isanet", {"window": [8]}, r"window must be a height and a width of at least 1, not \[8\]"),
        ("isanet", {"window": [8, 0]}, r"window must be"),
        ("segmenter", {"num_heads": 3}, "3 attention heads do not divide 16 channels"),
        ("knet", {"channels": 48, "gate_channels": 32}, "gate_channels=32 does not divide channels=48"),
        ("knet", {"channels": 48, "gate_channels": 16, "num_heads": 5}, "num_heads=5 does not divide"),
        ("dpt", {}, "dpt: there is no feature map -4"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SEGMENTORS[name].head(FeatureMaps((8, 16), (4, 8)), 3, **options)


def test_the_last_two_maps_have_to_be_there() -> None:
    with pytest.raises(ModelError, match=r"annnet: there is no feature map -2"):
        ANNHead(FeatureMaps((16,), (8,)), 3)


def test_a_transformer_without_a_class_token_keeps_the_positions_of_its_patches() -> None:
    torch.manual_seed(0)
    with_token = create_backbone("test_vit", img_size=64)
    torch.manual_seed(0)
    without = create_backbone("test_vit", img_size=64, class_token=False)
    assert torch.equal(without.encoder.pos_embed, with_token.encoder.pos_embed[:, 1:])
    assert "encoder.cls_token" not in dict(without.named_parameters())
    sum(x.sum() for x in without(torch.randn(1, 3, 65, 96))).backward()
    assert all(p.grad is not None for p in without.parameters())


@pytest.mark.parametrize("name", ["vit_base_patch16_siglip_224", "eva02_tiny_patch14_224"])
def test_an_encoder_without_a_class_token_of_its_own_says_so(name: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match="class_token"):
        create_backbone(name, class_token=False)


def test_a_class_token_can_be_had_at_every_pixel() -> None:
    torch.manual_seed(0)
    plain = create_backbone("test_vit", img_size=64).eval()
    torch.manual_seed(0)
    appended = create_backbone("test_vit", img_size=64, append_class_token=True).eval()
    images = torch.randn(2, 3, 65, 96)
    with torch.no_grad():
        for x, both, width in zip(plain(images), appended(images), appended.channels, strict=True):
            patches, token = both.chunk(2, dim=1)
            assert both.shape[1] == width == 2 * x.shape[1]
            torch.testing.assert_close(patches, x)
            torch.testing.assert_close(token, token[..., :1, :1].expand_as(token))
    with pytest.raises(ModelError, match="append_class_token needs a class token"):
        create_backbone("test_vit", append_class_token=True, class_token=False)
    with pytest.raises(ModelError, match="append_class_token needs a class token, and maps without a neck"):
        create_backbone("test_vit", append_class_token=True, pyramid=True)


def test_details_are_where_labels_change() -> None:
    targets = torch.full((1, 16, 16), 3)
    targets[:, 4:9, 4:9] = 5
    found = detail_targets(targets, 0.1)[0].bool()
    edges = F.conv2d(targets[:, None].float(), 9 * F.one_hot(torch.tensor(4), 9).view(1, 1, 3, 3) - 1.0, padding=1) > 0
    assert found[edges[0, 0]].all(), "each edge at full size counts"
    assert not found[6, 6] and not found[12, 6], "far from an edge there is none"
    assert not detail_targets(torch.zeros(1, 16, 16, dtype=torch.long), 0.1).any()


def test_an_edge_at_stride_four_alone_does_not_count() -> None:
    targets = torch.zeros(1, 16, 16, dtype=torch.long)
    targets[:, 4, 4] = 1  # what stride 4 finds is spread over 4 × 4 pixels, what stride 2 finds over 2 × 2
    assert detail_targets(targets, 0.1)[0].nonzero().tolist() == [[4, 4], [4, 5], [5, 4], [5, 5]]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_options_that_no_layer_can_have_are_refused() -> None:
    for method, options in (
        ("fcn", {"channels": -1}),
        ("sctnet", {"alignment": [1.0] * 4, "teacher_channels": (160, -1, 64)}),
        ("oneformer", {"contrastive_weight": 0.5, "initial_temperature": 0.0, "vocabulary_size": 8, "num_layers": 1}),
    ):
        with pytest.raises(ModelError, match=rf"cannot be built on this backbone, .*options \(.*{list(options)[-1]}="):
            create_model(method, "test_resnet" if method != "sctnet" else None, 3, **options)
    with pytest.raises(ModelError, match=r"conv_middle\.conv of the head has no channels: .*\(channels=1\)"):
        create_model("regseg", "test_resnet", 3, channels=1)
