"""Golden files: what the references compute, small enough to keep, so that tests need no other toolbox.

    python -m parity.golden                     # write those that are missing
    python -m parity.golden --all               # write all again
    python -m parity.golden mmseg/pspnet        # write those whose name begins like this
    python -m parity.golden --light             # leave out those that only the nightly run looks at
    python -m parity.golden --check             # run the references, and compare with what is there

A file holds what the reference alone computed: the text that says how the model is built, names and shapes of its
tensors (`parity.weights` draws the values), samples of its logits and of one gradient in 16 bits, and its losses. It
never holds anything that vitrail computed.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.case import Case
from parity.comparison import Expected, Sampler, Values, measure
from parity.weights import draw_all

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "golden"
GRID = (9, 11)
CHANNELS = 9
COUNT = 512
STEPS = 2**15 - 1
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content is the same file


def grid(logits: Tensor) -> Tensor:
    """Return [B, K', h', w']: at most 9 classes at 9 × 11 positions, evenly spread with the corners."""
    for dim, count in ((1, CHANNELS), (2, GRID[0]), (3, GRID[1])):
        logits = logits.index_select(dim, _spread(logits.shape[dim], count))
    return logits


def spread(tensor: Tensor) -> Tensor:
    """Return at most 512 evenly spread elements."""
    return tensor.flatten()[_spread(tensor.numel(), COUNT)]


def _spread(length: int, count: int) -> Tensor:
    return torch.linspace(0, length - 1, min(length, count), dtype=torch.float64).round().long()


def path_of(case: Case) -> Path:
    """Return where the golden file of a case is."""
    return FOLDER / f"{case.name}.npz"


def tensors_of(case: Case, expected: Expected) -> dict[str, Tensor]:
    """Return the weights of a reference under its own names, without having the reference."""
    tensors = draw_all({name: shape for name, shape in expected.tensors.items() if not name.startswith(case.keep)})
    kept = {name: torch.zeros(shape) for name, shape in expected.tensors.items() if name.startswith(case.keep)}
    tensors |= kept | {name: torch.zeros(shape, dtype=torch.long) for name, shape in expected.integers.items()}
    case.edit(tensors)
    return tensors


def write(path: Path, expected: Expected, origin: str) -> None:
    """Write a golden file; the same content gives the same bytes."""
    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, values: Values, sampler: Sampler) -> dict[str, Any]:
        sample = sampler(values.values).double() / values.scale * STEPS
        arrays[name] = sample.round().to(torch.int16).numpy()
        return {"array": name, "shape": values.shape, "scale": values.scale}

    logits = [{"size": size, **keep(f"logits{i}", v, grid)} for i, (size, v) in enumerate(expected.logits.items())]
    about = {
        "origin": origin,
        "settings": expected.settings,
        "tensors": expected.tensors,
        "integers": expected.integers,
        "logits": logits,
        "losses": expected.losses,
        "gradient": keep("gradient", expected.gradient, spread) if expected.gradient else None,
        "moves": {name: keep(f"moves.{name}", move, spread) for name, move in expected.moves.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(_entry("about.json"), json.dumps(about, separators=(",", ":")))
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            archive.writestr(_entry(f"{name}.npy"), content.getvalue())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def read(path: Path) -> Expected:
    """Read a golden file."""
    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read("about.json"))

        def load(kept: dict[str, Any], sampler: Sampler) -> Values:
            array = np.load(io.BytesIO(archive.read(f"{kept['array']}.npy")), allow_pickle=False)
            values = torch.from_numpy(array).double() * kept["scale"] / STEPS
            return Values(tuple(kept["shape"]), kept["scale"], values, sampler)

        return Expected(
            settings=about["settings"],
            tensors={name: tuple(shape) for name, shape in about["tensors"].items()},
            integers={name: tuple(shape) for name, shape in about["integers"].items()},
            logits={tuple(each["size"]): load(each, grid) for each in about["logits"]},
            losses=about["losses"],
            gradient=load(about["gradient"], spread) if about["gradient"] else None,
            moves={name: load(move, spread) for name, move in about["moves"].items()},
        )


def check(golden: Expected, live: Expected, case: Case) -> None:
    """Fail unless a golden file says what the reference computes now."""
    assert golden.settings == live.settings, f"{case}: the settings have changed"
    assert (golden.tensors, golden.integers) == (live.tensors, live.integers), f"{case}: the tensors have changed"
    assert golden.logits.keys() == live.logits.keys(), f"{case}: the sizes have changed"
    assert golden.losses.keys() == live.losses.keys(), f"{case}: the losses have changed"
    assert golden.moves.keys() == live.moves.keys(), f"{case}: the moves have changed"
    for size, values in golden.logits.items():
        values.assert_close(live.logits[size].values, f"{case}: the golden logits at {size}")
    for name, value in golden.losses.items():
        now = live.losses[name]
        assert abs(value - now) <= 1e-4 * abs(now), f"{case}: the golden {name} is {value}, but now {now}"
    if golden.gradient and live.gradient:
        golden.gradient.assert_close(live.gradient.values, f"{case}: the golden gradient")
    for name, move in golden.moves.items():
        move.assert_close(live.moves[name].values, f"{case}: the golden change of {name}")


def chosen(cases: Iterable[Case], names: list[str], everything: bool) -> list[Case]:
    """Return the cases that the command line asks for."""
    if names:
        return [case for case in cases if case.name.startswith(tuple(names))]
    return [case for case in cases if everything or not path_of(case).is_file()]


def main() -> None:
    """Write or check golden files."""
    from parity.cases import CASES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="how the names of cases begin")
    parser.add_argument("--all", action="store_true", help="also those that exist")
    parser.add_argument("--light", action="store_true", help="without the heavy cases")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = [case.small() for case in CASES if not (arguments.light and case.heavy)]
    wanted = chosen(cases, arguments.names, arguments.all or arguments.check)
    outcomes = [attempt(case, check_only=arguments.check) for case in wanted]
    sys.exit(not all(outcomes))


def attempt(case: Case, *, check_only: bool) -> bool:
    """Write or check one file, and print how it went; one that fails must not keep the others from being made."""
    try:
        expected = measure(case, case.build_reference())
        if check_only:
            check(read(path_of(case)), expected, case)
        else:
            write(path_of(case), expected, case.reference.origin())
    except Exception as error:
        print(f"{case}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return False
    print(case, "agrees" if check_only else f"{path_of(case).stat().st_size:,} bytes", flush=True)
    return True


if __name__ == "__main__":
    main()
