"""`import vitrail` and the command line's help stay light."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vitrail
from vitrail.registry import KINDS

HEAVY = ("torch", "torchvision", "timm", "numpy", "PIL", "pandas", "matplotlib", "pydantic", "yaml", "tensorboard")


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(output.split())


@pytest.mark.parametrize("statement", ["import vitrail", "import vitrail.cli", "from vitrail import VitrailError"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement).isdisjoint(HEAVY)


@pytest.mark.parametrize("command", ["train", "find-lr"])
@pytest.mark.parametrize("mistake", [["fastscnn_camvi"], ["fastscnn_camvid", "train.amp=bf17"]])
def test_mistakes_in_a_recipe_are_told_before_pytorch_is_imported(command: str, mistake: list[str]) -> None:
    output = ["-o", "runs/x"] if command == "train" else []
    told = loaded_after(
        "from click.testing import CliRunner\nfrom vitrail.cli import cli\n"
        f"result = CliRunner().invoke(cli, {[command, *mistake, *output]!r})\n"
        "assert type(result.exception).__name__ == 'RecipeError', result.exception"
    )
    assert "torch" not in told


def test_using_it_loads_no_plotting_and_no_tables() -> None:
    loaded = loaded_after("import vitrail; vitrail.train; vitrail.predict; vitrail.create_model")
    assert loaded.isdisjoint({"pandas", "matplotlib", "tensorboard", "onnx"})


@pytest.mark.parametrize("name", vitrail.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name: str) -> None:
    value = getattr(vitrail, name)
    assert name in dir(vitrail)
    if not isinstance(value, (int, str)):
        assert value.__module__.startswith("vitrail."), f"{name} is not ours"
        assert value.__doc__ and value.__doc__.split(), f"{name} has no docstring"


def test_the_public_names_are_exactly_all() -> None:
    """What type checkers see, what `from vitrail import *` takes, and what `dir` shows are the same names."""
    tree = ast.parse(Path(vitrail.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = [alias.asname or alias.name for node in block.body for alias in node.names]  # type: ignore[attr-defined]
    assert sorted(typed) == sorted(set(typed))
    assert sorted([*typed, "__version__"]) == sorted(vitrail.__all__) == dir(vitrail)
    public = {name for name in vars(vitrail) if not name.startswith("_")} - {"annotations", "importlib", "Any"}
    submodules = {name for name in public if inspect.ismodule(getattr(vitrail, name))}
    assert public - submodules <= {*vitrail.__all__, "TYPE_CHECKING"}


def test_every_registry_has_its_decorator_among_the_public_names() -> None:
    for kind, home in KINDS.items():
        package = importlib.import_module(home.partition(":")[0])
        decorators = [name for name in package.__all__ if name.startswith("register_")]
        assert decorators, f"nothing registers a {kind}"
        assert set(decorators) <= set(vitrail.__all__), f"{decorators} are not public"


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
