"""Folders of transformers: what they say, what is refused, and where they are fetched from.

That transformers computes the same is shown live, in tests/parity/test_transformers_folders.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.hub import Hub, running_hub
from safetensors.torch import save_file

import vitrail
from vitrail import Auxiliary, create_backbone, create_model
from vitrail.checkpoints.sources.transformers.preprocessing import data_of
from vitrail.checkpoints.sources.transformers.source import translate_config
from vitrail.errors import CheckpointError
from vitrail.segmentors import Segmentor

CLASSES = ("road", "sky", "tree")
CONFIG = {
    "model_type": "segformer",
    "architectures": ["SegformerForSemanticSegmentation"],
    "hidden_sizes": [32, 64, 160, 256],
    "depths": [2, 2, 2, 2],
    "decoder_hidden_size": 32,
    "num_attention_heads": [1, 2, 5, 8],
    "id2label": {str(index): name for index, name in enumerate(CLASSES)},
    "label2id": {name: index for index, name in enumerate(CLASSES)},
    "torch_dtype": "float32",
}
PROCESSOR = {
    "image_processor_type": "SegformerImageProcessor",
    "do_reduce_labels": True,
    "size": {"height": 64, "width": 96},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.1],
}


@pytest.fixture(scope="module")
def model() -> Segmentor:
    torch.manual_seed(0)
    return create_model("segformer", "mit_b0", len(CLASSES), channels=32, linear_projection=True).eval()


@pytest.fixture
def folder(model: Segmentor, tmp_path: Path) -> Path:
    return write_folder(model, tmp_path / "roads")


def write_folder(model: Segmentor, folder: Path, **changes: Any) -> Path:
    """Write what transformers writes, but for the values of a real image processor."""
    folder.mkdir()
    renaming = translate_config(CONFIG, "config.json").renaming
    weights = {name: value.contiguous() for name, value in renaming.to_theirs(model.state_dict(), "ours").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


def test_a_folder_is_loaded_with_its_classes_and_its_resize_and_normalisation(model: Segmentor, folder: Path) -> None:
    loaded = vitrail.load(folder)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model(images))
    card = loaded.card
    assert card is not None
    assert (card.classes, card.name, card.source) == (CLASSES, "roads", "transformers")
    assert card.mean == pytest.approx((127.5, 102.0, 76.5))
    assert card.std == pytest.approx((51.0, 51.0, 25.5))
    assert card.recipe["data"]["eval_resize"] == {
        "size": [64, 96],
        "keep_ratio": False,
        "antialias": True,
        "multiple_of": 1,
    }
    assert card.recipe["evaluation"]["resize_once"] is True
    prediction = next(iter(vitrail.Predictor(loaded, device="cpu")([torch.zeros(3, 40, 50, dtype=torch.uint8)])))
    assert prediction.mask.shape == (40, 50)


def test_the_weights_may_lie_in_a_pytorch_file(model: Segmentor, folder: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(vitrail.load(folder)(images), model(images))


def test_classes_of_a_known_dataset_are_recognised() -> None:
    from vitrail.checkpoints.sources.transformers.source import dataset_of
    from vitrail.datasets.label_sets import label_set

    assert dataset_of(tuple(f"{name.upper()} " for name in label_set("cityscapes").classes)) == "cityscapes"
    assert dataset_of(CLASSES) == "folder"
    ade20k = label_set("ade20k").classes
    words = {"windowpane": "window ", "ashcan": "trash can", "road": "road, route", "television receiver": "tv"}
    assert dataset_of(tuple(words.get(name, name) for name in ade20k)) == "ade20k"  # as OneFormer's authors write them


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "detr"}, "vitrail has no model like transformers' detr"),
        ({"architectures": ["SegformerForImageClassification"]}, "not a model of semantic segmentation"),
        ({"depths": [2, 2, 2, 3]}, "no encoder of this shape"),
        ({"sr_ratios": [4, 4, 2, 1]}, "sr_ratios is"),
        ({"window": 7}, "says window, which vitrail does not know"),
        ({"id2label": {"0": "road", "2": "sky"}}, "indices of id2label are not 0 to 1"),
        ({"id2label": {}}, "names no classes"),
        ({"hidden_sizes": "wide"}, "config.json"),
    ],
)
def test_what_vitrail_does_not_compute_is_refused_by_name(
    model: Segmentor, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        vitrail.load(write_folder(model, tmp_path / "other", **changes))


def test_a_folder_without_its_image_processor_is_refused_until_it_is_saved(folder: Path) -> None:
    processor = (folder / "preprocessor_config.json").read_text()
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"save the image processor of the model there too"):
        vitrail.load(folder)
    (folder / "preprocessor_config.json").write_text(processor)
    assert vitrail.load(folder).num_classes == 3


def test_split_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="save them as one"):
        vitrail.load(folder)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"size": 640}, {"size": [640, 640], "keep_ratio": False, "multiple_of": 1}),
        (
            {"size": {"shortest_edge": 640, "longest_edge": 2560}, "image_processor_type": "Mask2FormerImageProcessor"},
            {"size": [640, 2560], "keep_ratio": True, "multiple_of": 32},
        ),
        (
            {"size": 512, "max_size": 2048, "size_divisibility": 0, "feature_extractor_type": "MaskFormerX"},
            {"size": [512, 2048], "keep_ratio": True, "multiple_of": 1},
        ),
    ],
)
def test_every_way_to_give_a_size(values: dict[str, Any], expected: dict[str, Any]) -> None:
    assert data_of(values, "here")["eval_resize"] == {**expected, "antialias": True}


def test_steps_that_vitrail_does_not_take_are_named() -> None:
    for values in ({"do_center_crop": True}, {"do_flip_channel_order": True}, {"resample": 3}, {"size": {"width": 3}}):
        with pytest.raises(CheckpointError, match="here"):
            data_of(values, "here")
    plain = data_of({"do_resize": False, "do_normalize": False}, "here")
    assert plain == {"mean": [0.0] * 3, "std": [255.0] * 3}


@pytest.fixture
def hub(model: Segmentor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    (tmp_path / "hub" / "org").mkdir(parents=True)
    write_folder(model, tmp_path / "hub" / "org" / "roads")
    with running_hub(tmp_path / "hub", tmp_path / "cache", monkeypatch) as hub:
        yield hub


def test_a_model_of_the_hub_is_fetched_once_and_then_found_offline(
    hub: type[Hub], model: Segmentor, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(vitrail.load("hf/org/roads@v1")(images), model(images))
    assert any(path == "/org/roads/resolve/v1/model.safetensors" for path, _ in hub.asked)
    assert any(token == "Bearer hf_secret" for _, token in hub.asked)
    hub.asked.clear()
    monkeypatch.setenv("VITRAIL_OFFLINE", "1")
    assert vitrail.load("hf/org/roads@v1").num_classes == 3
    assert hub.asked == []
    with pytest.raises(CheckpointError, match="not in the cache"):
        vitrail.load("hf/org/roads@main")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf/org/streets", "the hub has no model 'org/streets'"),
        ("hf/org/gated", "accept them on the page of the model"),
        ("hf/org/roads@v2", "has no revision 'v2'"),
        ("hf/roads", "should be hf/ORG/NAME"),
        ("hf/org/roads@", "should be hf/ORG/NAME"),
    ],
)
def test_a_model_that_cannot_be_had_is_said_to_be_so(hub: type[Hub], name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        vitrail.load(name)


DPT = {
    **{"model_type": "dpt", "hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3},
    **{"intermediate_size": 768, "use_batch_norm_in_fusion_residual": True, "id2label": CONFIG["id2label"]},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_hybrid": True}, "is_hybrid is True, which vitrail does not compute"),
        ({"use_batch_norm_in_fusion_residual": False}, "only DPTs with use_batch_norm_in_fusion_residual"),
        ({"hidden_size": 200}, "intermediate_size is 768"),
        ({"patch_size": 14}, "patch_size is 14"),
    ],
)
def test_a_dpt_that_is_not_computed_alike_is_refused(changes: dict[str, Any], message: str) -> None:
    assert translate_config(DPT, "config.json").segmentor == "dpt"
    with pytest.raises(CheckpointError, match=message):
        translate_config({**DPT, **changes}, "config.json")


def test_a_processor_that_puts_blue_first_gets_a_model_that_takes_red_first(tmp_path: Path) -> None:
    config = {
        **{"model_type": "mobilevit", "id2label": CONFIG["id2label"], "hidden_sizes": [64, 80, 96]},
        **{"neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 320], "expand_ratio": 2.0, "aspp_out_channels": 16},
    }
    translation = translate_config(config, "config.json")
    torch.manual_seed(0)
    encoder = create_backbone("mobilevit_xxs", final_conv=False)
    head = {"channels": 16, "dilations": [1, 6, 12, 18], "fuse_kernel_size": 1}
    model = create_model("deeplabv3", encoder, 3, auxiliary=Auxiliary(weight=0), **head).eval()
    weights = translation.renaming.to_theirs(model.state_dict(), "ours")
    save_file({name: value.contiguous() for name, value in weights.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    processor = {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 64}, "resample": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    loaded, images = vitrail.load(tmp_path), torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model(images.flip(1)))
    assert loaded.card is not None and (loaded.card.mean, loaded.card.std) == ((0.0,) * 3, (255.0,) * 3)
    assert loaded.card.recipe["data"]["eval_resize"]["size"][0] == 64


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "mobilevit", "hidden_sizes": [1, 2, 3], "neck_hidden_sizes": [1]}, "no encoder of this shape"),
        ({"model_type": "mobilevitv2", "width_multiplier": 0.6}, "no encoder of this shape: 0.6"),
        ({"model_type": "mobilevitv2", "patch_size": 4}, "patch_size is 4"),
        ({"model_type": "mobilenet_v2", "depth_multiplier": 0.6}, "no encoder of this shape: 0.6"),
        ({"model_type": "mobilenet_v2", "tf_padding": False}, "tf_padding is False"),
    ],
)
def test_a_mobile_model_that_is_not_computed_alike_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        translate_config(config, "config.json")
