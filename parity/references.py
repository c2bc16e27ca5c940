"""The independent implementations, brought to run on the CPU of a current PyTorch."""

from __future__ import annotations

import json
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

INSTALL = "is not installed (pip install -e '.[parity]')"


class _CompiledOperators(types.ModuleType):
    """Takes the place of mmcv's compiled module: importing works, calling an operator says which one is missing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> None:
            raise NotImplementedError(f"mmcv's operator {name} exists only in its compiled build")

        return missing


def require_mmseg() -> None:
    """Make MMSegmentation importable, or skip the test."""
    warnings.filterwarnings("ignore")
    sys.modules.setdefault("mmcv._ext", _CompiledOperators("mmcv._ext"))
    # MMPretrain's models of texts and images do not import with a current transformers; its encoders do not need them.
    sys.modules.setdefault("mmpretrain.models.multimodal", types.ModuleType("mmpretrain.models.multimodal"))
    pytest.importorskip("mmseg", reason=f"MMSegmentation {INSTALL}")


def require_ssseg() -> None:
    """Make SSSegmentation importable, or skip the test."""
    warnings.filterwarnings("ignore")
    sys.modules.setdefault("mmcv._ext", _CompiledOperators("mmcv._ext"))
    pytest.importorskip("ssseg", reason=f"SSSegmentation {INSTALL}")


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


def _override(config: Any, changes: dict[str, Any]) -> None:
    """Set dotted keys of a config; a number is an index into a list."""
    for path, value in changes.items():
        *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
        node = config
        for key in parents:
            node = node[key]
        node[last] = value


def _without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return model


def build_mmseg(name: str, **changes: Any) -> nn.Module:
    """Build a config of MMSegmentation ("pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512"), no downloads, no dropout.

    `changes` are dotted keys of the model's config, with "__" for the dots.
    """
    require_mmseg()
    from mmengine.config import Config
    from mmseg.registry import MODELS
    from mmseg.utils import register_all_modules

    register_all_modules()
    config = Config.fromfile(mmseg_configs() / f"{name}.py").model

    def plain(node: dict[str, Any]) -> None:
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
        if node.get("pretrained"):
            node["pretrained"] = None
        if isinstance(node.get("init_cfg"), dict) and node["init_cfg"].get("type") == "Pretrained":
            node["init_cfg"] = None

    _edit(config, plain)
    _override(config, {key.replace("__", "."): value for key, value in changes.items()})
    return _without_dropout(MODELS.build(config))


def mmseg_losses(model: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return the losses of an MMSegmentation model (accuracies left out)."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for target in targets:
        sample = SegDataSample(gt_sem_seg=PixelData(data=target.unsqueeze(0)))
        sample.set_metainfo({"img_shape": tuple(target.shape), "pad_shape": tuple(target.shape)})
        samples.append(sample)
    losses = model.loss(images, samples)
    return {name: value for name, value in losses.items() if "loss" in name}


class _Kept(dict[str, Any]):
    """Survives SSSegmentation's U-Net, which takes "type" out of the settings that its blocks share."""

    def pop(self, key: str, default: Any = "InterpConv") -> Any:
        return super().pop(key, default)


def build_ssseg(name: str, configs: Path, **changes: Any) -> nn.Module:
    """Build SSSegmentation's config `name` ("pspnet/pspnet_resnet50os8_ade20k") without downloads or dropout.

    `configs` is the file of its published configurations; `changes` are dotted keys, with "__" for the dots.
    """
    require_ssseg()
    if not configs.is_file():
        pytest.skip(f"no SSSegmentation configurations: {configs} does not exist")
    from ssseg.modules import BuildSegmentor
    from ssseg.modules.models.backbones.hrnet import HRModule

    HRModule.use_checkpoint = False  # 1.7.0 reads this attribute without ever setting it
    config = json.loads(configs.read_text())[name]

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
    _override(config, {key.replace("__", "."): value for key, value in changes.items()})
    return _without_dropout(BuildSegmentor(config, mode="TEST"))


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
