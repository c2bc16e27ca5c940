"""SAN: what of it is frozen, the vectors of its classes, and models for other classes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.small import small, small_settings
from torch.nn import functional as F

from vitrail import ModelCard, create_model, load
from vitrail.checkpoints import save_model
from vitrail.cli import cli
from vitrail.errors import CheckpointError, ModelError
from vitrail.segmentors import Segmentor
from vitrail.segmentors.class_texts import ClassTexts
from vitrail.segmentors.prompts import PROMPTS, prompts_of
from vitrail.segmentors.text_tokens import WORDS_FILE, KnownWords

TEXTS = {"vocabulary_size": 49408}
NAMES = (*(f"class {index}" for index in range(9)), "road", "sky")


def model_with_texts(**options: object) -> Segmentor:
    torch.manual_seed(0)
    model = small("san", **TEXTS, **options)
    with torch.no_grad():
        model.head.logit_scale.fill_(4.0)
    model.card = ModelCard(
        NAMES,
        ((0, 0, 0),) * len(NAMES),
        recipe={"model": small_settings("san", **TEXTS, **options), "data": {"dataset": "folder"}},
    )
    return model


def test_only_the_adapter_positions_and_no_object_are_trained() -> None:
    model = small("san", frozen=True)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    others = {name for name in trained if not name.startswith("head.adapter.")}
    assert others == {"backbone.trunk.encoder.pos_embed", "head.no_object"}
    assert trained - others == {f"head.adapter.{name}" for name, _ in model.head.adapter.named_parameters()}


def test_the_vector_of_a_class_is_the_mean_over_prompts_of_each_text_alone() -> None:
    texts = ClassTexts(64, 8, vocabulary_size=49408, num_layers=2)
    prompts, names = PROMPTS["vild"], ("road", "traffic light", "sky")
    found = texts(names, prompts, KnownWords())
    for name, vector in zip(names, found, strict=True):
        sentences = KnownWords()([prompt.format(name) for prompt in prompts], 77)  # with all of the padding
        encoded = torch.stack([F.normalize(texts.project(texts.encoder(row[None]))[0], dim=0) for row in sentences])
        torch.testing.assert_close(vector, F.normalize(encoded.mean(0), dim=0))


def test_known_words_are_those_of_the_prompts_and_datasets_and_others_are_named() -> None:
    assert json.loads(WORDS_FILE.read_text())["size"] == 49408
    assert KnownWords()(["a photo of a cat."], 9).tolist() == [[49406, 320, 1125, 539, 320, 2368, 269, 49407, 0]]
    with pytest.raises(ModelError, match=r"'vitrail'.*merges\.txt"):
        KnownWords()(["a photo of a vitrail"], 77)
    with pytest.raises(ModelError, match=r"'vilt'.*'vild'"):
        prompts_of("vilt")


def test_a_file_is_loaded_for_other_classes(tmp_path: Path) -> None:
    model = model_with_texts()
    save_model(model, tmp_path / "a.safetensors")
    other = load(tmp_path / "a.safetensors", classes=["road", "cat", "traffic light"])
    assert other.card is not None and other.card.classes == ("road", "cat", "traffic light")
    assert other.num_classes == 3 and other.head.class_embeddings.shape == (3, 32)
    model.head.name_classes(NAMES)
    torch.testing.assert_close(other.head.class_embeddings[0], model.head.class_embeddings[NAMES.index("road")])
    for name, value in model.state_dict().items():
        if name != "head.class_embeddings":
            assert torch.equal(value, other.state_dict()[name]), name
    assert other(torch.randn(1, 3, 40, 70)).shape == (1, 3, 40, 70)


def test_the_command_line_takes_a_list_of_names(tmp_path: Path) -> None:
    save_model(model_with_texts(), tmp_path / "a.safetensors")
    (tmp_path / "names.txt").write_text("cat\ntree\n")
    (tmp_path / "classes.yaml").write_text("classes: [tree, cat]\n")
    for file, names in (("names.txt", ("cat", "tree")), ("classes.yaml", ("tree", "cat"))):
        source, target = str(tmp_path / "a.safetensors"), str(tmp_path / f"{file}.safetensors")
        result = CliRunner().invoke(cli, ["convert", source, target, "--classes", str(tmp_path / file)])
        assert result.exit_code == 0, result.output
        card = load(target).card
        assert card is not None and card.classes == names


@pytest.mark.parametrize(("name", "content"), [("names.txt", "\n"), ("classes.yaml", "classes: []")])
def test_a_list_without_names_is_refused(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    target = str(tmp_path / "b.safetensors")
    result = CliRunner().invoke(cli, ["convert", "missing.pth", target, "--classes", str(tmp_path / name)])
    assert re.search(r"is empty: it should hold one class name|there are no classes", str(result.exception))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["wolpertinger"]}, "'wolpertinger'.*vocabulary"),
        ({"classes": ["cat", "cat"]}, "named twice"),
        ({"classes": []}, "one class or more"),
        ({"classes": "cat"}, "list of the names"),
        ({"classes": "cat", "like": "mmseg/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024"}, "list of the names"),
        ({"classes": ["cat", " Cat"]}, r"the same of the classes 'cat' and ' Cat'"),
        ({"vocabulary": "merges.txt"}, "needs no vocabulary"),
    ],
)
def test_names_that_cannot_be_taken_are_refused(arguments: dict[str, object], message: str, tmp_path: Path) -> None:
    save_model(model_with_texts(), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "a.safetensors", **arguments)  # type: ignore[arg-type]


def test_classes_are_fixed_without_a_text_encoder_and_for_other_methods(tmp_path: Path) -> None:
    save_model(model_with_texts(text_layers=0), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="no text encoder"):
        load(tmp_path / "a.safetensors", classes=["cat"])
    with pytest.raises(CheckpointError, match=r"fastscnn.*fixed by its training.*like"):
        load("fastscnn_camvid", classes=["cat"])


def test_training_without_weights_of_the_text_encoder_is_refused() -> None:
    model = small("san", **TEXTS).train()
    model.head.name_classes(NAMES)
    with pytest.raises(ModelError, match=r"trained CLIP.*--from"):
        model(torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.long))


def test_a_file_of_a_whole_clip_fills_text_encoder_projection_and_scale(tmp_path: Path) -> None:
    source = model_with_texts()
    head = source.head
    state = {"visual.proj": head.project.weight.t().contiguous(), "logit_scale": torch.tensor(3.0)}
    state |= {"token_embedding.weight": head.texts.encoder.tokens.weight, "ln_final.bias": head.texts.encoder.norm.bias}
    state |= {"positional_embedding": head.texts.encoder.positions, "ln_final.weight": head.texts.encoder.norm.weight}
    state |= {"text_projection": head.texts.project.weight.t().contiguous()}
    names = {"norm1": "ln_1", "norm2": "ln_2", "fc1": "mlp.c_fc", "fc2": "mlp.c_proj"}
    for name, value in head.texts.encoder.layers[0].named_parameters():
        first, _, rest = name.partition(".")
        state[f"transformer.resblocks.0.{names.get(first, first)}.{rest}"] = value
    torch.save({name: value.detach() for name, value in state.items()}, tmp_path / "clip.pt")
    torch.manual_seed(1)
    model = small("san", **TEXTS, clip=str(tmp_path / "clip.pt"))
    model.head.name_classes(NAMES)
    head.name_classes(NAMES)
    assert model.head.logit_scale.item() == 3.0
    assert torch.equal(model.head.project.weight, head.project.weight)
    torch.testing.assert_close(model.head.class_embeddings, head.class_embeddings)
    torch.save({"visual.proj": torch.zeros(2, 2)}, tmp_path / "clip.pt")
    with pytest.raises(ModelError, match=r"whole CLIP.*'logit_scale' is missing"):
        model.head.name_classes(NAMES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early_layers": [4]}, "early_layers ascend"),
        ({"img_size": 100}, "multiple of 16"),
        ({"clip_heads": 4}, "2 attention heads, not 4"),
        ({"num_layers": 3, "early_layers": []}, "num_layers is at least 4"),
        ({"image_scale": 2.0}, "at most 1"),
        ({"text_layers": 0, "clip": "clip.pt"}, "text_layers is 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        small("san", **options)


def test_other_encoders_are_refused() -> None:
    with pytest.raises(ModelError, match="plain vision transformer with a class token"):
        create_model("san", "test_resnet", 3, text_layers=0)
    with pytest.raises(ModelError, match=r"then the last block.*\(5,\)"):
        create_model("san", "test_vit", 3, text_layers=0, backbone_options={"out_indices": (5,)})
