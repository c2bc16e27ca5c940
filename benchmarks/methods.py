"""Inference and train step of vitrail's methods beside the same methods of other toolboxes, in one run, as ratios.

    python benchmarks/methods.py                                      # everything: about half an hour
    python benchmarks/methods.py pspnet ocrnet --size 512 512 --repeats 10

Both sides carry the same weights, get the same images and targets, and take turns; a figure is the median over the
turns, in processor seconds of one thread. Before anything is timed both have to give the same logits and the same loss.
Ours predict channels last and train in plain layout, as the engine runs them on a CPU; theirs know plain layout only.
Peak memory is the growth of the resident set beyond the built model, in its own process. Encoders are small ones of
the kinds that a method was published with, dropout is off. Needs the [parity] extra, Linux, and for SSSegmentation's
models its configurations (in VITRAIL_SHARED, else in a folder `shared` beside the repository). Ratios above 1 mean that
vitrail is faster, or needs less memory.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from side_by_side import Figures, Step, compare, in_a_fresh_process
from torch import Tensor, nn
from torch.nn import functional as F

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("", "tests")]
warnings.filterwarnings("ignore")

from parity.same_function import carry  # noqa: E402
from parity.test_ce2p import ssseg_edges  # noqa: E402
from parity.test_maskformer import RESNET18_SSSEG, ssseg, weigh_classes  # noqa: E402

from parity import references  # noqa: E402
from vitrail import create_model  # noqa: E402
from vitrail.checkpoints.sources import encoders, heads  # noqa: E402
from vitrail.checkpoints.sources.renaming import Table  # noqa: E402
from vitrail.losses import BinaryCrossEntropyLoss, CrossEntropyLoss  # noqa: E402
from vitrail.segmentors import Progress, Segmentor  # noqa: E402

CLASSES = 19
SHARED = Path(os.environ.get("VITRAIL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
CONFIGS = SHARED / "reference" / "ssseg_configs.json"


class Reference:
    """A model of another toolbox: how its logits, at the size of the images, and its loss are had."""

    name: str

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self.build = build

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return logits [B, K, H, W]."""
        raise NotImplementedError

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of all losses."""
        raise NotImplementedError


class MMSeg(Reference):
    """A configuration of MMSegmentation, with some of its values changed."""

    name = "mmseg"

    def __init__(self, config: str, **changes: Any) -> None:
        super().__init__(lambda: references.build_mmseg(config, **changes))

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        return model.encode_decode(images, [{"img_shape": tuple(images.shape[-2:])}])

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return torch.stack(list(references.mmseg_losses(model, images, targets).values())).sum()


class SSSeg(Reference):
    """A configuration of SSSegmentation, with some of its values changed."""

    name = "ssseg"

    def __init__(self, config: str, build: Callable[..., nn.Module] = references.build_ssseg, **changes: Any) -> None:
        super().__init__(lambda: build(config, CONFIGS, num_classes=CLASSES, **changes))

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        return F.interpolate(references.ssseg_logits(model, images), images.shape[-2:], mode="bilinear")

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor, **annotations: Tensor) -> Tensor:
        return references.ssseg_losses(model, images, targets, **annotations)[0]


class SSSegWithEdges(SSSeg):
    """CE2P, to which the data loader gives edges; ours makes them as a part of the step."""

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return super().loss(model, images, targets, edge_targets=_edges(targets))


@functools.lru_cache(maxsize=1)
def _edges(targets: Tensor) -> Tensor:
    return ssseg_edges(targets)


class Torchvision(Reference):
    """A segmentation model of torchvision, with the auxiliary loss of its training script times 0.4 instead of 0.5."""

    name = "torchvision"

    def __init__(self, builder: str) -> None:
        def build() -> nn.Module:
            from torchvision.models import segmentation

            return references._without_dropout(
                getattr(segmentation, builder)(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)
            )

        super().__init__(build)

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        return model(images)["out"]

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        outputs = model(images)
        return F.cross_entropy(outputs["out"], targets, ignore_index=255) + 0.4 * F.cross_entropy(
            outputs["aux"], targets, ignore_index=255
        )


@dataclass(frozen=True)
class Weights:
    """Where the weights of a reference belong in our model."""

    backbone: Table
    head: Table


@dataclass(frozen=True)
class Pair:
    """A model of vitrail and the same model of another toolbox."""

    backbone: str | None
    theirs: Reference
    weights: Weights
    options: dict[str, Any] = field(default_factory=dict)
    criterion: Callable[[], nn.Module] = CrossEntropyLoss
    prepare: Callable[[nn.Module, Segmentor], None] = lambda theirs, ours: None

    def build(self, method: str) -> tuple[Segmentor, nn.Module]:
        """Build both with the same weights."""
        theirs = self.theirs.build()
        ours = create_model(method, self.backbone, CLASSES, **self.options)
        ours.criterion = self.criterion()
        carry(theirs, ours, self.weights.backbone, self.weights.head)
        self.prepare(theirs, ours)
        return ours, theirs


def on_resnet18(output_stride: int | None = 8, **options: Any) -> dict[str, Any]:
    return {"output_stride": output_stride, "dropout": 0.0, **options}


mean_over_all = functools.partial(CrossEntropyLoss, ignored_in_mean=True)  # as in MMSegmentation
binary_mean_over_all = functools.partial(BinaryCrossEntropyLoss, ignored_in_mean=True)
RESNET = encoders.DEEP_STEM
R18 = {"backbone__depth": 18, "auxiliary_head__in_channels": 256}
NARROW = 128  # the width of UPerNet's head, whose published 512 would hide the encoders
FCN_TORCHVISION = Table(
    (
        (r"^(aux_)?classifier\.0\.", r"\1classifier.convs.0.conv."),
        (r"^(aux_)?classifier\.1\.", r"\1classifier.convs.0.bn."),
        (r"^(aux_)?classifier\.4\.", r"\1classifier.classifier."),
        (r"^aux_classifier\.", "auxiliary.0."),
        (r"^classifier\.", "head."),
    )
)


def keep_class_weights(theirs: nn.Module, _: Segmentor) -> None:
    """Restore what MaskFormer's loss keeps among the buffers."""
    weigh_classes(theirs)


def in_the_second_epoch(theirs: nn.Module, ours: Segmentor) -> None:
    """Let both update and teach their memories; theirs gets a copy of what it would change before reading it."""
    product = torch.matmul

    def matmul(a: Tensor, b: Tensor) -> Tensor:
        return product(a, b.clone() if b.shape == memory.shape[::2] else b)

    memory = theirs.memory_module.memory
    torch.matmul = matmul
    theirs.forward = functools.partial(theirs.forward, learning_rate=0.01, epoch=2)
    ours.set_progress(Progress(epoch=2, lr_factor=1.0))


PAIRS: dict[str, list[Pair]] = {
    "upernet": [
        Pair(
            "resnet18c",
            MMSeg(
                "upernet/upernet_r18_4xb2-40k_cityscapes-512x1024",
                decode_head__channels=NARROW,
                auxiliary_head__channels=NARROW,
            ),
            Weights(RESNET, heads.UPERNET_MMSEG),
            on_resnet18(None, channels=NARROW, aux_channels=NARROW),
            mean_over_all,
        ),
        Pair(
            "swin_tiny_patch4_window7_224",
            MMSeg(
                "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512",
                decode_head__channels=NARROW,
                decode_head__num_classes=CLASSES,
                auxiliary_head__channels=NARROW,
                auxiliary_head__num_classes=CLASSES,
            ),
            Weights(encoders.SWIN, heads.UPERNET_MMSEG),
            {
                "channels": NARROW,
                "aux_channels": NARROW,
                "dropout": 0.0,
                "backbone_options": {"drop_path_rate": 0.0},
            },
            mean_over_all,
        ),
        Pair(
            "convnext_tiny",
            SSSeg(
                "convnext/upernet_convnexttiny_ade20k",
                head__feats_channels=NARROW,
                auxiliary__out_channels=NARROW,
            ),
            Weights(encoders.CONVNEXT, heads.UPERNET_SSSEG),
            {"channels": NARROW, "aux_channels": NARROW, "dropout": 0.0},
        ),
    ],
    "deeplabv3": [
        Pair(
            "resnet18c",
            MMSeg("deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024"),
            Weights(RESNET, heads.DEEPLABV3_MMSEG),
            on_resnet18(channels=128, aux_channels=64),
            mean_over_all,
        )
    ],
    "deeplabv3plus": [
        Pair(
            "resnet18c",
            MMSeg("deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024"),
            Weights(RESNET, heads.DEEPLABV3PLUS_MMSEG),
            on_resnet18(channels=128, shortcut_channels=12, aux_channels=64),
            mean_over_all,
        )
    ],
    "ocrnet": [
        Pair(
            "resnet18c",
            MMSeg(
                "ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024",
                backbone__depth=18,
                decode_head__0__in_channels=256,
                decode_head__1__in_channels=512,
            ),
            Weights(RESNET, heads.OCRNET_MMSEG),
            on_resnet18(fuse_kernel_size=1, coarse_channels=256),
            mean_over_all,
        ),
        Pair(
            "hrnet_w18_small_v2",
            MMSeg("ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024"),
            Weights(encoders.PLAIN, heads.OCRNET_MMSEG),
            {
                "fuse_kernel_size": 1,
                "coarse_channels": 270,
                "coarse_kernel_size": 1,
                "backbone_options": {"concat": True},
            },
            mean_over_all,
        ),
    ],
    "encnet": [
        Pair(
            "resnet18c",
            MMSeg("encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024", decode_head__in_channels=[128, 256, 512], **R18),
            Weights(RESNET, heads.ENCNET_MMSEG),
            on_resnet18(aux_channels=256),
            mean_over_all,
        )
    ],
    "emanet": [
        Pair(
            "resnet18c",
            MMSeg("emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024", decode_head__in_channels=512, **R18),
            Weights(RESNET, heads.EMANET_MMSEG),
            on_resnet18(channels=256, aux_channels=256),
            mean_over_all,
        )
    ],
    "pointrend": [
        Pair(
            "resnet18c",
            MMSeg(
                "point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024",
                backbone__depth=18,
                neck__in_channels=[64, 128, 256, 512],
            ),
            Weights(RESNET, heads.POINTREND_MMSEG),
            on_resnet18(None, norm=False, coarse_weight=1.0),
            mean_over_all,
        )
    ],
    "segformer": [
        Pair(
            "mit_b0",
            MMSeg(
                "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512",
                decode_head__num_classes=CLASSES,
            ),
            Weights(encoders.MIT, heads.SEGFORMER_MMSEG),
            {"dropout": 0.0, "backbone_options": {"drop_path_rate": 0.0}},
            mean_over_all,
        )
    ],
    "maskformer": [
        Pair(
            "resnet18c",
            SSSeg(
                "maskformer/maskformer_swintiny_ade20k",
                lambda name, configs, **changes: ssseg(configs, name, **changes),
                backbone=RESNET18_SSSEG,
                head__in_channels_list=[64, 128, 256, 512],
                head__feats_channels=256,
                head__predictor__dropout=0.0,
                head__predictor__act_cfg={"type": "ReLU", "inplace": False},
            ),
            Weights(RESNET, heads.MASKFORMER_SSSEG),
            on_resnet18(None, pool_sizes=(1, 2, 3, 6)),
            prepare=keep_class_weights,
        ),
        Pair(
            "swin_tiny_patch4_window7_224",
            SSSeg(
                "maskformer/maskformer_swintiny_ade20k",
                lambda name, configs, **changes: ssseg(configs, name, **changes),
                head__feats_channels=256,
                head__predictor__dropout=0.0,
                head__predictor__act_cfg={"type": "ReLU", "inplace": False},
            ),
            Weights(encoders.SWIN, heads.MASKFORMER_SSSEG),
            {"dropout": 0.0, "pool_sizes": (1, 2, 3, 6), "backbone_options": {"drop_path_rate": 0.0}},
            prepare=keep_class_weights,
        ),
    ],
    "bisenetv2": [
        Pair(
            None,
            MMSeg("bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024"),
            Weights(encoders.BISENETV2_MMSEG, heads.BISENETV2_MMSEG),
            {"dropout": 0.0},
            mean_over_all,
        )
    ],
    "icnet": [
        Pair(
            "resnet18c",
            MMSeg("icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832"),
            Weights(heads.ICNET_ENCODER_MMSEG, heads.ICNET_MMSEG),
            on_resnet18(),
            mean_over_all,
        )
    ],
    "ce2p": [
        Pair(
            "resnet18c",
            SSSegWithEdges(
                "ce2p/ce2p_resnet50os16_voc", backbone__depth=18, head__in_channels_list=[64, 128, 256, 512]
            ),
            Weights(RESNET, heads.CE2P_SSSEG),
            on_resnet18(16),
        )
    ],
    "mcibi": [
        Pair(
            "resnet18c",
            SSSeg(
                "mcibi/mcibi_deeplabv3_resnet50os8_ade20k",
                backbone__depth=18,
                head__in_channels=512,
                auxiliary={"in_channels": 256, "out_channels": 512, "dropout": 0.0},
                head__update_cfg__momentum_cfg__base_lr=0.01,
                head__update_cfg__ignore_index=255,
            ),
            Weights(RESNET, heads.MCIBI_SSSEG),
            on_resnet18(memory_weight=1.0),
            prepare=in_the_second_epoch,
        )
    ],
    "fcn": [
        Pair(
            "resnet50c",
            MMSeg("fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024"),
            Weights(RESNET, heads.FCN_MMSEG),
            on_resnet18(concat_input=True, aux_channels=256),
            mean_over_all,
        ),
        Pair(
            "resnet50",
            Torchvision("fcn_resnet50"),
            Weights(encoders.PLAIN, FCN_TORCHVISION),
            on_resnet18(num_convs=1, aux_channels=256),
        ),
    ],
    "pspnet": [
        Pair(
            "resnet50c",
            MMSeg("pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024"),
            Weights(RESNET, heads.PSPNET_MMSEG),
            on_resnet18(aux_channels=256),
            mean_over_all,
        )
    ],
    "cgnet": [
        Pair(
            None,
            MMSeg("cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680", decode_head__loss_decode__class_weight=None),
            Weights(encoders.CGNET_MMSEG, heads.FCN_MMSEG),
            {},
            mean_over_all,
        )
    ],
    "fastscnn": [
        Pair(
            None,
            MMSeg("fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024"),
            Weights(encoders.FASTSCNN_MMSEG, heads.FASTSCNN_MMSEG),
            {"dropout": 0.0},
            binary_mean_over_all,
        )
    ],
}


def batch(size: tuple[int, int], count: int) -> tuple[Tensor, Tensor]:
    """Random images, and targets in blobs with an ignored strip."""
    torch.manual_seed(0)
    coarse = torch.randint(0, CLASSES, (count, 1, 8, 8)).float()
    targets = F.interpolate(coarse, size, mode="nearest")[:, 0].long()
    targets[:, :8] = 255
    return torch.randn(count, 3, *size), targets


def step_of(
    method: str, pair: Pair, training: bool, layout: torch.memory_format, images: Tensor, targets: Tensor, mine: bool
) -> Step:
    """Return what is measured: a train step (losses, backward, SGD), or inference to logits at the images' size.

    `layout` is that of our model and its images.
    """
    ours, theirs = pair.build(method)
    ours = ours.to(memory_format=layout)
    model = ours if mine else theirs
    model.train(training)
    if not training:

        @torch.inference_mode()
        def infer() -> object:
            if not mine:
                return pair.theirs.logits(theirs, images)
            return ours(images.contiguous(memory_format=layout))

        return infer
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)

    def train() -> object:
        optimizer.zero_grad()
        if mine:
            losses = ours(images.contiguous(memory_format=layout), targets)
            loss = torch.stack(list(losses.values())).sum()
        else:
            loss = pair.theirs.loss(theirs, images, targets)
        loss.backward()
        optimizer.step()
        return loss

    return train


def check(method: str, pair: Pair, images: Tensor, targets: Tensor) -> str | None:
    """Return how the two sides differ, if they do: in the logits or in the loss."""
    ours, theirs = pair.build(method)
    ours.eval()
    theirs.eval()
    with torch.no_grad():
        logits, expected = ours(images), pair.theirs.logits(theirs, images)
    difference = ((logits - expected).abs().max() / expected.abs().max()).item()
    if difference > 1e-3:
        return f"logits differ by {difference:.1e} of the largest"
    ours.train()
    theirs.train()
    torch.manual_seed(0)
    loss = sum(term.item() for term in ours(images, targets).values())
    torch.manual_seed(0)
    wanted = pair.theirs.loss(theirs, images, targets).item()
    return None if abs(loss - wanted) <= 1e-3 * abs(wanted) else f"the loss is {loss}, not {wanted}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help=f"some of {', '.join(PAIRS)}; all when none is named")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--channels-last", action="store_true", help="train ours channels last too")
    parser.add_argument("--check", action="store_true", help="only see that both sides are the same function")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for config in (MMSeg("fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024"), SSSeg("cgnet/fcn_cgnetm3n21_cityscapes")):
        config.build()  # imports take memory, and are nobody's peak
    create_model("fastscnn")
    (height, width), count = arguments.size, arguments.batch
    images, targets = batch((height, width), count)
    print(f"{count} images of {height}×{width}, {arguments.threads} threads, median of {arguments.repeats}")
    print(f"{'method':14}{'backbone':30}{'task':7}{'beside':11} {Figures.HEADER}")
    for method in arguments.methods or PAIRS:
        for pair in PAIRS[method]:
            label = f"{method:14}{pair.backbone or '':30}"
            if difference := in_a_fresh_process(check, method, pair, images, targets):
                sys.exit(f"{label.strip()} is not the same function in {pair.theirs.name}: {difference}")
            if arguments.check:
                print(label, "the same as in", pair.theirs.name, flush=True)
                continue
            for training in (False, True):
                plain = training and not arguments.channels_last
                layout = torch.contiguous_format if plain else torch.channels_last
                build = functools.partial(step_of, method, pair, training, layout, images, targets)
                figures = compare(build, arguments.repeats)
                print(f"{label}{'train' if training else 'infer':7}{pair.theirs.name:11} {figures}", flush=True)


if __name__ == "__main__":
    main()
