"""The graph that is exported: from uint8 images to class indices, with everything in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.export.padding import plain_padding
from vitrail.export.returned import RETURNED, Decision, ExportOutput
from vitrail.layers.interpolation import averaging_matrix
from vitrail.runtime.replacement import Replacement
from vitrail.segmentors import Segmentor
from vitrail.transforms import Normalize


class ExportGraph(nn.Module):
    """A segmentor with normalisation in front and the choice of the class behind.

    Parameters
    ----------
    model : Segmentor
        On the CPU.
    normalize : Normalize
        Of RGB in 0…255.
    output : {"classes", "scores", "raw"}
        What the graph returns: class indices; class indices and the probability of each pixel's class; or what the
        model returns (logits, for most methods).
    threshold : float, optional
        Of two classes: take the second one where its probability is higher than this; None takes the argmax.
    """

    def __init__(
        self, model: Segmentor, normalize: Normalize, output: ExportOutput, threshold: float | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.normalize = normalize
        self.output: ExportOutput = output
        self.returned = RETURNED[output](Decision(model.head.output, threshold))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Segment images [B, 3, H, W], RGB, uint8.

        Returns
        -------
        tuple of Tensor
            Class indices [B, H, W] (uint8, or int32 for more than 255 classes), with "scores" also float32 [B, H, W];
            with "raw" only the model's float32 [B, K, H, W].
        """
        with ExportableOperations(), plain_padding():
            values = self.model((images.to(torch.float32) - self.normalize.mean) / self.normalize.std)
        return self.returned.outputs(values)


class AutocastGraph(nn.Module):
    """A graph that computes convolutions and matrix products in half precision, as PyTorch's autocast does.

    Parameters
    ----------
    graph : ExportGraph
        Whatever it returns in floating point is float32 here too.
    dtype : torch.dtype
        bfloat16 or float16.
    device : str
        Type of the device whose operations autocast chooses.
    """

    def __init__(self, graph: nn.Module, dtype: torch.dtype, device: str) -> None:
        super().__init__()
        self.inner, self.dtype, self.device = graph, dtype, device

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See `ExportGraph`."""
        with torch.autocast(self.device, self.dtype):
            outputs = self.inner(images)
        return tuple(output.float() if output.is_floating_point() else output for output in outputs)


class ExportableOperations(Replacement):
    """Replaces operations that exporters cannot express for any size, or at all, by equal ones that they can.

    Adaptive average pooling becomes two products with averaging matrices: its usual decomposition indexes beyond the
    end at other sizes than the traced one. Attention on tensors of three dimensions gets a dimension for heads, as
    ONNX's translation requires.
    """

    def replaced(self, function: Callable[..., Any], args: Sequence[Any]) -> Callable[..., Any]:
        """See `Replacement`."""
        if function is F.adaptive_avg_pool2d:
            return adaptive_average
        without_heads = function is F.scaled_dot_product_attention and args[0].ndim == 3
        return _attention_of_one_head if without_heads else function


def _attention_of_one_head(query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Tensor:
    """Return attention of tensors [B, N, C], computed as that of one head [B, 1, N, C]."""
    query, key, value = (each.unsqueeze(1) for each in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, *args, **options).squeeze(1)


def adaptive_average(x: Tensor, output_size: int | Sequence[int | None]) -> Tensor:
    """Return `torch.nn.functional.adaptive_avg_pool2d(x, output_size)`, for [..., H, W], as matrix products."""
    sizes = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if sizes == (1, 1):
        return x.mean(dim=(-2, -1), keepdim=True)
    height, width = (length if size is None else size for size, length in zip(sizes, x.shape[-2:], strict=True))
    rows, columns = averaging_matrix(x.shape[-2], height, x), averaging_matrix(x.shape[-1], width, x)
    return rows @ (x @ columns.transpose(0, 1))
