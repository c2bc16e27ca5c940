"""Plain vision transformers at any image size.

timm's modules and weights, computed as the published segmentation models do: the image is padded at the bottom and the
right to whole patches, and position embeddings are interpolated to its grid.

References
----------
A. Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021,
arXiv:2010.11929.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones.backbone import Backbone
from vitrail.backbones.pyramid import MultiLevelNeck, PatchPyramid
from vitrail.backbones.timm_bridge import TimmBackbone, register_family
from vitrail.backbones.timm_model import build_model, chosen_levels
from vitrail.errors import ModelError
from vitrail.layers.resize import is_variable

_NORM_EPS = 1e-6
_ANTIALIAS = "_antialias"


class PlainTransformer(TimmBackbone):
    """A plain transformer of timm, with an optional neck that makes maps at four strides."""

    def __init__(
        self,
        model: Any,
        indices: Sequence[int],
        neck: PatchPyramid | MultiLevelNeck | None,
        *,
        norm_eps: float | None = None,
    ) -> None:
        last_norm: nn.Module = getattr(model, "norm", nn.Identity())
        super().__init__(model, indices, norm_eps=norm_eps)
        self._last_norm = (last_norm,)  # no module of this one: it is not applied
        self.neck = neck
        if neck is not None:
            self.strides = tuple(int(stride / scale) for stride, scale in zip(self.strides, neck.scales, strict=True))
            self.channels = (neck.channels,) * len(neck.scales)

    @property
    def last_norm(self) -> nn.Module:
        """The norm that the transformer has after its last block, for methods that apply it themselves."""
        return self._last_norm[0]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] with timm's forward, then apply the neck."""
        return self._finish(super().forward(images))

    def _to_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Turn tokens [B, prefix + h w, C] into a map [B, C, h, w]."""
        patches = tokens[:, -grid[0] * grid[1] :]
        return patches.transpose(1, 2).unflatten(2, grid)

    def _finish(self, maps: list[Tensor]) -> list[Tensor]:
        return maps if self.neck is None else self.neck(maps)


class ViT(PlainTransformer):
    """Vision transformer; see `vit`."""

    def __init__(
        self,
        model: Any,
        indices: Sequence[int],
        neck: PatchPyramid | MultiLevelNeck | None,
        *,
        interpolation: str,
        final_norm: nn.Module | None,
        norm_eps: float | None,
        append_class_token: bool,
    ) -> None:
        super().__init__(model, indices, neck, norm_eps=norm_eps)
        self.interpolation = interpolation
        self.final_norm = final_norm
        self.append_class_token = append_class_token
        if append_class_token:
            self.channels = tuple(2 * width for width in self.channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into maps at the patch stride (or at strides 4, 8, 16, 32 with a neck)."""
        net = self.encoder
        x, grid = self.embed(images)
        maps: list[Tensor] = []
        for index, block in enumerate(net.blocks):
            x = self._through([block], x)
            if self.final_norm is not None and index == len(net.blocks) - 1:
                x = self.final_norm(x)
            if index in self.indices:
                maps.append(self._with_class_token(self.norms[len(maps)](self._to_map(x, grid)), x))
        return self._finish(maps)

    def _with_class_token(self, patches: Tensor, tokens: Tensor) -> Tensor:
        """Return a map [B, C, h, w], with the first of the tokens [B, n, C] at every pixel where that is wanted."""
        if not self.append_class_token:
            return patches
        token = tokens[:, 0, :, None, None].expand_as(patches)
        return torch.cat([patches, token], dim=1)

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens [B, prefix + h w, C] before the first block, and the grid (h, w) of patches."""
        net = self.encoder
        x = net.patch_embed(images)  # [B, h, w, C], images padded to whole patches
        grid = (x.shape[1], x.shape[2])
        return net.norm_pre(net.patch_drop(net.pos_drop(self._with_positions(x.flatten(1, 2), grid)))), grid

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing: only activations between blocks are stored, the others are recomputed."""
        self.grad_checkpointing = enable

    def _with_positions(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Prepend prefix tokens to [B, h w, C] and add position embeddings."""
        net = self.encoder
        prefix = [token.expand(x.shape[0], -1, -1) for token in (net.cls_token, net.reg_token) if token is not None]
        if net.pos_embed is None:
            return torch.cat([*prefix, x], dim=1)
        if net.no_embed_class:
            return torch.cat([*prefix, x + self._positions(net.pos_embed, grid)], dim=1)
        count = net.num_prefix_tokens
        positions = torch.cat([net.pos_embed[:, :count], self._positions(net.pos_embed[:, count:], grid)], dim=1)
        return torch.cat([*prefix, x], dim=1) + positions

    def _positions(self, table: Tensor, grid: tuple[int, int]) -> Tensor:
        laid_out = tuple(self.encoder.patch_embed.grid_size)
        return interpolate_positions(table, laid_out, grid, mode=self.interpolation)


def interpolate_positions(
    table: Tensor, laid_out: tuple[int, ...], grid: tuple[int, int], *, mode: str = "bicubic"
) -> Tensor:
    """Interpolate position embeddings [1, n, C] from their grid to another."""
    if not is_variable(grid) and laid_out == grid:
        return table
    as_map = table.transpose(1, 2).unflatten(2, laid_out)
    antialias = mode.endswith(_ANTIALIAS)
    resized = F.interpolate(
        as_map, size=grid, mode=mode.removesuffix(_ANTIALIAS), align_corners=False, antialias=antialias
    )
    return resized.flatten(2).transpose(1, 2)


def set_norm_eps(model: nn.Module, eps: float | None) -> None:
    """Give all layer norms of a model another epsilon; None leaves them as they are."""
    for module in model.modules():
        if eps is not None and isinstance(module, nn.LayerNorm):
            module.eps = eps


def make_neck(
    name: str, model: Any, indices: Sequence[int], *, pyramid: bool, neck_channels: int | None
) -> PatchPyramid | MultiLevelNeck | None:
    """Build the neck that turns four maps at the patch stride into maps at four strides, or None.

    Raises
    ------
    ModelError
        When both kinds are asked for, or there are not four maps.
    """
    if not pyramid and neck_channels is None:
        return None
    if pyramid and neck_channels is not None:
        raise ModelError(f"backbone {name!r} takes pyramid or neck_channels, not both")
    if len(indices) != len(PatchPyramid.scales):
        raise ModelError(f"backbone {name!r} needs four out_indices for a pyramid, not {len(indices)}")
    if neck_channels is None:
        return PatchPyramid(model.embed_dim)
    return MultiLevelNeck(model.embed_dim, neck_channels)


@register_family("deit")
@register_family("eva")
@register_family("vision_transformer")
def vit(
    name: str,
    *,
    pretrained: bool | str | Path = False,
    in_channels: int = 3,
    out_indices: Sequence[int] | None = None,
    img_size: int | tuple[int, int] | None = None,
    patch_size: int | None = None,
    layer_norm_eps: float | None = None,
    drop_path_rate: float | None = None,
    interpolation: str = "bicubic",
    final_norm: bool = False,
    norm_outputs: bool = False,
    class_token: bool = True,
    append_class_token: bool = False,
    pyramid: bool = False,
    neck_channels: int | None = None,
) -> Backbone:
    """Build a vision transformer (arXiv:2010.11929): four maps at the patch stride.

    Parameters
    ----------
    name : str
        timm's name, such as "vit_base_patch16_224".
    pretrained : bool or path
        True downloads the published weights, a path reads a local file of timm's parameter names.
    in_channels : int
        Channels of the images.
    out_indices : sequence of int, optional
        Blocks whose outputs are returned; None takes four evenly spaced ones. SETR takes (9, 14, 19, 23) of ViT-Large.
    img_size : int or (int, int), optional
        The size that position embeddings are laid out for; any other size still works.
    patch_size : int, optional
        Side of a patch, where it is another one than the encoder's; pretrained weights are interpolated.
    layer_norm_eps : float, optional
        Epsilon of the layer norms inside, where it is another one than the encoder's; MMSegmentation's DPT has 1e-5.
    drop_path_rate : float, optional
        Stochastic depth: the probability that the last block is skipped; earlier blocks have proportionally less.
    interpolation : str
        How position embeddings are interpolated: "bicubic", "bilinear" for SETR and for SSSegmentation, or
        "bicubic_antialias" as timm and segmentation_models_pytorch do it.
    final_norm : bool
        Whether the transformer's last norm is applied to the last block's output (Segmenter).
    norm_outputs : bool
        Apply a layer norm to every map, as for SETR and SSSegmentation's MCIBI.
    class_token : bool
        Whether there is a class token besides those of the patches: not in MMSegmentation's SETR-MLA. Weights that have
        one lose it.
    append_class_token : bool
        Give every pixel of every map the class token, too, behind its own channels (DPT).
    pyramid : bool
        Turn the maps into strides 4, 8, 16 and 32 (for patches of 16) with transposed convolutions, as for BEiT.
    neck_channels : int, optional
        Do so by projecting to this many channels and resizing instead, as MMSegmentation's UPerNet on ViT does.
    """
    if interpolation not in ("bicubic", "bilinear", f"bicubic{_ANTIALIAS}"):
        raise ModelError(
            "interpolation of position embeddings is 'bicubic', 'bilinear' or 'bicubic_antialias', not "
            f"{interpolation!r}"
        )
    model = build_model(
        name,
        pretrained=pretrained,
        in_chans=in_channels,
        img_size=img_size,
        patch_size=patch_size,
        drop_path_rate=drop_path_rate,
        dynamic_img_size=True,
        dynamic_img_pad=True,
    )
    set_norm_eps(model, layer_norm_eps)
    indices = chosen_levels(name, model, out_indices)
    neck = make_neck(name, model, indices, pyramid=pyramid, neck_channels=neck_channels)
    norm_eps = _NORM_EPS if norm_outputs else None
    if type(model) is VisionTransformer:
        if append_class_token and (neck is not None or not class_token or model.cls_token is None):
            raise ModelError(f"backbone {name!r}: append_class_token needs a class token, and maps without a neck")
        if not class_token:
            _drop_class_token(name, model)
        return ViT(
            model,
            indices,
            neck,
            interpolation=interpolation,
            final_norm=model.norm if final_norm else None,
            norm_eps=norm_eps,
            append_class_token=append_class_token,
        )
    if final_norm or interpolation != "bicubic" or not class_token or append_class_token:  # EVA's are computed by timm
        raise ModelError(
            f"backbone {name!r} takes none of final_norm, interpolation, class_token and append_class_token"
        )
    return PlainTransformer(model, indices, neck, norm_eps=norm_eps)


def _drop_class_token(name: str, model: VisionTransformer) -> None:
    """Take the class token and its position out of a transformer, whose weights are there already.

    Raises
    ------
    ModelError
        When it has none, or further tokens besides those of the patches.
    """
    if model.cls_token is None or model.num_prefix_tokens != 1:
        raise ModelError(f"backbone {name!r} has no class token, or more than that: leave class_token=False out")
    if model.pos_embed is not None and not model.no_embed_class:
        model.pos_embed = nn.Parameter(model.pos_embed.detach()[:, 1:].clone())
    model.cls_token = None
    model.num_prefix_tokens = 0
