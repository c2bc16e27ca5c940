"""Devices and precisions that are there, and those that are not."""

from __future__ import annotations

import pytest
import torch

from vitrail.errors import DeviceError
from vitrail.runtime.device import autocast, memory_layout, pick_device


def test_the_best_device_is_picked() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device().type == best
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(torch.device("cpu")) == torch.device("cpu")


def test_devices_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match=r"unknown device 'gpu'; try cpu, cuda"):
        pick_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="device cuda asked for, but torch sees none"):
        pick_device("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="device mps asked for, but torch sees none"):
        pick_device("mps")


def test_cuda_is_numbered_by_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda") == torch.device("cuda", 0)
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert pick_device() == torch.device("cuda", 1)
    assert pick_device("cuda:0") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(DeviceError, match=r"cuda:2 asked for, but torch sees 2 \(cuda:0 to cuda:1\)"):
        pick_device()


def test_autocast_computes_in_the_precision_asked_for() -> None:
    layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    for amp, dtype in (("none", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        with autocast(torch.device("cpu"), amp):  # type: ignore[arg-type]
            assert layer(x).dtype == dtype


def test_bfloat16_on_a_device_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    with pytest.raises(DeviceError, match=r"Old GPU has no bfloat16; use amp=float16"):
        autocast(torch.device("cuda", 0), "bfloat16")


def test_models_train_channels_last_but_on_the_cpu() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert memory_layout(None, cpu) == torch.contiguous_format
    assert memory_layout(None, cuda) == torch.channels_last
    assert memory_layout(True, cpu) == torch.channels_last
    assert memory_layout(False, cuda) == torch.contiguous_format
