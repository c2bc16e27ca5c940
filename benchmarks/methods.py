"""Inference and training steps of vitrail's methods beside other toolboxes' in one run, as ratios.

    python -m benchmarks.methods                                      # everything: about half an hour
    python -m benchmarks.methods pspnet ocrnet --size 512 512 --repeats 10

Both sides carry the same weights, get the same images and targets, and take turns; a figure is the median over the
turns, in processor seconds of one thread. Before anything is timed both have to give the same logits and the same loss.
Ours predict in channels_last and train in contiguous layout, with vitrail's choice of libraries, as they are run on a
CPU; the others know the contiguous layout only. Peak memory is the growth of the resident set beyond the built model,
in a process of its own. The models are those of `parity.timed`: small encoders of the kinds that a method was published
with, without dropout; a row whose toolbox is not installed is left out. Needs the [parity] extra and Linux. Ratios
above 1 mean that vitrail is faster, or needs less memory.
"""

from __future__ import annotations

import argparse
import functools
import sys
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.side_by_side import Figures, Step, compare, in_a_fresh_process
from parity.case import Case
from parity.missing import MissingToolboxError
from parity.timed import CLASSES, TIMED
from vitrail import create_model
from vitrail.runtime.cpu_products import fast_products
from vitrail.segmentors import Segmentor


def build(case: Case) -> tuple[Segmentor, nn.Module]:
    """Build both sides with the same weights."""
    theirs = case.build_reference()
    tensors = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    return case.build_ours(case.reference.settings(), tensors), theirs


def batch(size: tuple[int, int], count: int) -> tuple[Tensor, Tensor]:
    """Random images, and targets in blobs with an ignored strip."""
    torch.manual_seed(0)
    coarse = torch.randint(0, CLASSES, (count, 1, 8, 8)).float()
    targets = F.interpolate(coarse, size, mode="nearest")[:, 0].long()
    targets[:, :8] = 255
    return torch.randn(count, 3, *size), targets


def step_of(
    case: Case, training: bool, layout: torch.memory_format, images: Tensor, targets: Tensor, mine: bool
) -> Step:
    """Return what is measured: a train step (losses, backward, SGD), or inference to logits at the images' size.

    `layout` is that of our model and its images.
    """
    ours, theirs = build(case)
    ours = ours.to(memory_format=layout)
    model = ours if mine else theirs
    model.train(training)
    if not training:

        @torch.inference_mode()
        def infer() -> object:
            if not mine:
                return case.reference.logits(theirs, images, at_image_size=True)
            with fast_products(images.device):
                return ours(images.contiguous(memory_format=layout))

        return infer
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)

    def step() -> object:
        optimizer.zero_grad()
        if mine:
            losses = ours(images.contiguous(memory_format=layout), targets)
            loss = torch.stack(list(losses.values())).sum()
        else:
            loss = case.reference.losses(theirs, images, targets).total
        loss.backward()
        optimizer.step()
        return loss

    def train() -> object:
        if mine:
            with fast_products(images.device):
                return step()
        with case.reference.training(theirs):
            return step()

    return train


def check(case: Case, images: Tensor, targets: Tensor) -> str | None:
    """Return how the two sides differ, if they do: in the logits or in the loss."""
    ours, theirs = build(case)
    ours.eval()
    theirs.eval()
    with torch.no_grad():
        logits, expected = ours(images), case.reference.logits(theirs, images, at_image_size=True)
    difference = ((logits - expected).abs().max() / expected.abs().max()).item()
    if difference > 1e-3:
        return f"logits differ by {difference:.1e} of the largest"
    ours.train()
    theirs.train()
    with case.drawing():
        torch.manual_seed(0)
        loss = sum(term.item() for term in ours(images, targets).values())
        torch.manual_seed(0)
        wanted = case.reference.losses(theirs, images, targets).total.item()
    return None if abs(loss - wanted) <= 1e-3 * abs(wanted) else f"the loss is {loss}, not {wanted}"


def main() -> None:
    methods = list(dict.fromkeys(row.method for row in TIMED))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help=f"some of {', '.join(methods)}; all when none is named")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--channels-last", action="store_true", help="train ours channels last too")
    parser.add_argument("--check", action="store_true", help="only see that both sides are the same function")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    create_model("fastscnn")
    (height, width), count = arguments.size, arguments.batch
    images, targets = batch((height, width), count)
    print(f"{count} images of {height}×{width}, {arguments.threads} threads, median of {arguments.repeats}")
    print(f"{'method':18}{'backbone':30}{'task':7}{'beside':11} {Figures.HEADER}")
    if unknown := set(arguments.methods) - set(methods):
        parser.error(f"there is no row for {', '.join(sorted(unknown))}; there are rows for {', '.join(methods)}")
    for method in arguments.methods or methods:
        for row in (row for row in TIMED if row.method == method):
            label, toolbox = f"{row.method:18}{row.backbone:30}", row.case.reference.toolbox
            try:
                row.case.build_reference()  # its imports take memory that is nobody's peak
            except MissingToolboxError as error:
                print(f"{label} left out: {error}", flush=True)
                continue
            if difference := in_a_fresh_process(check, row.case, images, targets):
                sys.exit(f"{label.strip()} is not the same function in {toolbox}: {difference}")
            if arguments.check:
                print(label, "the same as in", toolbox, flush=True)
                continue
            for training in (False, True):
                contiguous = training and not arguments.channels_last
                layout = torch.contiguous_format if contiguous else torch.channels_last
                steps = functools.partial(step_of, row.case, training, layout, images, targets)
                figures = compare(steps, arguments.repeats)
                print(f"{label}{'train' if training else 'infer':7}{toolbox:11} {figures}", flush=True)


if __name__ == "__main__":
    main()
