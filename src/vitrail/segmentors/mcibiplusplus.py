"""MCIBI++: context from the distributions of all classes' features (Jin et al., TPAMI 2022, arXiv:2209.04471)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.errors import ModelError
from vitrail.layers import ObjectAttention, resize
from vitrail.layers.classifier import ConvClassifier
from vitrail.layers.coarse_context import context_module
from vitrail.layers.feature_pyramid import merge_top_down
from vitrail.layers.soft_class_memory import SoftClassMemory
from vitrail.losses import resized_loss
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head


@register_segmentor("mcibiplusplus", output_stride=8, auxiliary=Auxiliary())
class MCIBIPlusPlusHead(Head):
    """MCIBI++ (Jin, Yu, Yuan and Yu, TPAMI 2022, arXiv:2209.04471).

    A first prediction selects class features from a memory of the training set, which are fused with the context
    within the image and, as in UPerNet, with the finer maps. The memory keeps a mean and a standard deviation for each
    class; it is filled in training and saved with the weights.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last, with a feature pyramid all.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the head and of the memory.
    inner_channels : int
        Channels of queries and keys, in which pixels and memory are compared.
    context : {"none", "aspp", "ppm"}
        The context within the image: none, the atrous pyramid of DeepLabv3, or the pyramid pooling of PSPNet.
    dilations : sequence of int
        Of the atrous pyramid.
    pool_sizes : sequence of int
        Sides of the grids of the pyramid pooling.
    attend : bool
        Whether the context within the image attends to that beyond it; otherwise the two are only concatenated.
    pyramid_channels : int
        Channels of the finer levels of a feature pyramid; 0 for none. It needs a context within the image.
    halve : bool
        Whether a strided convolution halves the map before it is compared with the memory, as for HRNet.
    read_by_pixels : bool
        Whether the pixels' own prediction reads the memory even where there is one from the context within the image.
    kernel_size, pixel_kernel_size, context_kernel_size : int
        Of the convolution before the classifier, and before those of the first predictions: of the pixels, and of the
        context within the image.
    pixel_weight, context_weight : float
        Weights of the losses of the first predictions.
    momentum : float
        How far the memory moves towards each batch.
    passes : int
        How often the memory is read in prediction (coarse-to-fine inference): from the second time on, the logits of
        the time before are mixed into the first prediction.
    pass_weights : (float, float)
        The first prediction's and the previous logits' share in that mixture, divided by their sum less 1, as in
        SSSegmentation.
    dropout : float
        Probability of dropping a channel before the classifiers.
    align_corners : bool
        How features and logits are resized.

    Raises
    ------
    ModelError
        For a feature pyramid without a context within the image, and for less than one pass.
    """

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
        attend: bool = True,
        pyramid_channels: int = 0,
        halve: bool = False,
        read_by_pixels: bool = False,
        kernel_size: int = 1,
        pixel_kernel_size: int = 1,
        context_kernel_size: int = 1,
        pixel_weight: float = 0.4,
        context_weight: float = 1.0,
        momentum: float = 0.1,
        passes: int = 1,
        pass_weights: tuple[float, float] = (2.0, 1.5),
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        if passes < 1:
            raise ModelError(f"passes must be at least 1, not {passes}")
        in_channels = maps.channels[-1]
        self.context = context_module(
            context, in_channels, channels, dilations=dilations, pool_sizes=pool_sizes, align_corners=align_corners
        )
        self.project = ConvNormAct(in_channels, channels, 3)
        self.pixel_classifier = ConvClassifier(
            channels, channels, num_classes, kernel_size=pixel_kernel_size, dropout=dropout
        )
        self.memory = SoftClassMemory(num_classes, channels, momentum=momentum)
        self.halve = ConvNormAct(channels, channels, 3, stride=2) if halve else None
        self.beyond = ObjectAttention(channels, inner_channels)
        self.fuse_beyond = ConvNormAct(2 * channels, channels, 3)
        self.context_classifier: nn.Module | None = None
        self.within: nn.Module | None = None
        width = channels
        if self.context is not None:
            self.context_classifier = ConvClassifier(
                channels, channels, num_classes, kernel_size=context_kernel_size, dropout=dropout
            )
            self.within = ObjectAttention(channels, channels // 2) if attend else None
            width = 2 * channels
        self.has_pyramid = pyramid_channels > 0
        if self.has_pyramid:
            if self.context is None:
                raise ModelError("pyramid_channels needs a context within the image: context='aspp' or 'ppm'")
            self.laterals = nn.ModuleList(ConvNormAct(each, width, 1) for each in maps.channels[:-1])
            self.smooth = nn.ModuleList(ConvNormAct(width, pyramid_channels, 3) for _ in maps.channels[:-1])
            width += pyramid_channels * len(self.laterals)
        self.classifier = ConvClassifier(width, channels, num_classes, kernel_size=kernel_size, dropout=dropout)
        self.read_by_pixels = read_by_pixels
        self.pixel_weight = pixel_weight
        self.context_weight = context_weight
        self.passes = passes
        self.pass_weights = pass_weights

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        x, context, pixel_logits, context_logits = self._first(features[-1])
        early = pixel_logits if context_logits is None or self.read_by_pixels else context_logits
        logits = self._fuse(features, x, context, early)
        for _ in range(self.passes - 1):
            ours, theirs = self.pass_weights
            previous = resize(logits, early.shape[-2:], align_corners=self.align_corners)
            logits = self._fuse(features, x, context, (ours * early + theirs * previous) / (ours + theirs - 1))
        return logits

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses `seg`, `pixel` and, where there is a context within the image, `context`.

        The memory is updated with the batch after the predictions.
        """
        x, context, pixel_logits, context_logits = self._first(features[-1])
        early = pixel_logits if context_logits is None or self.read_by_pixels else context_logits
        terms = {"seg": (self._fuse(features, x, context, early), 1.0), "pixel": (pixel_logits, self.pixel_weight)}
        if context_logits is not None:
            terms["context"] = (context_logits, self.context_weight)
        self.memory.update(x.detach(), targets, align_corners=self.align_corners)
        return {
            name: weight * resized_loss(criterion, logits, targets, align_corners=self.align_corners)
            for name, (logits, weight) in terms.items()
        }

    def _first(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """Return the pixels' features, the context within the image, and the first predictions of both."""
        context = None if self.context is None else self.context(x)
        x = self.project(x)
        context_logits = None if self.context_classifier is None else self.context_classifier(context)
        return x, context, self.pixel_classifier(x), context_logits

    def _fuse(self, features: Sequence[Tensor], x: Tensor, context: Tensor | None, early: Tensor) -> Tensor:
        """Return the logits, with the memory read by the logits `early`."""
        beyond = self._beyond(x, early)
        if context is None:
            return self.classifier(beyond)
        if self.within is not None:
            beyond = self.within(context, beyond)
        fused = torch.cat([beyond, context], dim=1)
        if self.has_pyramid:
            fused = merge_top_down(features[:-1], fused, self.laterals, self.smooth, align_corners=self.align_corners)
        return self.classifier(fused)

    def _beyond(self, x: Tensor, early: Tensor) -> Tensor:
        """Return the pixels fused with what they find in the memory."""
        recalled = self.memory(early.softmax(dim=1))
        if self.halve is None:
            recalled = self.beyond(x, recalled)
        else:
            recalled = self.beyond(self.halve(x), self.halve(recalled))
            recalled = resize(recalled, x.shape[-2:], align_corners=self.align_corners)
        return self.fuse_beyond(torch.cat([x, recalled], dim=1))
