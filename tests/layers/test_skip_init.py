"""Models whose weights come from a file are built without drawing random ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from timm.layers import lecun_normal_, trunc_normal_, trunc_normal_tf_
from torch import Tensor, nn

import vitrail
from vitrail.layers.skip_init import SkipRandomInit

DRAW = {
    "uniform": nn.init.uniform_,
    "normal": nn.init.normal_,
    "kaiming_uniform": nn.init.kaiming_uniform_,
    "kaiming_normal": nn.init.kaiming_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "truncated": partial(nn.init.trunc_normal_, std=0.02),
    "narrowly truncated": partial(nn.init.trunc_normal_, std=0.02, a=-0.001, b=0.001),
    "truncated by timm": partial(trunc_normal_, std=0.02),
    "truncated as in TensorFlow": trunc_normal_tf_,
    "lecun": lecun_normal_,
    "method": Tensor.normal_,
}


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_parameters_are_zero_and_the_generator_is_left_alone(draw: Callable[[Tensor], Tensor]) -> None:
    weight = nn.Parameter(torch.full((4, 4), torch.nan))
    with SkipRandomInit(), torch.no_grad():
        draw(weight)
    assert weight.count_nonzero() == 0
    with torch.no_grad():
        draw(weight)
    assert weight.count_nonzero() == 16


def test_buffers_and_constants_are_as_ever() -> None:
    with SkipRandomInit():
        layer = nn.BatchNorm2d(3)
        buffer, bias = torch.empty(5).normal_(), nn.init.constant_(nn.Parameter(torch.empty(2)), 7.0)
    assert layer.weight.tolist() == [1, 1, 1] and layer.running_var.tolist() == [1, 1, 1]
    assert buffer.unique().numel() == 5
    assert bias.tolist() == [7, 7]


def test_loading_does_not_change_what_is_drawn_next() -> None:
    before = torch.get_rng_state()
    vitrail.load("cgnet_camvid_short")
    assert torch.equal(torch.get_rng_state(), before)
