"""EoMT: an encoder-only mask transformer, whose last blocks also process queries (Kerssies et al., CVPR 2025)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from timm.layers import LayerNorm2d
from timm.models.eva import Eva, EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones import Backbone
from vitrail.backbones.vit import PlainTransformer, ViT
from vitrail.errors import ModelError
from vitrail.layers import resize
from vitrail.losses.mask_classification import QueryPrediction
from vitrail.losses.mask_points import PointMaskLoss
from vitrail.segmentors.extended_backbone import ExtendedBackbone
from vitrail.segmentors.mask_classification import MaskClassificationHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Progress

_ANNEALING_POWER = 0.9


class FirstBlocks(ExtendedBackbone):
    """A plain transformer without its last blocks, which the head applies; see `EoMTHead`.

    Parameters
    ----------
    backbone : PlainTransformer
        A ViT (DINOv2), or one with rotary position embeddings (DINOv3), without a neck.
    num_blocks : int
        How many blocks are left to the head.

    Raises
    ------
    ModelError
        For another encoder, and one that has no more blocks than that.
    """

    trunk: PlainTransformer

    def __init__(self, backbone: Backbone, num_blocks: int) -> None:
        super().__init__(backbone)
        if not isinstance(backbone, PlainTransformer) or not _is_plain(backbone):
            raise ModelError(
                "EoMT needs a plain vision transformer without a neck, such as vit_large_patch14_reg4_dinov2 or "
                "vit_large_patch16_dinov3_qkvb"
            )
        blocks = backbone.encoder.blocks
        if not 0 < num_blocks < len(blocks):
            raise ModelError(f"num_blocks is 1 to {len(blocks) - 1} for an encoder of {len(blocks)}, not {num_blocks}")
        self._left = tuple(blocks[-num_blocks:])
        backbone.encoder.blocks = blocks[:-num_blocks]
        self.channels, self.strides = backbone.channels[:1] * 2, backbone.strides[:1] * 2

    def release(self) -> tuple[list[nn.Module], nn.Module, nn.Module | None]:
        """Return the last blocks, the norm after them, and the rotary position embeddings that all blocks share."""
        blocks, self._left = list(self._left), ()
        return blocks, self.trunk.last_norm, getattr(self.trunk.encoder, "rope", None)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into the patches [B, C, h, w] and the tokens before them, a row [B, C, 1, P]."""
        tokens, grid, rope = self._embed(images)
        blocks = self.trunk.encoder.blocks
        tokens = self._through(blocks if rope is None else [partial(block, rope=rope) for block in blocks], tokens)
        patches = tokens[:, -grid[0] * grid[1] :]
        prefix = tokens[:, : -grid[0] * grid[1]]
        return [patches.transpose(1, 2).unflatten(2, grid), prefix.transpose(1, 2).unsqueeze(2)]

    def _embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int], Tensor | None]:
        """Return the tokens before the first block, the grid of patches, and rotary position embeddings or None."""
        if isinstance(self.trunk, ViT):
            return *self.trunk.embed(images), None
        net = self.trunk.encoder
        patches = net.patch_embed(images)  # [B, h, w, C]
        tokens, rope = net._pos_embed(patches)
        return getattr(net, "norm_pre", nn.Identity())(tokens), (patches.shape[1], patches.shape[2]), rope

    def parameter_depths(self) -> dict[str, int]:
        """Return the depth of each parameter: what comes before the first block counts to it, as in EoMT."""
        return {name: max(depth, 1) for name, depth in super().parameter_depths().items()}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing between the blocks of the encoder."""
        self.grad_checkpointing = enable


def _is_plain(backbone: PlainTransformer) -> bool:
    """Return whether the blocks of a transformer can be applied one by one, with a mask."""
    net = backbone.encoder
    rotary = isinstance(net, Eva) and net.rope is not None and not getattr(net, "rope_mixed", False)
    kind: Any = Block if isinstance(backbone, ViT) else EvaBlock if rotary else ()
    return backbone.neck is None and all(isinstance(block, kind) for block in net.blocks)


class Upscale(nn.Sequential):
    """Twofold upsampling by a transposed convolution, then GELU, a depthwise convolution and a layer norm.

    Parameters
    ----------
    channels : int
        Channels of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            LayerNorm2d(channels),
        )


@register_segmentor(
    "eomt", backbone="vit_large_patch14_reg4_dinov2", backbone_options={"patch_size": 16, "img_size": 512}
)
class EoMTHead(MaskClassificationHead):
    """EoMT (Kerssies, Cavagnero, Hermans, Norouzi, Averta, Leibe, Dubbelman and de Geus, CVPR 2025, arXiv:2503.19108).

    The last blocks of a plain transformer process queries together with the patches. Each query predicts a class and,
    by its product with the upscaled patches, a mask. In training a query attends, in each of these blocks, to the
    patches within the mask that it predicted before; from block to block this ends in the course of the run (mask
    annealing), so that the trained model is the plain transformer. The head has its own losses, at sampled points: the
    segmentor's criterion is not used.

    Parameters
    ----------
    maps : FeatureMaps
        The patches before the last blocks, and the other tokens.
    num_classes : int
        K, the number of classes.
    num_queries : int
        Number of queries.
    num_blocks : int
        How many blocks of the encoder process the queries.
    num_points, oversample, importance_ratio
        See `PointMaskLoss`.
    class_weight, mask_weight, dice_weight : float
        Weights of the three losses, and of the same terms in the matching of queries and classes.
    no_object_weight : float
        Weight of the unmatched queries in the classification loss.
    annealing_starts, annealing_ends : sequence of float, optional
        For each of the blocks, the shares of the run between which the probability that a query keeps to its mask falls
        from 1 to 0. None takes the published ones: (i + 1) / (n + 2) and (i + 2) / (n + 2) for block i of n.
    align_corners : bool
        How predicted masks are resized.

    Raises
    ------
    ModelError
        For shares that are not one pair, the first one smaller, for each block.
    """

    blocks: nn.ModuleList
    norm: nn.Module
    rope: Any  # a module of timm, or None
    mask_probability: Tensor

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        num_queries: int = 100,
        num_blocks: int = 4,
        num_points: int = 12544,
        oversample: float = 3.0,
        importance_ratio: float = 0.75,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        annealing_starts: Sequence[float] | None = None,
        annealing_ends: Sequence[float] | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, deep_supervision=True, align_corners=align_corners)
        channels, stride = maps.channels[0], maps.strides[0]
        self.query_tokens = nn.Embedding(num_queries, channels)
        self.upscale = nn.Sequential(*(Upscale(channels) for _ in range(max(1, int(math.log2(stride)) - 2))))
        self.mask_mlp = nn.Sequential(
            *(layer for _ in range(2) for layer in (nn.Linear(channels, channels), nn.GELU())),
            nn.Linear(channels, channels),
        )
        self.classifier = nn.Linear(channels, num_classes + 1)
        self.loss = PointMaskLoss(
            num_points=num_points,
            oversample=oversample,
            importance_ratio=importance_ratio,
            class_weight=class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            no_object_weight=no_object_weight,
        )
        self._annealing = _annealing(num_blocks, annealing_starts, annealing_ends)
        self.register_buffer("mask_probability", torch.ones(num_blocks))
        self._follow([1.0] * num_blocks)
        self.register_load_state_dict_post_hook(_follow_loaded)  # type: ignore[no-untyped-call]

    @classmethod
    def wrap_backbone(cls, backbone: Backbone, *, num_blocks: int = 4) -> Backbone:
        """Return the encoder without its last blocks; see `FirstBlocks`."""
        return FirstBlocks(backbone, num_blocks)

    def take_layers(self, backbone: Backbone) -> None:
        """Take over the last blocks of the encoder, and the norm after them."""
        assert isinstance(backbone, FirstBlocks)
        blocks, self.norm, self.rope = backbone.release()
        self.blocks = nn.ModuleList(blocks)
        for block in blocks:
            if isinstance(block, EvaBlock):  # rotary positions are those of the patches alone
                attention: Any = block.attn
                attention.num_prefix_tokens += self.query_tokens.num_embeddings

    def set_progress(self, progress: Progress) -> None:
        """Set the probabilities with which queries keep to their masks; see `annealing_starts`."""
        probabilities = [
            1.0 - min(max((progress.done - start) / (end - start), 0.0), 1.0) for start, end in self._annealing
        ]
        probabilities = [left**_ANNEALING_POWER for left in probabilities]
        self.mask_probability.copy_(torch.tensor(probabilities))
        self._follow(probabilities)

    def _follow(self, probabilities: Sequence[float]) -> None:
        """Note what is known of the probabilities without waiting for the device."""
        self._masked = [probability > 0 for probability in probabilities]
        self._always = [probability >= 1 for probability in probabilities]

    def queries(self, features: Sequence[Tensor]) -> list[QueryPrediction]:
        """Return the predictions before each of the last blocks and after them (unless training, where they matter)."""
        patches, prefix = features
        grid = (patches.shape[-2], patches.shape[-1])
        rope = None if self.rope is None else self.rope.get_embed(shape=list(grid))
        queries = self.query_tokens.weight.expand(patches.shape[0], -1, -1)
        tokens = torch.cat([queries, *(each.flatten(2).transpose(1, 2) for each in (prefix, patches))], dim=1)
        predictions = []
        for index, block in enumerate(self.blocks):
            mask = None
            if self.training or self._masked[index]:
                predictions.append(self._predict(tokens, grid))
                mask = self._attention_mask(predictions[-1].masks, grid, tokens.shape[1], index)
            tokens = _apply(block, tokens, mask, rope)
        return [*predictions, self._predict(tokens, grid)]

    def _predict(self, tokens: Tensor, grid: tuple[int, int]) -> QueryPrediction:
        tokens = self.norm(tokens)
        queries = tokens[:, : self.query_tokens.num_embeddings]
        patches = tokens[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)
        masks = torch.einsum("bqc,bchw->bqhw", self.mask_mlp(queries), self.upscale(patches))
        return QueryPrediction(self.classifier(queries), masks)

    @torch.no_grad()
    def _attention_mask(self, masks: Tensor, grid: tuple[int, int], length: int, index: int) -> Tensor | None:
        """Return bool [B, 1, N, N], False where a query must not attend to a patch; None where all attend to all."""
        if not self._masked[index]:
            return None
        inside = resize(masks, grid).flatten(2) > 0  # [B, Q, h w]
        if not self._always[index]:
            inside |= (torch.rand(inside.shape[:2], device=inside.device) > self.mask_probability[index])[..., None]
        batch, queries, patches = inside.shape
        ones = functools.partial(torch.ones, dtype=torch.bool, device=inside.device)
        of_queries = torch.cat([ones(batch, queries, length - patches), inside], dim=2)
        return torch.cat([of_queries, ones(batch, length - queries, length)], dim=1)[:, None]


def _follow_loaded(head: EoMTHead, _: Any) -> None:
    """Note the probabilities that have been loaded."""
    head._follow(head.mask_probability.tolist())


def _annealing(
    count: int, starts: Sequence[float] | None, ends: Sequence[float] | None
) -> tuple[tuple[float, float], ...]:
    starts = [(index + 1) / (count + 2) for index in range(count)] if starts is None else starts
    ends = [(index + 2) / (count + 2) for index in range(count)] if ends is None else ends
    if len(starts) != count or len(ends) != count or any(a >= b for a, b in zip(starts, ends, strict=True)):
        raise ModelError(
            f"annealing_starts and annealing_ends give {count} shares of the run each, one for each of num_blocks, and "
            f"each start is before its end; not {list(starts)} and {list(ends)}"
        )
    return tuple(zip(starts, ends, strict=True))


def _apply(block: Any, tokens: Tensor, mask: Tensor | None, rope: Tensor | None) -> Tensor:
    """Apply a block of timm to tokens [B, N, C], with a mask of its attention."""
    if isinstance(block, EvaBlock):
        x: Tensor = block(tokens, rope=rope, attn_mask=mask)
        return x
    # older releases of timm have no masks in these blocks
    x = tokens + block.drop_path1(block.ls1(_attend(block.attn, block.norm1(tokens), mask)))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


def _attend(attention: Any, tokens: Tensor, mask: Tensor | None) -> Tensor:
    shape = (3, attention.num_heads, -1)
    q, k, v = attention.qkv(tokens).unflatten(-1, shape).permute(2, 0, 3, 1, 4).unbind(0)  # [B, heads, N, C / heads]
    dropout = attention.attn_drop.p if attention.training else 0.0
    q, k = attention.q_norm(q), attention.k_norm(k)
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(1, 2).flatten(2)
    x: Tensor = attention.proj_drop(attention.proj(context))
    return x
