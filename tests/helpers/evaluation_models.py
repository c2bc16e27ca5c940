"""A dataset in memory and small models, for the tests of inference and evaluation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision import tv_tensors

from vitrail.backbones import Backbone
from vitrail.datasets import Benchmark, SegmentationDataset
from vitrail.errors import DatasetError
from vitrail.segmentors import Head, ModelCard, Segmentor

CLASSES = ("sky", "road", "tree", "car")
PALETTE = ((70, 130, 180), (128, 64, 128), (107, 142, 35), (0, 0, 142))
BENCHMARK = Benchmark("memory", "In memory", CLASSES, PALETTE, splits={})


class Memory:
    """Random images; masks with ignored pixels."""

    def __init__(self, count: int, sizes=((32, 40), (36, 48)), broken: str | None = None) -> None:
        self.ids = [f"town/{index:03d}" for index in range(count)]
        self.sizes = sizes
        self.broken = broken

    def load(self, index: int):
        if self.ids[index] == self.broken:
            raise DatasetError(f"{self.ids[index]}.png is truncated")
        generator = torch.Generator().manual_seed(index)
        height, width = self.sizes[index % len(self.sizes)]
        image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
        mask = torch.randint(len(CLASSES), (height, width), generator=generator, dtype=torch.uint8)
        mask[:2] = 255
        return tv_tensors.Image(image), tv_tensors.Mask(mask)


class Pixels(Backbone):
    """One convolution: 1 × 1 at stride 1, so that every pixel is segmented without context, or larger."""

    def __init__(self, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, kernel_size, stride, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(8)
        self.channels, self.strides = (8,), (stride,)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.norm(self.conv(images)).relu()]


class Linear(Head):
    """A 1 × 1 convolution."""

    def __init__(self, num_classes: int, align_corners: bool = False) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.classifier = nn.Conv2d(8, num_classes, 1)

    def forward(self, features):
        return self.classifier(features[-1])


class OwnPredict(Linear):
    """Overrides predict with another computation."""

    resizes_late = False

    def predict(self, features, size):
        return 2 * super().predict(features, size)


def small_model(kernel_size=1, stride=1, *, head=Linear, align_corners=False, num_classes=4) -> Segmentor:
    torch.manual_seed(7)
    model = Segmentor(Pixels(kernel_size, stride), head(num_classes, align_corners)).eval()
    names = (*CLASSES, *(f"class {index}" for index in range(4, num_classes)))[:num_classes]
    palette = (PALETTE * num_classes)[:num_classes]
    model.card = ModelCard(classes=names, palette=palette, mean=(120, 110, 100), std=(50, 55, 60))
    return model


def memory_dataset(count: int, **options) -> SegmentationDataset:
    return SegmentationDataset(BENCHMARK, Memory(count, **options))
