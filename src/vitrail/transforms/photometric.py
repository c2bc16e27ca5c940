"""Photometric distortion: random brightness, contrast, saturation and hue (Liu et al., "SSD", ECCV 2016)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

BRIGHTNESS = 32.0  # of 255
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = 36.0  # degrees

_PIXELS_AT_A_TIME = 65_536  # four float32 planes of this size fit the cache of a CPU core
_SMALL = 1e-6


@dataclass(frozen=True)
class Distortion:
    """Parameters of one colour change.

    Attributes
    ----------
    brightness : float
        Added to pixel values in 0…255.
    contrast, saturation : float
        Factors; saturation is the one of HSV.
    hue : float
        Degrees added to the hue.
    contrast_first : bool
        Whether contrast is changed before saturation and hue or after them.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    contrast_first: bool = False


def draw_distortion() -> Distortion:
    """Draw random parameters: each of the four changes, and the order, with a probability of one half."""
    draws = torch.rand(9).tolist()
    distortion = Distortion(contrast_first=draws[0] < 0.5)
    if draws[1] < 0.5:
        distortion = replace(distortion, brightness=_within(-BRIGHTNESS, BRIGHTNESS, draws[2]))
    if draws[3] < 0.5:
        distortion = replace(distortion, contrast=_within(*CONTRAST, draws[4]))
    if draws[5] < 0.5:
        distortion = replace(distortion, saturation=_within(*SATURATION, draws[6]))
    if draws[7] < 0.5:
        distortion = replace(distortion, hue=_within(-HUE, HUE, draws[8]))
    return distortion


def distort(image: Tensor, distortion: Distortion) -> Tensor:
    """Apply a distortion to an image, uint8 [C, H, W]; returns uint8 of the same shape.

    Hue and saturation are defined for three channels, and left alone in images of any other number of channels. Values
    are clipped to 0…255 after every step and rounded once, at the end.
    """
    if distortion == Distortion(contrast_first=distortion.contrast_first):
        return image
    out = torch.empty(image.shape, dtype=torch.uint8)
    rows = max(1, _PIXELS_AT_A_TIME // image.shape[2])
    for top in range(0, image.shape[1], rows):
        strip = image[:, top : top + rows].to(torch.float32, memory_format=torch.contiguous_format)
        # PyTorch converts float to uint8 three times faster by way of int32
        out[:, top : top + rows] = _distort_strip(strip, distortion).add_(0.5).to(torch.int32)
    return out


def _distort_strip(x: Tensor, distortion: Distortion) -> Tensor:
    if distortion.brightness:
        x.add_(distortion.brightness).clamp_(0, 255)
    if distortion.contrast_first and distortion.contrast != 1:
        x.mul_(distortion.contrast).clamp_(0, 255)
    in_colour = x.shape[0] == 3
    if distortion.hue and in_colour:
        x = shift_hue(x, distortion.hue, distortion.saturation)
    elif distortion.saturation != 1 and in_colour:
        x = scale_saturation(x, distortion.saturation)
    if not distortion.contrast_first and distortion.contrast != 1:
        x.mul_(distortion.contrast).clamp_(0, 255)
    return x


def scale_saturation(x: Tensor, factor: float) -> Tensor:
    """Multiply the HSV saturation of RGB float [3, H, W] in place; hue and value stay, saturation is clipped at 1."""
    value = x.amax(0)
    chroma = value - x.amin(0)
    factors = (value / chroma.clamp_(min=_SMALL)).clamp_(max=factor)
    return torch.addcmul(value, x.sub_(value), factors, out=x)


def shift_hue(x: Tensor, degrees: float, saturation: float = 1.0) -> Tensor:
    """Shift the HSV hue of RGB float [3, H, W] in place by up to ±120° and multiply the saturation; the value stays.

    Notes
    -----
    In sixths of a circle, the distance of a pixel's hue from red is 1 + (G + B − R − min) / (max − min), on the green
    side if G > B and on the blue side otherwise. A colour channel at distance d from the hue gets the share
    clip(2 − d, 0, 1) of the chroma. This needs no case distinction, so it is several times faster than the textbook
    formula.
    """
    red, green, blue = x
    value, low = x.amax(0), x.amin(0)
    chroma = value - low
    difference = green - blue
    hue = (green + blue).sub_(red).sub_(low).div_(chroma.clamp(min=_SMALL)).add_(1)
    hue = torch.copysign(hue, difference).add_(degrees / 60)
    if saturation != 1:
        chroma = torch.minimum(chroma.mul_(saturation), value)
        low = value - chroma
    for channel, centre in enumerate((0.0, 2.0, -2.0)):
        # |3 − |hue − centre|| is 3 minus the circular distance
        share = (hue - centre).abs_().sub_(3).abs_().sub_(1).clamp_(0, 1)
        torch.addcmul(low, share, chroma, out=x[channel])
    return x


def _within(low: float, high: float, draw: float) -> float:
    return low + (high - low) * draw
