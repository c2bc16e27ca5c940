"""Folders written for transformers load there strictly, by its own from_pretrained, and give the same logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from parity.huggingface import task_inputs, transformers
from parity.weights import randomise
from vitrail.checkpoints import export_checkpoint
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import ModelCard, Progress, Segmentor, build_model

pytestmark = pytest.mark.parity

CLASSES = ("road", "sky", "tree", "car")
QUERIES = {"channels": 32, "mask_channels": 32, "query_channels": 32, "num_queries": 20, "num_layers": 2}
ONEFORMER = {"channels": 32, "num_queries": 20, "num_layers": 2}
TEXTS = {"contrastive_weight": 0.5, "num_contexts": 4, "vocabulary_size": 60, "text_layers": 1, "vocabulary": "x"}
UPERNET = {"options": {"channels": 32}, "auxiliary": {"weight": 0.4, "channels": [16]}}
MODELS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "segformer": ({"backbone": "mit_b0", "options": {"channels": 32, "linear_projection": True}}, (64, 96)),
    "upernet": ({"backbone": "resnet18", **UPERNET}, (64, 96)),
    "upernet-convnext": ({"backbone": "convnext_tiny.fb_in1k", "options": {"channels": 32}}, (64, 96)),
    "upernet-swin": ({"backbone": "swin_tiny_patch4_window7_224", **UPERNET}, (224, 224)),
    "maskformer": ({"backbone": "resnet18", "options": QUERIES}, (64, 96)),
    "maskformer-swin": ({"backbone": "swin_tiny_patch4_window7_224", "options": QUERIES}, (224, 224)),
    "mask2former": ({"backbone": "resnet18", "options": {**QUERIES, "num_points": 64}}, (64, 96)),
    "eomt": (
        {"backbone": "vit_small_patch14_reg4_dinov2", "backbone_options": {"img_size": 64, "patch_size": 16}},
        (64, 64),
    ),
    "eomt-dinov3": ({"backbone": "vit_small_patch16_dinov3_qkvb", "backbone_options": {"img_size": 64}}, (64, 64)),
    "mask2former-swin": ({"backbone": "swin_tiny_patch4_window7_224", "options": QUERIES}, (224, 224)),
    "oneformer": ({"backbone": "resnet18", "options": ONEFORMER}, (64, 96)),
    "oneformer-texts": ({"backbone": "resnet18", "options": {**ONEFORMER, **TEXTS, "channels": 64}}, (64, 96)),
    "oneformer-swin": ({"backbone": "swin_tiny_patch4_window7_224", "options": ONEFORMER}, (224, 224)),
}


def model_of(name: str) -> tuple[Segmentor, tuple[int, int]]:
    section, size = MODELS[name]
    recipe: dict[str, Any] = {
        "name": "mine",
        "model": {"segmentor": name.partition("-")[0], **section},
        "data": {"dataset": "folder", "eval_resize": {"size": list(size), "keep_ratio": False, "antialias": True}},
    }
    colours = tuple((index, 0, 0) for index in range(len(CLASSES)))
    card = ModelCard(CLASSES, colours, mean=(120.0, 110.0, 100.0), recipe=recipe, name="mine")
    model = build_model(model_config_from_dict(recipe["model"]), len(CLASSES), card=card).eval()
    randomise(model)
    model.set_progress(Progress(epoch=1, lr_factor=1.0, done=1.0))  # EoMT's masks are annealed, as when it is trained
    return model, size


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_transformers_loads_what_is_written(name: str, tmp_path: Path) -> None:
    ours, size = model_of(name)
    line = export_checkpoint(ours, tmp_path / "folder", "transformers")
    architecture = line.partition(".")[0]
    theirs, found = getattr(transformers(), architecture).from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not any(found[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), found
    if name == "oneformer-texts":  # without what trains it
        theirs = getattr(transformers(), architecture).from_pretrained(tmp_path / "folder", is_training=False)
    assert theirs.config.id2label == dict(enumerate(CLASSES))
    processor = transformers().AutoImageProcessor.from_pretrained(tmp_path / "folder")
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    assert ours.card is not None
    mean, std = (torch.tensor(values)[:, None, None] for values in (ours.card.mean, ours.card.std))
    images = processor(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(images[0], (image - mean) / std, rtol=0, atol=1e-5)
    out = theirs.eval()(images, *([task_inputs(1)] if name.startswith("oneformer") else []))
    if hasattr(out, "logits"):
        expected, logits = out.logits, ours(images) if name.startswith("upernet") else ours.unresized(images)
    else:
        belief = out.class_queries_logits.softmax(-1)[..., :-1]
        expected = torch.einsum("bqc,bqhw->bchw", belief, out.masks_queries_logits.sigmoid())
        logits = ours.unresized(images)
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()

    again = vitrail.load(tmp_path / "folder")
    assert again.card == ours.card
    assert all(torch.equal(again.state_dict()[key], value) for key, value in ours.state_dict().items())
