"""MetaFormer: transformer blocks with any mixing of pixels, such as the average pooling of PoolFormer.

timm's modules and weights; a group norm of one group is applied to every returned map, as in the published
segmentation models.

References
----------
W. Yu et al., "MetaFormer Is Actually What You Need for Vision", CVPR 2022, arXiv:2111.11418.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from vitrail.backbones.backbone import Backbone
from vitrail.backbones.timm_bridge import TimmBackbone, register_family
from vitrail.backbones.timm_model import build_model, chosen_levels


@register_family("metaformer")
def metaformer(
    name: str,
    *,
    pretrained: bool | str | Path = False,
    in_channels: int = 3,
    out_indices: Sequence[int] | None = None,
    drop_path_rate: float | None = None,
    norm_outputs: bool = True,
) -> Backbone:
    """Build a MetaFormer (arXiv:2111.11418): four maps at strides 4, 8, 16 and 32.

    Parameters
    ----------
    name : str
        timm's name, such as "poolformer_s12".
    pretrained : bool or path
        True downloads the published weights, a path reads a local file of timm's parameter names.
    in_channels : int
        Channels of the images.
    out_indices : sequence of int, optional
        Stages to return, 0 to 3; None returns all.
    drop_path_rate : float, optional
        Stochastic depth: the probability that the last block is skipped; earlier blocks have proportionally less.
    norm_outputs : bool
        Apply a group norm of one group to every map, as MMSegmentation does.
    """
    model = build_model(name, pretrained=pretrained, in_chans=in_channels, drop_path_rate=drop_path_rate)
    backbone = TimmBackbone(model, chosen_levels(name, model, out_indices))
    if norm_outputs:
        backbone.norms = nn.ModuleList(nn.GroupNorm(1, channels) for channels in backbone.channels)
    return backbone
