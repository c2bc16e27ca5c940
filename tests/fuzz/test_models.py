"""Model files that describe anything: a model that predicts or a VitrailError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.hostile import DURATIONS, altered, check_outcomes, damaged, damaged_text
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import vitrail
from vitrail.checkpoints import export_checkpoint
from vitrail.checkpoints.sources.mmseg.config import read_config
from vitrail.errors import CheckpointError
from vitrail.files.torch_file import read_pickle
from vitrail.files.weights_file import read_tensors
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import ModelCard, Segmentor, build_model

CLASSES = ("road", "sky")
PALETTE = ((0, 0, 0), (1, 2, 3))
MODEL = {"segmentor": "fastscnn", "options": {"channels": 16}, "num_classes": 2, "auxiliary": {"channels": [8]}}
RECIPE = {
    "name": "small",
    "model": MODEL,
    "data": {"dataset": "scenes", "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]},
    "train": {"epochs": 1},
    "evaluation": {"mode": "slide", "window": [32, 32], "stride": [32, 32]},
}
CONFIG = """
norm_cfg = dict(type='BN', requires_grad=True, momentum=0.01)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], size_divisor=None),
    backbone=dict(type='FastSCNN', downsample_dw_channels=(32, 48), global_in_channels=64,
        global_block_channels=(64, 96, 128), global_block_strides=(2, 2, 1), global_out_channels=128,
        higher_in_channels=64, lower_in_channels=128, fusion_out_channels=128, out_indices=(0, 1, 2),
        norm_cfg=dict(type='BN', requires_grad=True, momentum=0.01), align_corners=False),
    decode_head=dict(type='DepthwiseSeparableFCNHead', in_channels=128, channels=16, concat_input=False,
        num_classes=2, in_index=-1, norm_cfg=dict(type='BN', requires_grad=True, momentum=0.01), align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1)),
    auxiliary_head=[
        dict(type='FCNHead', in_channels=128, channels=8, num_convs=1, num_classes=2, in_index=-2, concat_input=False,
            norm_cfg=dict(type='BN', requires_grad=True, momentum=0.01), align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.4)),
        dict(type='FCNHead', in_channels=64, channels=8, num_convs=1, num_classes=2, in_index=-3, concat_input=False,
            norm_cfg=dict(type='BN', requires_grad=True, momentum=0.01), align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.4))],
    train_cfg=dict(), test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(32, 32)))
crop_size = (64, 64)
test_pipeline = [dict(type='Resize', scale=(64, 48), keep_ratio=True)]
"""
SEGFORMER = {
    "model_type": "segformer",
    "architectures": ["SegformerForSemanticSegmentation"],
    "hidden_sizes": [32, 64, 160, 256],
    "depths": [2, 2, 2, 2],
    "decoder_hidden_size": 32,
    "num_attention_heads": [1, 2, 5, 8],
    "id2label": {"0": "road", "1": "sky"},
}
PROCESSOR = {
    "image_processor_type": "SegformerImageProcessor",
    "do_reduce_labels": True,
    "size": {"height": 64, "width": 96},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.1],
}


def small_model() -> Segmentor:
    torch.manual_seed(0)
    card = ModelCard(CLASSES, PALETTE, recipe=RECIPE, name="small", metrics={"miou": 0.5}, license="x")
    return build_model(model_config_from_dict(MODEL), len(CLASSES), card=card).eval()


def use(path: Path) -> None:
    """Load a model and do with it what people do first."""
    model = vitrail.load(path)
    saved = path.parent / "saved.safetensors"
    vitrail.predict(model, np.zeros((40, 50, 3), np.uint8))
    vitrail.save(model, saved)
    vitrail.load(saved)


@DURATIONS
def test_cards(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "x.safetensors"
    vitrail.save(small_model(), path)
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["vitrail"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    del description["checksum"]

    def read(text: str) -> None:
        save_file(tensors, path, metadata={"vitrail": text, "format": "pt"})
        use(path)

    read(json.dumps(description))
    texts = damaged_text(json.dumps(description)).map(lambda text: text.encode("utf-8", "replace").decode())
    check_outcomes(altered(description, json=True).map(json.dumps) | texts, read, count=15, seconds=seconds)


@DURATIONS
def test_checkpoints_of_mmsegmentation(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "x.pth"
    export_checkpoint(small_model(), path, "mmseg")
    written = read_pickle(path)
    config = read_config(CONFIG, "x")
    meta = {"cfg": CONFIG, "dataset_meta": {"classes": list(CLASSES), "palette": [list(each) for each in PALETTE]}}

    def read(meta: Any) -> None:
        torch.save({"state_dict": written["state_dict"], "meta": meta}, path)
        use(path)

    read(meta)
    read(written["meta"])
    texts = altered(config).map(lambda data: "\n".join(f"{key} = {value!r}" for key, value in data.items()))
    configs = (texts | damaged_text(CONFIG)).map(lambda text: {**meta, "cfg": text})
    check_outcomes(configs | altered(meta) | altered(written["meta"]), read, count=15, seconds=seconds)


@DURATIONS
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_folders_of_transformers(tmp_path: Path, name: str, seconds: float) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    described = {"config.json": SEGFORMER, "preprocessor_config.json": PROCESSOR}
    for file, content in described.items():
        (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="tensors"):  # of the model, which has been described
        vitrail.load(tmp_path)

    def read(text: str) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogatepass")
        vitrail.load(tmp_path)

    whole = described[name]
    examples = altered(whole, json=True).map(json.dumps) | damaged_text(json.dumps(whole))
    check_outcomes(examples, read, count=12, seconds=seconds)


@DURATIONS
def test_files_of_weights(tmp_path: Path, seconds: float) -> None:
    """What stands in the files themselves: headers, pickles, archives."""
    path = tmp_path / "x.bin"
    save_file({"a": torch.ones(2, 2)}, path, metadata={"format": "pt"})
    tensors = path.read_bytes()
    torch.save({"state_dict": {"a": torch.ones(2, 2)}, "meta": {"epoch": 3}}, path)
    archive = path.read_bytes()
    torch.save({"a": torch.ones(2, 2)}, path, _use_new_zipfile_serialization=False)
    legacy = path.read_bytes()

    def read(content: bytes) -> None:
        path.write_bytes(content)
        read_tensors(path)
        vitrail.load(path)

    check_outcomes(st.one_of(map(damaged, (tensors, archive, legacy))), read, count=200, seconds=seconds)
