"""The keys of a recipe's `data` section: the dataset, the augmentation and the test-time resize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from vitrail.recipes.section import (
    ClassNames,
    CropSide,
    Deviation,
    Fraction,
    Mean,
    Named,
    Options,
    Pixels,
    Positive,
    Scale,
    Section,
    Size,
)


class ResizeConfig(Section):
    """The size images are brought to before anything else.

    With `keep_ratio` the image is scaled by the largest factor that keeps its long side within `max(size)` and its
    short side within `min(size)`; without it the image gets exactly `size`, (height, width).
    """

    size: Size
    keep_ratio: bool = True
    antialias: bool = Field(False, description="Whether images made smaller are smoothed, as Pillow does.")
    multiple_of: Pixels = Field(1, description="Height and width are rounded up to multiples of this number.")


class AugmentationConfig(Named):
    """An augmentation of torchvision.transforms.v2 or of a plugin; a name of vitrail.transforms.AUGMENTATIONS."""

    probability: Fraction = Field(1.0, description="How often it is applied.")


class ShortestEdgeConfig(Section):
    """A random resize to one of several lengths of the short side; the image keeps its aspect ratio."""

    lengths: tuple[Pixels, ...] | None = Field(
        None, min_length=1, description="Of the short side; each is as likely. In place of `between`."
    )
    between: Size | None = Field(None, description="The least and the largest length; all from one to the other.")
    max_size: Pixels = Field(description="Of the long side: where it would be longer, the image is made smaller.")

    @model_validator(mode="after")
    def _short_is_not_longer(self) -> ShortestEdgeConfig:
        if (self.lengths is None) == (self.between is None):
            raise ValueError("data.augment.shortest_edge needs either lengths or between, the least and the largest")
        if self.between is not None and self.between[0] > self.between[1]:
            raise ValueError(f"data.augment.shortest_edge.between should rise: {list(self.between)}")
        if max(self.choices) > self.max_size:
            raise ValueError(
                f"data.augment.shortest_edge has lengths up to {max(self.choices)}, which is more than max_size, "
                f"{self.max_size}"
            )
        return self

    @property
    def choices(self) -> Sequence[int]:
        """The lengths that may be drawn."""
        if self.lengths is not None:
            return self.lengths
        assert self.between is not None  # which the check above demands
        return range(self.between[0], self.between[1] + 1)


class AugmentConfig(Section):
    """The training pipeline, in this order: random resize, crop, flip, rotate, distort colours, pad, `extra`."""

    resize: ResizeConfig | None = None
    scale: tuple[Scale, Scale] = Field((1.0, 1.0), description="Range of the random scale factor.")
    shortest_edge: ShortestEdgeConfig | None = Field(None, description="In place of resize and scale.")
    crop: tuple[CropSide, CropSide] | None = Field(
        None, description="(height, width), 8 at least; smaller images are padded up to it."
    )
    max_class_share: Fraction = Field(1.0, description="Crops in which one class covers more are drawn again.")
    class_crop: Fraction = Field(
        0.0,
        description="How often the crop is drawn around a pixel of a class, each class in the mask being as likely.",
    )
    flip: Fraction = Field(0.5, description="Probability of a horizontal flip.")
    rotate_degrees: float = Field(0.0, ge=0, le=180, description="Largest rotation, either way.")
    rotate: Fraction = Field(0.0, description="Probability of a rotation.")
    photometric: bool = Field(True, description="Random brightness, contrast, saturation and hue.")
    extra: tuple[AugmentationConfig, ...] = Field((), description="Further augmentations, applied in this order.")

    @model_validator(mode="after")
    def _ordered_scale(self) -> AugmentConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"the range of data.augment.scale is empty: {self.scale[0]} > {self.scale[1]}")
        return self

    @model_validator(mode="after")
    def _one_resize(self) -> AugmentConfig:
        if self.shortest_edge is not None and (self.resize is not None or self.scale != (1.0, 1.0)):
            raise ValueError(
                "data.augment.shortest_edge takes the place of data.augment.resize and data.augment.scale: set resize "
                "to null and scale to [1.0, 1.0], or shortest_edge to null"
            )
        return self


class ClassSamplingConfig(Section):
    """Images drawn by the frequency of their classes (rare class sampling), in place of a permutation in each epoch."""

    probability: Fraction = Field(1.0, description="Share of the samples that are drawn so.")
    temperature: Positive = Field(
        0.01,
        description="Class c is drawn in proportion to exp((1 - f) / temperature), f being its share of the pixels.",
    )


class DataConfig(Section):
    """The dataset and its pipelines."""

    dataset: str = Field(description="A name of vitrail.list_datasets(), or 'folder' for images and masks of your own.")
    root: str | None = None
    train_split: str = "train"
    eval_split: str = "val"
    options: Options = Field({}, description="Further keyword arguments of the dataset.")
    augment: AugmentConfig = AugmentConfig()
    class_sampling: ClassSamplingConfig | None = Field(
        None, description="Draw rare classes more often: a class first, then an image that has it, cropped around it."
    )
    eval_resize: ResizeConfig | None = Field(None, description="Test-time resize; None keeps the image's own size.")
    mean: tuple[Mean, ...] = Field(
        (123.675, 116.28, 103.53), description="Of RGB in 0…255; one value for each channel."
    )
    std: tuple[Deviation, ...] = (58.395, 57.12, 57.375)
    value_range: tuple[Mean, Mean] | None = Field(
        None,
        description="Values of the images that become 0 and 255; None: 8-bit values as they are, 0…1, or the bits.",
    )
    classes: ClassNames = Field(
        {}, description="{name in the dataset: name here} renames a class, equal names merge, and null ignores it."
    )
    check: Literal["stop", "warn", "skip"] = Field(
        "stop", description="What the check of the files before training does when training would be in vain."
    )
    workers: int = Field(2, ge=0, le=256, description="Loader processes for each training process.")
    cache: str | None = Field(
        None, description="Folder for decoded images and masks, read instead of the files; a few bytes for each pixel."
    )

    @model_validator(mode="after")
    def _rising_range(self) -> DataConfig:
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            raise ValueError(f"data.value_range should rise: {list(self.value_range)}")
        return self
