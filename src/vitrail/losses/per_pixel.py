"""Losses of every pixel at the resolution of the targets, computed from the logits at the resolution of the head.

Resized logits of all classes take B × K × H × W values, the largest tensor of a training step by far; here they exist
in bands of rows (on the CPU) or in registers (in the CUDA kernel) only, in the forward and in the backward pass. On the
CPU, logits of two to four classes are resized, and those that have the size of the targets are taken as they are.

The width is resized first, as a map of its own: it is H / h times smaller than the resized logits. What is left, mixing
two rows for each row of the targets and the loss itself, is one operator, opaque to `torch.compile`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.labels import ignore_index
from vitrail.layers.interpolation import Neighbours, mixing, neighbours
from vitrail.layers.operators import gradient_operator, has_triton, operator
from vitrail.layers.resize import CHANNELS_LAST_FROM, resize

_CPU_BAND_VALUES = 2**19  # 2 MB of float32, near the size of a core's caches
_DEVICE_BAND_VALUES = 2**26  # 256 MB, enough to occupy a device that the kernels do not run on
_RESIZED_CLASSES = 4  # up to which resized logits are small enough to be faster on the CPU: 1.2 to 2.7 times, measured
_MIN_BAND_ROWS = 8  # a band reads the source rows around it, so very thin bands would read each row many times


def per_pixel_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    align_corners: bool = False,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the softmax cross entropy of every pixel, with the logits resized bilinearly to the targets.

    Parameters
    ----------
    logits : Tensor [B, K, h, w]
        Of any size. Sums are in float32, or in float64 for float64 logits.
    targets : Tensor [B, H, W]
        Class indices of any integer type; 255 is ignored, or -1 where there are more than 255 classes.
    align_corners : bool
        How the logits are resized (as in `torch.nn.functional.interpolate`).
    class_weights : Tensor [K], optional
        One factor per class.
    label_smoothing : float
        Share of the target probability that is distributed evenly over all classes.

    Returns
    -------
    Tensor [B, H, W]
        0 at ignored pixels. It equals `F.cross_entropy(F.interpolate(logits, …), targets, reduction="none")`.
    """
    # Without bands, losses of logits that are as large as the targets take 0.55 to 0.7 of the time on the CPU.
    plain = logits.shape[1] <= _RESIZED_CLASSES or logits.shape[-2:] == targets.shape[-2:]
    if plain and logits.device.type == "cpu":
        return _of_resized(logits, targets, class_weights, label_smoothing, align_corners=align_corners)
    keep, spread = 1 - label_smoothing, label_smoothing / logits.shape[1]
    return _per_pixel(logits, targets, class_weights, keep, spread, binary=False, align_corners=align_corners)


def per_pixel_binary_cross_entropy(
    logits: Tensor, targets: Tensor, *, align_corners: bool = False, class_weights: Tensor | None = None
) -> Tensor:
    """Return the binary cross entropy of each class against all others, summed over the classes, of every pixel.

    Parameters and result are as in `per_pixel_cross_entropy`; a class weight multiplies the loss of its class.
    """
    return _per_pixel(logits, targets, class_weights, 1.0, 0.0, binary=True, align_corners=align_corners)


def _of_resized(
    logits: Tensor, targets: Tensor, class_weights: Tensor | None, label_smoothing: float, *, align_corners: bool
) -> Tensor:
    """Return the softmax cross entropy of every pixel from resized logits of all classes."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(
        resize(logits, targets.shape[-2:], align_corners=align_corners),
        targets.long(),
        weight=None if class_weights is None else class_weights.to(logits.dtype),
        ignore_index=ignore_index(logits.shape[1]),
        reduction="none",
        label_smoothing=label_smoothing,
    )


def _per_pixel(
    logits: Tensor,
    targets: Tensor,
    class_weights: Tensor | None,
    keep: float,
    spread: float,
    *,
    binary: bool,
    align_corners: bool,
) -> Tensor:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if class_weights is None:
        class_weights = logits.new_ones(logits.shape[1])
    # The CUDA kernel reads all classes of a pixel at once.
    few = logits.shape[1] < CHANNELS_LAST_FROM and not logits.is_cuda
    layout = torch.contiguous_format if few else torch.channels_last
    size = (logits.shape[-2], targets.shape[-1])
    rows = resize(logits.contiguous(memory_format=layout), size, align_corners=align_corners)
    weights = class_weights.to(rows.dtype)
    return _row_loss(rows, targets, weights, keep, spread, binary, align_corners)[0]


# In the operators below, `rows` [B, K, h, W] are logits that have the width of the targets [B, H, W] already. The loss
# of a pixel with target t and logits x is, where w are the weights,
#   softmax:  keep × w[t] × (lse - x[t]) + spread × Σ w[k] × (lse - x[k]),   lse = log Σ exp(x[k])
#   binary:   Σ w[k] × softplus(x[k]) - w[t] × x[t]


def _fake_gradient(
    gradient: Tensor,
    rows: Tensor,
    targets: Tensor,
    weights: Tensor,
    lse: Tensor,
    keep: float,
    spread: float,
    binary: bool,
    align_corners: bool,
) -> Tensor:
    return torch.empty_like(rows)


@gradient_operator("row_loss_backward", fake=_fake_gradient)
def _row_loss_backward(
    gradient: Tensor,
    rows: Tensor,
    targets: Tensor,
    weights: Tensor,
    lse: Tensor,
    keep: float,
    spread: float,
    binary: bool,
    align_corners: bool,
) -> Tensor:
    """Return the gradient of `rows`, given that of the loss, [B, H, W]; each pixel's logits are computed again."""
    if (kernels := _kernels(rows)) is not None:
        found: Tensor = kernels.backward(gradient, rows, targets, weights, lse, keep, spread, binary, align_corners)
        return found
    result, ignored = torch.zeros_like(rows), ignore_index(rows.shape[1])
    for image, band in _bands(rows, targets.shape[1], align_corners):
        logits = band.mix(rows[image])
        target = targets[image, band.start : band.stop]
        factor = torch.where(target != ignored, gradient[image, band.start : band.stop], 0.0)
        target = target.masked_fill(target == ignored, 0).long()
        own = keep * weights[target] * factor
        if binary:
            logits.sigmoid_().mul_(weights[:, None, None]).mul_(factor)
        else:
            logits.sub_(lse[image, band.start : band.stop]).exp_().mul_(own + spread * weights.sum() * factor)
            if spread:
                logits.addcmul_(weights[:, None, None], factor, value=-spread)
        logits.scatter_add_(0, target[None], -own[None])
        band.add_transposed(result[image], logits)
    return result


def _fake(
    rows: Tensor, targets: Tensor, weights: Tensor, keep: float, spread: float, binary: bool, align_corners: bool
) -> tuple[Tensor, Tensor]:
    return rows.new_empty(targets.shape), rows.new_empty(targets.shape)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    rows, targets, weights, *ctx.options = inputs
    ctx.save_for_backward(rows, targets, weights, output[1])
    ctx.set_materialize_grads(False)  # there is none for the log-sum-exp


def _rows_gradient(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if gradient is None:
        return (None,) * 7
    rows, targets, weights, lse = ctx.saved_tensors
    result = _row_loss_backward(gradient.contiguous(), rows, targets, weights, lse, *ctx.options)
    return result, None, None, None, None, None, None


@operator("row_loss", fake=_fake, save=_save_inputs, gradient=_rows_gradient)
def _row_loss(
    rows: Tensor, targets: Tensor, weights: Tensor, keep: float, spread: float, binary: bool, align_corners: bool
) -> tuple[Tensor, Tensor]:
    """Return the loss [B, H, W], and the log-sum-exp [B, H, W] that its gradient needs (zeros for `binary`)."""
    if (kernels := _kernels(rows)) is not None:
        found: tuple[Tensor, Tensor] = kernels.forward(rows, targets, weights, keep, spread, binary, align_corners)
        return found
    loss = rows.new_empty(targets.shape)
    lse, ignored = rows.new_zeros(targets.shape), ignore_index(rows.shape[1])
    for image, band in _bands(rows, targets.shape[1], align_corners):
        logits = band.mix(rows[image])
        target = targets[image, band.start : band.stop]
        valid, target = target != ignored, target.masked_fill(target == ignored, 0).long()
        own = logits.gather(0, target[None])[0]
        if binary:
            value = (F.softplus(logits) * weights[:, None, None]).sum(0) - weights[target] * own
        else:
            total = logits.logsumexp(0)
            value = keep * weights[target] * (total - own)
            if spread:
                value += spread * (weights.sum() * total - torch.einsum("k,khw->hw", weights, logits))
            lse[image, band.start : band.stop] = total
        loss[image, band.start : band.stop] = torch.where(valid, value, 0.0)
    return loss, lse


def _kernels(rows: Tensor) -> Any:
    """Return the module of CUDA kernels, or None where the tensors are elsewhere or Triton is not installed."""
    if not rows.is_cuda or not has_triton():
        return None
    from vitrail.losses import per_pixel_triton

    return per_pixel_triton if per_pixel_triton.supports(rows) else None


class _Band(NamedTuple):
    """Rows start:stop of the targets, and how they are mixed from rows first:last of the logits.

    `mixing` [stop - start, last - first] is None where rows are taken as they are.
    """

    start: int
    stop: int
    first: int
    last: int
    mixing: Tensor | None

    def mix(self, rows: Tensor) -> Tensor:
        """Return the band [K, stop - start, W] of one image's rows [K, h, W], in their memory format."""
        source = rows[:, self.first : self.last]
        if self.mixing is None:
            return source.clone()
        if rows.stride(0) != 1:
            return torch.matmul(self.mixing, source)
        mixed = torch.matmul(self.mixing, source.permute(1, 2, 0).flatten(1))
        return mixed.unflatten(1, (rows.shape[2], rows.shape[0])).permute(2, 0, 1)

    def add_transposed(self, rows: Tensor, band: Tensor) -> None:
        """Add to the gradient of `rows` [K, h, W] what that of `band` [K, stop - start, W] contributes."""
        source = rows[:, self.first : self.last]
        if self.mixing is None:
            source += band
        elif rows.stride(0) != 1:
            source += torch.matmul(self.mixing.t(), band)
        else:
            source.permute(1, 2, 0).flatten(1).addmm_(self.mixing.t(), band.permute(1, 2, 0).flatten(1))


def _bands(rows: Tensor, height: int, align_corners: bool) -> Iterator[tuple[int, _Band]]:
    """Yield the bands of each image of `rows` [B, K, h, W], resized to `height`, with the index of the image."""
    batch, classes, source, width = rows.shape
    values = _CPU_BAND_VALUES if rows.device.type == "cpu" else _DEVICE_BAND_VALUES
    step = max(_MIN_BAND_ROWS, values // max(classes * width, 1))
    table = neighbours(source, height, align_corners, double=rows.dtype == torch.float64)
    bands = [_band(table, start, min(start + step, height), source == height, rows) for start in range(0, height, step)]
    for image in range(batch):
        for band in bands:
            yield image, band


def _band(table: Neighbours, start: int, stop: int, same: bool, like: Tensor) -> _Band:
    if same:
        return _Band(start, stop, start, stop, None)
    part = Neighbours(*(values[start:stop] for values in table))
    first, last = int(part.first[0]), int(part.second[-1]) + 1
    return _Band(start, stop, first, last, mixing(part, first, last).to(like))
