"""Runs that learn from a teacher: what it adds, where it must not end up, and what is wrong with others."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny
from torch.nn import functional as F

import vitrail
from vitrail.checkpoints.native import save_model
from vitrail.errors import ModelError, TrainingError
from vitrail.recipes import Recipe, model_config_from_dict
from vitrail.segmentors import ModelCard, Segmentor, build_model, create_model
from vitrail.training import train

TEACHER = {"segmentor": "segformer", "backbone": "mit_b0", "options": {"channels": 16, "dropout": 0.0}}
STUDENT = {
    "segmentor": "sctnet",
    "backbone": "sctnet_s",
    "options": {
        **{"channels": 16, "early_channels": 16, "teacher_channels": [160, 256, 64]},
        "alignment": [3.0, 15.0, 15.0, 15.0],
    },
}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


def teacher(**changes: Any) -> Segmentor:
    torch.manual_seed(0)
    model = build_model(model_config_from_dict(TEACHER), len(tiny.BENCHMARK.classes)).eval()
    recipe = {"model": TEACHER, "data": {"dataset": "tiny"}, "train": {"iterations": 1}}
    card = ModelCard(tiny.BENCHMARK.classes, tiny.BENCHMARK.palette, recipe=recipe)
    model.card = replace(card, **changes)
    return model


def recipe(path: Path | None, **changes: Any) -> Recipe:
    given = {} if path is None else {"train__teacher": str(path)}
    return tiny.recipe(**{"model": STUDENT, "train__iterations": 2, "optimizer__lr": 0.001, **given, **changes})


def test_a_run_with_a_teacher(tmp_path: Path) -> None:
    model = teacher()
    save_model(model, tmp_path / "teacher.safetensors")
    result = train(recipe(tmp_path / "teacher.safetensors"), output_dir=tmp_path / "run", device="cpu")
    records = [record for record in result.history if "losses" in record or "loss" in record]
    assert records and all("alignment" in str(record) for record in records)
    student = vitrail.load(tmp_path / "run/last.safetensors")  # which needs no teacher
    names = {name.partition(".projections")[0] for name in student.state_dict() if name.startswith("head.a")}
    assert names == {"head.alignment"}
    assert student(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64, 64)
    longer = recipe(tmp_path / "teacher.safetensors", train__iterations=3)
    train(longer, output_dir=tmp_path / "run", resume=True, device="cpu")
    written = tmp_path / "written.pth"
    vitrail.checkpoints.export_checkpoint(student, written, "sctnet")
    assert not any("alignment" in name for name in vitrail.load(written).state_dict())


def test_the_loss_is_the_equation() -> None:
    model = build_model(model_config_from_dict(STUDENT), 3).double().train()
    other = teacher().double()
    model.head.set_teacher(other)
    images = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    features = model.backbone(images)
    loss = model.head.teacher_losses(images, features)["alignment"]

    maps = other.backbone(images)
    joined = other.head.joined(maps)
    projected = [layer(each) for layer, each in zip(model.head.alignment.projections, features[-3:], strict=True)]
    decoded = F.interpolate(projected[2], joined.shape[-2:], mode="bilinear")
    for channel in range(decoded.shape[1]):
        one, like = decoded[:, channel].clone(), joined[:, channel]
        decoded[:, channel] = (one - one.mean()) / (one.std() + 1e-6) * like.std() + like.mean()
    pairs = [
        (3, other.head.classifier(other.head.fuse(decoded)), other.head(maps)),
        (15, other.head.fuse(decoded), other.head.fuse(joined)),
        (15, projected[1], maps[3]),
        (15, projected[0], maps[2]),
    ]
    expected = torch.zeros((), dtype=torch.float64)
    for weight, ours, theirs in pairs:
        for image in range(2):
            for channel in range(ours.shape[1]):
                p, q = ((x[image, channel].flatten() / 4).softmax(0) for x in (theirs, ours))
                expected += weight * 16 * (p * (p / q).log()).sum() / (2 * ours.shape[1])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    loss.backward()
    assert all(parameter.grad is None for parameter in other.parameters())
    assert not any(other is each for each in model.modules())
    average = copy.deepcopy(model)  # has no teacher of its own
    assert average.head._teacher.model is other


def test_what_is_wrong_with_a_teacher_is_said(tmp_path: Path) -> None:
    path, run = tmp_path / "teacher.safetensors", tmp_path / "run"
    with pytest.raises(ModelError, match=r"needs a teacher to align with.*train\.teacher=…"):
        train(recipe(None), output_dir=tmp_path / "none", device="cpu")
    save_model(teacher(classes=("ground", "blue", "red")), path)
    with pytest.raises(TrainingError, match=r"knows 3 classes \(ground, blue, red, …\), which are not the 3 of tiny"):
        train(recipe(path), output_dir=run, device="cpu")
    save_model(teacher(mean=(0.0, 0.0, 0.0)), path)
    with pytest.raises(TrainingError, match=r"expects images with mean=\[0\.0, 0\.0, 0\.0\] and std="):
        train(recipe(path), output_dir=run, device="cpu")
    save_model(teacher(), path)
    with pytest.raises(ModelError, match=r"TinyHead does not learn from a teacher: leave train\.teacher out"):
        train(recipe(path, model={"segmentor": "tiny"}), output_dir=run, device="cpu")
    with pytest.raises(ModelError, match=r"set model\.options\.alignment=\[3,15,15,15\]"):
        train(recipe(path, model={"segmentor": "sctnet"}), output_dir=run, device="cpu")
    model = build_model(model_config_from_dict({**STUDENT, "options": {"alignment": [1, 1, 1, 1]}}), 3)
    with pytest.raises(
        ModelError, match=r"has \[320, 512, 1024\] channels.*SegFormer of 3 classes that has \[160, 256, 64\]"
    ):
        model.head.set_teacher(teacher())
    with pytest.raises(ModelError, match=r"this teacher is a FCN of 3 classes"):
        model.head.set_teacher(create_model("fcn", "test_resnet", 3, channels=16))


def test_a_wrong_number_of_weights_is_said() -> None:
    with pytest.raises(ModelError, match=r"alignment of sctnet takes 4 weights of 0 or more, not \[3\.0\]"):
        create_model("sctnet", "sctnet_s", 3, alignment=[3.0])
    with pytest.raises(ModelError, match=r"4 weights of 0 or more, not \[3\.0, 15\.0, 15\.0, -1\.0\]"):
        create_model("sctnet", "sctnet_s", 3, alignment=[3.0, 15.0, 15.0, -1.0])
    with pytest.raises(ModelError, match="alignment: there is no feature map -3"):
        create_model("sctnet", tiny.TinyBackbone(), 3, alignment=[1.0] * 4)
