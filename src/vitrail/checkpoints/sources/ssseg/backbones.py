"""From the `backbone` section of an SSSegmentation config to the name and options of the same encoder here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.checkpoints.sources.settings import UnsupportedError, as_lists

# The shape of an encoder goes by its `structure_type` there, which also names the pretrained weights.
NAMES: Mapping[str, str] = {
    "resnet18conv3x3stem": "resnet18c",
    "resnet50conv3x3stem": "resnet50c",
    "resnet101conv3x3stem": "resnet101c",
    "resnest101": "resnest101e",
    "mobilenetv2": "mobilenetv2_100",
    "hrnetv2_w18_small": "hrnet_w18_small_v2.ms_in1k",
    "hrnetv2_w18": "hrnet_w18.ms_in1k",
    "hrnetv2_w48": "hrnet_w48",
    "swin_tiny_patch4_window7_224": "swin_tiny_patch4_window7_224",
    "swin_small_patch4_window7_224": "swin_small_patch4_window7_224",
    "swin_base_patch4_window12_384_22k": "swin_base_patch4_window12_384.ms_in22k",
    "mit-b0": "mit_b0",
    "mit-b1": "mit_b1",
    "mit-b2": "mit_b2",
    "mit-b3": "mit_b3",
    "mit-b4": "mit_b4",
    "mit-b5": "mit_b5",
    "pcpvt_small": "twins_pcpvt_small",
    "pcpvt_base": "twins_pcpvt_base",
    "pcpvt_large": "twins_pcpvt_large",
    "svt_small": "twins_svt_small",
    "svt_base": "twins_svt_base",
    "svt_large": "twins_svt_large",
    "convnext_tiny": "convnext_tiny.fb_in1k",
    "convnext_small": "convnext_small.fb_in1k",
    "convnext_base": "convnext_base.fb_in1k",
    "convnext_base_21k": "convnext_base.fb_in22k",
    "convnext_large_21k": "convnext_large.fb_in22k",
    "convnext_xlarge_21k": "convnext_xlarge.fb_in22k",
    "beit_base_patch16_224_pt22k_ft22k": "beit_base_patch16_224.in22k_ft_in22k",
    "beit_large_patch16_224_pt22k_ft22k": "beit_large_patch16_224.in22k_ft_in22k",
    "mae_pretrain_vit_base": "mae_vit_base_patch16",
    "jx_vit_large_p16_384": "vit_large_patch16_384",
    "mobilevit-small": "mobilevit_s",
    "mobilevitv2_050": "mobilevitv2_050",
    "mobilevitv2_100": "mobilevitv2_100",
    "unets5os16": "unet_s5",
    "cgnetm3n21": "cgnet_m3n21",
    "fastscnn": "fastscnn",
    "erfnet": "erfnet",
    "bisenetv1": "bisenetv1_resnet18",
    "bisenetv2": "bisenetv2",
}
# What their layers have that vitrail's do not have by default, and the other way round.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "HRNet": {"concat": True},
    "CGNet": {"norm_eps": 1e-5},
    "ERFNet": {"downsample_bias": False, "norm_eps": 1e-5},
    "FastSCNN": {"depthwise_act": True},
    "BiSeNetV1": {"deep_stem": True},
    "BiSeNetV2": {"pointwise_bias": False},
    "BEiT": {"img_size": 640, "drop_path_rate": 0.1},
    "VisionTransformer": {"interpolation": "bilinear"},
    "MobileViT": {"project_act": False},
}
_DILATED = ("ResNet", "ResNeSt", "MobileNetV2")


def translate_backbone(values: Mapping[str, Any], *, pyramid: bool, norm_outputs: bool, where: str) -> dict[str, Any]:
    """Return the keys of a recipe's model section that say which encoder this is.

    Parameters
    ----------
    values : mapping
        The `backbone` section.
    pyramid : bool
        Whether the head turns its maps into a pyramid, which is the encoder's part here.
    norm_outputs : bool
        Whether the head sends each of its maps through a layer norm, which is the encoder's part here too.
    where : str
        For messages.

    Raises
    ------
    UnsupportedError
        When vitrail has no encoder that computes the same.
    """
    kind, shape = values["type"], values["structure_type"]
    if shape not in NAMES:
        raise UnsupportedError(f"{where}: vitrail has no encoder like SSSegmentation's {kind} {shape}")
    section: dict[str, Any] = {"backbone": NAMES[shape]}
    if kind in _DILATED:
        section["output_stride"] = values["outstride"]
    options = dict(_OPTIONS.get(kind, {}))
    if "drop_path_rate" in values and kind != "VisionTransformer":
        options["drop_path_rate"] = values["drop_path_rate"]
    if kind in ("VisionTransformer", "MAE"):
        options["img_size"] = as_lists(values["img_size"])
    if kind == "VisionTransformer":
        options["out_indices"] = as_lists(values["out_indices"])
    if kind == "ERFNet" and values.get("act_cfg", {}).get("type") == "PReLU":
        options["prelu"] = True
    options |= {key: True for key, wanted in (("pyramid", pyramid), ("norm_outputs", norm_outputs)) if wanted}
    if options:
        section["backbone_options"] = options
    return section
