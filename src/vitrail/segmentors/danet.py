"""DANet: pixels attend to pixels, and channels to channels (Fu et al., CVPR 2019, arXiv:1809.02983)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers.attention import attend
from vitrail.layers.layout import in_layout_of
from vitrail.layers.scale import LearnedScale
from vitrail.losses import resized_loss
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head


class PositionAttention(nn.Module):
    """Position attention: every pixel attends to all pixels, with a learned residual weight.

    Parameters
    ----------
    channels : int
        C, the channels of the map.
    attention_channels : int
        Channels of queries and keys.
    bias : bool
        Whether the convolutions have biases.
    """

    def __init__(self, channels: int, attention_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, attention_channels, 1, bias=bias)
        self.key = nn.Conv2d(channels, attention_channels, 1, bias=bias)
        self.value = nn.Conv2d(channels, channels, 1, bias=bias)
        self.scale = LearnedScale()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        return x + self.scale(attend(self.query(x), self.key(x), self.value(x), scale=1.0))


class ChannelAttention(nn.Module):
    """Channel attention: every channel attends to all channels, the less alike the more, with a learned weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = LearnedScale()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        # in full precision: sums over all pixels are beyond what float16 can hold
        with torch.autocast(x.device.type, enabled=False):
            channels = x.flatten(2).to(self.scale.weight.dtype)  # [B, C, N]
            weights = (-channels @ channels.transpose(1, 2)).softmax(dim=2)  # [B, C, C]
            context = (weights @ channels).unflatten(2, x.shape[-2:])
            return x + in_layout_of(self.scale(context).to(x.dtype), x)


@register_segmentor("danet", output_stride=8, auxiliary=Auxiliary())
class DAHead(Head):
    """DANet (Fu, Liu, Tian, Li, Bao, Fang and Lu, CVPR 2019, arXiv:1809.02983).

    Position and channel attention side by side; their sum is classified, and in training each of them, too.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions and of both attentions.
    attention_channels : int
        Channels of the queries and keys of pixels.
    attention_bias : bool
        Whether the convolutions that make them have biases: False in SSSegmentation; True in MMSegmentation and in the
        authors' code.
    position_weight, channel_weight : float
        Weights of the losses of either attention's own prediction.
    dropout : float
        Probability of dropping a channel before the classifiers.
    align_corners : bool
        How the logits are resized to the image.
    """

    one_output = True

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        attention_channels: int = 64,
        attention_bias: bool = False,
        position_weight: float = 1.0,
        channel_weight: float = 1.0,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        in_channels = maps.channels[-1]
        self.position = _branch(
            in_channels, channels, PositionAttention(channels, attention_channels, bias=attention_bias)
        )
        self.channel = _branch(in_channels, channels, ChannelAttention())
        self.position_weight = position_weight
        self.channel_weight = channel_weight
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.position_classifier = nn.Conv2d(channels, num_classes, 1)
        self.channel_classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        x = features[-1]
        return self.classifier(self.dropout(self.position(x) + self.channel(x)))

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses `seg` of the prediction, `position` and `channel` of either attention's own."""
        position, channel = self.position(features[-1]), self.channel(features[-1])
        terms = {
            "seg": (self.classifier, position + channel, 1.0),
            "position": (self.position_classifier, position, self.position_weight),
            "channel": (self.channel_classifier, channel, self.channel_weight),
        }
        return {
            name: weight
            * resized_loss(criterion, classifier(self.dropout(x)), targets, align_corners=self.align_corners)
            for name, (classifier, x, weight) in terms.items()
        }


def _branch(in_channels: int, channels: int, attention: nn.Module) -> nn.Sequential:
    return nn.Sequential(ConvNormAct(in_channels, channels, 3), attention, ConvNormAct(channels, channels, 3))
