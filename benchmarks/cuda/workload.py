"""The measured work: which model, on which images, trained or predicting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Kind = Literal["train", "infer", "predictor"]


@dataclass(frozen=True)
class Workload:
    """One group of rows: the same work in every toolbox.

    Attributes
    ----------
    name : str
        What it is called on the command line.
    title : str
        What it is called in tables.
    kind : {"train", "infer", "predictor"}
        A train step; normalised images to class indices; uint8 images to class indices through the predictor.
    recipe : str
        Vitrail's recipe.
    overrides : tuple of str
        Changes to it.
    batch : int
        Images in a step.
    size : (int, int)
        Their height and width.
    classes : int
        K.
    stage : int
        The most telling groups are 1.
    """

    name: str
    title: str
    kind: Kind
    recipe: str
    batch: int
    size: tuple[int, int]
    classes: int
    stage: int
    overrides: tuple[str, ...] = ()

    @property
    def shape(self) -> str:
        """The shape in words."""
        return f"{self.batch}×{self.size[0]}×{self.size[1]}, {self.classes} classes"

    def small(self) -> Workload:
        """Return the same work on images so small that a CPU can rehearse it."""
        return replace(self, batch=2, size=(64, 64))


PLAIN = ("model.losses=[{name: cross_entropy}]",)
WORKLOADS = (
    Workload("pspnet-train", "PSPNet-R50-D8 train step", "train", "pspnet_resnet50os8_ade20k", 16, (512, 512), 150, 1),
    Workload(
        "fastscnn-train",
        "Fast-SCNN train step",
        "train",
        "depthwiseseparablefcn_fastscnn_cityscapes",
        8,
        (1024, 1024),
        19,
        1,
    ),
    Workload("segformer-train", "SegFormer-B0 train step", "train", "segformer_mitb0_ade20k", 16, (512, 512), 150, 1),
    Workload(
        "fastscnn-infer",
        "Fast-SCNN inference",
        "infer",
        "depthwiseseparablefcn_fastscnn_cityscapes",
        1,
        (1024, 2048),
        19,
        1,
    ),
    Workload("pspnet-infer", "PSPNet-R50-D8 inference", "infer", "pspnet_resnet50os8_ade20k", 16, (512, 512), 150, 1),
    Workload(
        "fastscnn-predictor",
        "Fast-SCNN predictor",
        "predictor",
        "depthwiseseparablefcn_fastscnn_cityscapes",
        1,
        (1024, 2048),
        19,
        2,
    ),
    Workload(
        "pspnet-predictor",
        "PSPNet-R50-D8 predictor",
        "predictor",
        "pspnet_resnet50os8_cityscapes",
        1,
        (1024, 2048),
        19,
        2,
    ),
    Workload("upernet-train", "UPerNet-Swin-T train step", "train", "upernet_swintiny_ade20k", 16, (512, 512), 150, 2),
    Workload(
        "deeplabv3plus-train",
        "DeepLabv3+-R50-D8 train step",
        "train",
        "deeplabv3plus_resnet50os8_ade20k",
        16,
        (512, 512),
        150,
        2,
    ),
    Workload("bisenetv2-train", "BiSeNetV2 train step", "train", "fcn_bisenetv2_cityscapes", 16, (512, 512), 150, 2),
    Workload(
        "cgnet-train", "CGNet train step", "train", "fcn_cgnetm3n21_cityscapes", 16, (512, 512), 150, 2, overrides=PLAIN
    ),
    Workload("icnet-train", "ICNet-R50-D8 train step", "train", "icnet_resnet50os8_cityscapes", 16, (512, 512), 150, 2),
    Workload(
        "fcn-train",
        "FCN-R50-D8 train step",
        "train",
        "fcn_resnet50os8_ade20k",
        16,
        (512, 512),
        150,
        2,
        overrides=(
            "model.backbone=resnet50",
            "model.options={num_convs: 1, concat_input: false}",
            "model.auxiliary.channels=[256]",
        ),
    ),
)


def images_and_targets(work: Workload, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return uint8 images [B, 3, H, W] and targets [B, H, W] in blobs with an ignored strip, 255, on the device."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (work.batch, 3, *work.size), generator=generator, dtype=torch.uint8)
    coarse = torch.randint(0, work.classes, (work.batch, 1, 16, 16), generator=generator).float()
    targets = F.interpolate(coarse, work.size, mode="nearest")[:, 0].to(torch.uint8)
    targets[:, : work.size[0] // 16] = 255
    return images.to(device), targets.to(device)
