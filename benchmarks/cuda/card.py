"""What the machine is, and the limits that are measured on it."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, dataclass

import torch

from benchmarks.cuda.timing import Stopwatch, run


@dataclass(frozen=True)
class Card:
    """A device with what it reaches.

    Attributes
    ----------
    name : str
        Of the device.
    gib : float or None
        Its memory.
    versions : dict
        Of the driver, CUDA, cuDNN, PyTorch, Triton and Python.
    matrix_tflops : float
        The rate of a square matrix product in bfloat16 on random data, in TFLOP/s.
    copy_gbs : float
        The bandwidth of a copy, bytes read plus bytes written, in GB/s.
    """

    name: str
    gib: float | None
    versions: dict[str, str]
    matrix_tflops: float
    copy_gbs: float

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items() if version)
        memory = "" if self.gib is None else f", {self.gib:.1f} GiB"
        return (
            f"{self.name}{memory}; {versions}; measured: bfloat16 matrix product {self.matrix_tflops:.3g} TFLOP/s, "
            f"copy {self.copy_gbs:.3g} GB/s"
        )

    def data(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)


def measure_card(device: torch.device, *, tiny: bool) -> Card:
    """Return what the device is and reaches."""
    cuda = device.type == "cuda"
    side, copied = (256, 2**20) if tiny or not cuda else (8192, 2**32)
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = _median(device, lambda: left @ right)
    source = torch.randint(0, 255, (copied,), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    copy = _median(device, lambda: target.copy_(source))
    properties = torch.cuda.get_device_properties(device) if cuda else None
    return Card(
        name=properties.name if properties else "CPU",
        gib=properties.total_memory / 2**30 if properties else None,
        versions=_versions(cuda),
        matrix_tflops=2 * side**3 / product / 1e9,
        copy_gbs=2 * copied / copy / 1e6,
    )


def _median(device: torch.device, step: object) -> float:
    watch = Stopwatch(device, warmup=3, steps=10)
    run(step, watch)  # type: ignore[arg-type]
    return watch.result().milliseconds


def _versions(cuda: bool) -> dict[str, str]:
    import platform

    versions = {"Python": platform.python_version(), "PyTorch": torch.__version__}
    if cuda:
        versions |= {"CUDA": str(torch.version.cuda), "cuDNN": str(torch.backends.cudnn.version()), "driver": _driver()}
    try:
        import triton

        versions["Triton"] = triton.__version__
    except ImportError:
        pass
    return versions


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0].strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
