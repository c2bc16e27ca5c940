"""IDRNet: relations of classes found by intervention (Jin et al., NeurIPS 2023, arXiv:2310.10755)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.errors import ModelError
from vitrail.layers import ObjectAttention, resize
from vitrail.layers.class_context import class_sums, class_vectors, of_each_pixel, predicted_classes
from vitrail.layers.class_relations import ClassRelations, loss_statistics
from vitrail.layers.classifier import ConvClassifier
from vitrail.layers.coarse_context import context_module
from vitrail.layers.feature_pyramid import merge_top_down
from vitrail.layers.processes import sum_over_processes
from vitrail.losses import resized_loss
from vitrail.losses.per_pixel import per_pixel_cross_entropy
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head


class _Parts(NamedTuple):
    """What is the same with all classes and without one of them.

    Attributes
    ----------
    pixels : Tensor [B, C, h, w]
        The pixels' features.
    coarse : Tensor or None
        The context of the image, at the size of the logits.
    enriched : Tensor [B, 2 C, h, w]
        The pixels' features, and the features that their classes have in the whole training set.
    vectors : Tensor [B, K, 2 C]
        The mean of `enriched` for each class of the image.
    classes : Tensor [B, h * w]
        The class that the first prediction gives to each pixel.
    present : Tensor [B, K]
        Which classes that are.
    keep : Tensor or None
        [B, C, 1, 1]: the factors of dropout, the same with and without a class.
    """

    pixels: Tensor
    coarse: Tensor | None
    enriched: Tensor
    vectors: Tensor
    classes: Tensor
    present: Tensor
    keep: Tensor | None


@register_segmentor("idrnet", output_stride=8, auxiliary=Auxiliary())
class IDRHead(Head):
    """IDRNet (Jin, Hu, Zhu, Song, Yuan and Yu, NeurIPS 2023, arXiv:2310.10755).

    A first prediction groups the pixels by class; the classes' features are mixed by relations between classes, which
    training finds by leaving one class out of each image and looking at how the losses of the others change. Relations
    and the mean features of the classes of the training set are buffers, saved with the weights.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last, with a feature pyramid all.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pixels' features.
    inner_channels : int
        Channels of queries, keys and values of the attention that refines the mixed features.
    context : {"none", "aspp", "ppm"}
        The context of the image that is joined: none, the atrous pyramid of DeepLabv3, or the pyramid pooling of
        PSPNet.
    dilations : sequence of int
        Of the atrous pyramid.
    pool_sizes : sequence of int
        Sides of the grids of the pyramid pooling.
    attend : {"none", "before", "after"}
        Whether the context of the image attends to itself, before or after the first prediction is made of it.
    attend_channels : int
        Channels of queries, keys and values of that attention.
    pyramid_channels : int
        Channels of that context and of the levels of a feature pyramid from it to the finest map; 0 for none.
    early_from_pixels : bool
        Whether the first prediction is made of the pixels' features even where there is a context.
    early_weight : float
        Weight of the loss of the first prediction.
    relation_momentum : float
        How far relations move towards those found in an image.
    class_momentum : float
        How far the mean features of the classes move towards those of a batch.
    dropout : float
        Probability of dropping a channel before the classifiers.
    align_corners : bool
        How features and logits are resized.

    Raises
    ------
    ModelError
        For a feature pyramid or an attention without a context, and for another word than those above.
    """

    class_features: Tensor

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        inner_channels: int = 256,
        context: str = "aspp",
        dilations: Sequence[int] = (1, 12, 24, 36),
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        attend: str = "after",
        attend_channels: int = 256,
        pyramid_channels: int = 0,
        early_from_pixels: bool = False,
        early_weight: float = 0.4,
        relation_momentum: float = 0.1,
        class_momentum: float = 0.1,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        _check(context, attend, pyramid_channels)
        self.project = ConvNormAct(maps.channels[-1], channels, 3)
        coarse_channels = pyramid_channels or channels
        self.context = context_module(
            context, channels, coarse_channels, dilations=dilations, pool_sizes=pool_sizes, align_corners=align_corners
        )
        self.attends = attend
        self.attention = ObjectAttention(coarse_channels, attend_channels) if attend != "none" else None
        self.early_from_pixels = early_from_pixels or self.context is None
        early_channels = channels if self.early_from_pixels else coarse_channels
        self.early_classifier = ConvClassifier(early_channels, channels, num_classes, dropout=dropout)
        width = 2 * channels + (coarse_channels if self.context is not None else 0)
        self.has_pyramid = pyramid_channels > 0
        if self.has_pyramid:
            self.laterals = nn.ModuleList(ConvNormAct(each, pyramid_channels, 1) for each in maps.channels[:-1])
            self.smooth = nn.ModuleList(ConvNormAct(pyramid_channels, pyramid_channels, 3) for _ in self.laterals)
            width += pyramid_channels * len(self.laterals)
        self.relations = ClassRelations(num_classes, momentum=relation_momentum)
        self.register_buffer("class_features", torch.zeros(num_classes, channels))
        self.class_momentum = class_momentum
        self.refine = ObjectAttention(6 * channels, inner_channels, out_channels=channels)
        self.fuse = ConvNormAct(width, channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.early_weight = early_weight

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        parts, _ = self._first(features)
        return self._classify(parts, parts.present)

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses `seg`, and `early` of the first prediction.

        Relations and class features are updated with the batch after the predictions.
        """
        parts, early = self._first(features)
        logits = self._classify(parts, parts.present)
        self._intervene(parts, logits, targets)
        self._update_class_features(parts.pixels, targets)
        return {
            "seg": resized_loss(criterion, logits, targets, align_corners=self.align_corners),
            "early": self.early_weight * resized_loss(criterion, early, targets, align_corners=self.align_corners),
        }

    def _first(self, features: Sequence[Tensor]) -> tuple[_Parts, Tensor]:
        """Return what does not depend on the relations, and the logits of the first prediction."""
        x = self.project(features[-1])
        coarse = None if self.context is None else self.context(x)
        if self.attention is not None and self.attends == "before":
            coarse = self.attention(coarse, coarse)
        early = self.early_classifier(x if self.early_from_pixels else coarse)
        if self.attention is not None and self.attends == "after":
            coarse = self.attention(coarse, coarse)
        if self.has_pyramid and coarse is not None:
            coarse = merge_top_down(features[:-1], coarse, self.laterals, self.smooth, align_corners=self.align_corners)
        classes, members = predicted_classes(early)
        known = self.class_features.clone().to(x.dtype).expand(x.shape[0], -1, -1)  # a copy: training changes them
        return _Parts(
            pixels=x,
            coarse=coarse,
            enriched=torch.cat([x, of_each_pixel(known, classes, x)], dim=1),
            vectors=torch.cat([class_vectors(x, early, members), known], dim=2),
            classes=classes,
            present=members.any(dim=2),
            keep=self.dropout(x.new_ones(*x.shape[:2], 1, 1)) if self.training else None,
        ), early

    def _classify(self, parts: _Parts, present: Tensor) -> Tensor:
        """Return the logits with the context of the classes that are present in each image, [B, K]."""
        mixed = (of_each_pixel(each, parts.classes, parts.pixels) for each in self.relations(parts.vectors, present))
        x = torch.cat([parts.enriched, *mixed], dim=1)
        joined = [parts.pixels, self.refine(x, x)]
        if parts.coarse is not None:
            size = parts.coarse.shape[-2:]
            joined = [*(resize(each, size, align_corners=self.align_corners) for each in joined), parts.coarse]
        x = self.fuse(torch.cat(joined, dim=1))
        return self.classifier(x if parts.keep is None else x * parts.keep)

    @torch.no_grad()
    def _intervene(self, parts: _Parts, logits: Tensor, targets: Tensor) -> None:
        """Leave one class out of each image, and update the relations with how the losses of the others change."""
        chosen = self.relations.choose(parts.present)
        every = torch.arange(self.num_classes, device=chosen.device)
        without = self._classify(parts, parts.present & (every != chosen[:, None]))
        (mean, variance, counts), (mean_without, variance_without, _) = (
            loss_statistics(
                per_pixel_cross_entropy(each, targets, align_corners=self.align_corners), targets, self.num_classes
            )
            for each in (logits, without)
        )
        growth = torch.stack([mean_without - mean, variance_without - variance], dim=1)
        self.relations.update(chosen, growth, counts)

    @torch.no_grad()
    def _update_class_features(self, x: Tensor, targets: Tensor) -> None:
        sums = sum_over_processes(class_sums(x, targets, self.num_classes, align_corners=self.align_corners))
        count = sums[:, -1:]
        found = (sums[:, :-1] / torch.where(count > 0, count, 1.0)).to(self.class_features.dtype)
        moved = self.class_momentum * found + (1 - self.class_momentum) * self.class_features
        self.class_features.copy_(torch.where(count > 0, moved, self.class_features))


def _check(context: str, attend: str, pyramid_channels: int) -> None:
    if attend not in ("none", "before", "after"):
        raise ModelError(f"attend must be 'none', 'before' or 'after', not {attend!r}")
    if context == "none" and (attend != "none" or pyramid_channels):
        raise ModelError(
            "attend and pyramid_channels need a context of the image: context='aspp' or 'ppm'; without one give "
            "attend='none' and pyramid_channels=0"
        )
