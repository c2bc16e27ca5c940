"""Checkpoints are data: everything honest loads, nothing else does, and nothing ever runs."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import pytest
import torch
from torch import nn

from vitrail.errors import CheckpointError
from vitrail.files.safe_pickle import Foreign
from vitrail.files.torch_file import read_pickle

ZIP = {}
LEGACY = {"_use_new_zipfile_serialization": False}
FORMATS = [ZIP, LEGACY, {"pickle_protocol": 4}, {**LEGACY, "pickle_protocol": 5}]
KINDS = ["zip", "legacy", "zip-4", "legacy-5"]


def save(content, path: Path, options) -> Path:
    torch.save(content, path, **options)
    return path


def assert_same(ours, theirs) -> None:
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert type(ours) is type(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    else:
        assert ours == theirs


def training_state():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    grid = torch.arange(12.0).reshape(3, 4)
    return {
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "parameter": nn.Parameter(grid.clone()),
        "view": grid[1:, ::2],
        "same memory": grid.T,
        "expanded": grid[:1].expand(5, 4),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3),
        "types": [grid.to(t) for t in (torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool)],
        "complex": torch.randn(2, dtype=torch.complex64),
        "plain": [1, -1, 2**70, 2.5, None, True, "ü", b"\xff\x00", (1, (2,)), {3}, frozenset({4})],
        "ordered": OrderedDict(b=1, a=2),
        "default": defaultdict(list, x=[1]),
        "size": grid.shape,
    }


@pytest.mark.parametrize("options", FORMATS, ids=KINDS)
def test_what_torch_saves_is_read_as_torch_reads_it(tmp_path: Path, options) -> None:
    path = save(training_state(), tmp_path / "x.pth", options)
    expected = torch.load(path, weights_only=False)
    expected |= {"ordered": dict(expected["ordered"]), "default": dict(expected["default"])}
    expected["size"] = tuple(expected["size"])
    expected["state_dict"] = dict(expected["state_dict"])
    assert_same(read_pickle(path), expected)


class Payload:
    """Pickles to a call that would create a file."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("options", FORMATS, ids=KINDS)
@pytest.mark.parametrize("attack", ["os.system", "eval", "exec", "open", "subprocess", "import"])
def test_a_pickle_that_runs_code_is_refused_and_nothing_runs(tmp_path: Path, options, attack: str) -> None:
    import subprocess

    trace = tmp_path / "trace"
    payload = {
        "os.system": Payload(os.system, f"touch {trace}"),
        "eval": Payload(eval, f"open({str(trace)!r}, 'w')"),
        "exec": Payload(exec, f"open({str(trace)!r}, 'w')"),
        "open": Payload(open, str(trace), "w"),
        "subprocess": Payload(subprocess.check_call, ["touch", str(trace)]),
        "import": Payload(__import__, "antigravity"),
    }[attack]
    path = save({"state_dict": {"w": torch.ones(1)}, "meta": payload}, tmp_path / "x.pth", options)
    with pytest.raises(CheckpointError, match="would run code"):
        read_pickle(path)
    assert not trace.exists()


def test_code_in_a_bare_pickle_is_refused_too(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "x.pth"
    path.write_bytes(pickle.dumps(Payload(os.system, f"touch {trace}")))
    with pytest.raises(CheckpointError, match="would run code"):
        read_pickle(path)
    path.write_bytes(f"cos\nsystem\n(S'touch {trace}'\ntR.".encode())  # protocol 0
    with pytest.raises(CheckpointError):
        read_pickle(path)
    assert not trace.exists()


def test_getattr_and_friends_are_inert(tmp_path: Path) -> None:
    """`getattr` stands in honest files (methods of foreign classes) and in exploits; here it gets nothing at all."""
    trace = tmp_path / "trace"
    path = save({"x": Payload(getattr, trace, "touch"), "y": Payload(trace.touch)}, tmp_path / "x.pth", ZIP)
    assert isinstance(read_pickle(path)["x"], Foreign)
    assert not trace.exists()


def test_classes_that_are_not_installed_become_inert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What MMEngine leaves in a checkpoint: dict and list subclasses, objects with state, methods, by any protocol."""
    module = types.ModuleType("not_installed_anywhere")
    source = """
class Config(dict): pass
class Values(list): pass
class History:
    def __init__(self): self.values, self.methods = [1.0], {'mean': History.mean}
    def mean(self): return 0
class Slots:
    __slots__ = ('a',)
class Reduced:
    def __reduce__(self): return Reduced, (), {'state': 1}, iter([1]), iter([('k', 'v')])
"""
    exec(source, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("Config", "Values", "History", "Slots", "Reduced"):
        getattr(module, name).__module__ = module.__name__
    slots = module.Slots()
    slots.a = 1
    hub = {"history": module.History(), "values": module.Values([1, 2]), "slots": slots, "bound": module.History().mean}
    content = {
        "meta": module.Config(lr=1),
        "message_hub": hub,
        "state_dict": {"w": torch.arange(3.0)},
        "reduced": module.Reduced(),
        "tail": 5,
    }
    paths = [
        save(content, tmp_path / f"{index}.pth", {**options, "pickle_protocol": protocol})
        for index, (options, protocol) in enumerate((options, p) for options in (ZIP, LEGACY) for p in (2, 3, 4, 5))
    ]
    monkeypatch.delitem(sys.modules, module.__name__)
    for path in paths:
        found = read_pickle(path)
        assert torch.equal(found["state_dict"]["w"], torch.arange(3.0))
        assert found["meta"].kind == "not_installed_anywhere.Config"
        assert all(isinstance(value, Foreign) for value in found["message_hub"].values())
        assert found["tail"] == 5
    assert module.__name__ not in sys.modules


@pytest.mark.parametrize("options", FORMATS, ids=KINDS)
@pytest.mark.parametrize("share", [0.0, 0.0005, 0.01, 0.5, 0.9, 0.9999])
def test_truncated_files_are_refused(tmp_path: Path, options, share: float) -> None:
    path = save(training_state(), tmp_path / "x.pth", options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        read_pickle(path)


def test_a_legacy_file_cut_within_the_size_of_an_empty_storage_is_refused(tmp_path: Path) -> None:
    path = save({"empty": torch.empty(0)}, tmp_path / "x.pth", LEGACY)
    data = path.read_bytes()
    assert data.endswith(bytes(8))  # the number of values, after which none follow
    path.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        read_pickle(path)


def test_a_changed_byte_of_the_weights_is_noticed(tmp_path: Path) -> None:
    path = save({"w": torch.full((1000,), 7.0)}, tmp_path / "x.pth", ZIP)
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 7.0) * 8) + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        read_pickle(path)


def test_random_damage_never_gives_anything_but_a_clean_error(tmp_path: Path) -> None:
    """Damage that no checksum covers, in the pickle of an old file, either loads or is refused; it never crashes."""
    path = save({"a": [1, 2.5, "x"], "w": torch.ones(3), "m": OrderedDict(k=None)}, tmp_path / "x.pth", LEGACY)
    data = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(300):
        place, value = (int(torch.randint(high, (), generator=generator)) for high in (len(data), 256))
        path.write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
        try:
            read_pickle(path)
        except CheckpointError:
            refused += 1
    assert 0 < refused < 300


def test_keys_nested_too_deep_to_hash_are_refused(tmp_path: Path) -> None:
    """Hashing a tuple of so many levels would end the process, not raise an error."""
    deep = b"(" + b")" + b"\x85" * 50_000 + b"Nd."
    path = tmp_path / "x.pth"
    path.write_bytes(b"\x80\x02" + deep)
    with pytest.raises(CheckpointError, match="key of type tuple"):
        read_pickle(path)


def repack(path: Path, change) -> None:
    """Write a zip checkpoint again, compressed, its records passed through `change(name, data)`."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name, change(name, data))


def test_compressed_archives_are_read(tmp_path: Path) -> None:
    path = save({"w": torch.ones(1000)}, tmp_path / "x.pth", ZIP)
    repack(path, lambda name, data: data)
    assert read_pickle(path)["w"].sum() == 1000


def test_zip_bombs_are_refused_before_they_expand(tmp_path: Path) -> None:
    path = save({"w": torch.ones(4)}, tmp_path / "x.pth", ZIP)
    repack(path, lambda name, data: bytes(100 << 20) if name.endswith("data/0") else data)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(CheckpointError, match="would expand"):
        read_pickle(path)


def test_a_storage_of_another_length_than_promised_is_refused(tmp_path: Path) -> None:
    path = save({"w": torch.ones(4)}, tmp_path / "x.pth", ZIP)
    repack(path, lambda name, data: bytes(8) if name.endswith("data/0") else data)
    with pytest.raises(CheckpointError, match="storage 0"):
        read_pickle(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride"), [(2, (4,), (1,)), (0, (2, 3), (3, 1)), (-1, (2,), (1,)), (0, (1 << 40,), (0,))]
)
def test_tensors_that_reach_outside_their_storage_are_refused(tmp_path: Path, offset, size, stride) -> None:
    weights = torch.ones(4)
    storage = torch.storage.TypedStorage(wrap_storage=weights.untyped_storage(), dtype=weights.dtype, _internal=True)
    forged = Payload(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {})
    path = save({"w": forged}, tmp_path / "x.pth", ZIP)
    with pytest.raises(CheckpointError, match="does not lie within"):
        read_pickle(path)


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for data, message in [
        (b"", "empty"),
        (b"\x89PNG\r\n", "not a checkpoint"),
        (pickle.dumps([1, 2]), "not one that torch.save wrote"),
        (b"<!DOCTYPE html><html>404</html>", "not a checkpoint"),
    ]:
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=message):
            read_pickle(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/a.png", b"")
    with pytest.raises(CheckpointError, match="zip archive, but not one"):
        read_pickle(path)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        read_pickle(tmp_path / "missing.pth")


def test_whole_models_and_lists_are_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"pickled torch\.nn\.modules\.linear\.Linear.*state_dict"):
        read_pickle(save(nn.Linear(2, 2), tmp_path / "x.pth", ZIP))
    with pytest.raises(CheckpointError, match="holds a list"):
        read_pickle(save([1], tmp_path / "x.pth", ZIP))
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        for name in ("x/data.pkl", "x/constants.pkl", "x/code/model.py"):
            archive.writestr(name, b"")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_pickle(tmp_path / "x.pth")
