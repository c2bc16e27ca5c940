"""Whether the device computes what the CPU does, for every method, and whether half precision stays finite."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from benchmarks.cuda.switches import convolution_tf32, half, matmul_tf32, torch_defaults
from parity.references import without_dropout
from vitrail import create_model, list_segmentors
from vitrail.precision import Precision
from vitrail.runtime.device import autocast

CLASSES = 19
TOLERANCE = 1e-4  # of the largest logit, in float32


@dataclass(frozen=True)
class Check:
    """What was found about a method.

    Attributes
    ----------
    method : str
        Its name.
    difference : float or None
        The largest difference of the logits between CPU and device in float32 without TF32, over the largest logit.
    infinite : tuple of str
        What is not finite in half precision.
    error : str
        What went wrong.
    """

    method: str
    difference: float | None = None
    infinite: tuple[str, ...] = ()
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether all is well."""
        return not self.error and not self.infinite and self.difference is not None and self.difference < TOLERANCE

    def __str__(self) -> str:
        if self.error:
            return f"{self.method}: {self.error}"
        found = ", ".join(self.infinite)
        halves = f"NOT FINITE: {found}" if found else "half precision finite"
        mark = "" if self.passed else "  <-- FAILED"
        return f"{self.method}: float32 within {self.difference:.1e} of the CPU, {halves}{mark}"

    def data(self) -> dict[str, object]:
        """Return plain data."""
        return {**asdict(self), "passed": self.passed}


def check_methods(device: torch.device, seconds: float) -> Iterator[Check]:
    """Check one method after the other until the time is up; a method without time is reported as left out."""
    end = time.monotonic() + seconds
    for method in list_segmentors():
        if time.monotonic() > end:
            yield Check(method, error="left out: no time")
            continue
        try:
            with torch_defaults():
                yield check_method(method, device)
        except Exception as error:  # one that fails must not hide the others
            yield Check(method, error=f"{type(error).__name__}: {error}")


def check_method(method: str, device: torch.device, size: tuple[int, int] = (96, 128)) -> Check:
    """Check one method on its own encoder with fresh weights."""
    matmul_tf32(False)
    convolution_tf32(False)
    torch.manual_seed(0)
    model: nn.Module = without_dropout(create_model(method, num_classes=CLASSES)).eval()
    images = torch.randn(2, 3, *size)
    targets = torch.randint(0, CLASSES, (2, *size))
    targets[:, :8] = 255
    with torch.no_grad():
        expected = model(images)
        model = model.to(device, memory_format=torch.channels_last)
        found = model(images.to(device, memory_format=torch.channels_last)).cpu()
    difference = ((found - expected).abs().max() / expected.abs().max()).item()
    precisions = dict.fromkeys(half(device, amp) for amp in ("bfloat16", "float16"))
    infinite = [
        f"{what} in {amp}"
        for amp in precisions
        for what in _infinite(model, images.to(device), targets.to(device), amp)
    ]
    return Check(method, difference, tuple(infinite))


def _infinite(model: nn.Module, images: Tensor, targets: Tensor, amp: Precision) -> list[str]:
    """Return which of logits, losses and gradients are not finite."""
    device = images.device
    model.eval()
    with torch.no_grad(), autocast(device, amp):
        finite = {"logits": model(images).isfinite().all()}
    model.train()
    with autocast(device, amp):
        total = torch.stack(list(model(images, targets).values())).sum()
    total.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    finite["losses"] = total.isfinite()
    finite["gradients"] = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
    model.zero_grad(set_to_none=True)
    return [name for name, value in finite.items() if not value.item()]
