"""The pages of the documentation: tables hold what the registries hold, and links lead somewhere."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import click
import pytest
import yaml

import vitrail
from tools.site import api, tables
from vitrail.checkpoints import list_weights, shipped_models
from vitrail.cli import cli
from vitrail.datasets.formats.recognise import RECOGNISERS
from vitrail.registry import KINDS, find_registry

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DIRECTIVE = re.compile(r"^::: (\S+)", re.MULTILINE)
COMMAND = re.compile(r"^\$ (?:[A-Z_]+=\S* )*(vitrail [a-z][^|>\n]*)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
WRITTEN = [*sorted(DOCS.glob("*.md")), *sorted(ROOT.glob("*.md"))]


def first_cells(page: str) -> set[str]:
    """Return the names in the first column of all tables of a page."""
    return set(re.findall(r"^\| \[?`([^`]+)`", page, re.MULTILINE))


def test_the_tables_name_everything_that_is_registered() -> None:
    assert set(find_registry("segmentor")) <= first_cells(tables.methods())
    assert set(vitrail.list_recipes()) == first_cells(tables.recipe_list())
    assert set(find_registry("backbone")) <= first_cells(tables.backbones())
    assert set(find_registry("loss")) == first_cells(tables.losses())
    own = {"folder", "scenes", *(name for name, _ in RECOGNISERS)}  # docs/data.md has these
    assert set(find_registry("dataset")) - own == first_cells(tables.datasets())


def test_every_kind_of_extension_has_its_table() -> None:
    page = tables.extensions()
    for kind in KINDS:
        section = page.partition(f"## {kind.capitalize()}\n")[2].partition("\n## ")[0]
        assert set(find_registry(kind)) == first_cells(section), kind


def test_everything_in_the_tables_is_described() -> None:
    empty = re.findall(r"^\| `([^`]+)` \|\s*\|$", tables.extensions(), re.MULTILINE)
    assert not empty, "these have no docstring"


def test_the_costs_are_those_of_the_encoders_shown() -> None:
    assert set(tables.COSTS) == set(tables.shown_encoders()), "run `python -m tools.measure_encoders`"


def test_the_page_of_weights_counts_right() -> None:
    """Made by `python tools/sweep_weights.py --only none`, whose results may be missing."""
    page = (DOCS / "weights.md").read_text(encoding="utf-8")
    entries = list_weights()
    assert f"lists {len(entries)} published checkpoints; {sum(not e.unsupported for e in entries)} of them" in page
    counted = {
        name: (int(listed), int(loading))
        for name, listed, loading in re.findall(r"^\| `([\w-]+)/` \| [^|]+ \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    }
    assert counted == {
        project: (len(list_weights(project=project)), len(list_weights(project=project, supported=True)))
        for project in {entry.project for entry in entries}
    }
    assert set(shipped_models()) <= set(re.findall(r"`(\w+)`", page))
    rows = re.findall(r"^\| `\w+/[^`]+` \| (\d+) \|.*?\| (.*) \|$", page, re.MULTILINE)
    compared = [outcome for _, outcome in rows if re.match(r".*\de[+-]\d\d \|", outcome)]
    assert f"{len(rows)} architectures; {len(compared)} compared" in page


def test_the_reference_documents_every_public_name() -> None:
    pages = api.pages()
    assert set(vitrail.__all__) - {"__version__"} <= first_cells(pages["api/vitrail.md"])
    for package in api.packages():
        public = set(importlib.import_module(package).__all__) - {"__version__"}
        assert public == first_cells(pages[f"api/{package}.md"])


def test_a_name_is_documented_once() -> None:
    directives = DIRECTIVE.findall("\n".join(api.pages().values()))
    assert len(directives) > 100
    assert len(directives) == len(set(directives))


@pytest.fixture(scope="module")
def generated() -> set[Path]:
    notebooks = (ROOT / "examples" / "notebooks").glob("*.ipynb")
    names = {*tables.PAGES, *api.pages(), *(f"notebooks/{path.stem}.md" for path in notebooks), "contributing.md"}
    return {DOCS / name for name in names}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_or_generated_pages(page: Path, generated: set[Path]) -> None:
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        place = target.partition("#")[0]
        if "://" in target or not place:
            continue
        path = Path(*(page.parent / place).parts).resolve()
        if not path.exists() and path not in generated:
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.name)
def test_commands_have_the_options_that_are_shown(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    wrong = [
        (line, word)
        for line in COMMAND.findall(text)
        for words in [line.partition(" #")[0].split()]
        for word in words[2:]
        if word.startswith("--") and word.partition("=")[0] not in options_of(words[1:])
    ]
    assert not wrong


def options_of(words: list[str]) -> set[str]:
    """Return the options of the command that `vitrail WORDS` runs."""
    command: click.Command | None = cli
    for word in [*words, ""]:
        if not isinstance(command, click.Group):
            break
        known = command.get_command(click.Context(command), word)
        command = known or command.get_command(click.Context(command), "check")  # `vitrail dataset NAME`
    assert command is not None, words
    return {"--help"} | {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"(\S+\.md)$", text, re.MULTILINE))
    assert {path.name for path in DOCS.glob("*.md")} <= listed
    assert yaml.safe_load(text)["strict"] is True


def test_every_card_of_a_shipped_model_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    cards = [path.name for path in (ROOT / "src" / "vitrail" / "checkpoints" / "weights").glob("*.md")]
    assert cards and all(f"- models/{name}" in navigation for name in cards)


def test_documented_parameters_exist() -> None:
    """The site is built strictly: a parameter that no signature has would stop it."""
    parts = [vitrail.segmentors, vitrail.backbones, vitrail.losses, vitrail.layers]
    modules = [
        importlib.import_module(found.name)
        for package in parts
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]
    classes = [each for module in modules for each in vars(module).values() if inspect.isclass(each)]
    ours = {each for each in classes if each.__module__.startswith("vitrail.") and each.__name__[0] != "_"}
    for public in [*map(pkgutil.resolve_name, DIRECTIVE.findall("\n".join(api.pages().values()))), *ours]:
        for part in (public, *(vars(public).values() if inspect.isclass(public) else ())):
            documented = documented_parameters(inspect.getdoc(part) or "") if callable(part) else set()
            if documented:
                assert documented <= set(inspect.signature(part).parameters), part


def documented_parameters(text: str) -> set[str]:
    """Return the names in the section "Parameters" of a docstring."""
    section = re.search(r"^Parameters\n-{10}\n(.*?)(?=^\w+\n-{4,}\n|\Z)", text, re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^(\S.*?)(?: : .*)?$", section[1], re.MULTILINE) if section else []
    return {name.strip(" *") for line in lines for name in line.split(",")}
