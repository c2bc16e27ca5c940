"""What a recipe can say: typed, immutable, and strict about unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Size = tuple[PositiveInt, PositiveInt]


class Section(BaseModel):
    """Base of every part of a recipe: keys must exist and values have the type that is written, not one like it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _tuples(cls, data: Any) -> Any:
        """YAML has no tuples: take the lists of this section as such."""
        if not isinstance(data, Mapping):
            return data
        return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


class LossConfig(Section):
    """One term of the criterion; the criterion is the weighted sum of its terms."""

    name: str = "cross_entropy"
    weight: float = 1.0
    options: dict[str, Any] = {}


class ModelConfig(Section):
    """The segmentor: arguments of `vitrail.create_model`."""

    segmentor: str
    backbone: str | None = None
    output_stride: Literal[4, 8, 16, 32] | None = None
    pretrained: bool | str = False
    in_channels: PositiveInt = 3
    num_classes: PositiveInt | None = Field(None, description="None takes the number of classes of the dataset.")
    backbone_options: dict[str, Any] = {}
    options: dict[str, Any] = Field({}, description="Keyword arguments of the segmentor's builder.")
    losses: tuple[LossConfig, ...] = (LossConfig(),)
    aux_losses: tuple[LossConfig, ...] | None = Field(
        None, description="Of the auxiliary heads, before the weight that the options give them; None takes losses."
    )


class ResizeConfig(Section):
    """The size images are brought to before anything else.

    With `keep_ratio` the image is scaled by the largest factor that keeps its long side within `max(size)` and its
    short side within `min(size)`; without it the image gets exactly `size`, (height, width).
    """

    size: Size
    keep_ratio: bool = True


class AugmentConfig(Section):
    """The training pipeline, in this order: resize by a random scale, crop, flip, rotate, distort colours, pad."""

    resize: ResizeConfig | None = None
    scale: tuple[PositiveFloat, PositiveFloat] = Field((1.0, 1.0), description="Range of the random scale factor.")
    crop: Size | None = Field(None, description="(height, width); smaller images are padded up to it.")
    max_class_share: Fraction = Field(1.0, description="Crops in which one class covers more are drawn again.")
    flip: Fraction = Field(0.5, description="Probability of a horizontal flip.")
    rotate_degrees: float = Field(0.0, ge=0, le=180, description="Largest rotation, either way.")
    rotate: Fraction = Field(0.0, description="Probability of a rotation.")
    photometric: bool = True

    @model_validator(mode="after")
    def _ordered_scale(self) -> AugmentConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"the range of data.augment.scale is empty: {self.scale[0]} > {self.scale[1]}")
        return self


class DataConfig(Section):
    """The dataset and its pipelines."""

    dataset: str = Field(description="A name of vitrail.list_datasets(), or 'folder' for images and masks of your own.")
    root: str | None = None
    train_split: str = "train"
    eval_split: str = "val"
    options: dict[str, Any] = Field({}, description="Further keyword arguments of the dataset.")
    augment: AugmentConfig = AugmentConfig()
    eval_resize: ResizeConfig | None = Field(None, description="Test-time resize; None keeps the image's own size.")
    mean: tuple[float, ...] = Field((123.675, 116.28, 103.53), description="Of RGB in 0…255.")
    std: tuple[PositiveFloat, ...] = (58.395, 57.12, 57.375)
    workers: int = Field(2, ge=0, description="Loader processes for each training process.")


class ParamRule(Section):
    """Multipliers for the parameters whose name contains `match`; a later rule wins over an earlier one.

    A multiplier that is None leaves what the rest of the optimizer section says.
    """

    match: str = Field(min_length=1)
    lr: float | None = Field(None, ge=0, description="In place of backbone_lr or head_lr.")
    weight_decay: float | None = Field(None, ge=0, description="In place of decay_norms and decay_biases.")

    @model_validator(mode="after")
    def _says_something(self) -> ParamRule:
        if self.lr is None and self.weight_decay is None:
            raise ValueError(f"the rule for {self.match!r} gives neither lr nor weight_decay")
        return self


class OptimizerConfig(Section):
    """The optimizer and its parameter groups."""

    name: str = Field("sgd", description="A name of vitrail.optim.OPTIMIZERS: PyTorch's, timm's, or a plugin's.")
    lr: PositiveFloat = 0.01
    weight_decay: float = Field(0.0005, ge=0)
    options: dict[str, Any] = Field({}, description="Further arguments of the optimizer, such as {momentum: 0.95}.")
    backbone_lr: float = Field(1.0, ge=0, description="Learning-rate multiplier of the backbone.")
    head_lr: float = Field(1.0, ge=0, description="Learning-rate multiplier of everything but the backbone.")
    decay_norms: bool = Field(True, description="Weight decay on normalisation layers.")
    decay_biases: bool = Field(True, description="Weight decay on biases.")
    layer_decay: Fraction | None = Field(
        None, description="Learning-rate factor from one backbone layer to the one below."
    )
    rules: tuple[ParamRule, ...] = ()


class WarmupConfig(Section):
    """Linear warm-up: a factor on the schedule that rises from `ratio` at the first iteration to 1."""

    iterations: PositiveInt
    ratio: Fraction = 1e-6


class ScheduleConfig(Section):
    """The learning rate over the run, updated every iteration."""

    name: str = Field("poly", description="A name of vitrail.optim.SCHEDULES: poly, cosine, step, constant, …")
    power: PositiveFloat = Field(0.9, description="poly: exponent of the remaining fraction.")
    min_lr: float = Field(0.0, ge=0, description="Floor of the learning rate, for a group with multiplier 1.")
    milestones: tuple[Fraction, ...] = Field((), description="step: fractions of the run after which the rate drops.")
    gamma: PositiveFloat = Field(0.1, description="step: factor of each drop.")
    options: dict[str, Any] = Field({}, description="Keyword arguments of a plugin's schedule.")
    warmup: WarmupConfig | None = None

    @model_validator(mode="after")
    def _milestones(self) -> ScheduleConfig:
        if self.name == "step" and not self.milestones:
            raise ValueError("schedule.name=step needs schedule.milestones, such as [0.6, 0.9]")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"schedule.milestones must rise: {list(self.milestones)}")
        return self


class TrainConfig(Section):
    """The training loop."""

    epochs: PositiveInt | None = Field(None, description="Length of the run; exactly one of epochs and iterations.")
    iterations: PositiveInt | None = None
    batch_size: PositiveInt = Field(
        16, description="Images in one optimizer step, over all processes and accumulation."
    )
    accumulate: PositiveInt = Field(1, description="Parts in which a batch goes through the model.")
    seed: int = Field(0, ge=0)
    amp: Literal["none", "bfloat16", "float16"] = "none"
    clip_grad_norm: PositiveFloat | None = None
    ema: Fraction | None = Field(None, description="Decay of the moving average of the weights, such as 0.999.")
    freeze_norms: bool = Field(False, description="Keep the backbone's batch norms at their pretrained statistics.")
    sync_norms: bool = Field(True, description="Synchronise batch norms across processes, where the device can.")
    channels_last: bool | None = Field(
        None, description="Train with the channels of a pixel side by side in memory; None does so but on the CPU."
    )
    compile: bool = False
    log_every: PositiveInt = Field(50, description="Iterations.")
    eval_every: PositiveInt | None = Field(
        None, description="Epochs (iterations if the run is given in iterations); None evaluates at the end."
    )
    save_every: PositiveInt | None = Field(
        None, description="As eval_every; None saves with every evaluation, and ten times in a run at least."
    )
    tensorboard: bool = Field(False, description="Curves and sample predictions; needs the [logging] extra.")

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError("give exactly one of train.epochs and train.iterations")
        if self.batch_size % self.accumulate:
            raise ValueError(f"train.batch_size={self.batch_size} cannot be split into {self.accumulate} equal parts")
        return self


class EvalConfig(Section):
    """How predictions are made and judged."""

    mode: Literal["whole", "slide"] = "whole"
    window: Size | None = Field(None, description="slide: size of the window, (height, width).")
    stride: Size | None = Field(None, description="slide: step of the window, (vertical, horizontal).")
    scales: tuple[PositiveFloat, ...] = Field((1.0,), min_length=1, description="Multi-scale testing.")
    flip: bool = Field(False, description="Average with the prediction on the mirrored image.")
    average: Literal["logits", "probabilities"] = Field(
        "probabilities", description="What multi-scale, flipped and overlapping predictions are averaged as."
    )
    batch_size: PositiveInt = Field(
        1, description="Images of equal size, or windows, that go through the model together."
    )

    @model_validator(mode="after")
    def _window(self) -> EvalConfig:
        if self.mode == "slide" and (self.window is None or self.stride is None):
            raise ValueError("evaluation.mode=slide needs evaluation.window and evaluation.stride")
        if self.window and self.stride and any(s > w for s, w in zip(self.stride, self.window, strict=True)):
            raise ValueError("evaluation.stride larger than evaluation.window would leave pixels without a prediction")
        return self


class Reference(Section):
    """The published result that the recipe stands for."""

    miou: Fraction | None = Field(None, description="Single scale, no flip; a fraction.")
    mdice: Fraction | None = Field(None, description="Where Dice is what is reported, as for vessels of the retina.")
    source: str = ""


class Recipe(Section):
    """Everything that determines a model and how it is trained and judged."""

    name: str = ""
    description: str = ""
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig
    evaluation: EvalConfig = EvalConfig()
    reference: Reference | None = None

    @model_validator(mode="after")
    def _channels(self) -> Recipe:
        channels = (len(self.data.mean), len(self.data.std), self.model.in_channels)
        if len(set(channels)) > 1:
            raise ValueError(
                f"data.mean, data.std and model.in_channels disagree about the number of channels: {channels}"
            )
        return self
