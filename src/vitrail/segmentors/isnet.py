"""ISNet: context from the image as a whole and from the pixels of the same class (Jin et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers import ObjectAttention, resize
from vitrail.layers.class_context import class_vectors, of_each_pixel, predicted_classes
from vitrail.layers.classifier import ConvClassifier
from vitrail.layers.layout import in_layout_of
from vitrail.layers.leaky import replace_relu_with_leaky_relu
from vitrail.losses import resized_loss
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head


@register_segmentor("isnet", output_stride=8, auxiliary=Auxiliary())
class ISHead(Head):
    """ISNet (Jin, Liu, Chu and Yu, ICCV 2021, arXiv:2108.12382).

    Every pixel attends to all pixels beside the image's mean (image level), and to the mean of the class that a first
    prediction gives to each of them (semantic level).

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last, and the first for the shortcut.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the head.
    inner_channels : int
        Channels of queries, keys and values.
    fuse_input : bool
        Whether each context is fused with what it was gathered for by another convolution.
    shortcut_channels : int
        Channels of the shortcut from the first map, at whose size the pixels are then classified; 0 for none. 48 for
        LIP.
    early_weight : float
        Weight of the loss of the first prediction.
    dropout : float
        Probability of dropping a channel before the classifiers.
    leaky : bool
        Whether the activations are leaky ReLUs, as in SSSegmentation's models for human parsing.
    align_corners : bool
        How features and logits are resized.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        inner_channels: int = 256,
        fuse_input: bool = True,
        shortcut_channels: int = 0,
        early_weight: float = 0.4,
        dropout: float = 0.1,
        leaky: bool = False,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.project = ConvNormAct(maps.channels[-1], channels, 3)
        self.image_level = ObjectAttention(channels, inner_channels, region_channels=2 * channels)
        self.semantic_level = ObjectAttention(channels, inner_channels)
        self.fuse_image_level = ConvNormAct(2 * channels, channels, 3) if fuse_input else None
        self.fuse_semantic_level = ConvNormAct(2 * channels, channels, 3) if fuse_input else None
        self.early_classifier = ConvClassifier(channels, channels, num_classes, dropout=dropout)
        self.shortcut: nn.Module | None = None
        self.fuse: nn.Module = nn.Identity()
        if shortcut_channels:
            self.shortcut = ConvNormAct(maps.channels[0], shortcut_channels, 1, bias=True)
            self.fuse = ConvNormAct(channels + shortcut_channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.early_weight = early_weight
        if leaky:
            replace_relu_with_leaky_relu(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        return self._decode(features)[0]

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses `seg`, and `early` of the first prediction."""
        logits, early = self._decode(features)
        return {
            "seg": resized_loss(criterion, logits, targets, align_corners=self.align_corners),
            "early": self.early_weight * resized_loss(criterion, early, targets, align_corners=self.align_corners),
        }

    def _decode(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits, and those of the first prediction."""
        x = self.project(features[-1])
        early = self.early_classifier(x)
        image_level = self._image_level(x)
        x = self._semantic_level(x, early, image_level)
        if self.shortcut is not None:
            fine = self.shortcut(features[0])
            x = torch.cat([resize(x, fine.shape[-2:], align_corners=self.align_corners), fine], dim=1)
        return self.classifier(self.dropout(self.fuse(x))), early

    def _image_level(self, x: Tensor) -> Tensor:
        mean = in_layout_of(x.mean(dim=(2, 3), keepdim=True).expand_as(x), x)
        context = self.image_level(x, torch.cat([mean, x], dim=1))
        return context if self.fuse_image_level is None else self.fuse_image_level(torch.cat([x, context], dim=1))

    def _semantic_level(self, x: Tensor, logits: Tensor, image_level: Tensor) -> Tensor:
        classes, members = predicted_classes(logits)
        context = self.semantic_level(x, of_each_pixel(class_vectors(x, logits, members), classes, x))
        if self.fuse_semantic_level is None:
            return context
        return self.fuse_semantic_level(torch.cat([image_level, context], dim=1))
