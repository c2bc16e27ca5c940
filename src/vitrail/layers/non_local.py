"""Non-local block: every pixel of a map gets a weighted mean of all pixels."""

from __future__ import annotations

from typing import Literal, get_args

from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.errors import ModelError
from vitrail.layers.attention import attend

Pairwise = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]


class NonLocalBlock(nn.Module):
    """Non-local block with a residual connection (Wang et al., CVPR 2018, arXiv:1711.07971).

    Parameters
    ----------
    channels : int
        C, the channels of the map.
    reduction : int
        By how much queries, keys and values have fewer channels.
    scale : bool
        Whether the embedded Gaussian divides its scores by the root of the number of channels; the paper does not.
    pairwise : {"embedded_gaussian", "gaussian", "dot_product", "concatenation"}
        How two pixels are compared, in the words of the paper's section 3.2. The Gaussian compares the map itself;
        concatenation takes a ReLU of a linear function of query and key.

    Raises
    ------
    ModelError
        For another `pairwise` than these.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 2,
        scale: bool = True,
        pairwise: Pairwise = "embedded_gaussian",
    ) -> None:
        super().__init__()
        if pairwise not in get_args(Pairwise):
            raise ModelError(f"pairwise must be one of {', '.join(get_args(Pairwise))}, not {pairwise!r}")
        inner = max(channels // reduction, 1)
        self.pairwise = pairwise
        self.scale = inner**-0.5 if scale and pairwise == "embedded_gaussian" else 1.0
        self.value = nn.Conv2d(channels, inner, 1)
        if pairwise != "gaussian":
            self.query = nn.Conv2d(channels, inner, 1)
            self.key = nn.Conv2d(channels, inner, 1)
        if pairwise == "concatenation":
            self.compare = nn.Conv2d(2 * inner, 1, 1, bias=False)
        self.out = ConvNormAct(inner, channels, 1, apply_act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        return x + self.out(self.gather(x))

    def gather(self, x: Tensor) -> Tensor:
        """Return the weighted mean of all pixels for every pixel of [B, C, h, w]: [B, C / reduction, h, w]."""
        value = self.value(x)
        if self.pairwise == "gaussian":
            return attend(x, x, value, scale=1.0)
        query, key = self.query(x), self.key(x)
        if self.pairwise == "embedded_gaussian":
            return attend(query, key, value, scale=self.scale)
        pixels = value.flatten(2).transpose(1, 2)  # [B, N, D]
        if self.pairwise == "dot_product":  # no softmax: keys and values first, whose product is small
            moments = key.flatten(2) @ pixels / pixels.shape[1]  # [B, D, D]
            return (moments.transpose(1, 2) @ query.flatten(2)).unflatten(2, x.shape[-2:])
        weights = self._concatenated(query, key) / pixels.shape[1]  # [B, N, N]
        return (weights @ pixels).transpose(1, 2).unflatten(2, x.shape[-2:])

    def _concatenated(self, query: Tensor, key: Tensor) -> Tensor:
        """Return ReLU(w · [query, key]) for all pairs: a linear function of both is the sum of one of each."""
        first, second = self.compare.weight.chunk(2, dim=1)
        return F.relu(F.conv2d(query, first).flatten(2).transpose(1, 2) + F.conv2d(key, second).flatten(2))
