"""transformers' OneFormer: the configuration as it is published, and what vitrail does not compute."""

from __future__ import annotations

from typing import Any

import pytest

from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.transformers.source import translate_config

BACKBONE: dict[str, Any] = {
    "model_type": "swin",
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
    "num_layers": 4,
    "window_size": 7,
    "image_size": 224,
    "patch_size": 4,
    "hidden_size": 768,
    "drop_path_rate": 0.3,
    "encoder_stride": 32,
    "path_norm": True,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
    "out_indices": [1, 2, 3, 4],
}
CONFIG: dict[str, Any] = {
    "model_type": "oneformer",
    "architectures": ["OneFormerForUniversalSegmentation"],
    "backbone_config": BACKBONE,
    "num_classes": 150,
    "num_queries": 150,
    "ignore_value": 255,
    "is_training": False,
    "contrastive_weight": 0.5,
    "contrastive_temperature": 0.07,
    "output_attentions": True,
    "output_hidden_states": True,
    "output_auxiliary_logits": True,
    "strides": [4, 8, 16, 32],
    "task_seq_len": 77,
    "max_seq_len": 77,
    "text_encoder_width": 256,
    "text_encoder_n_ctx": 16,
    "conv_dim": 256,
    "mask_dim": 256,
    "hidden_dim": 256,
    "norm": "GN",
    "layer_norm_eps": 1e-5,
    "num_hidden_layers": 10,
    "decoder_layers": 10,
    "query_dec_layers": 2,
    "use_task_norm": True,
    "pre_norm": False,
    "enforce_input_proj": False,
    "common_stride": 4,
    "dropout": 0.1,
}


def test_the_published_configuration_is_read() -> None:
    model = translate_config(CONFIG, "config.json")
    assert model.segmentor == "oneformer"
    assert (model.encoder.name, model.encoder.options) == ("swin_tiny_patch4_window7_224", {"drop_path_rate": 0.3})
    assert (model.options["channels"], model.options["num_queries"], model.options["num_layers"]) == (256, 150, 9)
    assert "contrastive_weight" not in model.options  # the published files hold no text encoder


def test_with_the_text_encoder_that_trains_it() -> None:
    options = translate_config({**CONFIG, "is_training": True}, "config.json").options
    assert (options["contrastive_weight"], options["num_contexts"], options["causal_text"]) == (0.5, 16, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone_config": {"model_type": "dinat", "embed_dim": 192}}, "no encoder like transformers' dinat"),
        ({"hidden_dim": 128}, "hidden_dim is not conv_dim"),
        ({"use_task_norm": False}, "use_task_norm is False"),
        ({"is_training": True, "text_encoder_width": 128}, "text_encoder_width is not conv_dim"),
        ({"is_training": True, "contrastive_weight": 0.0}, "is_training without contrastive_weight"),
        (
            {"is_training": True, **dict.fromkeys(("conv_dim", "hidden_dim", "mask_dim", "text_encoder_width"), 32)},
            "less than an attention head",
        ),
    ],
)
def test_what_vitrail_does_not_compute_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        translate_config({**CONFIG, **changes}, "config.json")
