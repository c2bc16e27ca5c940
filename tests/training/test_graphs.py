"""Training steps recorded as CUDA graphs: the same training as without, and clear errors where there can be none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny
from torch import Tensor, nn

from vitrail import create_model
from vitrail.errors import DeviceError, TrainingError
from vitrail.runtime.graphs import GraphedStep
from vitrail.training import TrainingResult, TrainingRun, train
from vitrail.training.setup import no_graph_because

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: graphs are recorded there")
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


def run(folder: Path, *, resume: bool = False, **changes: Any) -> TrainingResult:
    recipe = tiny.recipe(train__compile="graphs", **changes)
    return train(recipe, output_dir=folder, device="cuda", resume=resume)


def weights(result: TrainingResult) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in result.model.state_dict().items()}


@pytest.mark.parametrize(
    ("method", "changes", "device", "problem"),
    [
        ("tiny", {}, "cuda", None),
        ("tiny", {}, "cpu", "it needs a CUDA device, not cpu"),
        ("tiny", {"train__accumulate": 2}, "cuda", "it needs train.accumulate=1"),
        ("mcibi", {}, "cuda", "the training step of MCIBIHead changes during the run"),
    ],
)
def test_why_no_graph_can_be_recorded(method: str, changes: dict[str, Any], device: str, problem: str | None) -> None:
    model = create_model(method, num_classes=3, backbone="resnet18" if method == "mcibi" else "tiny")
    assert no_graph_because(model, tiny.recipe(**changes).train, torch.device(device)) == problem


def test_a_run_on_the_cpu_refuses_graphs(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"it needs a CUDA device, not cpu; use train\.compile=none or inductor"):
        train(tiny.recipe(train__compile="graphs"), output_dir=tmp_path, device="cpu")


@needs_cuda
@pytest.mark.parametrize("amp", ["none", "bfloat16", "float16"])
def test_training_is_bit_for_bit_that_without_a_graph(tmp_path: Path, amp: str) -> None:
    changes = {"train__deterministic": True, "train__amp": amp, "train__iterations": 4}
    graphed = run(tmp_path / "graphs", **changes)
    eager = train(tiny.recipe(**changes), output_dir=tmp_path / "eager", device="cuda")
    for name, value in weights(eager).items():
        assert torch.equal(weights(graphed)[name], value), name


class Interrupted(TrainingRun):
    def step(self) -> None:
        if self.state.iteration == 3:
            raise KeyboardInterrupt
        super().step()


@needs_cuda
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"train__deterministic": True, "train__save_every": 2, "train__iterations": 4}
    whole = run(tmp_path / "whole", **changes)
    with pytest.raises(KeyboardInterrupt):
        Interrupted(tiny.recipe(train__compile="graphs", **changes), output_dir=tmp_path / "parts", device="cuda").run()
    resumed = run(tmp_path / "parts", resume=True, **changes)
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name


@needs_cuda
def test_a_step_that_waits_for_the_device_is_refused_with_the_reason() -> None:
    model = nn.Linear(4, 4).to(CUDA)

    def step(x: Tensor) -> dict[str, Tensor]:
        loss = model(x).mean()
        loss.backward()
        return {"loss": loss.detach() * loss.item()}

    x = torch.ones(2, 4, device=CUDA)
    with pytest.raises(DeviceError, match="cannot be recorded as a CUDA graph"):
        GraphedStep(step, model)(x)
    model.zero_grad(set_to_none=True)
    eager = GraphedStep(step, model, required=False)
    with pytest.warns(UserWarning, match="it runs without one"):
        assert torch.equal(eager(x)["loss"], eager(x)["loss"])


@needs_cuda
def test_gradients_are_those_of_each_batch_and_buffers_advance_once_per_call() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).to(CUDA)

    def step(x: Tensor) -> dict[str, Tensor]:
        loss = model(x).square().sum() * x.mean()
        loss.backward()
        return {"loss": loss.detach()}

    graphed = GraphedStep(step, model)
    for number in (1, 2):
        x = torch.randn(8, 4, device=CUDA)
        loss = graphed(x)["loss"].clone()
        found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        assert model.get_buffer("1.num_batches_tracked").item() == number
        model.zero_grad(set_to_none=True)
        expected = step(x)["loss"]
        model.get_buffer("1.num_batches_tracked").sub_(1)
        assert torch.allclose(loss, expected)
        for gradient, parameter in zip(found, model.parameters(), strict=True):
            assert parameter.grad is not None
            torch.testing.assert_close(gradient, parameter.grad)
        model.zero_grad(set_to_none=True)
