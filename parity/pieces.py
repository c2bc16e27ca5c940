"""Projections of queries, keys and values: transformers keeps three where we keep one."""

from __future__ import annotations

from vitrail.checkpoints.sources.renaming import Layout, join


def join_projections(theirs: str, ours: str) -> tuple[Layout, ...]:
    """Return the layouts that put `q_proj`, `k_proj` and `v_proj` one under the other.

    `theirs` and `ours` stand before `q_proj.weight` and `weight`, and before the biases alike.
    """
    return tuple(
        join([f"{theirs}{letter}_proj.{kind}" for letter in "qkv"], f"{ours}{kind}") for kind in ("weight", "bias")
    )
