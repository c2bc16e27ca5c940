"""Transfer of trained weights: other classes, other input channels, another method, from every published checkpoint."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from checkpoints.test_export import sample
from helpers.small import small_settings
from timm.models import adapt_input_conv

from vitrail.checkpoints.state import model_state
from vitrail.checkpoints.transfer import grouped, transfer
from vitrail.errors import CheckpointError
from vitrail.layers.skip_init import shapes_only
from vitrail.recipes import ModelConfig, model_config_from_dict
from vitrail.segmentors import SEGMENTORS, ModelCard, Segmentor, build_model

SAMPLE = {row.values[0].name: row.values[0] for row in sample()}
OLD = ("road", "sky", "tree", "car")
NEW = ("Car", "lamp_post", "road", "dog", "sky")  # car, road and sky are old ones, at other places


def build(settings: dict[str, Any], classes: tuple[str, ...]) -> tuple[Segmentor, ModelConfig]:
    config = model_config_from_dict(settings)
    palette = tuple((index, 0, 0) for index in range(len(classes)))
    card = ModelCard(classes, palette, recipe={"model": config.model_dump(mode="json")}, name="old")
    return build_model(config, len(classes), card=card), config


def moved(old: dict[str, Any], new: dict[str, Any], old_classes=OLD, new_classes=NEW):
    source, _ = build(old, old_classes)
    model, config = build(new, new_classes)
    before = {name: tensor.clone() for name, tensor in model_state(model).items()}
    result = transfer(model, config, new_classes, source, "old.safetensors")
    return result, model_state(source), model_state(model), before


@pytest.mark.parametrize("method", sorted(SEGMENTORS))
def test_every_method_keeps_all_but_the_rows_of_new_classes(method: str) -> None:
    result, source, model, before = moved(small_settings(method), small_settings(method))
    assert (result.kept, result.added, result.dropped) == (("Car", "road", "sky"), ("lamp_post", "dog"), ("tree",))
    assert not result.new and not result.left_out and not result.adapted
    assert len(result.taken) + len(result.by_class) == len(model)
    assert all(torch.equal(model[name], source[name]) for name in result.taken)
    by_class = ("classifier", "class_tokens", "class_embeddings")
    assert any(part in name for name in result.by_class for part in by_class)
    for name in result.by_class:
        if model[name].shape[1:] == source[name].shape[1:]:  # a row for each class
            assert torch.equal(model[name][[0, 2, 4]], source[name][[3, 0, 1]]), name
            assert torch.equal(model[name][[1, 3]], before[name][[1, 3]]), name
            assert torch.equal(model[name][5:], source[name][4:]), name  # MaskFormer's "no object"


def test_columns_of_classes_move_with_them() -> None:
    result, source, model, before = moved(small_settings("pointrend"), small_settings("pointrend"))
    name = "head.points.classifier.weight"  # [K, features + K, 1]
    assert name in result.by_class
    ours, theirs = model[name][..., 0], source[name][..., 0]
    features = ours.shape[1] - len(NEW)
    assert torch.equal(ours[[0, 2, 4], :features], theirs[[3, 0, 1], :features])
    columns = ours[[0, 2, 4]][:, [features + 0, features + 2, features + 4]]
    assert torch.equal(columns, theirs[[3, 0, 1]][:, [features + 3, features + 0, features + 1]])
    assert torch.equal(ours[1], before[name][1, :, 0])


def test_the_logits_of_kept_classes_are_those_of_the_trained_model() -> None:
    source, _ = build(small_settings("pspnet"), OLD)
    model, config = build(small_settings("pspnet"), NEW)
    transfer(model, config, NEW, source, "old")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(model.eval()(images)[:, [0, 2, 4]], source.eval()(images)[:, [3, 0, 1]], atol=1e-6)


def test_the_same_classes_are_taken_whole() -> None:
    result, source, model, _ = moved(small_settings("maskformer"), small_settings("maskformer"), OLD, OLD)
    assert len(result.taken) == len(model) and not result.by_class
    assert all(torch.equal(model[name], source[name]) for name in model)


def test_as_many_other_classes_are_not_mistaken_for_the_old_ones() -> None:
    classes = ("a", "b", "road", "c")
    result, source, model, before = moved(small_settings("fcn"), small_settings("fcn"), OLD, classes)
    weight = "head.classifier.weight"
    assert weight in result.by_class
    assert torch.equal(model[weight][2], source[weight][0])
    assert torch.equal(model[weight][[0, 1, 3]], before[weight][[0, 1, 3]])
    result, _, model, before = moved(small_settings("fcn"), small_settings("fcn"), OLD, ("a", "b", "c", "d"))
    assert weight in result.new and torch.equal(model[weight], before[weight])


def test_equal_names_go_by_their_order() -> None:
    result, source, model, _ = moved(small_settings("fcn"), small_settings("fcn"), ("door", "x", "door"), ("door",) * 3)
    assert (result.kept, result.added, result.dropped) == (("door", "door"), ("door",), ("x",))
    assert torch.equal(model["head.classifier.bias"][:2], source["head.classifier.bias"][[0, 2]])


@pytest.mark.parametrize("channels", [1, 4, 7])
@pytest.mark.parametrize("method", ["fastscnn", "segformer", "icnet", "bisenetv2"])
def test_first_convolutions_are_adapted_as_timm_does(method: str, channels: int) -> None:
    settings = small_settings(method)
    result, source, model, _ = moved(settings, {**settings, "in_channels": channels})
    assert result.adapted and not result.new and not result.left_out
    for name in result.adapted:
        assert torch.allclose(model[name], adapt_input_conv(channels, source[name].clone())), name


def test_more_channels_become_three() -> None:
    settings = small_settings("fcn")
    result, source, model, _ = moved({**settings, "in_channels": 5}, settings)
    (name,) = result.adapted
    assert torch.allclose(model[name], source[name][:, :3] * (5 / 3))


@pytest.mark.parametrize("method", ["deeplabv3", "icnet", "maskformer", "upernet"])
def test_another_method_takes_the_backbone_alone(method: str) -> None:
    old, new = {**small_settings("pspnet"), "output_stride": None}, {**small_settings(method), "output_stride": None}
    result, source, model, before = moved(old, new)
    encoder = [name for name in model if name.startswith("backbone.") and "encoder." in name]
    assert encoder and set(result.taken) == set(encoder) and not result.by_class
    for name in encoder:
        assert torch.equal(model[name], source[name.replace("trunk.", "")])
    assert {name for name in source if name.startswith(("head.", "auxiliary."))} == set(result.left_out)
    assert all(torch.equal(model[name], before[name]) for name in result.new)


def test_an_extended_backbone_gives_its_encoder_back() -> None:
    settings = {**small_settings("fcn"), "output_stride": None}
    result, source, model, _ = moved({**small_settings("icnet"), "output_stride": None}, settings)
    name = "backbone.encoder.conv1.0.weight"
    assert torch.equal(model[name], source["backbone.trunk.encoder.conv1.0.weight"])
    assert "backbone.branch_half.conv.weight" in result.left_out


def test_what_has_another_shape_is_listed_with_both() -> None:
    wide = small_settings("pspnet", channels=48)
    result, _, _, _ = moved(small_settings("pspnet"), wide, OLD, OLD)
    assert "head.classifier.weight" in result.new
    assert any(text.startswith("head.classifier.weight (4, 32, 1, 1)→(4, 48, 1, 1)") for text in result.left_out)


def test_another_backbone_is_an_error_that_names_both() -> None:
    with pytest.raises(CheckpointError, match=r"fastscnn on fastscnn, the new model is fcn on test_resnet.*0 of \d+"):
        moved(small_settings("fastscnn"), small_settings("fcn"))


def first_of_each_method() -> list[Any]:
    """Return the names of the sample; what is the second of its method is for the night."""
    seen: set[str] = set()
    names = []
    for name, entry in SAMPLE.items():
        names.append(pytest.param(name, marks=[pytest.mark.nightly] if entry.method in seen else []))
        seen.add(entry.method)
    return names


@pytest.mark.parametrize("name", first_of_each_method())
def test_every_published_model_can_be_started_from(name: str) -> None:
    """On the meta device: every tensor but those of its classes fits a model of the same recipe with three classes."""
    entry = SAMPLE[name]
    config = model_config_from_dict({**entry.recipe["model"], "pretrained": False})
    card = entry.card()
    classes = ("something new", card.classes[1], card.classes[0])
    with shapes_only():
        source = build_model(config, len(card.classes), card=card)
        model = build_model(config, 3)
    result = transfer(model, config, classes, source, name)
    assert result.kept == classes[1:] and result.added == classes[:1]
    assert not result.new and not result.left_out
    assert any(name.startswith("head.") for name in result.by_class)


def test_long_lists_are_grouped_by_module() -> None:
    names = ["a.x.w", "a.x.b", "a.y", "b.z.w", "b.z.b"]
    assert grouped(["a.x.w", "a.x.b", "b.z.b"], names) == ["a.x.* (2)", "b.z.b"]
    assert grouped(names, names) == ["a.* (3)", "b.* (2)"]
    assert grouped(["a.y (2,)→(3,)", "b.z.w"], names) == ["b.z.w", "a.y (2,)→(3,)"]
