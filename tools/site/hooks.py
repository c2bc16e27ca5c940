"""Hooks of mkdocs: they add the pages that are made from the code to those that are written by hand."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools.site import api, notebooks, tables

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "src" / "vitrail" / "checkpoints" / "weights"
# Files of the repository that are pages of the site too.
COPIES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "conduct.md": "CODE_OF_CONDUCT.md",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give every public package its entry in the navigation."""
    config.nav = [*(config.nav or []), {"API reference": list(api.pages())}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages: dict[str, str | bytes] = {name: build() for name, build in tables.PAGES.items()}
    pages |= api.pages() | notebooks.pages()
    pages |= {page: (ROOT / source).read_text(encoding="utf-8") for page, source in COPIES.items()}
    pages |= {f"models/{path.name}": path.read_text(encoding="utf-8") for path in sorted(CARDS.glob("*.md"))}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages; the text stays where there is no page."""
    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", lambda found: _link(found, page.file.src_uri), markdown)


def _link(found: re.Match[str], page: str) -> str:
    """Return a link of a page as it has to be on the site."""
    picture, text, target = found.groups()
    if "://" in target or target.startswith(("#", "mailto:")):
        return found[0]
    place, _, anchor = target.partition("#")
    folder = "" if page in COPIES else f"docs/{posixpath.dirname(page)}"
    source = posixpath.normpath(posixpath.join(folder, place))
    here = {file: name for name, file in COPIES.items()}
    if source in here:
        inside = here[source]
    elif source.startswith("docs/"):
        inside = source.removeprefix("docs/").replace(".ipynb", ".md")
    elif source.startswith(f"{CARDS.relative_to(ROOT)}/"):
        inside = f"models/{posixpath.basename(source)}"
    else:
        return text
    relative = posixpath.relpath(inside, posixpath.dirname(page) or ".")
    return f"{picture}[{text}]({relative}{'#' if anchor else ''}{anchor})"
