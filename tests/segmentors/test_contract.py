"""What every registered method promises; a new method is tested here without being named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from helpers.small import BUILDERS, CLASSES, small, small_head, small_settings
from helpers.versions import needs_export
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.tv_tensors import Mask

from vitrail import create_model, list_segmentors
from vitrail.checkpoints import load_model, save_model
from vitrail.errors import ModelError
from vitrail.inference import Predictor
from vitrail.recipes import EvalConfig
from vitrail.segmentors import SEGMENTORS, ModelCard, Segmentor

Builder: TypeAlias = Callable[[str], Segmentor]
# What no gradient can reach by design, and why.
UNREACHABLE: dict[str, set[str]] = {
    # a constant added before a linear convolution and another batch norm, which takes constants away
    "bisenetv2": {"backbone.context.norm.bias"},
    # means that are taken away before pixels are compared, and a constant before a softmax
    "dnlnet": {f"head.context.{name}.bias" for name in ("query", "key", "unary")},
    # a single channel behind a ReLU, where the finer map has 16, may be negative everywhere
    "manet": {f"head.blocks.2.skip_gate.{place}" for place in ("1.weight", "1.bias", "3.weight")},
    # constants before batch norms, which take constants away
    "pan": {
        f"head.attention.{name}.conv.bias"
        for name in ("down.0", "down.1", "down.2.0", "down.2.1", "lateral.0", "lateral.1", "pooled.1", "project")
    },
    # DETR's first decoder layer attends among queries that are all zero
    "maskformer": {"head.query_decoder.layers.0.self_attn.in_proj_weight"},
}

methods = pytest.mark.parametrize("name", list_segmentors())


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 64, 96)


@pytest.fixture
def targets() -> Tensor:
    targets = torch.randint(0, CLASSES - 2, (2, 64, 96))
    targets[0, :16] = 255
    return targets


@pytest.fixture(scope="module")
def street(camvid_root: Path) -> tuple[Tensor, Tensor]:
    """Four images of CamVid's training split, shrunk, with their masks."""
    names = sorted(path.name for path in (camvid_root / "train").iterdir())[:200:50]
    normalize = v2.Normalize([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    pictures = [v2.functional.pil_to_tensor(Image.open(camvid_root / "train" / name)) for name in names]
    masks = [v2.functional.pil_to_tensor(Image.open(camvid_root / "trainannot" / name)) for name in names]
    size = [48, 64]
    images = v2.functional.resize(torch.stack(pictures), size, antialias=True).float()
    targets = v2.functional.resize(Mask(torch.stack(masks)), size)[:, 0].long()
    return normalize(images), targets.masked_fill(targets == CLASSES, 255)


@methods
@pytest.mark.parametrize("size", [(64, 64), (97, 131)])
def test_logits_have_the_size_of_the_images(name: str, size: tuple[int, int]) -> None:
    with torch.no_grad():
        logits = small(name).eval()(torch.randn(2, 3, *size))
    assert logits.shape == (2, CLASSES, *size)
    assert logits.isfinite().all()


@methods
def test_losses_are_finite_scalars_at_any_size(name: str) -> None:
    targets = torch.randint(0, CLASSES, (2, 65, 91))
    targets[1] = 255
    losses = small(name).train()(torch.randn(2, 3, 65, 91), targets)
    assert losses
    for term, value in losses.items():
        assert value.shape == (), term
        assert value.isfinite(), term


@methods
def test_a_batch_without_labels_is_harmless(name: str, images: Tensor) -> None:
    model = small(name).train()
    sum(model(images, torch.full((2, 64, 96), 255)).values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@methods
def test_gradients_reach_every_parameter(name: str, images: Tensor, targets: Tensor) -> None:
    model = small(name).train()
    with torch.no_grad():
        for module in model.modules():  # a branch that starts at zero hides what lies before it
            weight = getattr(module, "weight", None)
            if isinstance(weight, nn.Parameter) and not weight.any():
                weight.uniform_(0.2, 0.8)
            if isinstance(module, nn.MultiheadAttention):
                module.in_proj_bias.normal_()
        model(images, targets)  # fills what training fills
    sum(model(images, targets).values()).backward()
    unreached = [key for key, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert set(unreached) <= UNREACHABLE.get(name, set())


@BUILDERS
@methods
def test_the_loss_falls_on_real_images(name: str, build: Builder, street: tuple[Tensor, Tensor]) -> None:
    model = build(name).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(12):
        loss = sum(model(*street).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert min(history[-3:]) < 0.8 * history[0], history


@methods
def test_a_model_file_holds_the_whole_model(name: str, images: Tensor, targets: Tensor, tmp_path: Path) -> None:
    model = small(name).train()
    classes = tuple(f"class {index}" for index in range(CLASSES))
    palette = tuple((index, index, index) for index in range(CLASSES))
    model.card = ModelCard(classes, palette, recipe={"model": small_settings(name)})
    with torch.no_grad():
        model(images, targets)
        save_model(model, tmp_path / "model.safetensors")
        again = load_model(tmp_path / "model.safetensors")
        torch.testing.assert_close(again(images), model.eval()(images), rtol=0, atol=0)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())


@BUILDERS
@methods
def test_bfloat16_autocast_stays_finite(name: str, build: Builder, images: Tensor, targets: Tensor) -> None:
    model = build(name)
    if name == "pan":  # PyTorch 2.14's gradient of a kernel of 7 × 7 on 2 × 3 pixels has parts that nothing wrote
        images, targets = images.repeat(1, 1, 4, 4), targets.repeat(1, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = sum(model.train()(images, targets).values())
        with torch.no_grad():
            logits = model.eval()(images)
    loss.backward()
    assert loss.isfinite()
    assert logits.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@methods
def test_channels_last_changes_nothing(name: str, images: Tensor) -> None:
    model = small(name).eval()
    with torch.no_grad():
        expected = model(images)
        actual = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


# Of the heads that share what is new to an exporter, one; `tests/export` exports every method to every format at night.
EXPORTED = {
    *("bisenetv2", "ccnet", "deeplabv3plus", "dmnet", "dnlnet", "eomt", "fastfcn_encnet", "icnet", "knet", "lraspp"),
    *("mask2former", "maskformer", "mcibiplusplus", "ocrnet", "pointrend", "psanet", "san", "segmenter", "segnext"),
}


@needs_export
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in EXPORTED else [pytest.mark.nightly]) for name in list_segmentors()]
)
def test_the_model_exports(name: str, images: Tensor) -> None:
    model = small_head(name).eval()
    with torch.no_grad():
        exported = torch.export.export(model, (images,)).module()
        torch.testing.assert_close(exported(images), model(images), rtol=1e-4, atol=1e-4)


@methods
def test_a_wrong_argument_is_named_with_the_nearest_right_one(name: str) -> None:
    known = next(iter(SEGMENTORS[name].options))
    with pytest.raises(ModelError, match=rf"{name}.*'{known}x'.*Did you mean '{known}'"):
        small(name, **{f"{known}x": 1})


def test_an_unknown_method_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ModelError, match=r"'pspnett'.*'pspnet'"):
        create_model("pspnett")


def test_options_of_a_backbone_that_is_built_already_are_refused() -> None:
    with pytest.raises(ModelError, match="already built"):
        create_model("fcn", small("fcn").backbone, CLASSES, output_stride=8)


@methods
@pytest.mark.parametrize("size", [(1, 1), (1, 40)])
def test_images_of_any_size_are_segmented(name: str, size: tuple[int, int]) -> None:
    # 32 channels are too few for the 32 groups of a group norm at one pixel; these methods have 256.
    model = small(name, **({"channels": 64} if name in ("maskformer", "mask2former", "oneformer") else {}))
    grey = (128.0, 128.0, 128.0)
    predictor = Predictor(model, EvalConfig(), device="cpu", resize=None, flip_pairs=(), mean=grey, std=grey)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    ((mask, scores),) = predictor.segment_with_scores([image])
    assert mask.shape == scores.shape == size
    assert scores.isfinite().all() and int(mask.max()) < CLASSES
    (probabilities,) = predictor.probabilities([image])
    assert probabilities.shape == (CLASSES, *size)
    torch.testing.assert_close(probabilities.amax(dim=0), scores)
