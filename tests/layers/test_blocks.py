"""Blocks against the same computation written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers import (
    ASPP,
    DepthwiseSeparableConv,
    ObjectAttention,
    PyramidPooling,
    default_dilations,
    resize,
    resize_logits,
)
from vitrail.layers.layout import is_channels_last


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 8, 13, 17)


def test_resize_returns_what_has_the_size_already(x: Tensor) -> None:
    assert resize(x, (13, 17)) is x
    torch.testing.assert_close(
        resize(x, (26, 31), align_corners=True), F.interpolate(x, (26, 31), mode="bilinear", align_corners=True)
    )


@pytest.mark.parametrize("classes", [3, 40])
def test_the_layout_of_resized_logits_changes_no_value(classes: int) -> None:
    logits = torch.randn(2, classes, 5, 7)
    torch.testing.assert_close(resize_logits(logits, (11, 13)), resize(logits, (11, 13)))


def test_pyramid_pooling_averages_over_grids(x: Tensor) -> None:
    pyramid = PyramidPooling(8, 4, (1, 3)).eval()
    pooled = pyramid(x)
    assert pooled.shape == (2, pyramid.out_channels, 13, 17) == (2, 16, 13, 17)
    torch.testing.assert_close(pooled[:, :8], x)
    image = pyramid.stages[0][1](x.mean(dim=(2, 3), keepdim=True))
    torch.testing.assert_close(pooled[:, 8:12], image.expand(-1, -1, 13, 17))


def test_a_separable_convolution_is_a_convolution_of_rank_one_per_channel(x: Tensor) -> None:
    block = DepthwiseSeparableConv(8, 5, dilation=2, depthwise_act=False).eval()
    spatial, mixing = block.depthwise.conv.weight, block.pointwise.conv.weight
    full = mixing * spatial.transpose(0, 1)  # [5, 8, 3, 3]
    expected = F.conv2d(x, full, padding=2, dilation=2) / (1 + 1e-5)  # each of the two norms divides by sqrt(1 + eps)
    torch.testing.assert_close(block(x), F.relu(expected))


def test_a_wide_separable_convolution_is_the_same_in_either_layout(x: Tensor) -> None:
    block = DepthwiseSeparableConv(8, 5, dilation=6).eval()
    spatial = block.depthwise.conv
    expected = F.conv2d(x, spatial.weight, padding=6, dilation=6, groups=8)
    torch.testing.assert_close(spatial(x), expected)
    assert spatial(x).is_contiguous()
    actual = block.to(memory_format=torch.channels_last).depthwise.conv(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected)
    assert is_channels_last(actual)


@pytest.mark.parametrize("block", [ASPP, PyramidPooling])
def test_pooled_maps_are_joined_in_the_layout_of_the_rest(block: type[nn.Module], x: Tensor, monkeypatch) -> None:
    joined, cat = [], torch.cat
    monkeypatch.setattr(torch, "cat", lambda maps, dim: joined.extend(maps) or cat(maps, dim=dim))
    pyramid = block(8, 4, (1, 3)).eval()
    pyramid(x)
    assert len(joined) == 3
    assert not any(map(is_channels_last, joined))
    joined.clear()
    pyramid.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert len(joined) == 3
    assert all(map(is_channels_last, joined))


def test_the_pyramid_of_dilations_sees_as_far_as_they_say() -> None:
    pyramid = ASPP(1, 1, (1, 3)).eval()
    dot = torch.zeros(1, 1, 15, 15)
    dot[0, 0, 7, 7] = 1
    nn.init.ones_(pyramid.branches[1].conv.weight)
    seen = pyramid.branches[1](dot)[0, 0].nonzero() - 7
    assert sorted({abs(offset) for offset in seen.flatten().tolist()}) == [0, 3]


@pytest.mark.parametrize(("stride", "dilations"), [(8, (1, 12, 24, 36)), (16, (1, 6, 12, 18)), (32, (1, 6, 12, 18))])
def test_dilations_follow_the_stride(stride: int, dilations: tuple[int, ...]) -> None:
    assert default_dilations(stride) == dilations


def test_pixels_gather_regions_by_similarity(x: Tensor) -> None:
    attention = ObjectAttention(8, 4).eval()
    regions = torch.randn(2, 8, 3, 1)
    query, key, value = attention.query(x), attention.key(regions), attention.value(regions)
    weights = torch.einsum("bchw,bckx->bhwk", query, key).div(4**0.5).softmax(dim=-1)
    expected = attention.out(torch.einsum("bhwk,bckx->bchw", weights, value))
    torch.testing.assert_close(attention(x, regions), expected)
