from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import vitrail
from vitrail import cli, list_backbones
from vitrail.checkpoints import list_weights, load, weights_table
from vitrail.checkpoints.index import find_by_file, index
from vitrail.checkpoints.index.hubs import HUBS, hub_models
from vitrail.checkpoints.index.licenses import NVIDIA, PERMISSIVE
from vitrail.checkpoints.listing import TASKS
from vitrail.checkpoints.sources.mmseg.config import read_config, recipe_from_config
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.torchvision import MODELS, TORCHVISION
from vitrail.datasets.label_sets import list_label_sets
from vitrail.errors import CheckpointError
from vitrail.recipes import model_config_from_dict, model_file_recipe
from vitrail.segmentors import SEGMENTORS, Segmentor, build_model

ONE = torch.ones(1)
SUPPORTED = [name for name, entry in index().items() if not entry.unsupported]

# The config of a small model as MMEngine writes it into a checkpoint, with what a loader must not run.
CONFIG = """
norm_cfg = dict(requires_grad=True, type='SyncBN')
crop_size = (64, 64)
dataset_type = 'MyDataset'
launched = __import__('os').system('touch executed')
model = dict(
    auxiliary_head=dict(
        align_corners=False, channels=16, concat_input=False, dropout_ratio=0.1, in_channels=256, in_index=2,
        loss_decode=dict(loss_weight=0.4, type='CrossEntropyLoss', use_sigmoid=False),
        norm_cfg=dict(requires_grad=True, type='SyncBN'), num_classes=3, num_convs=1, type='FCNHead'),
    backbone=dict(
        contract_dilation=True, depth=18, dilations=(1, 1, 2, 4), norm_cfg=dict(requires_grad=True, type='SyncBN'),
        norm_eval=False, num_stages=4, out_indices=(0, 1, 2, 3), strides=(1, 2, 1, 1), style='pytorch',
        type='ResNetV1c'),
    data_preprocessor=dict(
        bgr_to_rgb=True, mean=[1.0, 2.0, 3.0], pad_val=0, std=[4.0, 5.0, 6.0], type='SegDataPreProcessor'),
    decode_head=dict(
        align_corners=True, channels=32, dropout_ratio=0.1, in_channels=512, in_index=3,
        loss_decode=dict(loss_weight=1.0, type='CrossEntropyLoss', use_sigmoid=False),
        norm_cfg=dict(requires_grad=True, type='SyncBN'), num_classes=3, pool_scales=(1, 2, 3, 6), type='PSPHead'),
    pretrained='open-mmlab://resnet18_v1c', test_cfg=dict(crop_size=(64, 64), mode='slide', stride=(48, 48)),
    train_cfg=dict(), type='EncoderDecoder')
test_pipeline = [dict(type='LoadImageFromFile'), dict(keep_ratio=True, scale=(128, 64), type='Resize')]
train_cfg = dict(max_iters=500, type='IterBasedTrainLoop', val_interval=100)
train_dataloader = dict(batch_size=2)
"""


def test_every_supported_entry_has_a_valid_recipe_and_a_card() -> None:
    assert len(SUPPORTED) > 600
    for name in SUPPORTED:
        entry = index()[name]
        card = entry.card()
        recipe = model_file_recipe(card.recipe, "the card")
        assert len(card.classes) == len(card.palette) == recipe.model.num_classes, name
        assert entry.url.startswith("https://") and entry.fingerprint, name
        assert entry.miou is None or 0.1 < entry.miou < 1, name
    assert len({index()[name].file for name in SUPPORTED}) == len(SUPPORTED)


def test_an_entry_that_is_not_supported_says_why_before_anything_is_downloaded() -> None:
    name = next(name for name, entry in index().items() if entry.unsupported)
    with pytest.raises(CheckpointError, match=f"{name} is not supported yet: .*vitrail"):
        load(name)


def test_an_unknown_published_name_suggests_the_nearest() -> None:
    with pytest.raises(CheckpointError, match="Did you mean 'ssseg/pspnet_resnet50os8_ade20k'"):
        load("ssseg/pspnet_resnet50os8_ade20")
    with pytest.raises(CheckpointError, match="Did you mean 'ssseg/pspnet_resnet50os8_ade20k'"):
        load("pspnet_resnet50os8_ade20k")


def test_the_index_is_filtered() -> None:
    entries = list_weights("pspnet", dataset="ade20k", backbone="resnet50c", project="ssseg", supported=True)
    assert "ssseg/pspnet_resnet50os8_ade20k" in {entry.name for entry in entries}
    assert all(entry.dataset == "ade20k" and entry.project == "ssseg" for entry in entries)
    assert "published checkpoints" in weights_table(entries)
    assert all(entry.unsupported for entry in list_weights(supported=False))
    with pytest.raises(CheckpointError, match=r"no published model has dataset 'ade'.*'ade20k'"):
        list_weights(dataset="ade")


def test_models_on_hubs_are_listed_with_what_vitrail_has() -> None:
    backbones, listed = set(list_backbones()), hub_models()
    for name, entry in listed.items():
        assert entry.method in SEGMENTORS and entry.backbone in backbones, name
        assert entry.dataset in list_label_sets() and entry.project in HUBS, name
        assert entry.miou is None or 0.1 < entry.miou < 1, name
    assert {name for name in listed if name.startswith(TORCHVISION)} == {TORCHVISION + name for name in MODELS}
    assert {entry.name for entry in list_weights(project="torchvision", supported=True)} <= listed.keys()


def test_every_dataset_belongs_to_one_task() -> None:
    named = [dataset for datasets in TASKS.values() for dataset in datasets]
    assert sorted(named) == sorted({entry.dataset for entry in list_weights()})
    assert {entry.dataset for entry in list_weights(task="medical")} == {"chase_db1", "drive", "hrf", "stare"}
    with pytest.raises(CheckpointError, match=r"no published model is for the task 'scene'.*'scenes'"):
        list_weights(task="scene")


def test_weights_that_may_not_be_sold_are_marked_and_left_out() -> None:
    every, commercial = list_weights(), list_weights(commercial=True)
    left_out = {entry.name for entry in every} - {entry.name for entry in commercial}
    for name in (
        "hf/nvidia/segformer-b0-finetuned-ade-512-512",
        "ssseg/segformer_mitb0_ade20k",
        "hf/Intel/dpt-large-ade",
    ):
        assert name in left_out
    assert all(entry.terms in PERMISSIVE for entry in commercial)
    assert not any(entry.backbone.startswith(("mit_", "mae_")) for entry in commercial)
    segformer = index()["ssseg/segformer_mitb0_ade20k"]
    assert segformer.card().license == segformer.terms == f"Apache-2.0; encoder: {NVIDIA}"
    lines = weights_table(list_weights("*segformer-b0-finetuned-ade*") + list_weights("hf/Intel/*")).splitlines()
    assert lines[1].endswith("non-commercial") and lines[2].endswith("licence: see its page")
    assert {entry.terms for entry in list_weights(license="bsd")} == {"BSD-3-Clause"}
    with pytest.raises(CheckpointError, match=r"no published model has a licence 'GPL'; there are .*MIT"):
        list_weights(license="GPL")


def test_the_command_filters_by_licence() -> None:
    result = CliRunner().invoke(cli.cli, ["weights", "--task", "driving", "--commercial", "--method", "eomt", "--json"])
    rows = json.loads(result.stdout)
    names = {"eomt/cityscapes_semantic_eomt_large_1024", "hf/tue-mps/cityscapes_semantic_eomt_large_1024"}
    assert {row["name"] for row in rows} == names
    assert all(row["license"] == "MIT" and row["commercial"] for row in rows)


def test_the_command_lists_as_json() -> None:
    result = CliRunner().invoke(cli.cli, ["weights", "mmseg/fcn_r50*cityscapes*", "--json"])
    rows = json.loads(result.stdout)
    assert rows and all(row["supported"] and len(row["sha256"]) == 8 for row in rows)


def test_settings_refuse_what_nobody_asked_for() -> None:
    settings = Settings({"known": [1, 2], "other": 1}, "its config")
    settings.must_be("known", (1, 2))
    with pytest.raises(UnsupportedError, match="its config says other"):
        settings.finish()
    with pytest.raises(UnsupportedError, match="other is 1, which vitrail does not compute"):
        settings.must_be("other", 2)


def test_a_config_is_read_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = read_config(CONFIG, "file")
    assert config["model"]["backbone"]["dilations"] == (1, 1, 2, 4)
    assert "launched" not in config and not (tmp_path / "executed").exists()
    with pytest.raises(CheckpointError, match="the config in the checkpoint cannot be read"):
        read_config("model = dict(", "file")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("type='PSPHead'", "type='VPDDepthHead'", "no method with MMSegmentation's VPDDepthHead"),
        ("type='ResNetV1c'", "type='MyNet'", "no encoder like MMSegmentation's MyNet"),
        ("style='pytorch'", "style='caffe'", "style is 'caffe'"),
        ("style='pytorch'", "style='pytorch', twist=3", "says twist"),
        ("num_stages=4", "num_stages=3", "num_stages is 3"),
    ],
)
def test_a_config_that_vitrail_does_not_compute_is_refused(old: str, new: str, what: str) -> None:
    with pytest.raises(UnsupportedError, match=what):
        recipe_from_config(read_config(CONFIG.replace(old, new), "file"), "x", "file")


def users_model() -> Segmentor:
    recipe = recipe_from_config(read_config(CONFIG, "file"), "mine", "file")
    return build_model(model_config_from_dict(recipe["model"]), 3).eval()


def in_mmsegs_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {
        "backbone.encoder.bn1.": "backbone.stem.7.",
        "backbone.encoder.conv1.": "backbone.stem.",
        "backbone.encoder.": "backbone.",
        "auxiliary.0.": "auxiliary_head.",
        "head.pyramid.stages.": "decode_head.psp_modules.",
        "head.fuse.": "decode_head.bottleneck.",
        "head.": "decode_head.",
    }
    theirs = {}
    for name, value in state.items():
        for ours, renamed in names.items():
            if name.startswith(ours):
                name = renamed + name.removeprefix(ours)
                break
        theirs[name.replace(".classifier.", ".conv_seg.")] = value
    return theirs


@pytest.mark.parametrize("wrapped", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_a_users_own_model_of_mmsegmentation_needs_nothing_but_the_file(tmp_path: Path, wrapped: str) -> None:
    model = users_model()
    meta = {"cfg": CONFIG, "dataset_meta": {"classes": ("cat", "dog", "else"), "palette": [[1, 2, 3]] * 3}}
    state = {wrapped + name: value for name, value in in_mmsegs_names(model.state_dict()).items()}
    torch.save({"meta": meta, "state_dict": state}, tmp_path / "mine.pth")
    loaded = load(tmp_path / "mine.pth")
    assert loaded.card is not None
    assert loaded.card.classes == ("cat", "dog", "else")
    assert loaded.card.mean == (1.0, 2.0, 3.0)
    recipe = model_file_recipe(loaded.card.recipe, "the card")
    assert recipe.evaluation.window == (64, 64) and recipe.data.eval_resize.size == (64, 128)
    assert (recipe.train.iterations, recipe.model.output_stride) == (500, 8)
    images = torch.randn(1, 3, 64, 80)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model(images))


def test_classes_that_disagree_with_the_weights_are_refused(tmp_path: Path) -> None:
    meta = {"cfg": CONFIG, "CLASSES": ("cat", "dog")}
    torch.save({"meta": meta, "state_dict": in_mmsegs_names(users_model().state_dict())}, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=r"names 2 classes \(cat, dog\), but its model has 3"):
        load(tmp_path / "mine.pth")


ONE_OUTPUT = CONFIG.replace("num_classes=3, pool", "num_classes=2, out_channels=1, threshold=0.4, pool")
ONE_OUTPUT = ONE_OUTPUT.replace("num_classes=3", "num_classes=2, out_channels=1")
ONE_OUTPUT = ONE_OUTPUT.replace("use_sigmoid=False", "use_sigmoid=True").partition("test_pipeline")[0]
ONE_OUTPUT = ONE_OUTPUT.replace("'slide'", "'whole'")


@pytest.mark.parametrize(
    ("threshold", "classes", "named"),
    [
        ("threshold=0.4, ", ("ground", "water"), ("ground", "water")),
        ("", ("water",), ("background", "water")),
        ("", "water", ("background", "water")),  # without its comma
    ],
)
def test_two_classes_told_apart_by_one_output(
    tmp_path: Path, threshold: str, classes: Any, named: tuple[str, str]
) -> None:
    text = ONE_OUTPUT.replace("threshold=0.4, ", threshold)
    recipe = recipe_from_config(read_config(text, "file"), "mine", "file")
    model = build_model(model_config_from_dict(recipe["model"]), 2).eval()
    assert model.head.num_classes == 1
    meta = {"cfg": text, "dataset_meta": {"classes": classes}}
    torch.save({"meta": meta, "state_dict": in_mmsegs_names(model.state_dict())}, tmp_path / "mine.pth")
    loaded = load(tmp_path / "mine.pth")
    assert loaded.card is not None and loaded.card.classes == named
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    pixels = (torch.from_numpy(image) - torch.tensor(loaded.card.mean)) / torch.tensor(loaded.card.std)
    with torch.no_grad():
        logit = loaded(pixels.permute(2, 0, 1)[None])[0, 1]
    expected = logit.sigmoid() > (0.4 if threshold else 0.3)  # MMSegmentation's own threshold is 0.3
    assert 0 < expected.float().mean() < 1
    assert np.array_equal(vitrail.predict(loaded, image).mask, expected)


def test_one_output_for_three_classes_is_refused() -> None:
    text = CONFIG.replace("num_classes=3", "num_classes=3, out_channels=1")
    with pytest.raises(UnsupportedError, match="out_channels is 1 for 3 classes"):
        recipe_from_config(read_config(text, "file"), "x", "file")


def test_a_class_name_without_its_comma_is_one_name(tmp_path: Path) -> None:
    meta = {"cfg": CONFIG, "CLASSES": "cat"}  # three letters, and three classes
    torch.save({"meta": meta, "state_dict": in_mmsegs_names(users_model().state_dict())}, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=r"names 1 classes \(cat\), but its model has 3"):
        load(tmp_path / "mine.pth")


def test_files_go_by_their_published_name() -> None:
    entry = find_by_file("pspnet_resnet50os8_ade20k.pth")
    assert entry is not None and entry.name == "ssseg/pspnet_resnet50os8_ade20k"
    assert find_by_file("something_else.pth") is None


def test_a_config_longer_than_any_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(CheckpointError, match=r"has 5,000,006 characters, more than any"):
        read_config("x = (" + "1," * 2_500_000 + ")", "file")
