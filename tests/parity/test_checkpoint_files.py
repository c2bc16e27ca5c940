"""Files written by MMEngine's and SSSegmentation's own code are read whole, without importing anything they mention."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from parity.references import build_ssseg, require_mmseg, require_ssseg
from vitrail.errors import CheckpointError
from vitrail.files.safe_pickle import Foreign
from vitrail.files.torch_file import read_pickle

pytestmark = pytest.mark.parity

FORMATS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}


def same_tensors(ours: Any, theirs: Any) -> int:
    """Compare every tensor of what we read with what torch.load reads; return how many there were."""
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
        return 1
    if isinstance(theirs, dict) and isinstance(ours, dict):
        assert [key for key in ours if not isinstance(key, Foreign)] == list(theirs)
        return sum(same_tensors(ours[key], value) for key, value in theirs.items())
    if isinstance(theirs, (list, tuple)) and isinstance(ours, (list, tuple)):
        return sum(same_tensors(one, other) for one, other in zip(ours, theirs, strict=True))
    if isinstance(ours, (str, int, float, bool, type(None))):
        assert ours == theirs
    else:
        assert isinstance(ours, Foreign)
    return 0


def modules_imported_by_reading(path: Path) -> set[str]:
    """Read a file in a fresh interpreter; return the packages that this imported, beyond vitrail's own."""
    program = (
        "import json, sys\n"
        "from vitrail.files.torch_file import read_pickle\n"
        "before = set(sys.modules)\n"
        f"read_pickle({str(path)!r})\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(found.stdout))


def again(path: Path, target: Path, options: dict[str, Any]) -> Path:
    """Save a checkpoint again in another of torch's formats, with the classes it holds."""
    torch.save(torch.load(path, weights_only=False), target, **options)
    return target


@pytest.fixture(scope="module")
def mmengine_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What MMEngine's runner leaves after four steps: all that it puts into `meta` and `message_hub`."""
    require_mmseg()
    sys.modules["mmcv._ext"].__spec__ = ModuleSpec("mmcv._ext", None)  # the runner asks which modules there are
    from mmengine.model import BaseModel
    from mmengine.runner import Runner
    from torch.utils.data import Dataset

    class Pixels(Dataset):
        metainfo = {  # noqa: RUF012
            "classes": ("road", "sky"),
            "palette": [[0, 0, 0], [1, 2, 3]],
            "label_map": np.arange(3),
            "scale": np.float32(0.5),
        }

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            return {"inputs": torch.rand(3, 8, 8)}

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

        def forward(self, inputs: torch.Tensor, mode: str = "tensor") -> dict[str, torch.Tensor]:
            return {"loss": self.net(inputs).square().mean(), "acc_seg": torch.tensor(3.0)}

    folder = tmp_path_factory.mktemp("mmengine")
    runner = Runner(
        model=Model(),
        work_dir=str(folder),
        train_dataloader={
            "dataset": Pixels(),
            "sampler": {"type": "DefaultSampler"},
            "collate_fn": {"type": "default_collate"},
            "batch_size": 2,
        },
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 1e-3}},
        param_scheduler=[
            {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": 2, "by_epoch": False},
            {"type": "PolyLR", "power": 0.9, "begin": 2, "end": 4, "by_epoch": False},
        ],
        train_cfg={"by_epoch": False, "max_iters": 4},
        custom_hooks=[{"type": "EMAHook"}],
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 4, "by_epoch": False}},
        log_level="ERROR",
        experiment_name="pixels",
    )
    runner.train()
    return folder / "iter_4.pth"


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_runner_of_mmengine_saves_is_read(mmengine_file: Path, tmp_path: Path, name: str) -> None:
    path = again(mmengine_file, tmp_path / "x.pth", FORMATS[name]) if name != "zip" else mmengine_file
    theirs, ours = torch.load(path, weights_only=False), read_pickle(path)
    histories = theirs["message_hub"]["log_scalars"].values()
    assert {type(entry).__name__ for entry in histories} == {"HistoryBuffer"}, "the file does not hold what it should"
    assert same_tensors(ours, theirs) == 7 + 8 + 4 * 3  # the weights, their averages, the optimizer's of each parameter
    assert {"state_dict", "ema_state_dict", "optimizer", "param_schedulers", "message_hub", "meta"} <= set(ours)
    assert ours["meta"]["cfg"] == theirs["meta"]["cfg"]
    assert ours["meta"]["dataset_meta"]["classes"] == ("road", "sky")
    assert ours["meta"]["dataset_meta"]["palette"] == [[0, 0, 0], [1, 2, 3]]
    assert isinstance(ours["meta"]["dataset_meta"]["label_map"], Foreign)


@pytest.mark.parametrize("name", FORMATS)
def test_reading_it_imports_nothing(mmengine_file: Path, tmp_path: Path, name: str) -> None:
    path = again(mmengine_file, tmp_path / "x.pth", FORMATS[name]) if name != "zip" else mmengine_file
    assert modules_imported_by_reading(path) == set()


def test_a_truncated_one_is_refused(mmengine_file: Path, tmp_path: Path) -> None:
    for index, options in enumerate(FORMATS.values()):
        whole = again(mmengine_file, tmp_path / f"{index}.pth", options).read_bytes()
        path = tmp_path / "x.pth"
        for step in range(60):
            path.write_bytes(whole[: len(whole) * step // 60])
            with pytest.raises(CheckpointError, match=r"x\.pth"):
                read_pickle(path)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.trace, "w")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("place", ["meta", "message_hub", "optimizer", "state_dict"])
def test_code_hidden_in_one_is_refused_and_not_run(mmengine_file: Path, tmp_path: Path, name: str, place: str) -> None:
    content = torch.load(mmengine_file, weights_only=False)
    trace = tmp_path / "trace"
    content[place]["trap"] = Trap(trace)
    torch.save(content, tmp_path / "x.pth", **FORMATS[name])
    with pytest.raises(CheckpointError, match="would run code"):
        read_pickle(tmp_path / "x.pth")
    assert not trace.exists()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("palette", ["list", "array"])
def test_what_mmcv_saved_before_mmengine_is_read(tmp_path: Path, name: str, palette: str) -> None:
    """`meta` of MMSegmentation 0.x, whose files are most of its model zoo, built by MMEngine's writer of weights."""
    require_mmseg()
    from mmengine.runner.checkpoint import weights_to_cpu

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    colours = [[120, 120, 120], [180, 120, 120]]
    content = {
        "meta": {
            "mmseg_version": "0.11.0+9c3a2b1",
            "config": "norm_cfg = dict(type='SyncBN')\nmodel = dict(type='EncoderDecoder')\n",
            "CLASSES": ("wall", "building"),
            "PALETTE": colours if palette == "list" else np.array(colours),
            "epoch": 3,
            "iter": np.int64(80000),
            "env_info": "sys.platform: linux",
            "hook_msgs": {"best_score": np.float64(0.7), "best_ckpt": "iter_80000.pth"},
        },
        "state_dict": weights_to_cpu(model.state_dict()),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9).state_dict(),
    }
    assert isinstance(content["state_dict"], OrderedDict)
    torch.save(content, tmp_path / "x.pth", **FORMATS[name])
    ours = read_pickle(tmp_path / "x.pth")
    assert same_tensors(ours["state_dict"], content["state_dict"]) == 7
    assert ours["meta"]["CLASSES"] == content["meta"]["CLASSES"]
    assert ours["meta"]["config"] == content["meta"]["config"]
    assert (ours["meta"]["PALETTE"] == colours) == (palette == "list")
    assert modules_imported_by_reading(tmp_path / "x.pth") == set()


@pytest.mark.parametrize("name", FORMATS)
def test_what_ssseg_saves_is_read(configs: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require_ssseg()
    from ssseg.modules.models.optimizers import BuildOptimizer
    from ssseg.modules.models.schedulers import BuildScheduler
    from ssseg.modules.models.segmentors.base.ema import EMASegmentor
    from ssseg.modules.utils import saveckpts

    model = build_ssseg("cgnet/fcn_cgnetm3n21_cityscapes")
    config = json.loads(configs.read_text())["cgnet/fcn_cgnetm3n21_cityscapes"]
    optimizer = BuildOptimizer(model, config["scheduler"]["optimizer"])
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    options = {**config["scheduler"], "lr": 0.01, "iters_per_epoch": 2, "params_rules": {}}
    scheduler = BuildScheduler(optimizer=optimizer, scheduler_cfg=options)
    scheduler.updatelr()
    scheduler.step()
    content = {
        **scheduler.state(),
        "model": model.state_dict(),
        "model_ema": EMASegmentor(segmentor=model, momentum=0.001).state(),
        "grad_scaler": torch.amp.GradScaler("cpu").state_dict(),
    }
    monkeypatch.setattr(torch, "save", lambda *given, write=torch.save: write(*given, **FORMATS[name]))
    saveckpts(content, str(tmp_path / "checkpoints-epoch-1.pth"))
    ours = read_pickle(tmp_path / "checkpoints-epoch-latest.pth")
    theirs = torch.load(tmp_path / "checkpoints-epoch-1.pth", weights_only=False)
    assert set(ours) == {"cur_epoch", "cur_iter", "optimizer", "model", "model_ema", "grad_scaler"}
    assert same_tensors(ours, theirs) > 2 * len(theirs["model"])
    assert modules_imported_by_reading(tmp_path / "checkpoints-epoch-1.pth") == set()


@pytest.mark.parametrize("name", FORMATS)
def test_tensors_of_every_make_are_read_as_torch_reads_them(tmp_path: Path, name: str) -> None:
    whole = torch.arange(60.0).reshape(3, 4, 5)
    content = {
        "half": whole.half(),
        "bfloat": whole.bfloat16(),
        "one memory": [whole[1], whole[2, 1:], whole.permute(2, 0, 1), whole[:, ::2, 1:4:2]],
        "channels last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "transposed half": whole.half().transpose(0, 2),
        "repeated": whole[:1, :1].expand(7, 6, 5),
        "tied": (shared := nn.Parameter(torch.rand(3)), shared),
        "number": torch.tensor(7),
        "nothing": torch.empty(0, 4),
    }
    torch.save(content, tmp_path / "x.pth", **FORMATS[name])
    ours, theirs = read_pickle(tmp_path / "x.pth"), torch.load(tmp_path / "x.pth", weights_only=False)
    assert same_tensors(ours, theirs) == 13
    for key in ("channels last", "transposed half", "repeated"):
        assert ours[key].stride() == theirs[key].stride()
    parts = ours["one memory"]
    assert len({part.untyped_storage().data_ptr() for part in parts}) == 1
