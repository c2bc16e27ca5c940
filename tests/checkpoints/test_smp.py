"""Folders of segmentation_models_pytorch: what they say, what is refused, and the names that they are fetched by.

That the package computes the same is shown live, in tests/parity/test_smp_folders.py, and by golden files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.hub import running_hub
from safetensors.torch import load_file, save_file

import vitrail
from vitrail.checkpoints.sources.smp.source import translate_config
from vitrail.errors import CheckpointError
from vitrail.segmentors import Segmentor, build_model

CONFIG = {
    "_model_class": "Unet",
    "activation": None,
    "aux_params": None,
    "classes": 4,
    "decoder_attention_type": None,
    "decoder_channels": [16, 16, 16, 8, 8],
    "decoder_interpolation": "nearest",
    "decoder_use_norm": "batchnorm",
    "encoder_depth": 5,
    "encoder_name": "resnet18",
    "encoder_weights": "imagenet",
    "in_channels": 3,
}


def write_folder(folder: Path, **changes: Any) -> Segmentor:
    """Write what smp writes, and return the model that is in it."""
    config = {**CONFIG, **changes}
    section, renaming, _ = translate_config(config, "config.json")
    torch.manual_seed(0)
    model = build_model(section, 2 if config["classes"] == 1 else config["classes"]).eval()
    tensors = renaming.to_theirs(model.state_dict(), "ours")
    folder.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return model


def test_a_folder_is_loaded_with_numbered_classes(tmp_path: Path) -> None:
    model = write_folder(tmp_path / "roads")
    loaded = vitrail.load(tmp_path / "roads")
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=0)
    card = loaded.card
    assert card is not None
    assert card.classes == ("class 0", "class 1", "class 2", "class 3")
    assert (card.name, card.source) == ("roads", "segmentation_models_pytorch")
    assert card.mean == pytest.approx((123.675, 116.28, 103.53))


def test_one_class_is_told_from_the_background_by_one_output(tmp_path: Path) -> None:
    write_folder(tmp_path / "cracks", classes=1, activation="sigmoid")
    loaded = vitrail.load(tmp_path / "cracks")
    assert loaded.card is not None and loaded.card.classes == ("background", "foreground")
    assert loaded.one_output and loaded(torch.randn(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_150_classes_are_those_of_ade20k(tmp_path: Path) -> None:
    write_folder(tmp_path / "scenes", classes=150)
    card = vitrail.load(tmp_path / "scenes").card
    assert card is not None and card.recipe["data"]["dataset"] == "ade20k" and card.classes[0] == "wall"


def test_labels_of_whole_images_are_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path / "both", aux_params={"classes": 3})
    file = tmp_path / "both" / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "classification_head.3.weight": torch.zeros(3, 512)}, file)
    assert vitrail.load(tmp_path / "both").num_classes == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_model_class": "EfficientUnet"}, "no model like smp's EfficientUnet; it has Unet, "),
        ({"activation": "tanh"}, "activation is 'tanh', which vitrail does not compute"),
        ({"activation": "sigmoid"}, "activation is 'sigmoid'"),
        ({"decoder_use_norm": "instancenorm"}, "decoder_use_norm is 'instancenorm'"),
        ({"decoder_interpolation": "bicubic"}, "decoder_interpolation is 'bicubic', not nearest or bilinear"),
        ({"encoder_name": "densenet121"}, "no encoder that computes the same as smp's 'densenet121'"),
        ({"encoder_name": "tu-resnet999"}, "encoder_name: unknown backbone 'resnet999'"),
        ({"encoder_name": "tu-twins_svt_small"}, "computes timm's 'twins_svt_small' in another way"),
        ({"encoder_name": "mit_b0", "encoder_depth": 4}, "'mit_b0' of depth 4"),
        ({"encoder_depth": 9}, "encoder_depth is 9, not 1 to 5"),
        ({"dropout_of_skips": 0.1}, "says dropout_of_skips, which vitrail does not know"),
        ({"_model_class": "FPN", "upsampling": 8}, "upsampling is 8: on resnet18 its logits would not have the size"),
        ({"_model_class": "Segformer"}, "resizes maps down, which vitrail's does not"),
        ({"_model_class": "DPT", "encoder_depth": 4}, "'resnet18' is no plain transformer with patches of 16"),
    ],
)
def test_what_is_not_computed_alike_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    config = {**CONFIG, **changes}
    if "_model_class" in changes:
        config = {key: value for key, value in config.items() if not key.startswith("decoder_")}
    with pytest.raises(CheckpointError, match=message):
        translate_config(config, "config.json")


def test_a_folder_says_itself_how_it_is_built(tmp_path: Path) -> None:
    write_folder(tmp_path / "roads")
    with pytest.raises(CheckpointError, match="leave out like=…"):
        vitrail.load(tmp_path / "roads", like="ssseg/pspnet_resnet50os8_voc")
    (tmp_path / "roads" / "config.json").write_text(json.dumps({**CONFIG, "decoder_channels": 5}))
    with pytest.raises(CheckpointError, match="is not one of smp"):
        vitrail.load(tmp_path / "roads")


def test_models_of_the_organisation_go_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "hub" / "smp-hub" / "roads")
    write_folder(tmp_path / "hub" / "org" / "paths")
    with running_hub(tmp_path / "hub", tmp_path / "cache", monkeypatch):
        assert vitrail.load("smp-hub/roads").num_classes == 4
        assert vitrail.load("hf/smp-hub/roads").num_classes == 4
        assert vitrail.load("smp-hub/org/paths").num_classes == 4
