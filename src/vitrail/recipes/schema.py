"""The keys of a recipe: typed, immutable, bounded, and strict about unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from vitrail.precision import Precision
from vitrail.recipes.data_section import DataConfig
from vitrail.recipes.section import (
    Channels,
    Count,
    Factor,
    Fraction,
    Index,
    Named,
    Options,
    Pixels,
    Positive,
    Scale,
    Section,
    Size,
)


class LossConfig(Section):
    """One term of the criterion; the criterion is the weighted sum of its terms."""

    name: str = "cross_entropy"
    weight: Factor = 1.0
    options: Options = Field({})


class AuxiliaryConfig(Section):
    """Changes to the auxiliary heads that the segmentor was published with; None keeps the segmentor's own value.

    The keys are those of `vitrail.Auxiliary`, and `losses`.
    """

    weight: Factor | None = Field(None, description="Of each head's loss; 0 builds no auxiliary heads.")
    maps: tuple[int, ...] | None = Field(None, min_length=1, description="Indices of feature maps, 0 for the finest.")
    channels: tuple[Channels, ...] | None = Field(None, description="One number for each map, or one for all.")
    num_convs: int | None = Field(None, ge=0, le=100)
    kernel_size: Pixels | None = None
    concat_input: bool | None = None
    upsample: Pixels | None = None
    upsample_mode: Literal["nearest", "bilinear"] | None = None
    dropout: Fraction | None = None
    dilation: Pixels | None = None
    leaky: bool | None = None
    losses: tuple[LossConfig, ...] | None = Field(
        None, description="Of each head, before its weight; None takes the losses of the model."
    )


class ModelConfig(Section):
    """The segmentor: arguments of `vitrail.create_model`."""

    segmentor: str
    backbone: str | None = None
    output_stride: Literal[4, 8, 16, 32] | None = None
    pretrained: bool | str = False
    in_channels: Channels = 3
    num_classes: Channels | None = Field(
        None,
        description="None takes the number of classes of the dataset; 1 tells two classes apart by one output.",
    )
    backbone_options: Options = Field({})
    options: Options = Field({}, description="Keyword arguments of the segmentor's head.")
    losses: tuple[LossConfig, ...] = (LossConfig(),)
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()


class WarmupConfig(Section):
    """Linear warm-up: a factor on the schedule that rises from `ratio` at iteration `start` to 1."""

    iterations: Count = Field(description="Iterations of the rise.")
    ratio: Fraction = 1e-6
    start: Index = Field(0, description="Iterations before the rise, in which the learning rate is 0.")
    delay_schedule: bool = Field(
        False, description="Whether the schedule begins after the warm-up, instead of with the run and below it."
    )

    @property
    def end(self) -> int:
        """The first iteration after the rise."""
        return self.start + self.iterations


class ParamRule(Section):
    """Settings of the parameters whose name contains `match`; a later rule wins over an earlier one.

    None leaves what earlier rules and the rest of the recipe say.
    """

    match: str = Field(min_length=1)
    lr: Factor | None = Field(None, description="In place of backbone_lr or head_lr.")
    weight_decay: Factor | None = Field(None, description="In place of decay_norms and decay_biases.")
    warmup: WarmupConfig | None = Field(None, description="In place of schedule.warmup.")

    @model_validator(mode="after")
    def _says_something(self) -> ParamRule:
        if self.lr is None and self.weight_decay is None and self.warmup is None:
            raise ValueError(f"the rule for {self.match!r} gives neither lr nor weight_decay nor warmup")
        return self


class OptimizerConfig(Section):
    """The optimizer and its parameter groups."""

    name: str = Field("sgd", description="A name of vitrail.optim.OPTIMIZERS: PyTorch's, timm's, or a plugin's.")
    lr: Positive = 0.01
    weight_decay: Factor = 0.0005
    options: Options = Field({}, description="Further arguments of the optimizer, such as {momentum: 0.95}.")
    backbone_lr: Factor = Field(1.0, description="Learning-rate multiplier of the backbone.")
    head_lr: Factor = Field(1.0, description="Learning-rate multiplier of everything but the backbone.")
    decay_norms: bool = Field(True, description="Weight decay on normalisation layers.")
    decay_biases: bool = Field(True, description="Weight decay on biases.")
    layer_decay: Fraction | None = Field(
        None, description="Learning-rate factor from one backbone layer to the one below."
    )
    rules: tuple[ParamRule, ...] = ()


class ScheduleConfig(Section):
    """The learning rate over the run, updated every iteration."""

    name: str = Field("poly", description="A name of vitrail.optim.SCHEDULES: poly, cosine, step, constant, …")
    power: Positive = Field(0.9, description="poly: exponent of the remaining fraction.")
    min_lr: Factor = Field(0.0, description="Floor of the learning rate, for a group with multiplier 1.")
    milestones: tuple[Fraction, ...] = Field((), description="step: fractions of the run after which the rate drops.")
    gamma: Positive = Field(0.1, description="step: factor of each drop.")
    options: Options = Field({}, description="Keyword arguments of a plugin's schedule.")
    warmup: WarmupConfig | None = None

    @model_validator(mode="after")
    def _milestones(self) -> ScheduleConfig:
        if self.name == "step" and not self.milestones:
            raise ValueError("schedule.name=step needs schedule.milestones, such as [0.6, 0.9]")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"schedule.milestones must rise: {list(self.milestones)}")
        return self


class EarlyStoppingConfig(Section):
    """When a run ends before its last iteration: after `patience` evaluations in a row without a better figure."""

    patience: Count
    metric: Literal["miou", "macc", "aacc", "mdice"] = "miou"
    min_delta: Fraction = Field(0.0, description="How much better, as a fraction, a figure has to be to count.")


class LoggerConfig(Named):
    """A logger of the run; a name of vitrail.training.loggers.LOGGERS."""


class StrategyConfig(Named):
    """How the model trains on several processes; a name of vitrail.runtime.distributed.STRATEGIES."""


class TrainConfig(Section):
    """The training loop."""

    epochs: Count | None = Field(None, description="Length of the run; exactly one of epochs and iterations.")
    iterations: Count | Literal["auto"] | None = Field(
        None,
        description="auto: as many as suit fine-tuning: 40 epochs, but 400 at least and 20,000 at most.",
    )
    start_from: str | None = Field(
        None,
        min_length=1,
        description="A trained model whose weights are taken where they fit: whatever `vitrail.load` takes.",
    )
    teacher: str | None = Field(
        None,
        min_length=1,
        description="A trained model that a method learns from, such as sctnet: whatever `vitrail.load` takes.",
    )
    max_minutes: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None, description="Evaluate, save and stop after so long; a resumed run has the time again."
    )
    early_stopping: EarlyStoppingConfig | None = None
    batch_size: Count | Literal["auto"] = Field(
        16,
        description="Images in one optimizer step, over all processes and accumulation; auto: as many as a CUDA device "
        "holds.",
    )
    accumulate: Count = Field(1, description="Parts in which a batch goes through the model.")
    seed: int = Field(0, ge=0, lt=2**63)
    amp: Precision = Field("none", description="Precision of training; evaluation.amp is that of evaluation.")
    clip_grad_norm: Positive | None = None
    ema: float | None = Field(
        None, ge=0, lt=1, description="Decay of the moving average of the weights, such as 0.999."
    )
    strategy: StrategyConfig = Field(
        StrategyConfig(name="auto"), description="auto: DDP under torchrun, a single device otherwise."
    )
    freeze_norms: bool = Field(False, description="Keep the backbone's batch norms at their pretrained statistics.")
    freeze_stages: int | None = Field(
        None, ge=0, description="Freeze the backbone's stem and so many of its stages; 0 freezes the stem alone."
    )
    freeze: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Freeze the parameters whose name contains one of these, and the statistics of their norms."
    )
    activation_checkpointing: bool = Field(
        False, description="Recompute the backbone's activations in the backward pass: less memory, more time."
    )
    sync_norms: bool = Field(True, description="Synchronise batch norms across processes, where the device can.")
    channels_last: bool | None = Field(
        None, description="Train in PyTorch's channels_last memory format; None does so on all devices but the CPU."
    )
    compile: Literal["none", "graphs", "inductor"] = Field(
        "none",
        description="graphs: record the training step as a CUDA graph; inductor: torch.compile, and a graph where one "
        "can be recorded.",
    )
    tf32: bool = Field(True, description="TF32 in the float32 products of a training step on CUDA; false is float32.")
    deterministic: bool = Field(
        False, description="Deterministic kernels only: equal runs give equal bits on CUDA too, more slowly."
    )
    log_every: Count = Field(50, description="Iterations.")
    eval_every: Count | None = Field(
        None,
        description="Epochs (iterations if the run is given in iterations); None evaluates at the end, and ten times "
        "in a run of iterations=auto.",
    )
    save_every: Count | None = Field(
        None, description="As eval_every; None saves with every evaluation, and ten times in a run at least."
    )
    loggers: tuple[LoggerConfig, ...] = Field(
        (LoggerConfig(name="text"), LoggerConfig(name="jsonl")),
        description="text, jsonl, tensorboard, wandb, mlflow or a plugin's, each a name or {name, options}.",
    )

    @property
    def images_per_step(self) -> int:
        """The number of images in one optimizer step, where `batch_size` is one.

        Raises
        ------
        ValueError
            For "auto", which a run replaces by the number that it has found.
        """
        if self.batch_size == "auto":
            raise ValueError("train.batch_size=auto has no number before a run has found it")
        return self.batch_size

    @model_validator(mode="after")
    def _loggers_once(self) -> TrainConfig:
        names = [logger.name for logger in self.loggers]
        if len(set(names)) < len(names):
            raise ValueError(f"train.loggers lists a logger twice: {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError("give exactly one of train.epochs and train.iterations")
        if self.early_stopping is not None and self.eval_every is None and self.iterations != "auto":
            raise ValueError("train.early_stopping needs train.eval_every: otherwise the only evaluation is at the end")
        if self.batch_size != "auto" and self.batch_size % self.accumulate:
            raise ValueError(f"train.batch_size={self.batch_size} cannot be split into {self.accumulate} equal parts")
        return self


class EvalConfig(Section):
    """How images are predicted, in evaluation and prediction."""

    mode: Literal["whole", "slide"] = "whole"
    window: Size | None = Field(None, description="slide: size of the window, (height, width).")
    stride: Size | None = Field(None, description="slide: step of the window, (vertical, horizontal).")
    scales: tuple[Scale, ...] = Field((1.0,), min_length=1, max_length=32, description="Multi-scale testing.")
    flip: bool = Field(False, description="Average with the prediction on the mirrored image.")
    average: Literal["logits", "probabilities"] = Field(
        "probabilities", description="What multi-scale, flipped and overlapping predictions are averaged as."
    )
    resize_once: bool = Field(
        False,
        description="Resize what the head returns to the image at once, as transformers does for some models, instead "
        "of to the size that the model saw first; sliding windows are not affected.",
    )
    batch_size: Count = Field(1, description="Images of equal size, or windows, that go through the model together.")
    amp: Precision = Field(
        "none", description="Precision of evaluation and prediction, within training too; published figures are 'none'."
    )

    boundary_iou: bool = Field(False, description="Also compute the boundary IoU of each class.")
    calibration: bool = Field(False, description="Also compute the expected calibration error.")
    threshold: Fraction | Literal["auto"] | None = Field(
        None,
        description="Two classes: pixels are of the second one where its probability is higher than this; None: 0.5; "
        "auto: with the highest mIoU in the evaluation, and kept in the model files of a training.",
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
    """All settings of a model, its data, its training and its evaluation."""

    name: str = ""
    description: str = ""
    imports: tuple[str, ...] = Field((), description="Modules that register what the recipe names: plugins.")
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
            means, deviations = (",".join([value] * self.model.in_channels) for value in ("127.5", "60.0"))
            raise ValueError(
                f"data.mean, data.std and model.in_channels disagree about the number of channels: {channels}. Each "
                f"channel has a mean and a standard deviation of its values in 0…255, such as "
                f"data.mean=[{means}] data.std=[{deviations}]"
            )
        return self


def defaults(section: type[BaseModel] = Recipe) -> dict[str, Any]:
    """Return the default values of a section and of those in it, as plain data; keys without a default are left out."""
    values: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        if not field.is_required():
            values[name] = _as_data(field.get_default(call_default_factory=True))
        elif (below := _required_section(field.annotation)) is not None:
            values[name] = defaults(below)
    return values


def _required_section(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _as_data(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return [_as_data(item) for item in value] if isinstance(value, tuple) else value
