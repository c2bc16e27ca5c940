"""Dependencies and extras are declared if and only if something in the package imports them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Extras for working on the project itself; nothing under src/ may need them.
DEVELOPMENT = {"dev", "docs", "nightly", "parity"}

# Distributions whose modules have another name.
MODULES = {
    "fsspec": ("fsspec",),
    "pillow": ("PIL",),
    "pydantic": ("pydantic", "pydantic_core"),  # pydantic pins the exact version of pydantic_core
    "pyyaml": ("yaml",),
    "opencv-python-headless": ("cv2",),
}
# What a module needs without being named by an import of ours.
NEEDS = {"torch.utils.tensorboard": "tensorboard", "torch.onnx": "onnxscript", "starlette.requests": "python-multipart"}


def requirements(lines: list[str]) -> set[str]:
    """Return the names of requirements, without those of vitrail's own extras."""
    return {Requirement(line).name.lower().replace("_", "-") for line in lines} - {"vitrail"}


REQUIRED = requirements(PROJECT["dependencies"])
EXTRAS = {
    name: requirements(lines)
    for name, lines in PROJECT["optional-dependencies"].items()
    if name not in DEVELOPMENT and not all(Requirement(line).name == "vitrail" for line in lines)
}
OPTIONAL = set().union(*EXTRAS.values())


def provider(module: str) -> str | None:
    """Return the distribution that provides a module; None for those of Python and of vitrail."""
    for prefix, distribution in NEEDS.items():
        if module == prefix or module.startswith(f"{prefix}."):
            return distribution
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "vitrail":
        return None
    names = {name: distribution for distribution, modules in MODULES.items() for name in modules}
    return names.get(top, top).lower().replace("_", "-")


def imports(tree: ast.AST, at_import: bool = True) -> Iterator[tuple[str, bool]]:
    """Yield every module that is imported, and whether importing the file imports it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((f"{node.module}.{alias.name}", at_import) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(node, False)
        else:
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports(node, at_import and not inside)


def mentions(tree: ast.AST, text: str, module: str) -> bool:
    """Return whether a file of this text and tree uses a dotted name such as `torch.onnx.export`."""
    if module not in text:
        return False
    return any(isinstance(node, ast.Attribute) and ast.unparse(node).startswith(module) for node in ast.walk(tree))


@cache
def used(path: Path) -> tuple[set[str], set[str]]:
    """Return the distributions that a file needs as soon as it is imported, and all that it ever needs."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    found = {(provider(module), at_import) for module, at_import in imports(tree)}
    if path.stem.endswith("_triton"):  # PyTorch brings Triton, and who imports them asks whether it is there
        found -= {("triton", True)}
    found |= {(NEEDS[name], False) for name in NEEDS if mentions(tree, text, name)}
    return (
        {name for name, at_import in found if name and at_import},
        {name for name, _ in found if name},
    )


FILES = sorted((ROOT / "src").rglob("*.py"))


def test_files_are_found() -> None:
    assert len(FILES) > 100
    assert "torch" in set().union(*(used(path)[0] for path in FILES))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_file_imports_is_declared(path: Path) -> None:
    at_import, ever = used(path)
    assert at_import <= REQUIRED, "an optional package has to be imported inside the function that needs it"
    assert ever <= REQUIRED | OPTIONAL, "declare it in pyproject.toml: as a dependency, or in an extra"


def test_every_dependency_is_imported() -> None:
    ever = set().union(*(used(path)[1] for path in FILES))
    assert not REQUIRED - ever, "nothing under src/ imports these dependencies"
    assert not OPTIONAL - ever, "nothing under src/ imports these packages of extras"


def test_no_dependency_is_in_an_extra_too() -> None:
    assert not REQUIRED & OPTIONAL


def test_an_import_counts_where_it_stands() -> None:
    source = "import a\nif TYPE_CHECKING:\n    import b\ndef f():\n    from c.d import e\nclass C:\n    import g\n"
    assert list(imports(ast.parse(source))) == [("a", True), ("b", False), ("c.d.e", False), ("g", True)]
