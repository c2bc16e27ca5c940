"""The contract that every method keeps: heads, the segmentor they make with a backbone, and the registry of methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn

from vitrail.backbones import Backbone, create_backbone
from vitrail.errors import ModelError
from vitrail.layers import resize, resize_logits
from vitrail.losses import CrossEntropyLoss
from vitrail.registry import Registry, check_arguments, first_line
from vitrail.segmentors.card import ModelCard

Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Progress:
    """How far training is, for methods whose training changes as it goes.

    Attributes
    ----------
    epoch : int
        The epoch under way, counted from 1.
    lr_factor : float
        The learning rate of this step, as a multiple of the optimizer's own.
    """

    epoch: int
    lr_factor: float


class Head(nn.Module):
    """A decoder: feature maps to logits.

    Parameters
    ----------
    num_classes : int
        K, the number of classes.
    align_corners : bool
        How the logits are resized to the image (the meaning of `torch.nn.functional.interpolate`).

    Attributes
    ----------
    output : {"logits", "probabilities", "scores"}
        What `predict` returns: logits, whose softmax is the probability of each class; probabilities, which sum to 1
        over the classes; or scores, which are not negative and become probabilities when divided by their sum.
    resizes_late : bool
        Whether `predict` does no more than resize what `forward` returns, so that callers may resize it themselves,
        part by part and in less memory. A head that overrides `predict` with another computation sets it to False.
    """

    output: ClassVar[Literal["logits", "probabilities", "scores"]] = "logits"
    resizes_late: ClassVar[bool] = True

    def __init__(self, num_classes: int, *, align_corners: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.align_corners = align_corners

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        raise NotImplementedError

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the training losses by name for targets [B, H, W] of class indices, 255 ignored.

        A method with its own training signal overrides this.
        """
        logits = resize_logits(self(features), targets.shape[-2:], align_corners=self.align_corners)
        return {"seg": criterion(logits, targets)}

    def set_progress(self, progress: Progress) -> None:
        """Take note of how far training is; does nothing unless a method overrides it."""

    def predict(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return logits [B, K, H, W] at `size`; mask-classification and point-based methods override this."""
        return resize(self(features), size, align_corners=self.align_corners)


class Segmentor(nn.Module):
    """A backbone, a head, and auxiliary heads that are used in training only.

    Parameters
    ----------
    backbone : Backbone
        The encoder.
    head : Head
        The decoder that predicts.
    auxiliary : sequence of (Head, float)
        Heads that add to the loss, each with its weight.

    Attributes
    ----------
    criterion : nn.Module
        `(logits [B, K, H, W], targets [B, H, W]) -> Tensor`; cross entropy until something else is assigned.
    auxiliary_criterion : nn.Module or None
        That of the auxiliary heads; None, as at first, takes `criterion`.
    card : ModelCard or None
        Classes, palette and origin; set on models that were trained or loaded.
    """

    def __init__(self, backbone: Backbone, head: Head, auxiliary: Sequence[tuple[Head, float]] = ()) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.auxiliary = nn.ModuleList(aux for aux, _ in auxiliary)
        self.auxiliary_weights = tuple(weight for _, weight in auxiliary)
        self.criterion: Criterion = CrossEntropyLoss()
        self.auxiliary_criterion: Criterion | None = None
        self.card: ModelCard | None = None

    @property
    def num_classes(self) -> int:
        """The number of classes, K."""
        return self.head.num_classes

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Any:
        """Return logits [B, K, H, W] at the size of the images [B, C, H, W], or a dictionary of losses.

        With targets [B, H, W] (class indices, 255 ignored) the result is a dictionary of scalar losses whose sum is
        the objective, so that the same module works bare, distributed and compiled.
        """
        features = self.backbone(images)
        if targets is None:
            return self.head.predict(features, images.shape[-2:])
        losses = self.head.losses(features, targets, self.criterion)
        criterion = self.criterion if self.auxiliary_criterion is None else self.auxiliary_criterion
        for index, (head, weight) in enumerate(zip(self._auxiliary_heads(), self.auxiliary_weights, strict=True)):
            terms = head.losses(features, targets, criterion)
            losses |= {f"aux{index}_{name}": weight * value for name, value in terms.items()}
        return losses

    def set_progress(self, progress: Progress) -> None:
        """Tell the heads how far training is; the training loop does so before every step.

        A model that is never told trains as at the full learning rate, after the first epoch.
        """
        for head in (self.head, *self._auxiliary_heads()):
            head.set_progress(progress)

    def _auxiliary_heads(self) -> list[Head]:
        return cast(list[Head], list(self.auxiliary))


SegmentorBuilder = Callable[..., Segmentor]


@dataclass(frozen=True)
class Method:
    """A registered method: its builder and the backbone it is used with when none is named."""

    builder: SegmentorBuilder
    backbone: str
    output_stride: int | None

    @property
    def summary(self) -> str:
        """One line that says what it is."""
        return first_line(self.builder)


SEGMENTORS: Registry[Method] = Registry("segmentor", ModelError, "vitrail.segmentors")


def register_segmentor(
    name: str, *, backbone: str = "resnet50c", output_stride: int | None = None
) -> Callable[[SegmentorBuilder], SegmentorBuilder]:
    """Register a builder `(backbone, num_classes, *, …) -> Segmentor` under `name`.

    `backbone` and `output_stride` are what `create_model` uses when the caller names no backbone: the paper's choice.
    """

    def decorator(builder: SegmentorBuilder) -> SegmentorBuilder:
        SEGMENTORS.add(name, Method(builder, backbone, output_stride), module=builder.__module__)
        return builder

    return decorator


def create_model(
    name: str,
    backbone: str | Backbone | None = None,
    num_classes: int = 19,
    *,
    pretrained: bool | str | Path = False,
    output_stride: int | None = None,
    in_channels: int = 3,
    backbone_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Segmentor:
    """Build a segmentor by name.

    Parameters
    ----------
    name : str
        A name of `list_segmentors()`.
    backbone : str, Backbone or None
        A name of `list_backbones()`, a backbone that is already built, or None for the one the method was published
        with (at the output stride it was published with, unless `output_stride` says otherwise).
    num_classes : int
        K, the number of classes.
    pretrained, output_stride, in_channels
        Passed to `create_backbone`; not allowed with a backbone that is already built.
    backbone_options : mapping, optional
        Further keyword arguments of the backbone's builder.
    **options
        Keyword arguments of the method's builder.

    Returns
    -------
    Segmentor
        With fresh weights (the backbone's pretrained ones where asked for).

    Raises
    ------
    ModelError
        For an unknown name or argument; the message names the nearest known one.

    Examples
    --------
    >>> model = create_model("pspnet", backbone="resnet50c", num_classes=150, output_stride=8, channels=512)
    """
    method = SEGMENTORS[name]
    check_arguments(method.builder, options, f"segmentor {name!r}", ModelError)
    if num_classes < 1:
        raise ModelError(f"num_classes must be at least 1, not {num_classes}")
    if isinstance(backbone, Backbone):
        if pretrained or output_stride is not None or in_channels != 3 or backbone_options:
            raise ModelError("options of the backbone cannot be given with a backbone that is already built")
        return method.builder(backbone, num_classes, **options)
    clash = {"pretrained", "output_stride", "in_channels"} & (backbone_options or {}).keys()
    if clash:
        raise ModelError(f"{', '.join(sorted(clash))} stands beside backbone_options, not in it")
    if backbone is None and output_stride is None:
        output_stride = method.output_stride
    encoder = create_backbone(
        backbone or method.backbone,
        pretrained=pretrained,
        output_stride=output_stride,
        in_channels=in_channels,
        **(backbone_options or {}),
    )
    return method.builder(encoder, num_classes, **options)


def list_segmentors() -> list[str]:
    """Return the names of the methods that `create_model` builds."""
    return list(SEGMENTORS)
