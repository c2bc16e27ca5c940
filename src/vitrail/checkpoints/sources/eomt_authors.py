"""Checkpoints of EoMT's authors (github.com/tue-mps/eomt): the state dict of their Lightning module.

Encoders of DINOv2 have timm's names there, those of DINOv3 transformers'. Where the licence of DINOv3 keeps its weights
from being passed on, the published files hold the differences from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.complete import complete_section
from vitrail.checkpoints.index import PROJECTS, index
from vitrail.checkpoints.sources.indexed import IndexedSource
from vitrail.checkpoints.sources.layouts import OnlyTheirs
from vitrail.checkpoints.sources.renaming import Layout, Names, Renaming, State
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.source import register_source
from vitrail.checkpoints.sources.transformers.eomt import BLOCK_DINOV3, DINOV2, DINOV3, QUERY_KEY_VALUE_DINOV3
from vitrail.checkpoints.sources.transformers.records import EMPTY_WEIGHT
from vitrail.checkpoints.state import few
from vitrail.errors import CheckpointError
from vitrail.recipes import ModelConfig
from vitrail.segmentors import ModelCard

_ENCODER = "network.encoder."
# Of ImageNet, for images in 0…1; their models normalise by themselves.
_STATISTICS = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)}
_REST: Names = {
    "network.encoder.backbone.norm": "head.norm",
    "network.q": "head.query_tokens",
    "network.class_head": "head.classifier",
    "network.mask_head": "head.mask_mlp",
    "network.upscale.*": ("head.upscale.*", {"conv1": "0", "conv2": "2", "norm": "3"}),
    "network.attn_mask_probs": "head.mask_probability",
}
_EMBEDDINGS_DINOV3: Names = {
    "cls_token": "cls_token",
    "register_tokens": "reg_token",
    "patch_embeddings": "patch_embed.proj",
}
# The tensors of DINOv3 in transformers' folders, by what is before the rest of their names in these files.
_BASE = {
    "backbone.patch_embed.": r"embeddings\.",
    "backbone.blocks.": r"(?:model\.)?layer\.",
    "backbone.norm.": r"norm\.",
}
_UNUSED_OF_BASE = "embeddings.mask_token"


def _statistic(name: str) -> OnlyTheirs:
    values = torch.tensor(_STATISTICS[name]).view(1, 3, 1, 1)
    return OnlyTheirs(_ENCODER + name, "head.classifier.bias", lambda _: values.clone())


_LAYOUTS: tuple[Layout, ...] = (*map(_statistic, _STATISTICS), EMPTY_WEIGHT)


@register_source("eomt")
class EoMTAuthors(IndexedSource):
    """Checkpoints that EoMT's authors published, and that their code writes."""

    name = "eomt"
    title = PROJECTS["eomt"]
    suffixes = (".ckpt", ".bin", ".pth")
    known_by = frozenset({"network.q.weight", "network.class_head.weight", "network.mask_head.4.weight"})

    def renaming(self, model: ModelConfig) -> Renaming:
        """Return the names of the tensors; see `IndexedSource`."""
        model = complete_section(model)
        encoder = (model.backbone or "").partition(".")[0]
        depth = next((shape[1] for shape, name in (*DINOV2.items(), *DINOV3.items()) if name == encoder), None)
        if model.segmentor != "eomt" or depth is None:
            raise UnsupportedError(f"{self.title} has no model like {model.segmentor} on {model.backbone}")
        dinov3 = encoder in DINOV3.values()
        left = model.options["num_blocks"]
        ours = [f"backbone.trunk.encoder.blocks.{block}" for block in range(depth - left)]
        ours += [f"head.blocks.{block}" for block in range(left)]
        block: Names = BLOCK_DINOV3 if dinov3 else {}
        blocks: Names = {f"network.encoder.backbone.blocks.{i}": (place, block) for i, place in enumerate(ours)}
        encoder_names: Names = (
            {"network.encoder.backbone.patch_embed": ("backbone.trunk.encoder", _EMBEDDINGS_DINOV3)}
            if dinov3
            else {"network.encoder.backbone": "backbone.trunk.encoder"}
        )
        layouts = (*_LAYOUTS, *QUERY_KEY_VALUE_DINOV3) if dinov3 else _LAYOUTS
        return Renaming({**_REST, **encoder_names, **blocks}, layouts)

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`.

        Raises
        ------
        CheckpointError
            As `Source` says, and when the file holds differences from weights: see `on_base`.
        """
        if self.holds_deltas(checkpoint):
            raise CheckpointError(
                f"{checkpoint.origin} holds delta weights, the differences from those of DINOv3, which are needed, "
                "too, as transformers has them: give them as base=… of vitrail.load (vitrail convert IN OUT --base …), "
                "such as base='hf/facebook/dinov3-vitl16-pretrain-lvd1689m', or a folder"
            )
        return super().translate(checkpoint, card)

    def holds_deltas(self, checkpoint: Checkpoint) -> bool:
        """Return whether the file holds differences from DINOv3's weights: that of the images' mean is zero."""
        mean = checkpoint.tensors.get(f"{_ENCODER}pixel_mean")
        return isinstance(mean, Tensor) and not mean.any()

    def on_base(self, checkpoint: Checkpoint, base: Checkpoint) -> Checkpoint:
        """Return the checkpoint of weights that one of differences makes of the weights it was started from.

        As in the authors' code the differences are from DINOv3's weights in the encoder, from ones in the probabilities
        of masks, and from zeros elsewhere. The sums are in float32, also where both files are in half precision.

        Parameters
        ----------
        checkpoint : Checkpoint
            The differences.
        base : Checkpoint
            The weights of DINOv3 under transformers' names.

        Raises
        ------
        CheckpointError
            When the base has not the tensors, or not in the same shapes, and for numbers that are no weights.
        """
        weights, left = dict(checkpoint.tensors), {name: _tensor(base, name) for name in base.tensors}
        left.pop(_UNUSED_OF_BASE, None)
        for name in weights:
            difference = _tensor(checkpoint, name)
            if name.removeprefix(_ENCODER) in _STATISTICS:
                start = torch.tensor(_STATISTICS[name.removeprefix(_ENCODER)]).view(1, 3, 1, 1)
                if difference.numel() != start.numel():
                    raise CheckpointError(
                        f"{checkpoint.origin} is damaged: {name} is {tuple(difference.shape)} in place of "
                        f"{tuple(start.shape)}"
                    )
                start = start.view_as(difference)
            elif name.startswith(_ENCODER):
                start = _started_from(name, difference, left, checkpoint, base)
            elif name == "network.attn_mask_probs":
                start = torch.ones_like(difference)
            else:
                continue
            weights[name] = _sum(start, difference, f"{base.origin} or {checkpoint.origin}: {name}")
        if left:
            raise CheckpointError(
                f"{checkpoint.origin} was not started from {base.origin}, which also has {few([*left])}"
            )
        return Checkpoint(weights, checkpoint.metadata, checkpoint.origin)

    def indexed_card(self, checkpoint: Checkpoint) -> ModelCard:
        """Return the card of the published model of this encoder, these queries and as many classes."""
        found = _described(checkpoint.tensors, str(checkpoint.origin))
        for entry in index().values():
            if entry.project == self.name and _described_model(entry.recipe["model"]) == found:
                return entry.card()
        raise CheckpointError(
            f"{checkpoint.origin} is a checkpoint of {self.title} that does not say what its classes are, and no "
            f"published model is like it ({found}): say which it is built like (like=…, --like on the command line; "
            "`vitrail weights` lists them), and which classes it has if they are others"
        )


def _started_from(
    name: str, difference: Tensor, left: dict[str, Tensor], checkpoint: Checkpoint, base: Checkpoint
) -> Tensor:
    """Take from the tensors that are left of a base the one that a tensor of an encoder was started from."""
    inner = name.removeprefix(_ENCODER)
    begin = next((begin for begin in _BASE if inner.startswith(begin)), None)
    pattern = "" if begin is None else _BASE[begin] + re.escape(inner.removeprefix(begin))
    found = next((theirs for theirs in left if re.fullmatch(pattern, theirs)), None)
    if found is None or left[found].shape != difference.shape:
        problem = "has nothing" if found is None else f"has another shape ({tuple(left[found].shape)})"
        raise CheckpointError(
            f"{checkpoint.origin} was not started from {base.origin}, which {problem} for {name} "
            f"{tuple(difference.shape)}; the weights of DINOv3 are needed as transformers has them"
        )
    return left.pop(found)


def _sum(start: Tensor, difference: Tensor, where: str) -> Tensor:
    """Return the sum in float32 or more, whatever the two are kept in; their own sum would be rounded to that."""
    if not (start.is_floating_point() and difference.is_floating_point()):
        held = " and ".join(str(each.dtype).removeprefix("torch.") for each in (start, difference))
        raise CheckpointError(f"{where} is not of floating-point numbers ({held})")
    precision = torch.promote_types(torch.promote_types(start.dtype, difference.dtype), torch.float32)
    return start.to(precision) + difference.to(precision)


def _tensor(checkpoint: Checkpoint, name: str) -> Tensor:
    value = checkpoint.tensors[name]
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{checkpoint.origin}: {name!r} is not a tensor")
    return value


def _described(tensors: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what tells the published models apart, from the shapes of the tensors."""
    try:
        places = tensors.get("network.encoder.backbone.pos_embed")
        numbers = [re.match(r"network\.encoder\.backbone\.blocks\.(\d+)\.", name) for name in tensors]
        return {
            "width": tensors["network.q.weight"].shape[1],
            "depth": 1 + max(int(number[1]) for number in numbers if number),
            "queries": tensors["network.q.weight"].shape[0],
            "blocks": len(tensors["network.attn_mask_probs"]),
            "classes": len(tensors["network.class_head.bias"]) - 1,
            "patches": None if places is None else places.shape[1],  # DINOv3 has no table of them
        }
    except (KeyError, ValueError, AttributeError, IndexError, TypeError) as error:
        raise CheckpointError(f"{where} is a damaged checkpoint of EoMT's authors: {error!r}") from error


def _described_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same from the section of a model."""
    name = model["backbone"].partition(".")[0]
    dinov3 = name in DINOV3.values()
    width, depth = next(shape[:2] for shape, each in (*DINOV2.items(), *DINOV3.items()) if each == name)
    return {
        "width": width,
        "depth": depth,
        "queries": model["options"]["num_queries"],
        "blocks": model["options"]["num_blocks"],
        "classes": model["num_classes"],
        "patches": None if dinov3 else (model["backbone_options"]["img_size"] // 16) ** 2,
    }
