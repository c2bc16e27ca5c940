"""Folders that transformers saved, loaded from there: the same logits, and the map that its image processor makes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vitrail
from parity.huggingface import LEVELS, task_inputs, transformers
from parity.weights import randomise

pytestmark = pytest.mark.parity

CLASSES = 5
SIZE = (100, 140)
FIXED, WINDOWS = {"height": 64, "width": 96}, {"height": 224, "width": 224}
EDGES = {"shortest_edge": 64, "longest_edge": 128}
SMALL = {"hidden_size": 32, "auxiliary_channels": 8, "num_labels": CLASSES}


def swin() -> Any:
    return transformers().SwinConfig(embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], out_features=LEVELS)


def convnext() -> Any:
    return transformers().ConvNextConfig(
        hidden_sizes=[96, 192, 384, 768], depths=[3, 3, 9, 3], out_features=LEVELS, layer_scale_init_value=1.0
    )


def resnet() -> Any:
    return transformers().ResNetConfig(
        depths=[2, 2, 2, 2],
        hidden_sizes=[64, 128, 256, 512],
        layer_type="basic",
        embedding_size=64,
        out_features=LEVELS,
    )


def segformer() -> nn.Module:
    return transformers().SegformerForSemanticSegmentation(transformers().SegformerConfig(num_labels=CLASSES))


def upernet(backbone: Callable[[], Any]) -> nn.Module:
    config = transformers().UperNetConfig(backbone_config=backbone(), auxiliary_in_channels=384, **SMALL)
    return transformers().UperNetForSemanticSegmentation(config)


def maskformer(backbone: Callable[[], Any]) -> nn.Module:
    from transformers.models.maskformer.configuration_maskformer import MaskFormerDetrConfig

    decoder = MaskFormerDetrConfig(num_queries=20, decoder_layers=2, decoder_ffn_dim=32, d_model=32)
    config = transformers().MaskFormerConfig(
        backbone_config=backbone(),
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=32,
        num_labels=CLASSES,
    )
    return transformers().MaskFormerForInstanceSegmentation(config)


def mask2former(backbone: Callable[[], Any]) -> nn.Module:
    widths = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32}
    depths = {"encoder_layers": 1, "decoder_layers": 3, "encoder_feedforward_dim": 32, "dim_feedforward": 32}
    config = transformers().Mask2FormerConfig(
        backbone_config=backbone(), num_queries=20, num_labels=CLASSES, **widths, **depths
    )
    return transformers().Mask2FormerForUniversalSegmentation(config)


def oneformer(backbone: Callable[[], Any], **settings: Any) -> nn.Module:
    widths = {"conv_dim": 32, "mask_dim": 32, "hidden_dim": 32, "encoder_feedforward_dim": 32, "dim_feedforward": 32}
    depths = {"encoder_layers": 1, "query_dec_layers": 1, "decoder_layers": 3}
    config = transformers().OneFormerConfig(
        backbone_config=backbone(), num_queries=20, num_labels=CLASSES, **widths, **depths, **settings
    )
    return transformers().OneFormerForUniversalSegmentation(config)


def eomt(dinov3: bool, masked: float = 0.0) -> nn.Module:
    shape = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "image_size": 64}
    head = {"num_queries": 20, "num_blocks": 3, "num_labels": CLASSES}
    if dinov3:
        config = transformers().EomtDinov3Config(**shape, **head, intermediate_size=1536)
        model = transformers().EomtDinov3ForUniversalSegmentation(config)
    else:
        model = transformers().EomtForUniversalSegmentation(transformers().EomtConfig(**shape, **head))
    model.attn_mask_probs.fill_(masked)
    return model


def plain(kind: str) -> nn.Module:
    shape = {"hidden_size": 768, "num_hidden_layers": 12, "image_size": 64, "auxiliary_channels": 16}
    more = {"use_relative_position_bias": True, "out_indices": [3, 5, 7, 11], "num_labels": CLASSES}
    config = getattr(transformers(), f"{kind}Config")(**shape, **more)
    return getattr(transformers(), f"{kind}ForSemanticSegmentation")(config)


def dpt(readout: str) -> nn.Module:
    config = transformers().DPTConfig(
        **{"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768},
        **{"image_size": 96, "neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 16, "num_labels": CLASSES},
        backbone_out_indices=[1, 4, 7, 10],
        use_batch_norm_in_fusion_residual=True,
        readout_type=readout,
    )
    return transformers().DPTForSemanticSegmentation(config)


def mobile(kind: str, **settings: Any) -> nn.Module:
    config = getattr(transformers(), f"{kind}Config")(num_labels=CLASSES, **settings)
    return getattr(transformers(), f"{kind}ForSemanticSegmentation")(config)


def picture(size: tuple[int, int]) -> Image.Image:
    noise = np.random.RandomState(0).randint(0, 255, (10, 14, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC)


def scores_of(out: Any) -> Tensor:
    """Return the logits, or the scores that the image processor makes of the queries."""
    if hasattr(out, "logits"):
        return out.logits
    belief = out.class_queries_logits.softmax(-1)[..., :-1]
    return torch.einsum("bqc,bqhw->bchw", belief, out.masks_queries_logits.sigmoid())


# How much of the map may differ: MaskFormer's authors resize the masks before the sigmoid, transformers after it, and
# for Mask2Former to 384 × 384 first, whatever the image.
PLAIN = {"height": 64, "width": 64}
SHORT = {"shortest_edge": 64}
SPLIT = {"shortest_edge": 64, "longest_edge": None}
MODELS: dict[str, tuple[Callable[[], nn.Module], str, dict[str, Any], float]] = {
    "segformer": (segformer, "SegformerImageProcessor", FIXED, 0.0),
    "upernet-convnext": (lambda: upernet(convnext), "SegformerImageProcessor", FIXED, 0.001),
    "upernet-swin": (lambda: upernet(swin), "SegformerImageProcessor", WINDOWS, 0.001),
    "maskformer-resnet": (lambda: maskformer(resnet), "MaskFormerImageProcessor", EDGES, 0.05),
    "maskformer-swin": (lambda: maskformer(swin), "MaskFormerImageProcessor", WINDOWS, 0.05),
    "beit": (lambda: plain("Beit"), "BeitImageProcessor", PLAIN, 0.0),
    "data2vec": (lambda: plain("Data2VecVision"), "BeitImageProcessor", PLAIN, 0.0),
    **{
        f"dpt-{readout}": (partial(dpt, readout), "DPTImageProcessor", PLAIN, 0.0)
        for readout in ("project", "add", "ignore")
    },
    **{
        f"{kind}-{stride}": (partial(mobile, kind, output_stride=stride, **more), processor, SHORT, 0.0)
        for kind, processor, more in (
            ("MobileViT", "MobileViTImageProcessor", {"aspp_out_channels": 16}),
            ("MobileViTV2", "MobileViTImageProcessor", {"aspp_out_channels": 16, "width_multiplier": 0.5}),
            ("MobileNetV2", "MobileNetV2ImageProcessor", {}),
        )
        for stride in (8, 16)
    },
    "eomt-dinov2": (lambda: eomt(False), "EomtImageProcessor", SPLIT, 0.001),
    "eomt-dinov2-masked": (lambda: eomt(False, 1.0), "EomtImageProcessor", SPLIT, 0.001),
    "eomt-dinov3": (lambda: eomt(True), "EomtImageProcessor", SPLIT, 0.001),
    "mask2former-swin": (lambda: mask2former(swin), "Mask2FormerImageProcessor", WINDOWS, 0.05),
    "oneformer-swin": (lambda: oneformer(swin), "OneFormerImageProcessor", WINDOWS, 0.05),
    "oneformer-resnet": (lambda: oneformer(resnet), "OneFormerImageProcessor", EDGES, 0.05),
}


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_the_logits_and_the_map_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    build, kind, size, tolerance = MODELS[name]
    splits = {"do_split_image": True} if size is SPLIT else {}
    settings = {**splits, **({"resample": 2, "do_center_crop": False} if size in (PLAIN, SHORT) else {})}
    theirs, processor = build().eval(), getattr(transformers(), kind)(size=size, **settings)
    randomise(theirs, ("criterion.", "attn_mask_probs"))
    theirs.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    ours = vitrail.load(tmp_path)
    # EoMT's authors round the long side, transformers cuts it off: here it is a whole number
    at = (96, 144) if splits or size is SHORT else SIZE
    image = picture(at)
    given = processor(image, return_tensors="pt")
    inputs = given["pixel_values"]
    more = {"task_inputs": task_inputs(1)} if name.startswith("oneformer") else {}
    out = theirs(inputs, **more, **{key: given[key] for key in ("patch_offsets",) if key in given})
    expected = scores_of(out)
    # the logits of UPerNet and DPT there have the size of the images
    found = ours(inputs) if name.startswith(("upernet", "dpt")) else ours.head(ours.backbone(inputs))
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    wanted = processor.post_process_semantic_segmentation(out, target_sizes=[at])[0]
    prediction = next(iter(vitrail.Predictor(ours, device="cpu")([np.asarray(image)])))
    differing = (torch.as_tensor(prediction.mask) != wanted).float().mean().item()
    assert differing <= tolerance
