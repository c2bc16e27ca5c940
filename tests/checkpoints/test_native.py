from __future__ import annotations

import dataclasses
import errno
import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from vitrail.checkpoints import load, load_model, native, save_model
from vitrail.errors import CheckpointError
from vitrail.files.atomic import atomic_path
from vitrail.segmentors import Segmentor


def writes_complex_numbers() -> bool:
    try:
        save({"number": torch.zeros(1, dtype=torch.complex64)})
    except KeyError:
        return False
    return True


def rewrite(path: Path, *, tensors=None, change=None) -> None:
    """Write a model file again with other tensors, or with its description changed by `change`."""
    with safe_open(path, framework="pt") as file:
        described = json.loads(file.metadata()["vitrail"])
    described.pop("checksum", None)
    if change:
        change(described)
    with atomic_path(path) as new:  # older versions of safetensors read tensors from the file when they are used
        save_file(tensors if tensors is not None else load_file(path), new, metadata={"vitrail": json.dumps(described)})


def test_a_model_comes_back_with_its_weights_and_card(model: Segmentor, model_file: Path) -> None:
    again = load_model(model_file)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(again(image), model(image))
    assert again.card == model.card
    assert not again.training
    assert json.loads(json.dumps(again.card.to_dict())) == json.loads(json.dumps(model.card.to_dict()))


def test_everyone_whom_the_umask_allows_can_read_the_file(model_file: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(model_file.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_tied_tensors_are_written_once_and_overlapping_ones_apart(model: Segmentor, tmp_path: Path) -> None:
    classifier = next(module for module in model.head.modules() if isinstance(module, torch.nn.Conv2d))
    model.head.tied = classifier
    flat = torch.arange(6.0)
    model.register_buffer("first", flat[:4])
    model.register_buffer("second", flat[2:])
    tensors, aliases = native._without_sharing(model.state_dict())
    assert set(aliases) == {name for name in model.state_dict() if name.startswith("head.tied.")}
    save_file(tensors, tmp_path / "x.safetensors")  # refuses tensors that share memory
    restored = load_file(tmp_path / "x.safetensors")
    assert torch.equal(restored["first"], flat[:4])
    assert torch.equal(restored["second"], flat[2:])


def test_a_model_without_a_card_is_not_saved(model: Segmentor, tmp_path: Path) -> None:
    model.card = None
    with pytest.raises(CheckpointError, match="card"):
        save_model(model, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    model: Segmentor, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = model_file.read_bytes()

    def full_disk(tensors, path, metadata):
        Path(path).write_bytes(before[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(native, "save_file", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save_model(model, model_file)
    assert model_file.read_bytes() == before
    assert list(model_file.parent.iterdir()) == [model_file]


def test_an_interrupt_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("new")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_truncated_files_are_refused(model_file: Path, share: float) -> None:
    data = model_file.read_bytes()
    model_file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"small\.safetensors"):
        load(model_file)


def test_a_file_without_a_card_is_refused(model_file: Path) -> None:
    save_file(load_file(model_file), model_file)
    with pytest.raises(CheckpointError, match="unknown kind"):
        load(model_file)


def test_other_shapes_are_listed_and_counted(model_file: Path) -> None:
    tensors = load_file(model_file)
    kernels = [name for name, tensor in tensors.items() if tensor.ndim == 4][:8]
    for name in kernels:
        tensors[name] = torch.zeros(1, 2, 3, 4)
    rewrite(model_file, tensors=tensors)
    with pytest.raises(CheckpointError, match=r"8 have another shape .*and 3 more") as error:
        load(model_file)
    assert sum(name in str(error.value) for name in kernels) == 5


def test_missing_and_left_over_tensors_are_named(model_file: Path) -> None:
    tensors = load_file(model_file)
    name = next(iter(tensors))
    tensors["stranger.weight"] = tensors.pop(name)
    rewrite(model_file, tensors=tensors)
    with pytest.raises(CheckpointError, match=rf"1 of \d+ tensors are missing \({name}\); 1 are left over \(stranger"):
        load(model_file)


def test_a_class_count_that_disagrees_with_the_weights_is_said(model_file: Path) -> None:
    def add_class(described) -> None:
        described["card"]["classes"].append("car")
        described["card"]["palette"].append([0, 0, 0])

    rewrite(model_file, change=add_class)
    with pytest.raises(CheckpointError, match="weights are for 3 classes, the model has 4"):
        load(model_file)


def test_a_class_count_that_disagrees_with_the_recipe_is_said(model_file: Path) -> None:
    rewrite(model_file, change=lambda described: described["card"]["recipe"]["model"].update(num_classes=7))
    with pytest.raises(CheckpointError, match="recipe says 7 classes, but it names 3"):
        load(model_file)


def test_files_of_a_newer_format_ask_for_an_upgrade(model_file: Path) -> None:
    rewrite(model_file, change=lambda described: described.update(format=99))
    with pytest.raises(CheckpointError, match="newer vitrail"):
        load(model_file)


@pytest.mark.parametrize("key", ["classes", "palette", "recipe"])
def test_an_incomplete_card_is_refused(model_file: Path, key: str) -> None:
    rewrite(model_file, change=lambda described: described["card"].pop(key))
    with pytest.raises(CheckpointError, match="card is incomplete"):
        load(model_file)


def test_pretrained_weights_are_not_fetched_for_a_trained_model(model: Segmentor, tmp_path: Path) -> None:
    recipe = {**model.card.recipe, "model": {**model.card.recipe["model"], "pretrained": True}}
    model.card = dataclasses.replace(model.card, recipe=recipe)
    save_model(model, tmp_path / "x.safetensors")
    load_model(tmp_path / "x.safetensors")  # FastSCNN takes no `pretrained`: asking for it would be an error


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        "null",
        "[" * 100_000,
        '{"format": "new", "card": {}}',
        '{"format": 1, "card": []}',
        '{"format": 1, "card": {"classes": 3}}',
    ],
)
def test_a_damaged_description_is_refused(text: str, model_file: Path) -> None:
    save_file(load_file(model_file), model_file, metadata={"vitrail": text})
    with pytest.raises(CheckpointError, match=r"small\.safetensors"):
        load(model_file)


def test_a_flipped_bit_anywhere_in_a_file_is_noticed(model: Segmentor, model_file: Path) -> None:
    data = model_file.read_bytes()
    header = int.from_bytes(data[:8], "little")
    name = data.index(b"__metadata__") + data[data.index(b"__metadata__") :].index(model.card.classes[0].encode())
    for place in (name, 8 + header, (8 + header + len(data)) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        model_file.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"small\.safetensors is damaged: .*again"):
            load_model(model_file)
    model_file.write_bytes(data)
    load_model(model_file)


def with_value(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[-1] = value
    return tensor


@pytest.mark.parametrize(
    ("ending", "change", "message"),
    [
        (".weight", lambda tensor: with_value(tensor, float("nan")), "NaN or infinite values in "),
        (".running_mean", lambda tensor: with_value(tensor, float("-inf")), "NaN or infinite values in "),
        (".running_var", lambda tensor: with_value(tensor, -1e-3), "negative variances in "),
        (".weight", lambda tensor: tensor.to(torch.int8), "int8 instead of floating-point numbers in "),
        pytest.param(
            *(".weight", lambda tensor: tensor.to(torch.complex64), "complex64 instead of floating-point numbers in "),
            marks=pytest.mark.skipif(not writes_complex_numbers(), reason="this safetensors writes none"),
        ),
    ],
)
def test_weights_that_no_model_can_use_are_refused(model_file: Path, ending: str, change, message: str) -> None:
    tensors = load_file(model_file)
    name = next(name for name in tensors if name.endswith(ending))
    rewrite(model_file, tensors={**tensors, name: change(tensors[name])})
    with pytest.raises(CheckpointError, match=message + name):
        load_model(model_file)


def test_weights_of_any_precision_are_converted(
    model: Segmentor, model_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = load_file(model_file)
    name = next(name for name in tensors if name.endswith(".weight"))
    large = torch.full_like(tensors[name], 6e4)
    for dtype in (torch.float16, torch.float64):
        rewrite(model_file, tensors={**tensors, name: large.to(dtype)})
        loaded = load_model(model_file).state_dict()[name]
        assert loaded.dtype == torch.float32 and torch.equal(loaded, large.to(dtype).float())
        assert ("converted from float64 to float32" in caplog.text) == (dtype == torch.float64)


@pytest.mark.parametrize("aliases", [["a"], {"head.tied": "missing"}, {"head.tied": 3}, {"head.tied": []}])
def test_damaged_aliases_are_refused(aliases: object, model_file: Path) -> None:
    rewrite(model_file, change=lambda described: described.update(aliases=aliases))
    with pytest.raises(CheckpointError, match=r"small\.safetensors is damaged"):
        load(model_file)


@pytest.mark.parametrize("model_section", [{}, {"segmentor": 3}, {"segmentor": "fastscnn", "surprise": 1}, []])
def test_a_card_with_another_kind_of_recipe_is_refused(model_section: object, model_file: Path) -> None:
    rewrite(model_file, change=lambda described: described["card"]["recipe"].update(model=model_section))
    with pytest.raises(CheckpointError, match=r"small\.safetensors"):
        load(model_file)
