"""The files that the repository shows to the public agree with the package."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

import vitrail

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKE_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize(
    "path", [*WORKFLOWS, *(ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")], ids=lambda p: p.name
)
def test_forge_files_are_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_every_supported_python_is_tested_with_oldest_and_newest_versions() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    declared = [line.rpartition(":: ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", line)]
    assert matrix["python"] == declared
    assert matrix["versions"] == ["oldest", "newest"]
    assert "exclude" not in matrix
    assert PROJECT["requires-python"] == f">={declared[0]}"


def test_workflows_and_contributors_are_told_targets_that_exist() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*WORKFLOWS, ROOT / "CONTRIBUTING.md", ROOT / "README.md")]
    named = set(re.findall(r"(?:run: |\$ |`)make ([a-z]+)", "\n".join(texts)))
    assert {"test", "lint", "types", "docs", "oldest"} <= named
    assert named <= MAKE_TARGETS


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == vitrail.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["references"][0]["identifiers"][0]["value"] in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_changelog_has_a_section_for_this_version() -> None:
    sections = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections[0] == vitrail.__version__


def test_the_readme_counts_what_there_is() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    counts = dict(re.findall(r"^\| \*\*(\w+)\*\* \| (\d+) \|", text, re.MULTILINE))
    assert int(counts["Methods"]) == len(vitrail.list_segmentors())
    assert int(counts["Recipes"]) == len(vitrail.list_recipes())


def test_the_readme_starts_with_what_a_visitor_wants() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:32])
    for wanted in ("pip install vitrail", "vitrail predict street.jpg", "--data-root", "| **Methods** |"):
        assert wanted in first_screen
