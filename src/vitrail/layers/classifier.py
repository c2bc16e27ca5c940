"""A convolution before a classifier."""

from __future__ import annotations

from timm.layers import ConvNormAct
from torch import nn


class ConvClassifier(nn.Sequential):
    """A convolution with batch norm and ReLU, dropout, and the 1×1 convolution that classifies.

    Parameters
    ----------
    in_channels, channels : int
        Of its input, and between the two convolutions.
    num_classes : int
        K, the number of classes.
    kernel_size : int
        Of the first convolution.
    dropout : float
        Probability of dropping a channel before the classifier.
    """

    def __init__(
        self, in_channels: int, channels: int, num_classes: int, *, kernel_size: int = 1, dropout: float
    ) -> None:
        super().__init__(
            ConvNormAct(in_channels, channels, kernel_size),
            nn.Dropout2d(dropout),
            nn.Conv2d(channels, num_classes, 1),
        )
