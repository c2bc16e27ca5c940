"""DPT: maps of a plain transformer, reassembled at four sizes and fused (Ranftl et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.errors import ModelError
from vitrail.layers import enlarge, resize
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head

Readout = Literal["project", "add", "ignore"]


class AddedToken(nn.Module):
    """The sum of the pixels' channels and those of the class token, which stand behind them."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, 2 C, h, w] to [B, C, h, w]."""
        pixels, token = x.chunk(2, dim=1)
        return pixels + token


class Reassemble(nn.Module):
    """Join the pixels of a map with the class token, project them, and bring the map to another size.

    Parameters
    ----------
    in_channels : int
        Channels of the map: those of the pixels, and as many of the class token, but for `readout` "ignore".
    channels : int
        Channels of the result.
    scale : {4, 2, 1, 0.5}
        How much larger the result is.
    readout : {"project", "add", "ignore"}
        How the class token is joined: projected with the pixels, added to them, or not there.
    """

    def __init__(self, in_channels: int, channels: int, scale: float, readout: Readout) -> None:
        super().__init__()
        width = in_channels if readout == "ignore" else in_channels // 2
        self.readout: nn.Module = nn.Identity() if readout == "ignore" else AddedToken()
        self.act: nn.Module = nn.Identity()
        if readout == "project":
            self.readout, self.act = nn.Conv2d(in_channels, width, 1), nn.GELU()
        self.project = nn.Conv2d(width, channels, 1)
        self.rescale: nn.Module = nn.Identity()
        if scale > 1:
            self.rescale = nn.ConvTranspose2d(channels, channels, int(scale), stride=int(scale))
        elif scale < 1:
            self.rescale = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, scale × h, scale × w]."""
        return self.rescale(self.project(self.act(self.readout(x))))


class ResidualUnit(nn.Module):
    """Two convolutions with batch norms, each behind a ReLU, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (
                    nn.ReLU(),
                    nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                )
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        return x + self.body(x)


class Fusion(nn.Module):
    """Add a finer map to what is fused already, refine the sum, and enlarge it twice.

    Parameters
    ----------
    channels : int
        Channels of all maps.
    side : bool
        Whether the map that comes in passes a residual unit of its own.
    """

    def __init__(self, channels: int, *, side: bool) -> None:
        super().__init__()
        self.side = ResidualUnit(channels) if side else None
        self.refine = ResidualUnit(channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, finer: Tensor | None = None) -> Tensor:
        """Fuse [B, C, h, w] with a map, which is brought to its size, into [B, C, 2 h, 2 w]."""
        if self.side is not None:
            x = self.side(x) if finer is None else x + self.side(resize(finer, x.shape[-2:]))
        return self.project(enlarge(self.refine(x), 2, align_corners=True))


@register_segmentor(
    "dpt",
    backbone="vit_base_patch16_224",
    backbone_options={"out_indices": [2, 5, 8, 11], "append_class_token": True},
)
class DPTHead(Head):
    """Dense prediction transformer (Ranftl, Bochkovskiy and Koltun, ICCV 2021, arXiv:2103.13413).

    Four maps of a plain transformer, each with the class token at every pixel, are reassembled at strides 4, 8, 16 and
    32, and fused from the coarsest to the finest by residual units and 2× resizes.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last four, all at one stride, whose channels are those of the
        pixels and then those of the class token (`append_class_token` of the backbone) unless `readout` is "ignore".
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the fused maps.
    map_channels : sequence of int
        Channels of the four maps when they have been reassembled, the finest first.
    readout : {"project", "add", "ignore"}
        What is done with the class token: it is projected together with each pixel, added to it, or not there.
    refine_coarsest : bool
        Whether the coarsest map passes two residual units before it is enlarged, as in segmentation_models_pytorch,
        instead of one.
    double_logits : bool
        Whether the head enlarges the logits twice with aligned corners, as in transformers, before any other resize.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image; maps are always enlarged with aligned corners.

    Raises
    ------
    ModelError
        For other than four numbers in `map_channels`, and for fewer maps.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 256,
        map_channels: Sequence[int] = (96, 192, 384, 768),
        readout: Literal["project", "add", "ignore"] = "project",
        refine_coarsest: bool = False,
        double_logits: bool = False,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        maps.check_index(-4, "dpt")
        if len(map_channels) != 4:
            raise ModelError(f"dpt: map_channels has {len(map_channels)} numbers for four maps")
        self.reassemble = nn.ModuleList(
            Reassemble(width, out, scale, readout)
            for width, out, scale in zip(maps.channels[-4:], map_channels, (4, 2, 1, 0.5), strict=True)
        )
        self.convs = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1, bias=False) for width in map_channels)
        self.fusions = nn.ModuleList(Fusion(channels, side=index > 0 or refine_coarsest) for index in range(4))
        self.project = ConvNormAct(channels, channels, 3)
        self.double_logits = double_logits
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's last four maps into logits [B, K, 8 h, 8 w], or 16 h and 16 w."""
        finest, *others = (
            conv(reassemble(x)) for conv, reassemble, x in zip(self.convs, self.reassemble, features[-4:], strict=True)
        )
        coarsest_first = [*reversed(others), finest]
        first, *fusions = self.fusions
        x = first(coarsest_first[0])
        for fusion, finer in zip(fusions, coarsest_first[1:], strict=True):
            x = fusion(x, finer)
        logits = self.classifier(self.dropout(self.project(x)))
        return enlarge(logits, 2, align_corners=True) if self.double_logits else logits
