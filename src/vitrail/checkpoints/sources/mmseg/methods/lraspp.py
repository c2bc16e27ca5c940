"""LR-ASPP: a light pyramid for mobile encoders."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation, head_renaming, translation
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.settings import UnsupportedError

RENAMING = head_renaming(
    {
        "aspp_conv": "reduce",
        "image_pool.1.conv": "gate.0",
        "conv_up_input": "project",
        **{f"convs.conv{index}": f"branches.{index}" for index in range(2)},
        **{f"conv_ups.conv_up{index}": f"fuse.{index}" for index in range(2)},
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    norm_eps = (model.decode_heads[0].get("norm_cfg") or {}).get("eps", 1e-5)
    head = model.decode_head(norm_eps=norm_eps)
    branches = as_lists(head.settings.take("branch_channels", (32, 64)))
    if len(branches) != 2 or as_lists(head.in_index) != [0, 1, 2]:
        raise UnsupportedError(f"{head.where} does not read three maps")
    options = {
        "channels": head.channels,
        "branch_channels": branches,
        "pool_norm": False,
        "bias": True,
        "norm_eps": norm_eps,
    }
    head.finish()
    return translation(head, model.encoder, options)


METHODS.add("lraspp", MethodRecord("LRASPPHead", translate, RENAMING), module=__name__)
