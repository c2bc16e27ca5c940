"""The contract of every method: a head on the feature maps of a backbone, together a segmentor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.errors import ModelError
from vitrail.layers import resize
from vitrail.losses import CrossEntropyLoss, OneOutputLoss, resized_loss, two_class_logits
from vitrail.segmentors.card import ModelCard

Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class FeatureMaps:
    """Shapes of the feature maps that a backbone returns, finest first.

    Attributes
    ----------
    channels : tuple of int
        Channels of each map.
    strides : tuple of int
        Stride of each map: how many image pixels its pixels are apart.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def check_index(self, index: int, argument: str) -> None:
        """Raise a ModelError that names `argument` unless there is a map at `index` (negative: from the coarsest)."""
        count = len(self.channels)
        if not -count <= index < count:
            maps = "one map, 0" if count == 1 else f"{count} maps, 0 (finest) to {count - 1}"
            raise ModelError(f"{argument}: there is no feature map {index}; the backbone has {maps}, or {-count} to -1")


@dataclass(frozen=True)
class Progress:
    """Progress of a training run, for methods whose training changes with it.

    Attributes
    ----------
    epoch : int
        The current epoch, counted from 1.
    lr_factor : float
        The learning rate of this step, as a multiple of the optimizer's own.
    done : float
        The share of the run's steps that are done, 0 to 1.
    """

    epoch: int
    lr_factor: float
    done: float = 0.0


class Head(nn.Module):
    """Decoder: feature maps to logits.

    A method is a subclass registered with `register_segmentor`; it is built as
    `head(maps: FeatureMaps, num_classes: int, **options)`. Its keyword-only arguments are the options of the method.

    Parameters
    ----------
    num_classes : int
        K, the number of classes.
    align_corners : bool
        How the logits are resized to the image (as in `torch.nn.functional.interpolate`).

    Attributes
    ----------
    output : {"logits", "probabilities", "scores"}
        What `predict` returns: logits, whose softmax is the probability of each class; probabilities, which sum to 1
        over the classes; or scores, which are not negative and become probabilities when divided by their sum.
    resizes_late : bool
        Whether `predict` does no more than resize what `forward` returns, so that callers may resize it themselves,
        part by part and in less memory. A head that overrides `predict` says which it is: False for another
        computation.
    one_output : bool
        Whether the method can tell two classes apart by one output: where its training losses are those of the
        criterion and of nothing else. A head that overrides `losses` has to say so.
    open_vocabulary : bool
        Whether `class_tensors` makes a model for other classes from their names alone.
    file_options, training_options : tuple of str
        Options that are paths of files on this machine, which may have moved when a run is resumed, and further ones
        that change nothing in what a trained model computes.

    Raises
    ------
    ModelError
        When a subclass that overrides `predict` leaves out `resizes_late`: its `predict` would not be called.
    """

    output: ClassVar[Literal["logits", "probabilities", "scores"]] = "logits"
    resizes_late: ClassVar[bool] = True
    one_output: ClassVar[bool] = True
    open_vocabulary: ClassVar[bool] = False
    file_options: ClassVar[tuple[str, ...]] = ()
    training_options: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if _position(cls, "losses") < _position(cls, "one_output"):
            cls.one_output = False
        if cls.resizes_late and _position(cls, "predict") < _position(cls, "resizes_late"):
            raise ModelError(
                f"{cls.__name__} overrides predict and does not say whether callers may resize what forward returns "
                "themselves: add `resizes_late = False`, or True where predict computes the same as Head's"
            )

    def __init__(self, num_classes: int, *, align_corners: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.align_corners = align_corners

    @classmethod
    def wrap_backbone(cls, backbone: Backbone) -> Backbone:
        """Return the backbone that the head reads: the given one, unless a method changes or extends it.

        Keyword-only arguments that an override adds are options of the method too.
        """
        return backbone

    def take_layers(self, backbone: Backbone) -> None:
        """Take over layers of the backbone that the head applies itself; does nothing unless a method overrides it.

        It is called once, when both are built.
        """

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        raise NotImplementedError

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the training losses by name for targets [B, H, W] of class indices; 255 is ignored, or -1
        where there are more than 255 classes.

        A method with its own training signal overrides this.
        """
        return {"seg": resized_loss(criterion, self(features), targets, align_corners=self.align_corners)}

    def teacher_losses(self, images: Tensor, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the training losses that come from a teacher's view of the images, by name; none unless overridden.

        Parameters
        ----------
        images : Tensor [B, C, H, W]
            What the model is given.
        features : sequence of Tensor
            The backbone's maps of them.
        """
        return {}

    def set_teacher(self, teacher: Segmentor) -> None:
        """Receive the trained model that the head learns from in training; it does not become a part of the head.

        Raises
        ------
        ModelError
            Unless a method overrides it.
        """
        raise ModelError(f"{type(self).__name__} does not learn from a teacher: leave train.teacher out")

    def name_classes(self, names: Sequence[str]) -> None:
        """Receive the names of the K classes before training; does nothing unless a method overrides it."""

    @classmethod
    def lacks_class_tensors(cls, state: Mapping[str, Tensor]) -> bool:
        """Return whether tensors that `class_tensors` makes are missing in a head's state."""
        return False

    @classmethod
    def class_tensors(
        cls,
        state: Mapping[str, Tensor],
        names: Sequence[str],
        options: Mapping[str, Any],
        vocabulary: str | Path | None,
    ) -> dict[str, Tensor]:
        """Return the tensors of a head's state that follow from the names of its classes, by name; none unless
        overridden, in methods of an open vocabulary.

        Parameters
        ----------
        state : mapping from str to Tensor
            The other tensors of the head.
        names : sequence of str
            The names of the classes.
        options : mapping
            The options of the method that are not its defaults.
        vocabulary : str or Path, optional
            A file of the user's that the method needs for names of unknown words.

        Raises
        ------
        ModelError
            When they cannot be made.
        """
        return {}

    def set_progress(self, progress: Progress) -> None:
        """Receive the progress of the training run; does nothing unless a method overrides it."""

    def predict(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return logits [B, K, H, W] at `size`; mask-classification and point-based methods override this."""
        return resize(self(features), size, align_corners=self.align_corners)


def _position(cls: type, attribute: str) -> int:
    """Return how far up the order of its base classes a class finds an attribute; 0 is the class itself."""
    return next(place for place, base in enumerate(cls.__mro__) if attribute in vars(base))


def _check_one_output(head: Head) -> None:
    if head.num_classes != 1:
        raise ModelError(f"a model of one output has heads for one class, not {head.num_classes}")
    if not head.one_output or head.output != "logits":
        raise ModelError(
            f"{type(head).__name__} needs an output for each class, so it cannot tell two classes apart by one: leave "
            "model.num_classes out"
        )


class Segmentor(nn.Module):
    """Segmentation model: a backbone, a head, and auxiliary heads that are used in training only.

    Parameters
    ----------
    backbone : Backbone
        The encoder.
    head : Head
        The decoder that predicts.
    auxiliary : sequence of (Head, float)
        Heads that add to the training loss, each with its weight.
    criterion : callable, optional
        `(logits [B, K, H, W], targets [B, H, W]) -> scalar Tensor`; None is cross entropy.
    auxiliary_criterion : callable, optional
        That of the auxiliary heads; None is `criterion`.
    card : ModelCard, optional
        Classes, palette and origin; prediction and saving need it.
    one_output : bool
        Whether the heads, built for one class, tell two classes apart: they return the logit of the second class.
        What `forward` returns, and what the criteria get, are the logits of both, those of the first being 0.

    Raises
    ------
    ModelError
        For heads that need an output for each class, with `one_output`.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        auxiliary: Sequence[tuple[Head, float]] = (),
        *,
        criterion: Criterion | None = None,
        auxiliary_criterion: Criterion | None = None,
        card: ModelCard | None = None,
        one_output: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.auxiliary = nn.ModuleList(aux for aux, _ in auxiliary)
        self.auxiliary_weights = tuple(weight for _, weight in auxiliary)
        self.criterion = CrossEntropyLoss() if criterion is None else criterion
        self.auxiliary_criterion = auxiliary_criterion
        self.card = card
        self.one_output = one_output
        if one_output:
            _check_one_output(head)
            self.criterion = OneOutputLoss(self.criterion)
            if auxiliary_criterion is not None:
                self.auxiliary_criterion = OneOutputLoss(auxiliary_criterion)

    @property
    def num_classes(self) -> int:
        """The number of classes, K."""
        return 2 if self.one_output else self.head.num_classes

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Any:
        """Return logits [B, K, H, W] at the size of the images [B, C, H, W], or a dictionary of losses.

        With targets [B, H, W] (class indices; 255 is ignored, or -1 where there are more than 255 classes) the result
        is a dictionary of scalar losses whose sum is the objective, so that the same module works bare, distributed and
        compiled.
        """
        features = self.backbone(images)
        if targets is None:
            return self._of_all_classes(self.head.predict(features, images.shape[-2:]))
        losses = self.head.losses(features, targets, self.criterion) | self.head.teacher_losses(images, features)
        criterion = self.criterion if self.auxiliary_criterion is None else self.auxiliary_criterion
        for index, (head, weight) in enumerate(zip(self._auxiliary_heads(), self.auxiliary_weights, strict=True)):
            terms = head.losses(features, targets, criterion)
            losses |= {f"aux{index}_{name}": weight * value for name, value in terms.items()}
        return losses

    def unresized(self, images: Tensor) -> Tensor:
        """Return logits [B, K, h, w] of images [B, C, H, W], as large as a head that `resizes_late` returns them."""
        return self._of_all_classes(self.head(self.backbone(images)))

    def _of_all_classes(self, outputs: Tensor) -> Tensor:
        return two_class_logits(outputs) if self.one_output else outputs

    def set_progress(self, progress: Progress) -> None:
        """Pass the progress of the training run to the heads; the training loop does so before every step.

        Without it, a model trains as at the full learning rate and after the first epoch.
        """
        for head in (self.head, *self._auxiliary_heads()):
            head.set_progress(progress)

    def _auxiliary_heads(self) -> list[Head]:
        return cast(list[Head], list(self.auxiliary))
