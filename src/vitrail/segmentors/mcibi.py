"""MCIBI: context from a memory of all classes of the training set (Jin et al., ICCV 2021, arXiv:2108.11819)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones import Backbone
from vitrail.layers import ASPP, ObjectAttention, resize_logits
from vitrail.layers.class_memory import ClassMemory
from vitrail.layers.leaky import replace_relu_with_leaky_relu
from vitrail.losses.pixels import in_full_precision
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.segmentor import Criterion, Head, Progress, Segmentor, register_segmentor


class MCIBIHead(Head):
    """A first prediction chooses what to recall from the memory; what is recalled joins the context within the image.

    Parameters
    ----------
    in_channels : int
        Channels of the backbone's last map.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels inside, and of the memory.
    inner_channels : int
        Channels in which pixels and memory are compared.
    dilations : sequence of int
        Of the atrous pyramid that sees the context within the image.
    halve : bool
        Whether a strided convolution halves the backbone's map first.
    dropout : float
        Probability of dropping a channel before the classifiers.
    early_weight, memory_weight : float
        Weights of the losses of the first prediction and of the memory.
    momentum : float
        How far the memory moves towards each batch at the full learning rate.
    align_corners : bool
        How features and logits are resized.
    """

    momentum_now: Tensor

    def __init__(
        self,
        in_channels: int,
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
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.halve = ConvNormAct(in_channels, in_channels, 3, stride=2) if halve else nn.Identity()
        self.context = ASPP(in_channels, channels, dilations)
        self.project = ConvNormAct(in_channels, channels, 3)
        self.early_classifier = _classifier(channels, num_classes, dropout)
        self.memory = ClassMemory(num_classes, channels)
        self.beyond = ObjectAttention(channels, inner_channels)
        self.fuse_beyond = ConvNormAct(2 * channels, channels, 3)
        self.within = ObjectAttention(channels, inner_channels)
        self.fuse_within = ConvNormAct(2 * channels, channels, 3)
        self.classifier = _classifier(channels, num_classes, dropout)
        self.early_weight = early_weight
        self.memory_weight = memory_weight
        self.momentum = momentum
        # a tensor, so that a compiled model does not take every value for a new program
        self.register_buffer("momentum_now", torch.tensor(momentum), persistent=False)
        self.teaches_memory = memory_weight > 0

    def set_progress(self, progress: Progress) -> None:
        """Let the momentum follow the learning rate, and teach the memory once it had an epoch to fill."""
        self.momentum_now.fill_(self.momentum * progress.lr_factor)
        self.teaches_memory = self.memory_weight > 0 and progress.epoch > 1

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        logits, _, _ = self._decode(features[-1])
        return logits

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses `seg`, `early` of the first prediction, and `memory` after the first epoch, if it is on.

        The memory is updated with the batch before it is taught, and after the predictions are made.
        """
        logits, early, x = self._decode(features[-1])
        self.memory.update(x.detach(), targets, self.momentum_now, align_corners=self.align_corners)
        size = targets.shape[-2:]
        losses = {
            "seg": criterion(resize_logits(logits, size, align_corners=self.align_corners), targets),
            "early": self.early_weight
            * criterion(resize_logits(early, size, align_corners=self.align_corners), targets),
        }
        if self.teaches_memory:
            recalled = self.classifier(self.memory.features.clone()[:, :, None, None]).flatten(1)  # [K, K]
            own = torch.arange(self.num_classes, device=recalled.device)
            losses["memory"] = self.memory_weight * F.cross_entropy(in_full_precision(recalled), own)
        return losses

    def _decode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits, those of the first prediction, and the features that the memory keeps."""
        x = self.halve(x)
        context, x = self.context(x), self.project(x)
        early = self.early_classifier(x)
        recalled = self.beyond(x, self.memory(early.softmax(dim=1)))
        beyond = self.fuse_beyond(torch.cat([x, recalled], dim=1))
        within = self.within(x, context)
        return self.classifier(self.fuse_within(torch.cat([within, beyond], dim=1))), early, x


class UpsamplingFCNHead(FCNHead):
    """Convolutions on one map that each make it larger by repeating pixels, and a classifier.

    Parameters
    ----------
    in_channels, num_classes, index, channels, num_convs, dropout, align_corners
        See `FCNHead`.
    upsample : int
        How many times larger each convolution makes the map; 1 leaves its size.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        index: int,
        channels: int,
        num_convs: int,
        upsample: int,
        dropout: float,
        align_corners: bool,
    ) -> None:
        super().__init__(
            in_channels,
            num_classes,
            index=index,
            channels=channels,
            num_convs=num_convs,
            dropout=dropout,
            align_corners=align_corners,
        )
        self.upsample = upsample

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        x = features[self.index]
        for index, conv in enumerate(self.convs):
            x = conv(self._enlarge(x) if index else x)
        # the classifier sees each pixel by itself, so the logits can be repeated in place of its input
        return self._enlarge(self.classifier(self.dropout(x)))

    def _enlarge(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=float(self.upsample)) if self.upsample > 1 else x


def _classifier(channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(ConvNormAct(channels, channels, 1), nn.Dropout2d(dropout), nn.Conv2d(channels, num_classes, 1))


@register_segmentor("mcibi", output_stride=8)
def mcibi(
    backbone: Backbone,
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
    aux_weight: float = 0.4,
    aux_channels: int = 512,
    aux_indices: Sequence[int] = (-2,),
    aux_convs: int = 1,
    aux_upsample: int = 1,
    leaky: bool = False,
    align_corners: bool = False,
) -> Segmentor:
    """Build MCIBI on the context module of DeepLabv3 (Jin et al., ICCV 2021, arXiv:2108.11819).

    Its memory is filled in training and saved with the weights. With several processes it becomes what one process
    with all their images would make it; SSSegmentation averages the memories that the processes make each for itself.

    Parameters
    ----------
    backbone : Backbone
        The encoder.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the head and of the memory.
    inner_channels : int
        Channels in which pixels and memory are compared.
    dilations : sequence of int
        Of the atrous pyramid that sees the context within the image.
    halve : bool
        Whether a strided convolution halves the backbone's last map first, as for HRNet on Cityscapes.
    dropout : float
        Probability of dropping a channel before the classifiers.
    early_weight : float
        Weight of the loss of the prediction that chooses what to recall.
    memory_weight : float
        Weight of the loss that asks the classifier to tell the memory's classes apart, from the second epoch on; 0
        leaves it out. 1 for ADE20K.
    momentum : float
        How far the memory moves towards each batch. It follows the learning rate: this is its value at the full one.
    aux_weight : float
        Weight of each auxiliary head's loss; 0 leaves them out.
    aux_channels : int
        Channels of the auxiliary heads.
    aux_indices : sequence of int
        Which of the backbone's maps have an auxiliary head: the last but one, or for ViT-Large all but the last.
    aux_convs : int
        Convolutions in each of them.
    aux_upsample : int
        How many times larger each of those convolutions makes the map: 4 for ViT-Large.
    leaky : bool
        Whether the heads have leaky ReLUs, as SSSegmentation's models for human parsing on ResNets.
    align_corners : bool
        How features and logits are resized.
    """
    head = MCIBIHead(
        backbone.channels[-1],
        num_classes,
        channels=channels,
        inner_channels=inner_channels,
        dilations=dilations,
        halve=halve,
        dropout=dropout,
        early_weight=early_weight,
        memory_weight=memory_weight,
        momentum=momentum,
        align_corners=align_corners,
    )
    auxiliary = [
        (
            UpsamplingFCNHead(
                backbone.channels[index],
                num_classes,
                index=index,
                channels=aux_channels,
                num_convs=aux_convs,
                upsample=aux_upsample,
                dropout=dropout,
                align_corners=align_corners,
            ),
            aux_weight,
        )
        for index in (aux_indices if aux_weight else ())
    ]
    for each in (head, *(aux for aux, _ in auxiliary)):
        if leaky:
            replace_relu_with_leaky_relu(each)
    return Segmentor(backbone, head, auxiliary)
