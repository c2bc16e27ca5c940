"""The forward pass of prediction: images to the scores of the head, optionally recorded or compiled."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from vitrail.errors import DeviceError, nearest
from vitrail.precision import Precision
from vitrail.runtime.cpu_products import fast_products
from vitrail.runtime.device import HALF_DTYPES, autocast
from vitrail.runtime.graphs import GraphedFunction
from vitrail.segmentors import Segmentor
from vitrail.transforms import Normalize

Compile: TypeAlias = Literal["none", "graphs", "inductor"]
COMPILE: tuple[Compile, ...] = get_args(Compile)


@dataclass(frozen=True, eq=False)
class Network:
    """A model's forward pass without gradients.

    Attributes
    ----------
    model : Segmentor
        On `device`.
    device : torch.device
        Where to compute.
    normalize : Normalize
        The normalisation of images in 0…255; on `device`.
    amp : {"none", "bfloat16", "float16"}
        Precision of the model; scores are float32 from the head on.
    channels_last : bool
        Whether images go through the model in the channels_last memory format.
    """

    model: Segmentor
    device: torch.device
    normalize: Normalize
    amp: Precision = "none"
    channels_last: bool = True

    def __call__(self, images: Tensor) -> Tensor:
        """Return the scores [B, K, h, w] of images [B, C, H, W] in 0…255.

        They have the resolution of the head where it declares `resizes_late`, that of the images otherwise.
        """
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        images = self.normalize(images).contiguous(memory_format=layout)
        model = self.model
        with autocast(self.device, self.amp), fast_products(self.device):
            scores: Tensor = model.unresized(images) if model.head.resizes_late else model(images)
        return scores.float().contiguous()


def create_forward(network: Network, compile: Compile) -> Callable[[Tensor], Tensor]:
    """Return the forward pass of a network, as it is or made faster for shapes of images that repeat.

    Parameters
    ----------
    network : Network
        Its model is copied unless `compile` is "none", so that later changes of its weights have no effect.
    compile : {"none", "graphs", "inductor"}
        "graphs" records the forward pass as a CUDA graph for each of the last four shapes of a batch, which takes
        about a second each; "inductor" also compiles it with `torch.compile`, which takes up to minutes. On other
        devices than CUDA, "inductor" compiles only.

    Raises
    ------
    DeviceError
        For an unknown value, or for graphs on another device than CUDA.
    """
    if compile not in COMPILE:
        raise DeviceError(f"unknown compile={compile!r}.{nearest(str(compile), COMPILE)} Known: {', '.join(COMPILE)}.")
    if compile == "none":
        return network
    on_cuda = network.device.type == "cuda"
    if compile == "graphs" and not on_cuda:
        raise DeviceError(f"compile=graphs needs a CUDA device, not {network.device}: use compile=inductor or none")
    model = _in_half_precision(copy.deepcopy(network.model).eval(), network.amp)
    if network.channels_last:
        model = model.to(memory_format=torch.channels_last)
    own = Network(model, network.device, network.normalize, network.amp, network.channels_last)
    forward: Callable[[Tensor], Tensor] = torch.compile(own.__call__, dynamic=False) if compile == "inductor" else own
    return GraphedFunction(forward) if on_cuda else forward


def _in_half_precision(model: Segmentor, amp: Precision) -> Segmentor:
    """Store the weights in half precision that autocast would convert in every forward pass."""
    if amp != "none":
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                module.to(HALF_DTYPES[amp])
    return model
