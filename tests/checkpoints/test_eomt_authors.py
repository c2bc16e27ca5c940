"""The models of EoMT's authors: by name and from files, and from the differences from DINOv3's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import vitrail
from parity.case import Case
from parity.comparison import compare_logits
from parity.eomt import EOMT_AUTHORS, section_of
from parity.golden import path_of, read, tensors_of
from vitrail.checkpoints import export_checkpoint
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.index import find_by_name, fingerprint, index
from vitrail.checkpoints.loading import load_model
from vitrail.checkpoints.sources.eomt_authors import EoMTAuthors
from vitrail.cli import cli
from vitrail.errors import CheckpointError
from vitrail.layers.skip_init import shapes_only
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import ModelCard, build_model
from vitrail.visualize.palette import distinct_colours

ENCODER = "network.encoder."
MEAN, DEVIATION = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@pytest.fixture(params=[False, True], ids=["dinov2", "dinov3"])
def case(request: pytest.FixtureRequest) -> Case:
    return EOMT_AUTHORS[request.param].small()


def file_of(case: Case) -> dict[str, Tensor]:
    """Return what the authors' code would save of the reference."""
    tensors = tensors_of(case, read(path_of(case)))
    return tensors | {f"{ENCODER}pixel_mean": MEAN, f"{ENCODER}pixel_std": DEVIATION}


def card(case: Case) -> ModelCard:
    section = section_of(dinov3="dinov3" in case.name)
    model = section.model_dump(include={"segmentor", "backbone", "backbone_options", "options"})
    names = tuple("abcde")
    recipe = {"name": "mine", "model": {**model, "num_classes": 5}, "data": {"dataset": "folder"}}
    return ModelCard(names, distinct_colours(5), recipe=recipe)


def base_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return drawn weights of DINOv3 with the names that transformers gives them."""
    renamed = {"patch_embed.": "embeddings.", "blocks.": f"{prefix}layer.", "norm.": "norm."}
    base = {"embeddings.mask_token": torch.zeros(1, 1, 384)}
    for name, value in tensors.items():
        inner = name.removeprefix(f"{ENCODER}backbone.")
        begin = next((begin for begin in renamed if inner.startswith(begin)), None)
        if inner != name and begin is not None:
            base[renamed[begin] + inner.removeprefix(begin)] = torch.randn_like(value)
    return base


def differences(tensors: dict[str, Tensor], base: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return what the authors publish of a model: see `_add_state_dicts` and `_zero_init_outside_encoder` there."""
    found = dict(tensors)
    for name in tensors:
        if name.startswith(f"{ENCODER}backbone."):
            inner = name.removeprefix(f"{ENCODER}backbone.")
            inner = inner.replace("patch_embed.", "embeddings.", 1).replace("blocks.", f"{prefix}layer.", 1)
            found[name] = tensors[name] - base[inner]
        elif name.startswith(ENCODER):
            found[name] = torch.zeros_like(tensors[name])
    found["network.attn_mask_probs"] = tensors["network.attn_mask_probs"] - 1
    return found


@pytest.mark.parametrize("prefix", ["", "model."], ids=["older transformers", "newer transformers"])
def test_differences_make_a_model_of_dinov3s_weights(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = EOMT_AUTHORS[1].small()
    tensors = file_of(case)
    base = base_of(tensors, prefix)
    torch.save(base, tmp_path / "dinov3.pth")
    torch.save(differences(tensors, base, prefix), tmp_path / "pytorch_model.bin")
    given = card(case)
    monkeypatch.setattr(EoMTAuthors, "indexed_card", lambda *_: given)
    with pytest.raises(CheckpointError, match=r"delta weights, the differences from those of DINOv3.*base=…"):
        vitrail.load(tmp_path / "pytorch_model.bin")
    model = vitrail.load(tmp_path / "pytorch_model.bin", base=tmp_path / "dinov3.pth")
    compare_logits(case, model, read(path_of(case)))
    told = CliRunner().invoke(
        cli,
        ["convert", f"{tmp_path}/pytorch_model.bin", f"{tmp_path}/m.safetensors", "--base", f"{tmp_path}/dinov3.pth"],
    )
    assert told.exit_code == 0, told.output
    compare_logits(case, vitrail.load(tmp_path / "m.safetensors"), read(path_of(case)))

    torch.save({**base, "more.weight": torch.zeros(1)}, tmp_path / "dinov3.pth")
    with pytest.raises(CheckpointError, match=r"not started from .*, which also has more\.weight"):
        vitrail.load(tmp_path / "pytorch_model.bin", base=tmp_path / "dinov3.pth")
    torch.save({**base, "norm.weight": torch.zeros(7)}, tmp_path / "dinov3.pth")
    with pytest.raises(CheckpointError, match=r"another shape \(\(7,\)\) for network\.encoder\.backbone\.norm\.weight"):
        vitrail.load(tmp_path / "pytorch_model.bin", base=tmp_path / "dinov3.pth")
    del base["norm.weight"]
    torch.save(base, tmp_path / "dinov3.pth")
    with pytest.raises(CheckpointError, match=r"has nothing for network\.encoder\.backbone\.norm\.weight"):
        vitrail.load(tmp_path / "pytorch_model.bin", base=tmp_path / "dinov3.pth")


@pytest.mark.parametrize("kept_in", [torch.float16, torch.bfloat16])
def test_sums_of_half_precision_are_in_float32(kept_in: torch.dtype) -> None:
    tensors = file_of(EOMT_AUTHORS[1].small())
    base = {name: value.to(kept_in) for name, value in base_of(tensors, "").items()}
    given = {name: value.to(kept_in) for name, value in differences(tensors, base, "").items()}
    found = EoMTAuthors().on_base(Checkpoint(given, {}, Path("a.bin")), Checkpoint(base, {}, Path("b.pth"))).tensors
    name = f"{ENCODER}backbone.norm.weight"
    assert found[name].dtype == torch.float32
    assert torch.equal(found[name], given[name].float() + base["norm.weight"].float())
    assert not torch.equal(found[name], (given[name] + base["norm.weight"]).float())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (f"{ENCODER}pixel_mean", torch.zeros(4), r"pixel_mean is \(4,\) in place of \(1, 3, 1, 1\)"),
        (f"{ENCODER}pixel_std", torch.zeros(0), r"pixel_std is \(0,\) in place of"),
        (f"{ENCODER}backbone.norm.weight", torch.ones(384, dtype=torch.bool), r"norm\.weight .* \(float32 and bool\)"),
    ],
)
def test_damaged_differences_are_named(name: str, value: Tensor, message: str) -> None:
    tensors = file_of(EOMT_AUTHORS[1].small())
    base = base_of(tensors, "")
    given = Checkpoint({**differences(tensors, base, ""), name: value}, {}, Path("a.bin"))
    with pytest.raises(CheckpointError, match=message):
        EoMTAuthors().on_base(given, Checkpoint(base, {}, Path("b.pth")))


def test_weights_need_no_base_and_are_written_again(case: Case, tmp_path: Path) -> None:
    tensors = file_of(case)
    torch.save({"state_dict": tensors}, tmp_path / "last.ckpt")
    model = load_model(tmp_path / "last.ckpt", card(case))
    compare_logits(case, model, read(path_of(case)))
    with pytest.raises(CheckpointError, match=r"base=… is for checkpoints that hold differences"):
        vitrail.load(tmp_path / "last.ckpt", base=tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"EoMT's authors that does not say what its classes are.*like=…"):
        vitrail.load(tmp_path / "last.ckpt")

    export_checkpoint(model, tmp_path / "written.ckpt", "eomt")
    written = torch.load(tmp_path / "written.ckpt", weights_only=True)["state_dict"]
    assert written.keys() - {"criterion.empty_weight"} == tensors.keys()
    assert all(torch.equal(written[name], tensors[name]) for name in tensors)
    assert vitrail.load(tmp_path / "written.ckpt").card == model.card


@pytest.mark.parametrize("name", [name for name in index() if name.startswith("eomt/")])
def test_published_files_are_known_by_their_shapes(name: str) -> None:
    section = model_config_from_dict(find_by_name(name).recipe["model"])
    with shapes_only():
        model = build_model(section, section.num_classes)
    weights = EoMTAuthors().renaming(section).to_theirs(model.state_dict(), name)
    assert fingerprint(weights) == find_by_name(name).fingerprint
    assert EoMTAuthors().indexed_card(Checkpoint(weights, {}, Path("pytorch_model.bin"))).name == name.partition("/")[2]
