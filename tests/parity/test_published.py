"""A sample of the published architectures, through the door that users take; `tools/sweep_weights.py` does all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from parity.published import build_reference, compare, save_as_published
from parity.references import mmseg_configs, require_mmseg
from vitrail import load
from vitrail.checkpoints import convert_file, read_checkpoint
from vitrail.checkpoints.index import fingerprint, index
from vitrail.errors import CheckpointError
from vitrail.files.torch_file import read_pickle

pytestmark = pytest.mark.parity

# One of every method and of every family of encoders, the smallest there is.
SAMPLE = [
    "mmseg/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024",
    "mmseg/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024",
    "mmseg/cgnet_fcn_4xb4-60k_cityscapes-680x680",
    "mmseg/ann_r50-d8_4xb2-40k_cityscapes-512x1024",
    "mmseg/apcnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "mmseg/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "mmseg/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512",
    "mmseg/danet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "mmseg/deeplabv3_r101-d16-mg124_4xb2-40k_cityscapes-512x1024",
    "mmseg/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-769x769",
    "mmseg/dmnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "mmseg/dnl_r50-d8_4xb2-40k_cityscapes-512x1024",
    "mmseg/erfnet_fcn_4xb4-160k_cityscapes-512x1024",
    "mmseg/fast_scnn_8xb4-160k_cityscapes-512x1024",
    "mmseg/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "mmseg/icnet_r18-d8_4xb2-80k_cityscapes-832x832",
    "mmseg/isanet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "mmseg/mask2former_swin-t_8xb2-160k_ade20k-512x512",
    "mmseg/maskformer_swin-t_upernet_8xb2-160k_ade20k-512x512",
    "mmseg/mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024",
    "mmseg/nonlocal_r50-d8_4xb2-40k_cityscapes-512x1024",
    "mmseg/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024",
    "mmseg/pspnet_r50-d32_4xb2-80k_cityscapes-512x1024",
    "mmseg/segformer_mit-b0_8xb2-160k_ade20k-512x512",
    "mmseg/twins_svt-s_uperhead_8xb2-160k_ade20k-512x512",
    "mmseg/unet-s5-d16_fcn_4xb4-160k_cityscapes-512x1024",
    "mmseg/vit_deit-s16-ln_mln_upernet_8xb2-160k_ade20k-512x512",
    "ssseg/ce2p_resnet50os16_lip",
    "ssseg/depthwiseseparablefcn_fastscnn_cityscapes",
    "ssseg/emanet_resnet50os16_ade20k",
    "ssseg/encnet_resnet50os8_cityscapes",
    "ssseg/fcn_bisenetv1_resnet18os32_cityscapes",
    "ssseg/fcn_erfnet_cityscapes",
    "ssseg/fcn_unets5os16_cedice_drive",
    "ssseg/mcibi_deeplabv3_resnet50os8_lip",
    "ssseg/pointrend_resnet50os32_ade20k",
    "ssseg/segformer_mitb0_ade20k",
    "ssseg/upernet_pcpvtsmall_ade20k",
]
SMALL = "ssseg/depthwiseseparablefcn_fastscnn_cityscapes"


@pytest.mark.parametrize("name", SAMPLE)
def test_the_same_function(name: str) -> None:
    agreement = compare(index()[name])
    assert max(agreement.error, agreement.written) < 1e-4
    assert agreement.spread > 0.01  # logits that hardly vary would agree whatever the model does


@pytest.fixture
def unnamed(tmp_path: Path) -> Path:
    """A checkpoint of SSSegmentation under a name that says nothing."""
    path = save_as_published(build_reference(index()[SMALL]), index()[SMALL], tmp_path)
    return path.rename(tmp_path / "epoch_80.pth")


def test_a_file_without_a_name_is_known_by_its_shapes(unnamed: Path) -> None:
    assert fingerprint(read_checkpoint(unnamed).tensors) == index()[SMALL].fingerprint
    assert load(unnamed).card.name == SMALL.partition("/")[2]


def test_other_classes_can_be_named(unnamed: Path, tmp_path: Path) -> None:
    content = read_pickle(unnamed)
    state = {k: v[:2] if len(v.shape) and v.shape[0] == 19 else v for k, v in content["model"].items()}
    torch.save({"model": state}, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match="say which it is built like"):
        load(tmp_path / "mine.pth")
    assert load(tmp_path / "mine.pth", like=SMALL, classes=["cat", "dog"]).card.classes == ("cat", "dog")


def test_a_converted_file_is_enough(unnamed: Path, tmp_path: Path) -> None:
    convert_file(unnamed, tmp_path / "x.safetensors")
    converted, original = load(tmp_path / "x.safetensors"), load(unnamed)
    assert converted.card == original.card
    assert converted.card.metrics["miou"] == index()[SMALL].miou
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(converted(images), original(images))


def test_left_over_tensors_are_listed(unnamed: Path, tmp_path: Path) -> None:
    state = read_pickle(unnamed)["model"]
    torch.save({"model": {**state, "decoder.9.weight": torch.ones(1)}}, tmp_path / "depthwise.pth")
    with pytest.raises(CheckpointError, match=r"1 are left over \(decoder.9.weight\)"):
        load(tmp_path / "depthwise.pth", like=SMALL)


def test_the_index_has_every_row_of_mmsegmentations_metafiles() -> None:
    import yaml

    require_mmseg()
    published = set()
    for metafile in mmseg_configs().glob("*/metafile.yaml"):
        published |= {Path(model["Weights"]).name for model in yaml.safe_load(metafile.read_text())["Models"]}
    assert {entry.file for entry in index().values() if entry.project == "mmseg"} == published
