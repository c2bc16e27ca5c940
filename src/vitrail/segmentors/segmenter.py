"""Segmenter: a plain transformer, and a decoder in which classes attend to patches (Strudel et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import trunc_normal_
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.errors import ModelError
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head

_HEAD_CHANNELS = 64


@register_segmentor(
    "segmenter", backbone="vit_small_patch16_384", backbone_options={"out_indices": [11], "final_norm": True}
)
class SegmenterHead(Head):
    """Segmenter with a mask transformer (Strudel, Garcia, Laptev and Schmid, ICCV 2021, arXiv:2105.05633).

    A learned vector per class goes through transformer blocks together with the pixels of the last map; the logit of a
    class at a pixel is the cosine of their vectors, after a layer norm over the classes.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int, optional
        Channels of the blocks; None takes those of the map.
    num_layers : int
        Number of blocks.
    num_heads : int, optional
        Attention heads of each block; None takes one for every 64 channels.
    drop_path_rate : float
        Stochastic depth: the probability that the last block is skipped; earlier blocks have proportionally less.
    align_corners : bool
        How the logits are resized to the image.

    Raises
    ------
    ModelError
        When the heads do not divide the channels.
    """

    one_output = False  # the norm over the classes would leave nothing of a single one

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int | None = None,
        num_layers: int = 2,
        num_heads: int | None = None,
        drop_path_rate: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        width = maps.channels[-1] if channels is None else channels
        heads = max(1, width // _HEAD_CHANNELS) if num_heads is None else num_heads
        if width % heads:
            raise ModelError(f"segmenter: {heads} attention heads do not divide {width} channels: choose num_heads")
        self.project = nn.Linear(maps.channels[-1], width)
        self.class_tokens = nn.Parameter(torch.zeros(1, num_classes, width))
        last = max(1, num_layers - 1)
        self.blocks = nn.Sequential(
            *(
                Block(width, heads, qkv_bias=True, drop_path=drop_path_rate * i / last, norm_layer=nn.LayerNorm)
                for i in range(num_layers)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.pixel_projection = nn.Linear(width, width, bias=False)
        self.class_projection = nn.Linear(width, width, bias=False)
        self.logit_norm = nn.LayerNorm(num_classes)
        trunc_normal_(self.class_tokens, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the last map into logits [B, K, h, w]."""
        size = features[-1].shape[-2:]
        pixels = self.project(features[-1].flatten(2).transpose(1, 2))  # [B, h w, C]
        tokens = torch.cat([pixels, self.class_tokens.expand(pixels.shape[0], -1, -1)], dim=1)
        pixels, classes = self.norm(self.blocks(tokens)).split([pixels.shape[1], self.num_classes], dim=1)
        pixels = F.normalize(self.pixel_projection(pixels), dim=2)
        classes = F.normalize(self.class_projection(classes), dim=2)
        logits = self.logit_norm(pixels @ classes.transpose(1, 2))  # [B, h w, K]
        return logits.transpose(1, 2).unflatten(2, size).contiguous()
