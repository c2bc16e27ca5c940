"""SAN: a side adapter that proposes masks and tells a frozen CLIP where to look (Xu et al., CVPR 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones import Backbone
from vitrail.backbones.vit import ViT
from vitrail.backbones.windows import pad_to_multiple
from vitrail.errors import ModelError
from vitrail.labels import ignore_index
from vitrail.layers import resize
from vitrail.layers.pooling import adaptive_max
from vitrail.layers.resize import is_exporting
from vitrail.losses.mask_classification import QueryPrediction
from vitrail.losses.mask_points import PointMaskLoss
from vitrail.segmentors.class_texts import ClassTexts, fitting_tokenizer, read_clip, vectors_of_names
from vitrail.segmentors.extended_backbone import ExtendedBackbone
from vitrail.segmentors.mask_classification import MaskClassificationHead, semantic_scores
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.prompts import prompts_of
from vitrail.segmentors.segmentor import Criterion, FeatureMaps
from vitrail.segmentors.side_adapter import PATCH, SideAdapter

_MULTIPLE = 32  # images are padded to multiples of this, as those that the published models predict on
_HEAD_CHANNELS = 64  # of CLIP's attention heads
_FIRST_LOGIT_SCALE = math.log(1 / 0.07)  # where CLIP's training begins; trained ones end at log(100)
_EMBEDDINGS = "class_embeddings"


class FirstBlocks(ExtendedBackbone):
    """CLIP's image encoder without its last blocks, which the head applies, on shrunk images.

    The maps are the padded image, the patches before the first block, those after each block of `out_indices` but the
    last, and the class token [B, C, 1, 1] after these blocks.

    Parameters
    ----------
    backbone : ViT
        A plain transformer with a class token and without a neck; the last of its `out_indices` is its last block.
    image_scale : float
        By what the images are resized for it.

    Raises
    ------
    ModelError
        For another encoder.
    """

    trunk: ViT

    def __init__(self, backbone: Backbone, image_scale: float) -> None:
        super().__init__(backbone)
        if not isinstance(backbone, ViT) or not _is_plain(backbone):
            raise ModelError(
                "SAN needs a plain vision transformer with a class token, without a neck, a final norm or norms of "
                "outputs, such as vit_base_patch16_clip_quickgelu_224"
            )
        if not 0 < image_scale <= 1:
            raise ModelError(f"image_scale is more than 0 and at most 1, not {image_scale:g}")
        net = backbone.encoder
        *fused, last = backbone.indices
        if not fused or last != len(net.blocks) - 1:
            raise ModelError(
                "SAN needs out_indices that give the blocks whose maps are fused, and then the last block, such as "
                f"(2, 5, 8, 11) of 12; not {backbone.indices}"
            )
        self.image_scale = image_scale
        self.fused = tuple(fused)
        self._left = tuple(net.blocks[fused[-1] + 1 :])
        net.blocks = net.blocks[: fused[-1] + 1]
        stride = round(backbone.strides[0] / image_scale)
        self.channels = (net.patch_embed.proj.in_channels, *backbone.channels[:1] * (len(fused) + 2))
        self.strides = (1, *(stride,) * (len(fused) + 2))

    def release(self) -> tuple[list[nn.Module], nn.Module]:
        """Return the last blocks, and the norm after them."""
        blocks, self._left = list(self._left), ()
        return blocks, self.trunk.last_norm

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W]; see the class."""
        padded = pad_to_multiple(images, (_MULTIPLE, _MULTIPLE), dims=(2, 3))
        small = F.interpolate(padded, scale_factor=self.image_scale, mode="bilinear", align_corners=False)
        patch = self.trunk.encoder.patch_embed.patch_size  # what is no whole patch is left out
        height, width = (max(1, length // side) * side for length, side in zip(small.shape[-2:], patch, strict=True))
        tokens, grid = self.trunk.embed(small[..., :height, :width])
        maps = [padded, _as_map(tokens[:, 1:], grid)]
        for index, block in enumerate(self.trunk.encoder.blocks):
            tokens = self._through([block], tokens)
            if index in self.fused:
                maps.append(_as_map(tokens[:, 1:], grid))
        return [*maps, tokens[:, 0, :, None, None]]


def _is_plain(backbone: ViT) -> bool:
    net = backbone.encoder
    outputs_plain = backbone.final_norm is None and not backbone.append_class_token
    return (
        backbone.neck is None
        and outputs_plain
        and all(isinstance(norm, nn.Identity) for norm in backbone.norms)
        and net.cls_token is not None
        and net.num_prefix_tokens == 1
        and all(isinstance(block, Block) for block in net.blocks)
    )


def _as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Turn tokens [B, h w, C] into a map [B, C, h, w]."""
    return tokens.transpose(1, 2).unflatten(2, grid)


@register_segmentor("san", backbone="vit_base_patch16_clip_quickgelu_224")
class SANHead(MaskClassificationHead):
    """SAN, Side Adapter Network (Xu, Zhang, Wei, Hu and Bai, CVPR 2023, arXiv:2302.12242).

    An open-vocabulary method: its classes are names. A small transformer beside a frozen CLIP, the side adapter,
    proposes a mask for each query and, for every attention head of CLIP's last blocks, to which patches it attends.
    These blocks turn copies of the class token into a vector for each query; its products with the vectors that CLIP's
    text encoder makes of the names of the classes are the class logits. Only the adapter, CLIP's position embeddings
    and the vector of "no object" are trained. The head has its own losses, those of Mask2Former: the segmentor's
    criterion is not used.

    The vectors of the names are a part of the model, `class_embeddings`: prediction needs neither the text encoder nor
    a tokenizer. `vitrail.load` makes those of other classes (`classes=…`), and training those of its dataset.

    Parameters
    ----------
    maps : FeatureMaps
        What `FirstBlocks` returns.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the adapter.
    num_layers, num_heads : int
        Blocks and attention heads of the adapter.
    num_queries : int
        Number of queries.
    mask_channels : int
        Channels of the embeddings whose products are the masks and the attention biases.
    img_size : int
        The side of the images that the adapter's position embeddings are laid out for, a multiple of 16; any other size
        still works.
    clip_heads : int, optional
        Attention heads of the encoder; None takes one for every 64 channels.
    embedding_channels : int
        Channels of the vectors of queries and names: 512 for ViT-B/16, 768 for ViT-L/14.
    text_channels, text_layers : int
        Channels and layers of the text encoder: 512 or 768, and 12. With 0 layers there is none, and the classes remain
        as they are.
    vocabulary_size : int
        Number of tokens of the text encoder.
    prompts : str
        The sentences that names are put into, "vild" or "imagenet"; see `vitrail.segmentors.prompts`.
    vocabulary : str, optional
        Path of CLIP's list of merges, see `TextTokens`; needed only for names with words that no dataset of vitrail
        has, and read when training begins.
    clip : str, optional
        Path of the weights of a whole CLIP, under OpenAI's names (as in open_clip's files of ViT-B-16 and
        ViT-L-14-336): its text encoder, the projection of its image encoder and its logit scale are read when training
        begins. The same file is `pretrained` of the backbone.
    frozen : bool
        Whether CLIP's blocks and norms stay as they are. Its text encoder always does.
    early_layers : sequence of int
        Blocks of the adapter, counted from 1, after which predictions are supervised, too.
    num_points, oversample, importance_ratio
        See `PointMaskLoss`.
    class_weight, mask_weight, dice_weight : float
        Weights of the three losses, and of the same terms in the matching of queries and classes.
    no_object_weight : float
        Weight of the unmatched queries in the classification loss.
    align_corners : bool
        How predicted masks are resized.

    Raises
    ------
    ModelError
        For numbers that no such model has, and for a file without use.
    """

    open_vocabulary = True
    file_options = ("vocabulary", "clip")
    training_options = ("frozen", "early_layers")
    blocks: nn.ModuleList
    norm: nn.Module
    class_embeddings: Tensor

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 240,
        num_layers: int = 8,
        num_heads: int = 6,
        num_queries: int = 100,
        mask_channels: int = 256,
        img_size: int = 640,
        clip_heads: int | None = None,
        embedding_channels: int = 512,
        text_channels: int = 512,
        text_layers: int = 12,
        vocabulary_size: int = 49408,
        prompts: str = "vild",
        vocabulary: str | None = None,
        clip: str | None = None,
        frozen: bool = True,
        early_layers: Sequence[int] = (7,),
        num_points: int = 12544,
        oversample: float = 3.0,
        importance_ratio: float = 0.75,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, deep_supervision=True, align_corners=align_corners)
        image_channels, *fused, width = maps.channels
        if len(fused) > num_layers:
            raise ModelError(f"num_layers is at least {len(fused)}, one for each map of the encoder, not {num_layers}")
        if img_size < PATCH or img_size % PATCH:
            raise ModelError(f"img_size is a multiple of {PATCH}, not {img_size}")
        if sorted(set(early_layers)) != list(early_layers) or not all(0 < n < num_layers for n in early_layers):
            raise ModelError(f"early_layers ascend from 1 to {num_layers - 1}, not {list(early_layers)}")
        if not text_layers and (vocabulary is not None or clip is not None):
            raise ModelError("vocabulary and clip are for the text encoder, and text_layers is 0: leave them out")
        self.prompts = prompts_of(prompts)
        self.vocabulary, self.vocabulary_size, self.clip = vocabulary, vocabulary_size, clip
        self.frozen = frozen
        self.early_layers = tuple(early_layers)
        self.clip_heads = max(1, width // _HEAD_CHANNELS) if clip_heads is None else clip_heads
        self.adapter = SideAdapter(
            image_channels,
            fused,
            channels=channels,
            num_layers=num_layers,
            num_heads=num_heads,
            num_queries=num_queries,
            mask_channels=mask_channels,
            img_size=img_size,
            bias_heads=self.clip_heads,
        )
        # of the pixels that are pooled for a patch of CLIP's; where images are small, it has few patches
        self.longest_bin = 2 * maps.strides[1] // PATCH + 1
        self.project = nn.Linear(width, embedding_channels, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor([_FIRST_LOGIT_SCALE]))
        self.no_object = nn.Parameter(torch.randn(1, embedding_channels) * embedding_channels**-0.5)
        self.register_buffer(_EMBEDDINGS, F.normalize(torch.randn(num_classes, embedding_channels), dim=-1))
        self.texts = (
            ClassTexts(text_channels, embedding_channels, vocabulary_size=vocabulary_size, num_layers=text_layers)
            if text_layers
            else None
        )
        self._texts_are_new = False
        self.loss = PointMaskLoss(
            num_points=num_points,
            oversample=oversample,
            importance_ratio=importance_ratio,
            class_weight=class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            no_object_weight=no_object_weight,
        )

    @classmethod
    def wrap_backbone(cls, backbone: Backbone, *, image_scale: float = 0.5) -> Backbone:
        """Return the encoder without its last blocks; see `FirstBlocks`.

        Parameters
        ----------
        backbone : Backbone
            CLIP's image encoder.
        image_scale : float
            By what the images are resized for it.
        """
        return FirstBlocks(backbone, image_scale)

    def take_layers(self, backbone: Backbone) -> None:
        """Take over the last blocks of the encoder and the norm after them, and freeze what is not trained."""
        assert isinstance(backbone, FirstBlocks)
        blocks, self.norm = backbone.release()
        self.blocks = nn.ModuleList(blocks)
        heads = {block.attn.num_heads for block in blocks if isinstance(block, Block)}
        if heads != {self.clip_heads}:
            raise ModelError(f"the encoder has {heads.pop()} attention heads, not {self.clip_heads}: set clip_heads")
        parts: list[nn.Module] = [] if self.texts is None else [self.texts]
        if self.frozen:
            parts += [backbone, self.blocks, self.norm, self.project]
            self.logit_scale.requires_grad_(False)
        for part in parts:
            part.requires_grad_(False)
        backbone.trunk.encoder.pos_embed.requires_grad_(True)

    def name_classes(self, names: Sequence[str]) -> None:
        """Read `clip`, and make the vectors of the names of the classes.

        Raises
        ------
        ModelError
            When a file cannot be used, or a name has words of unknown tokens.
        """
        if self.texts is None:
            return
        if self.clip is not None:
            self._read_clip(self.clip)
        self._texts_are_new = self._is_new()
        if not self._texts_are_new:  # or else a resumed run reads all of this
            tokenizer = fitting_tokenizer(self.vocabulary, self.vocabulary_size)
            self.class_embeddings.copy_(self.texts(names, self.prompts, tokenizer))

    @classmethod
    def lacks_class_tensors(cls, state: Mapping[str, Tensor]) -> bool:
        """See `Head`."""
        return _EMBEDDINGS not in state

    @classmethod
    def class_tensors(
        cls,
        state: Mapping[str, Tensor],
        names: Sequence[str],
        options: Mapping[str, Any],
        vocabulary: str | Path | None,
    ) -> dict[str, Tensor]:
        """Return the vectors of these names, made by the text encoder in a head's state; see `Head`."""
        given = {name.removeprefix("texts."): value for name, value in state.items() if name.startswith("texts.")}
        vectors = vectors_of_names(given, names, prompts_of(options.get("prompts", "vild")), vocabulary)
        return {_EMBEDDINGS: vectors}

    def queries(self, features: Sequence[Tensor]) -> list[QueryPrediction]:
        """Return the predictions after each of `early_layers` (unless training: none of these) and after the last."""
        image, *maps, token = features
        found = self.adapter(image, maps, self.early_layers if self.training else ())
        vectors = self._recognise(maps[-1], token, torch.cat([biases for _, biases in found], dim=2))
        names = F.normalize(torch.cat([self.class_embeddings, self.no_object]), dim=-1) * self.logit_scale.exp()
        classes = (vectors @ names.t().to(vectors.dtype)).chunk(len(found), dim=1)
        return [QueryPrediction(logits, masks) for logits, (masks, _) in zip(classes, found, strict=True)]

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses of `MaskClassificationHead`; what the image was padded with is ignored.

        Raises
        ------
        ModelError
            When training begins and nothing has given the text encoder its weights.
        """
        if self._texts_are_new and self._is_new():
            raise ModelError(
                "SAN is trained with a trained CLIP, and its text encoder has no weights: start from a model that has "
                "some (train.start_from, --from on the command line), or give the file of a whole CLIP as "
                "model.options.clip and model.pretrained"
            )
        self._texts_are_new = False
        down, right = (features[0].shape[dim] - targets.shape[dim] for dim in (-2, -1))
        padded = F.pad(targets, (0, right, 0, down), value=ignore_index(self.num_classes))
        return super().losses(features, padded, criterion)

    def predict(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return scores [B, K, H, W] of the image, whose `size` is without what it was padded with."""
        last = self.queries(features)[-1]
        masks = resize(last.masks, features[0].shape[-2:], align_corners=self.align_corners)
        scores = semantic_scores(last.classes, masks)
        if is_exporting():  # a slice would tie the program to images that are padded as the one it is traced with
            for dim, length in zip((2, 3), size, strict=True):
                scores = scores.index_select(dim, torch.arange(length, device=scores.device))
            return scores
        return scores[..., : size[0], : size[1]]

    def _recognise(self, patches: Tensor, token: Tensor, biases: Tensor) -> Tensor:
        """Return the vectors [B, N, D] of queries with attention biases [B, heads, N, h, w].

        Each query begins as a copy of the class token and attends to itself and to the patches; neither the class token
        nor a patch attends to queries, so that all of them share these.
        """
        grid, count = patches.shape[-2:], biases.shape[2]
        pooled = adaptive_max(biases.flatten(1, 2), (grid[0], grid[1]), self.longest_bin)
        bias = pooled.flatten(2).unflatten(1, (-1, count))
        others = ~torch.eye(count, dtype=torch.bool, device=bias.device)
        apart = bias.new_zeros(count, count).masked_fill(others, -math.inf)
        mask = torch.cat([apart.expand(*bias.shape[:2], -1, -1), bias], dim=3)
        tokens = torch.cat([token.flatten(2), patches.flatten(2)], dim=2).transpose(1, 2)
        queries = token.flatten(2).transpose(1, 2).expand(-1, count, -1)
        for index, block in enumerate(self.blocks):
            q, k, v = _heads(block, queries)
            token_q, token_k, token_v = _heads(block, tokens)
            keys, values = torch.cat([k, token_k[:, :, 1:]], dim=2), torch.cat([v, token_v[:, :, 1:]], dim=2)
            context = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask.to(q.dtype))
            queries = _updated(block, queries, context)
            if index < len(self.blocks) - 1:
                tokens = _updated(block, tokens, F.scaled_dot_product_attention(token_q, token_k, token_v))
        return F.normalize(self.project(self.norm(queries)), dim=-1)

    def _is_new(self) -> bool:
        """Return whether the logit scale is that of a CLIP whose training has not begun."""
        return math.isclose(float(self.logit_scale.detach()), _FIRST_LOGIT_SCALE, rel_tol=1e-6)

    def _read_clip(self, path: str) -> None:
        """Fill the text encoder, the projection and the logit scale from a file of OpenAI's names."""
        assert self.texts is not None
        given = read_clip(path, len(self.texts.encoder.layers))
        own = self.state_dict()
        for name, tensor in given.items():
            if own[name].shape != tensor.shape:
                raise ModelError(
                    f"{path} holds another CLIP than the model has: {name} would be {tuple(tensor.shape)}, not "
                    f"{tuple(own[name].shape)}; change model.options.text_channels, embedding_channels or the backbone"
                )
        with torch.no_grad():
            for name, tensor in given.items():
                own[name].copy_(tensor)


def _heads(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values [B, heads, N, C / heads] of a block of timm for tokens [B, N, C]."""
    attention = block.attn
    projected = attention.qkv(block.norm1(tokens)).unflatten(-1, (3, attention.num_heads, -1))
    q, k, v = projected.permute(2, 0, 3, 1, 4).unbind(0)
    return attention.q_norm(q), attention.k_norm(k), v


def _updated(block: Any, tokens: Tensor, context: Tensor) -> Tensor:
    """Return tokens [B, N, C] after a block of timm, given what its attention collected [B, heads, N, C / heads]."""
    attended = block.attn.proj_drop(block.attn.proj(context.transpose(1, 2).flatten(2)))
    x: Tensor = tokens + block.drop_path1(block.ls1(attended))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
