"""`import vitrail` and the command line's help stay light."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import vitrail

HEAVY = ("torch", "torchvision", "timm", "numpy", "PIL", "pandas", "matplotlib", "pydantic", "yaml", "tensorboard")


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(output.split())


@pytest.mark.parametrize("statement", ["import vitrail", "import vitrail.cli", "from vitrail import VitrailError"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement).isdisjoint(HEAVY)


def test_using_it_loads_no_plotting_and_no_tables() -> None:
    loaded = loaded_after("import vitrail; vitrail.train; vitrail.predict; vitrail.create_model")
    assert loaded.isdisjoint({"pandas", "matplotlib", "tensorboard", "onnx"})


@pytest.mark.parametrize("name", vitrail.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(vitrail, name) is not None
    assert name in dir(vitrail)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pandas'"):
        vitrail.pandas  # noqa: B018


def test_help_comes_at_once() -> None:
    """Compared with a bare interpreter in the same minute, so that a busy machine does not decide."""

    def seconds(*arguments: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        return time.perf_counter() - start

    bare = min(seconds("-c", "import json, click, pathlib") for _ in range(3))
    assert min(seconds("-m", "vitrail", "--help") for _ in range(3)) < 3 * bare + 0.1
