"""Differences of layout between other projects' weights and ours, each a named function of a tensor or a state."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.checkpoints.sources.renaming import Layout, State, change, drop, join, split


def merging_order(weight: Tensor) -> Tensor:
    """Bring the inputs of Swin's patch merging from (channel, row, column), as in `unfold`, to (column, row, channel).

    `weight` is [..., 4 C]: the reduction's matrix, or its norm's weight or bias.
    """
    return weight.unflatten(-1, (-1, 2, 2)).transpose(-3, -1).flatten(-3)


def as_matrix(weight: Tensor) -> Tensor:
    """Turn a 1 × 1 convolution [D, C, 1, 1] into the matrix of a linear layer [D, C]."""
    return weight.flatten(1)


def average_last(state: State) -> State:
    """Join the image's average after the branches of the atrous pyramid; MMSegmentation joins it before them."""
    name = "head.pyramid.fuse.conv.weight"  # [D, n D, k, k]
    width = state[name].shape[0]
    return {**state, name: state[name].roll(-width, dims=1)}


def map_first(weight: Tensor) -> Tensor:
    """Bring ICNet's convolution over the four pooled maps, then the map itself, to the map first [D, 4 D + C, k, k]."""
    pooled = 4 * weight.shape[0]
    return torch.cat([weight[:, pooled:], weight[:, :pooled]], dim=1)


def one_set_of_bases(state: State) -> State:
    """Take away the leading axis of one that others keep EMANet's bases with."""
    name = "head.attention.bases"
    return {**state, name: state[name][0]}


def one_per_class(state: State) -> State:
    """Take away the second axis of MCIBI's memory: room for several vectors per class, of which there is always one."""
    name = "head.memory.features"
    return {**state, name: state[name].squeeze(1)}


def patch_bias(state: State) -> State:
    """Add the bias of a plain transformer's patch embedding as zeros, where a file has none.

    MMSegmentation's first generation has it, its second by default not.
    """
    name, weight = "encoder.patch_embed.proj.bias", state["encoder.patch_embed.proj.weight"]
    return state if name in state else {**state, name: weight.new_zeros(weight.shape[0])}


SWIN: tuple[Layout, ...] = (change(r"\.downsample\.(reduction\.weight|norm\.(weight|bias))$", merging_order),)
MIT: tuple[Layout, ...] = (change(r"\.mlp\.fc\d\.weight$", as_matrix),)
# One matrix for queries, keys and values there; timm has one for queries and one for keys and values.
TWINS: tuple[Layout, ...] = tuple(
    split(f".attn.attn.in_proj_{kind}", ((f".attn.q.{kind}", 1), (f".attn.kv.{kind}", 2)))
    for kind in ("weight", "bias")
)
# The bias of the keys changes no attention, and has no place.
MAE: tuple[Layout, ...] = (
    split(".attn.qkv.bias", ((".attn.q_bias", 1), (".attn.k_bias", 1), (".attn.v_bias", 1))),
    drop(r"\.attn\.k_bias$"),
)
BEIT_SEPARATE: tuple[Layout, ...] = (join((".attn.q.weight", ".attn.k.weight", ".attn.v.weight"), ".attn.qkv.weight"),)
