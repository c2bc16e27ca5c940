"""The independent implementations, brought to run on the CPU of a current PyTorch."""

from __future__ import annotations

import copy
import functools
import json
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from parity.missing import require

SSSEG_CONFIGS = Path(__file__).resolve().parents[1] / "tests" / "data" / "reference" / "ssseg_configs.json"


def _mask_views(masks: Tensor, maps: Tensor, sizes: Mapping[str, int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for every pixel, the part of its mask that lies on the map, and the part of the map below it."""
    height, width, tall, wide = (sizes[key] for key in ("h_feature", "w_feature", "h_mask", "w_mask"))
    for row in range(height):
        for column in range(width):
            top, left = row - sizes["half_h_mask"], column - sizes["half_w_mask"]
            rows, columns = slice(max(0, top), min(height, top + tall)), slice(max(0, left), min(width, left + wide))
            own = masks[:, :, row, column].unflatten(1, (tall, wide))
            inside = own[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            place = row * width + column
            if sizes["psa_type"] == 0:  # collect
                yield inside, maps.unflatten(1, (height, width))[:, rows, columns, row, column]
            else:
                yield inside, maps[:, place, rows, columns]


def psamask_forward(masks: Tensor, maps: Tensor, **sizes: int) -> None:
    """Compute mmcv's operator, which exists only compiled, by a loop over the pixels."""
    for mask, below in _mask_views(masks, maps, sizes):
        below.copy_(mask)


def psamask_backward(maps: Tensor, masks: Tensor, **sizes: int) -> None:
    """Compute the gradient of the operator."""
    for mask, below in _mask_views(masks, maps, sizes):
        mask.copy_(below)


class _CompiledOperators(types.ModuleType):
    """Takes the place of mmcv's compiled module: importing works, calling an operator says which one is missing."""

    def __init__(self) -> None:
        super().__init__("mmcv._ext")
        self.__spec__ = ModuleSpec(
            self.__name__, None
        )  # without a loader, by which MMEngine knows that it is not built

    psamask_forward = staticmethod(psamask_forward)
    psamask_backward = staticmethod(psamask_backward)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> None:
            raise NotImplementedError(f"mmcv's operator {name} exists only in its compiled build")

        return missing


def require_mmseg() -> None:
    """Make MMSegmentation importable; raises MissingToolboxError where it is not installed."""
    warnings.filterwarnings("ignore")
    sys.modules.setdefault("mmcv._ext", _CompiledOperators())
    # MMPretrain's models of texts and images do not import with a current transformers; its encoders do not need them.
    sys.modules.setdefault("mmpretrain.models.multimodal", types.ModuleType("mmpretrain.models.multimodal"))
    require("mmseg", "MMSegmentation")


def require_ssseg() -> None:
    """Make SSSegmentation importable; raises MissingToolboxError where it is not installed."""
    warnings.filterwarnings("ignore")
    sys.modules.setdefault("mmcv._ext", _CompiledOperators())
    require("ssseg", "SSSegmentation")


def mmseg_configs() -> Path:
    """Return the folder of MMSegmentation's configs, inside its wheel."""
    import mmseg

    return Path(mmseg.__file__).parent / ".mim" / "configs"


def _edit(node: Any, change: Any) -> None:
    """Apply `change` to every dictionary inside a config, in place."""
    if isinstance(node, dict):
        change(node)
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        _edit(value, change)


def _override(config: Any, changes: Mapping[str, Any]) -> None:
    """Set dotted keys of a config; a number is an index into a list."""
    for path, value in changes.items():
        *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
        node = config
        for key in parents:
            node = node[key]
        node[last] = value


Model = TypeVar("Model", bound=nn.Module)


def without_dropout(model: Model) -> Model:
    """Set the rates of all dropout and stochastic depth to 0, in place, and return the model."""
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return model


def mmseg_config(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config of MMSegmentation as plain data, with changes to the dotted keys of its model.

    `name` is a path below its folder of configs, or the name of a published config alone.
    """
    require_mmseg()
    from mmengine.config import Config

    path = mmseg_configs() / f"{name}.py" if "/" in name else next(mmseg_configs().glob(f"*/{name}.py"))
    config: dict[str, Any] = Config.fromfile(path).to_dict()
    _override(config["model"], changes)
    return config


def build_mmseg(name: str, changes: Mapping[str, Any] | None = None, *, dropout: bool = False) -> nn.Module:
    """Build a config of MMSegmentation, without downloads, by default without dropout; see `mmseg_config`."""
    require_mmseg()
    from mmengine.config import ConfigDict
    from mmseg.registry import MODELS
    from mmseg.utils import register_all_modules

    register_all_modules()
    config = ConfigDict(mmseg_config(name, changes or {})["model"])

    def plain(node: dict[str, Any]) -> None:
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
        if node.get("pretrained"):
            node["pretrained"] = None
        if isinstance(node.get("init_cfg"), dict) and node["init_cfg"].get("type") == "Pretrained":
            node["init_cfg"] = None

    _edit(config, plain)
    model: nn.Module = MODELS.build(config)
    return model if dropout else without_dropout(model)


def mmseg_losses(model: nn.Module, images: Tensor, targets: Tensor, edges: Tensor | None = None) -> dict[str, Tensor]:
    """Return the losses of an MMSegmentation model (accuracies left out), with the edges that its pipeline adds."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for index, target in enumerate(targets):
        sample = SegDataSample(gt_sem_seg=PixelData(data=target.unsqueeze(0)))
        if edges is not None:
            sample.gt_edge_map = PixelData(data=edges[index].unsqueeze(0))
        sample.set_metainfo({"img_shape": tuple(target.shape), "pad_shape": tuple(target.shape)})
        samples.append(sample)
    losses = model.loss(images, samples)
    return {name: value for name, value in losses.items() if "loss" in name}


class _Kept(dict[str, Any]):
    """Survives SSSegmentation's U-Net, which takes "type" out of the settings that its blocks share."""

    def pop(self, key: str, default: Any = "InterpConv") -> Any:
        return super().pop(key, default)


@functools.cache
def _ssseg_configs() -> dict[str, Any]:
    configs: dict[str, Any] = json.loads(SSSEG_CONFIGS.read_text())
    return configs


def ssseg_config(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of SSSegmentation, with changes to its dotted keys.

    `name` is as in the file of all ("pspnet/pspnet_resnet50os8_ade20k"), or the part after the slash.
    """
    configs = _ssseg_configs()
    key = name if "/" in name else next(key for key in configs if key.partition("/")[2] == name)
    config: dict[str, Any] = copy.deepcopy(configs[key])
    _override(config, changes)
    return config


def build_ssseg(name: str, changes: Mapping[str, Any] | None = None, *, dropout: bool = False) -> nn.Module:
    """Build a configuration of SSSegmentation, without downloads, by default without dropout; see `ssseg_config`."""
    require_ssseg()
    from ssseg.modules import BuildSegmentor
    from ssseg.modules.models.backbones.hrnet import HRModule

    HRModule.use_checkpoint = False  # 1.7.0 reads this attribute without ever setting it
    config = ssseg_config(name, changes or {})

    def plain(node: dict[str, Any]) -> None:
        if "pretrained" in node:
            node["pretrained"] = False
        if node.get("type") == "SyncBatchNorm":
            node["type"] = "BatchNorm2d"
        node.pop("mcibi_version", None)  # which its HRNet no longer takes
        if node.get("type") == "VisionTransformer":  # 1.7.0 asks the name for a dropout that its configurations lack
            node["structure_type"] = "any"
        if node.get("type") == "MobileViTV2":  # whose width the configurations leave to the default, the narrowest
            node["arch"] = node["structure_type"]
        if node.get("type") == "UNet":
            node["upsample_cfg"] = _Kept()
        if node.get("ignore_index") == -100:
            node["ignore_index"] = 255  # its datasets turn 255 into -100
        if node.get("type") == "ReLU" and "inplace" in node:
            node["inplace"] = True

    _edit(config, plain)
    model: nn.Module = BuildSegmentor(config, mode="TEST")
    return model if dropout else without_dropout(model)


def ssseg_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits [B, K, h, w] of an SSSegmentation model at the head's resolution."""
    from ssseg.modules.utils import SSSegInputStructure

    return model.eval()(SSSegInputStructure(images=images, mode="TEST")).seg_logits


def ssseg_losses(
    model: nn.Module, images: Tensor, targets: Tensor, **annotations: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Return the total loss of an SSSegmentation model, and its terms as numbers."""
    from ssseg.modules.utils import SSSegInputStructure

    model.train()
    model.mode = "TRAIN"
    meta = SSSegInputStructure(images=images, mode="TRAIN", seg_targets=targets, **annotations)
    outputs = model(meta)
    return outputs.loss, outputs.losses_log_dict
