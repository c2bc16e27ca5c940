"""Soft Dice loss."""

from __future__ import annotations

from torch import Tensor, nn

from vitrail.losses.criterion import register_loss
from vitrail.losses.pixels import in_full_precision, split_ignored


@register_loss("dice")
class DiceLoss(nn.Module):
    """Soft Dice loss: one minus the Dice coefficient of predicted probabilities and target.

    Parameters
    ----------
    sigmoid : bool
        Whether probabilities are the sigmoid of each class rather than the softmax over the classes.
    per_class : bool
        True computes one coefficient per class over the batch and averages over the classes that occur in the
        targets, so that rare classes weigh as much as common ones; False computes one per image over all classes and
        averages over images, as MMSegmentation and SSSegmentation do.
    squared : bool
        Whether the denominator sums squared probabilities (V-Net; the default of MMSegmentation and SSSegmentation).
    eps : float
        Added to the denominator, and with `squared=False` also to the numerator.
    ignored_in_mass : bool
        Whether the predictions at ignored pixels count in the denominator, as in MMSegmentation.

    References
    ----------
    Milletari, Navab and Ahmadi, "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image
    Segmentation", 3DV 2016, arXiv:1606.04797.
    """

    def __init__(
        self,
        *,
        sigmoid: bool = False,
        per_class: bool = True,
        squared: bool = False,
        eps: float = 1e-3,
        ignored_in_mass: bool = False,
    ) -> None:
        super().__init__()
        self.sigmoid = sigmoid
        self.per_class = per_class
        self.squared = squared
        self.eps = eps
        self.ignored_in_mass = ignored_in_mass

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits [B, K, H, W] for targets [B, H, W]; 0 when every pixel is ignored."""
        logits = in_full_precision(logits)
        classes, valid = split_ignored(targets, logits.shape[1])
        scores = logits.sigmoid() if self.sigmoid else logits.softmax(dim=1)
        counted = scores * valid.unsqueeze(1)
        own = counted.gather(1, classes.unsqueeze(1)).squeeze(1)  # [B, H, W]: 0 where ignored
        mass = scores if self.ignored_in_mass else counted
        mass = mass.square() if self.squared else mass
        if not self.per_class:
            return self._coefficient_loss(own.sum((1, 2)), mass.sum((1, 2, 3)), valid.sum((1, 2)), valid.any())
        index = classes.flatten()
        zeros = logits.new_zeros(logits.shape[1])
        overlap = zeros.index_add(0, index, own.flatten())
        pixels = zeros.index_add(0, index, valid.flatten().to(logits.dtype))
        return self._coefficient_loss(overlap, mass.sum((0, 2, 3)), pixels, pixels > 0)

    def _coefficient_loss(self, overlap: Tensor, mass: Tensor, pixels: Tensor, counts: Tensor) -> Tensor:
        """Return one minus the Dice coefficient, averaged over the entries where `counts` is true."""
        numerator = 2 * overlap if self.squared else 2 * overlap + self.eps
        denominator = mass + pixels + (2 * self.eps if self.squared else self.eps)
        loss = (1 - numerator / denominator) * counts
        return loss.sum() / counts.expand_as(loss).sum().clamp(min=1)
