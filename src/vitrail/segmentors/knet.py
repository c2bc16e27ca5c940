"""K-Net: the classifier of another method, updated for each image (Zhang et al., NeurIPS 2021, arXiv:2106.14855)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from vitrail.errors import ModelError
from vitrail.layers.kernel_update import KernelUpdate
from vitrail.losses import resized_loss
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.deeplabv3 import DeepLabV3Head
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.pspnet import PSPHead
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head
from vitrail.segmentors.upernet import UPerHead

Decoder = FCNHead | PSPHead | DeepLabV3Head | UPerHead


@register_segmentor("knet", auxiliary=Auxiliary(channels=(256,)))
class KNetHead(Head):
    """K-Net for semantic segmentation (Zhang, Pang, Chen and Loy, NeurIPS 2021, arXiv:2106.14855).

    The weights of another method's classifier are one kernel per class. Several times, the pixels are averaged by the
    probabilities of each class, and the kernels are updated by these averages and by each other; each update gives
    logits, which are all supervised.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps.
    num_classes : int
        K, the number of classes.
    decoder : {"upernet", "fcn", "pspnet", "deeplabv3"}
        The method whose head makes the map and the first kernels, with its published settings.
    channels : int
        Channels of that map and of the kernels.
    num_updates : int
        Number of updates.
    gate_channels : int
        Channels that the gate of an update reads at once; divides `channels`.
    num_heads, feedforward_channels : int
        Attention heads, and hidden channels of the MLP, of an update.
    update_dropout : float
        Dropout in the updates.
    dropout : float
        Probability of dropping a channel before the first classifier.
    align_corners : bool
        How the decoder's maps and the logits are resized.

    Raises
    ------
    ModelError
        When `gate_channels` or `num_heads` do not divide `channels`.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        decoder: Literal["upernet", "fcn", "pspnet", "deeplabv3"] = "upernet",
        channels: int = 512,
        num_updates: int = 3,
        gate_channels: int = 256,
        num_heads: int = 8,
        feedforward_channels: int = 2048,
        update_dropout: float = 0.0,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        for name, value in (("gate_channels", gate_channels), ("num_heads", num_heads)):
            if channels % value:
                raise ModelError(f"knet: {name}={value} does not divide channels={channels}")
        self.decoder = _build_decoder(decoder, maps, num_classes, channels, dropout, align_corners)
        self.updates = nn.ModuleList(
            KernelUpdate(
                channels,
                gate_channels=gate_channels,
                num_heads=num_heads,
                feedforward_channels=feedforward_channels,
                dropout=update_dropout,
            )
            for _ in range(num_updates)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w], those of the last update."""
        return self._stages(features)[-1]

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses of the last logits, `seg`, and of those before under `stage0`, `stage1`, ...."""
        *early, last = (
            resized_loss(criterion, logits, targets, align_corners=self.align_corners)
            for logits in self._stages(features)
        )
        return {"seg": last, **{f"stage{index}": value for index, value in enumerate(early)}}

    def _stages(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the logits [B, K, h, w] of the decoder and of every update."""
        pixels = self.decoder.pre_logits(features)
        stages = [self.decoder.classifier(self.decoder.dropout(pixels))]
        kernels = self.decoder.classifier.weight.flatten(1).expand(pixels.shape[0], -1, -1)  # [B, K, C]
        for update in self.updates:
            kernels, logits = update(pixels, kernels, stages[-1])
            stages.append(logits)
        return stages


def _build_decoder(
    name: str, maps: FeatureMaps, num_classes: int, channels: int, dropout: float, align_corners: bool
) -> Decoder:
    if name == "fcn":
        return FCNHead(
            maps,
            num_classes,
            channels=channels,
            num_convs=2,
            concat_input=True,
            dropout=dropout,
            align_corners=align_corners,
        )
    kinds: dict[str, type[UPerHead] | type[PSPHead] | type[DeepLabV3Head]] = {
        "upernet": UPerHead,
        "pspnet": PSPHead,
        "deeplabv3": DeepLabV3Head,
    }
    return kinds[name](maps, num_classes, channels=channels, dropout=dropout, align_corners=align_corners)
