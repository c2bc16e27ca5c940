"""Folders written for transformers: what is refused, what is said of the image processor, and that nothing is lost.

That transformers loads them and computes the same is shown live, in tests/parity/test_written_folders.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import vitrail
from vitrail.checkpoints import export_checkpoint, save_model
from vitrail.checkpoints.sources.transformers.preprocessing import data_of, processor_of
from vitrail.cli import cli
from vitrail.errors import CheckpointError
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import ModelCard, Segmentor, build_model

CLASSES = ("road", "sky")


def model_of(options: dict[str, Any] | None = None, method: str = "segformer", **section: Any) -> Segmentor:
    model = {"segmentor": method, "options": {"channels": 32} if options is None else options, **section}
    recipe = {"name": "mine", "model": model, "data": {"dataset": "folder"}}
    card = ModelCard(CLASSES, ((0, 0, 0), (9, 9, 9)), recipe=recipe, name="mine")
    return build_model(model_config_from_dict(model), len(CLASSES), card=card).eval()


def test_a_model_is_converted_on_the_command_line_and_read_again(tmp_path: Path) -> None:
    model = model_of({"channels": 32, "linear_projection": True}, backbone="mit_b0")
    save_model(model, tmp_path / "mine.safetensors")
    arguments = ["convert", str(tmp_path / "mine.safetensors"), str(tmp_path / "folder"), "--to", "transformers"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exception is None, done.output
    assert "SegformerForSemanticSegmentation.from_pretrained loads it" in done.output
    config = json.loads((tmp_path / "folder/config.json").read_text())
    assert config["id2label"] == {"0": "road", "1": "sky"} and config["label2id"] == {"road": 0, "sky": 1}
    again = vitrail.load(tmp_path / "folder")
    assert again.card == model.card
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    with pytest.raises(CheckpointError, match="exists: --overwrite"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert CliRunner().invoke(cli, [*arguments, "--overwrite"]).exception is None
    # what transformers writes has no card of ours, and other names of classes are other classes
    config["id2label"]["1"] = "heaven"
    (tmp_path / "folder/config.json").write_text(json.dumps(config))
    changed = vitrail.load(tmp_path / "folder").card
    assert changed is not None and changed.classes == ("road", "heaven")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"backbone": "mit_b0"}, "does not compute the same as this model: it differs in options.linear_projection"),
        ({"backbone": "resnet18"}, "transformers' SegFormer has no encoder like vitrail's 'resnet18'"),
        ({"method": "upernet", "backbone": "mit_b0"}, "vitrail writes no encoder like 'mit_b0' for transformers"),
        ({"method": "upernet", "backbone": "resnet18", "output_stride": 16}, "it differs in output_stride"),
        ({"method": "fcn", "backbone": "resnet18"}, "transformers has no method like vitrail's 'fcn'"),
        ({"backbone": "mit_b0", "num_classes": 1}, "by one output"),
    ],
)
def test_what_transformers_does_not_compute_is_refused(section: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        export_checkpoint(model_of(**section), tmp_path / "folder", "transformers")
    assert not (tmp_path / "folder").exists()


def test_a_folder_of_another_origin_and_a_file_are_left_alone(tmp_path: Path) -> None:
    model = model_of(method="upernet", backbone="resnet18")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="would replace a file of another origin"):
        export_checkpoint(model, tmp_path, "transformers")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    with pytest.raises(CheckpointError, match="is a folder"):
        export_checkpoint(model, tmp_path / "config.json", "transformers")


@pytest.mark.parametrize(
    ("resize", "kind", "different"),
    [
        (None, "SegformerImageProcessor", []),
        ({"size": [64, 96], "keep_ratio": False, "antialias": True}, "SegformerImageProcessor", []),
        ({"size": [640, 2560], "antialias": True, "multiple_of": 32}, "MaskFormerImageProcessor", []),
        ({"size": [2048, 512]}, "Mask2FormerImageProcessor", ["it smooths images that it makes smaller"]),
        (
            {"size": [2048, 512], "antialias": True, "multiple_of": 32},
            "SegformerImageProcessor",
            ["it does not round sizes up to multiples of 32"],
        ),
    ],
)
def test_the_image_processor_is_read_as_the_resize_that_it_was_written_from(
    resize: dict[str, Any] | None, kind: str, different: list[str]
) -> None:
    recipe = {"model": {}, "data": {"dataset": "ade20k", **({} if resize is None else {"eval_resize": resize})}}
    processor, differences = processor_of(ModelCard(CLASSES, ((0, 0, 0),) * 2, recipe=recipe), kind)
    assert differences == different and processor["do_reduce_labels"] is True
    read = data_of(processor, "here")
    assert read["mean"] == [123.675, 116.28, 103.53] and read["std"] == [58.395, 57.12, 57.375]
    if resize is None:
        assert "eval_resize" not in read
    elif not different:
        assert read["eval_resize"] == {"keep_ratio": True, "multiple_of": 1, **resize}


def test_a_sliding_window_is_said_to_be_lost() -> None:
    recipe = {"model": {}, "data": {"dataset": "folder"}, "evaluation": {"mode": "slide"}}
    _, differences = processor_of(ModelCard(CLASSES, ((0, 0, 0),) * 2, recipe=recipe), "SegformerImageProcessor")
    assert differences == ["it predicts whole images, where the recipe says windows"]
