"""DPT: maps of a plain transformer, reassembled at four sizes and fused (Ranftl et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.errors import ModelError
from vitrail.layers import enlarge, resize
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


class Reassemble(nn.Module):
    """Project the pixels of a map together with the class token, and bring the map to another size.

    Parameters
    ----------
    in_channels : int
        Channels of the map: those of the pixels, and as many of the class token.
    channels : int
        Channels of the result.
    scale : {4, 2, 1, 0.5}
        How much larger the result is.
    """

    def __init__(self, in_channels: int, channels: int, scale: float) -> None:
        super().__init__()
        width = in_channels // 2
        self.readout = nn.Conv2d(in_channels, width, 1)
        self.act = nn.GELU()
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
    first : bool
        Whether nothing is fused yet: the map alone is refined.
    """

    def __init__(self, channels: int, *, first: bool) -> None:
        super().__init__()
        self.side = None if first else ResidualUnit(channels)
        self.refine = ResidualUnit(channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, finer: Tensor | None = None) -> Tensor:
        """Fuse [B, C, h, w] with a map, which is brought to its size, into [B, C, 2 h, 2 w]."""
        if self.side is not None and finer is not None:
            x = x + self.side(resize(finer, x.shape[-2:]))
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
        pixels and then those of the class token (`append_class_token` of the backbone).
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the fused maps.
    map_channels : sequence of int
        Channels of the four maps when they have been reassembled, the finest first.
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
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        maps.check_index(-4, "dpt")
        if len(map_channels) != 4:
            raise ModelError(f"dpt: map_channels has {len(map_channels)} numbers for four maps")
        self.reassemble = nn.ModuleList(
            Reassemble(width, out, scale)
            for width, out, scale in zip(maps.channels[-4:], map_channels, (4, 2, 1, 0.5), strict=True)
        )
        self.convs = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1, bias=False) for width in map_channels)
        self.fusions = nn.ModuleList(Fusion(channels, first=index == 0) for index in range(4))
        self.project = ConvNormAct(channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's last four maps into logits [B, K, 8 h, 8 w]."""
        finest, *others = (
            conv(reassemble(x)) for conv, reassemble, x in zip(self.convs, self.reassemble, features[-4:], strict=True)
        )
        coarsest_first = [*reversed(others), finest]
        first, *fusions = self.fusions
        x = first(coarsest_first[0])
        for fusion, finer in zip(fusions, coarsest_first[1:], strict=True):
            x = fusion(x, finer)
        return self.classifier(self.dropout(self.project(x)))
