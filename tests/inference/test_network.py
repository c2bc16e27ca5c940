"""The forward pass of prediction, compiled and not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.small import small_head

from vitrail import Predictor, Segmentor
from vitrail.errors import DeviceError

NORMALISATION: Any = {"mean": (120.0, 115.0, 100.0), "std": (60.0, 60.0, 60.0), "device": "cpu"}


def model() -> Segmentor:
    return small_head("fcn").eval()


def test_graphs_need_cuda_and_names_are_checked() -> None:
    with pytest.raises(DeviceError, match=r"compile=graphs needs a CUDA device.*compile=inductor or none"):
        Predictor(model(), compile="graphs", **NORMALISATION)
    with pytest.raises(DeviceError, match=r"unknown compile='graph'.*Did you mean 'graphs'"):
        Predictor(model(), compile="graph", **NORMALISATION)  # type: ignore[arg-type]


@pytest.mark.parametrize("amp", ["none", "bfloat16"])
def test_a_compiled_predictor_segments_as_the_model_does(amp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compile, own = torch.compile, model()
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: compile(function, backend="aot_eager"))
    compiled = Predictor(own, compile="inductor", amp=amp, **NORMALISATION)
    image = torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8)
    expected = Predictor(own, amp=amp, **NORMALISATION).scores([image])[0]
    torch.testing.assert_close(
        compiled.scores([image])[0], expected, rtol=1e-2 if amp == "bfloat16" else 1e-5, atol=1e-2
    )
    assert next(own.parameters()).dtype == torch.float32  # a copy is in half precision
