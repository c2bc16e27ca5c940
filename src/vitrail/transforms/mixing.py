"""Augmentations that combine several images: copy-paste, CutMix and mosaic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision import tv_tensors

from vitrail.errors import RecipeError, nearest
from vitrail.labels import ignore_index_of
from vitrail.transforms.augmentations import Draw, MixingAugmentation, Pair, register_augmentation


@register_augmentation("copy_paste")
class CopyPaste(MixingAugmentation):
    """Copy-paste: the pixels of some classes of another image are put over the image.

    The semantic form of copy-paste, which has no instances to choose from: half of the classes of the other image,
    rounded up and drawn at random, are pasted with all of their pixels (as in ClassMix, without its pseudo-labels).

    Parameters
    ----------
    classes : list of str, optional
        The classes that can be pasted, such as the rare ones; None: all of them. Nothing happens where the other image
        has none of them.

    References
    ----------
    Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", CVPR 2021,
    arXiv:2012.07177; Olsson et al., "ClassMix: Segmentation-Based Data Augmentation for Semi-Supervised Learning",
    WACV 2021, arXiv:2007.07936.
    """

    def __init__(self, *, classes: tuple[str, ...] | None = None) -> None:
        self.classes = classes
        self.labels: list[int] | None = None

    def set_class_names(self, names: Sequence[str]) -> None:
        """Find the classes among those of the dataset."""
        for name in self.classes or ():
            if name not in names:
                raise RecipeError(
                    f"augmentation 'copy_paste': the dataset has no class {name!r}.{nearest(name, names)} "
                    f"It has: {', '.join(names)}."
                )
        self.labels = None if self.classes is None else [names.index(name) for name in self.classes]

    def mix(self, image: Tensor, mask: Tensor, draw: Draw) -> Pair:
        """Return the image [C, H, W] and its mask [H, W] with classes of another one over them."""
        other_image, other_mask = draw()
        labels = other_mask.unique()
        labels = labels[labels != ignore_index_of(other_mask)]
        if self.labels is not None:
            labels = labels[torch.isin(labels, torch.tensor(self.labels, dtype=labels.dtype))]
        chosen = labels[torch.randperm(len(labels))[: (len(labels) + 1) // 2]]
        return _combined(torch.isin(other_mask, chosen), image, mask, other_image, other_mask)


@register_augmentation("cutmix")
class CutMix(MixingAugmentation):
    """CutMix: a random rectangle is replaced by the same rectangle of another image.

    Parameters
    ----------
    alpha : float
        The other image's share of the area is drawn from Beta(alpha, alpha), before the rectangle is clipped at the
        border of the image; 1 is uniform, as in the paper.

    References
    ----------
    Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019,
    arXiv:1905.04899, equations 1 and 2; French et al., BMVC 2020, arXiv:1906.01916, for segmentation.
    """

    def __init__(self, *, alpha: float = 1.0) -> None:
        if alpha <= 0:
            raise ValueError(f"alpha must be above 0, not {alpha}")
        self.alpha = alpha

    def mix(self, image: Tensor, mask: Tensor, draw: Draw) -> Pair:
        """Return the image [C, H, W] and its mask [H, W] with a rectangle of another one."""
        other_image, other_mask = draw()
        share = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        inside = torch.zeros(mask.shape, dtype=torch.bool)
        rows, columns = (_span(length, share**0.5) for length in mask.shape)
        inside[rows, columns] = True
        return _combined(inside, image, mask, other_image, other_mask)


@register_augmentation("mosaic")
class Mosaic(MixingAugmentation):
    """Mosaic: four images meet at a random point; each shows the part that borders on it.

    Parameters
    ----------
    centre : (float, float)
        Range of the point where they meet, as a fraction of height and of width.

    References
    ----------
    Bochkovskiy, Wang and Liao, "YOLOv4: Optimal Speed and Accuracy of Object Detection", arXiv:2004.10934, section 3.3.
    """

    def __init__(self, *, centre: tuple[float, float] = (0.25, 0.75)) -> None:
        if not 0 <= centre[0] <= centre[1] <= 1:
            raise ValueError(f"centre must be a range within 0 and 1, not {list(centre)}")
        self.centre = centre

    def mix(self, image: Tensor, mask: Tensor, draw: Draw) -> Pair:
        """Return the mosaic of the image [C, H, W], mask [H, W] and of three others, of the same size."""
        top, left = (round(_between(*self.centre) * length) for length in mask.shape)
        bottom, right = mask.shape[0] - top, mask.shape[1] - left
        # Each quarter takes the opposite corner of its image, which is the one that touches the point.
        corners = [
            (rows, columns)
            for rows in (slice(bottom, None), slice(0, bottom))
            for columns in (slice(right, None), slice(0, right))
        ]
        images, masks = [], []
        for (whole, labels), (rows, columns) in zip([(image, mask), draw(), draw(), draw()], corners, strict=True):
            images.append(whole[:, rows, columns])
            masks.append(labels[rows, columns])
        return tv_tensors.Image(_joined(images)), tv_tensors.Mask(_joined(masks))


def _joined(quarters: Sequence[Tensor]) -> Tensor:
    """Join four quarters [..., h, w]: upper left, upper right, lower left, lower right."""
    return torch.cat([torch.cat(list(quarters[:2]), dim=-1), torch.cat(list(quarters[2:]), dim=-1)], dim=-2)


def _combined(where: Tensor, image: Tensor, mask: Tensor, other_image: Tensor, other_mask: Tensor) -> Pair:
    """Return the other image and mask where `where` [H, W] is true, and the first ones elsewhere."""
    image, mask = torch.where(where, other_image, image), torch.where(where, other_mask, mask)
    return tv_tensors.Image(image), tv_tensors.Mask(mask)


def _span(length: int, share: float) -> slice:
    """Return a range of `share` of a length about a random position, clipped at both ends."""
    centre, half = int(torch.randint(length, ())), round(share * length) / 2
    return slice(max(round(centre - half), 0), min(round(centre + half), length))


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
