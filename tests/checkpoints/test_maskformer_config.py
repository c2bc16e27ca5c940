"""MMSegmentation's MaskFormer: each setting is taken, or refused by its name."""

from __future__ import annotations

import pytest

from parity.golden import FOLDER, read
from vitrail.checkpoints.sources.mmseg.config import read_config
from vitrail.checkpoints.sources.mmseg.heads import translate_model
from vitrail.checkpoints.sources.settings import UnsupportedError


@pytest.fixture(scope="module")
def config() -> str:
    return read(FOLDER / "mmseg" / "maskformer_r50-d32.npz").settings


def changed(config: str, old: str, new: str) -> str:
    assert old in config
    return config.replace(old, new, 1)


def translate(config: str) -> dict[str, object]:
    return dict(translate_model(read_config(config, "a config")["model"], "model").options)


def test_what_it_says_is_taken(config: str) -> None:
    assert translate(config)["num_queries"] == 100
    assert translate(changed(config, "'num_queries'", "'align_corners': True, 'num_queries'"))["align_corners"] is True


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("'num_queries': 100", "'num_queries': 100, 'strange': 1", "decode_head says strange"),
        ("'in_index': [0, 1, 2, 3]", "'in_index': [0, 1, 2]", "in_index is"),
        ("'act_cfg': {'type': 'ReLU'}", "'act_cfg': {'type': 'GELU'}", "pixel_decoder.act_cfg is"),
        ("'num_feats': 128", "'num_feats': 64", "positional_encoding is"),
        ("'return_intermediate': True", "'return_intermediate': True, 'x': 1", "transformer_decoder says x"),
        ("'proj_drop': 0.1", "'proj_drop': 0.2", "several shares of dropout"),
        ("'num_fcs': 2", "'num_fcs': 3", "num_fcs is 3"),
        ("'gamma': 2.0", "'gamma': 1.0", "loss_mask.gamma is"),
        ("'alpha': 0.25", "'alpha': 0.25, 'y': 0", "loss_mask says y"),
        ("'naive_dice': True", "'naive_dice': False", "another Dice loss"),
        ("'eps': 1.0, 'loss_weight'", "'loss_weight'", "another Dice loss"),
        ("'class_weight': [1.0, ", "'class_weight': [2.0, ", "weighs the classes differently"),
    ],
)
def test_what_would_compute_something_else_is_refused(config: str, old: str, new: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        translate(changed(config, old, new))
