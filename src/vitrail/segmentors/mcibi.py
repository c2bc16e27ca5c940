"""MCIBI: context from a memory of all classes of the training set (Jin et al., ICCV 2021, arXiv:2108.11819)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers import ASPP, ObjectAttention
from vitrail.layers.class_memory import ClassMemory
from vitrail.layers.classifier import ConvClassifier
from vitrail.layers.leaky import replace_relu_with_leaky_relu
from vitrail.losses import resized_loss
from vitrail.losses.pixels import in_full_precision
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head, Progress


@register_segmentor("mcibi", output_stride=8, auxiliary=Auxiliary())
class MCIBIHead(Head):
    """MCIBI on the context module of DeepLabv3 (Jin et al., ICCV 2021, arXiv:2108.11819).

    A first prediction selects class features from a memory of the training set; they are fused with the context within
    the image. The memory is filled in training and saved with the weights. With several processes it is what one
    process with all their images would make it; SSSegmentation averages the memories of the processes.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the head and of the memory.
    inner_channels : int
        Channels of queries and keys, in which pixels and memory are compared.
    dilations : sequence of int
        Of the atrous pyramid for the context within the image.
    halve : bool
        Whether a strided convolution halves the backbone's last map first, as for HRNet on Cityscapes.
    dropout : float
        Probability of dropping a channel before the classifiers.
    early_weight : float
        Weight of the loss of the first prediction.
    memory_weight : float
        Weight of the loss that trains the classifier to separate the memory's classes, from the second epoch on; 0
        leaves it out. 1 for ADE20K.
    momentum : float
        How far the memory moves towards each batch. It follows the learning rate: this is its value at the full one.
    leaky : bool
        Whether the activations are leaky ReLUs, as in SSSegmentation's models for human parsing on ResNets.
    align_corners : bool
        How features and logits are resized.
    """

    momentum_now: Tensor

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        inner_channels: int = 256,
        dilations: Sequence[int] = (1, 12, 24, 36),
        halve: bool = False,
        dropout: float = 0.1,
        early_weight: float = 0.4,
        memory_weight: float = 0.0,
        momentum: float = 0.9,
        leaky: bool = False,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        in_channels = maps.channels[-1]
        self.halve = ConvNormAct(in_channels, in_channels, 3, stride=2) if halve else nn.Identity()
        self.context = ASPP(in_channels, channels, dilations)
        self.project = ConvNormAct(in_channels, channels, 3)
        self.early_classifier = ConvClassifier(channels, channels, num_classes, dropout=dropout)
        self.memory = ClassMemory(num_classes, channels)
        self.beyond = ObjectAttention(channels, inner_channels)
        self.fuse_beyond = ConvNormAct(2 * channels, channels, 3)
        self.within = ObjectAttention(channels, inner_channels)
        self.fuse_within = ConvNormAct(2 * channels, channels, 3)
        self.classifier = ConvClassifier(channels, channels, num_classes, dropout=dropout)
        self.early_weight = early_weight
        self.memory_weight = memory_weight
        self.momentum = momentum
        # a tensor, so that a compiled model is not compiled again for every value
        self.register_buffer("momentum_now", torch.tensor(momentum), persistent=False)
        self.supervises_memory = memory_weight > 0
        if leaky:
            replace_relu_with_leaky_relu(self)

    def set_progress(self, progress: Progress) -> None:
        """Let the momentum follow the learning rate, and apply the memory's loss after an epoch has filled it."""
        self.momentum_now.fill_(self.momentum * progress.lr_factor)
        self.supervises_memory = self.memory_weight > 0 and progress.epoch > 1

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        logits, _, _ = self._decode(features[-1])
        return logits

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses `seg`, `early` of the first prediction, and `memory` after the first epoch, if it is on.

        The memory is updated with the batch after the predictions and before its own loss.
        """
        logits, early, x = self._decode(features[-1])
        self.memory.update(x.detach(), targets, self.momentum_now, align_corners=self.align_corners)
        losses = {
            "seg": resized_loss(criterion, logits, targets, align_corners=self.align_corners),
            "early": self.early_weight * resized_loss(criterion, early, targets, align_corners=self.align_corners),
        }
        if self.supervises_memory:
            recalled = self.classifier(self.memory.features.clone()[:, :, None, None]).flatten(1)  # [K, K]
            own = torch.arange(self.num_classes, device=recalled.device)
            losses["memory"] = self.memory_weight * F.cross_entropy(in_full_precision(recalled), own)
        return losses

    def _decode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits, those of the first prediction, and the features that update the memory."""
        x = self.halve(x)
        context, x = self.context(x), self.project(x)
        early = self.early_classifier(x)
        recalled = self.beyond(x, self.memory(early.softmax(dim=1)))
        beyond = self.fuse_beyond(torch.cat([x, recalled], dim=1))
        within = self.within(x, context)
        return self.classifier(self.fuse_within(torch.cat([within, beyond], dim=1))), early, x
