"""Every page of the built site, opened in headless Chromium; `make docs` builds the site and runs this.

Fails on a broken link or anchor, a picture that does not load, an error of a script or in the console, and anything
that a page loads from another host.
"""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

SITE = Path(__file__).parents[2] / "site"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

LINKS = "() => [...document.querySelectorAll('a[href]')].map(link => link.href)"
PICTURES = """() => [...document.images].filter(image => { image.loading = 'eager'; return true; }).map(
    image => image.decode().then(() => null, () => image.src)
)"""
BROKEN_PICTURES = f"async () => (await Promise.all(({PICTURES})())).filter(source => source)"
ANCHORS = "() => [...document.querySelectorAll('[id],[name]')].flatMap(node => [node.id, node.getAttribute('name')])"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    assert BROWSER, "install Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page()
    yield opened
    opened.close()


def problems_of(page: Page, url: str) -> list[str]:
    """Open a page and return what goes wrong in it."""
    host = urlsplit(url).netloc
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(f"script: {error}"))
    page.on("console", lambda line: found.append(f"console: {line.text}") if line.type == "error" else None)
    page.on("requestfailed", lambda request: found.append(f"cannot load {request.url}"))
    page.on("request", lambda each: found.append(f"loads {each.url}") if _elsewhere(each.url, host) else None)
    page.goto(url, wait_until="load")
    found += [f"picture {source}" for source in page.evaluate(BROKEN_PICTURES)]
    return found


def _elsewhere(url: str, host: str) -> bool:
    return urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc != host


@pytest.fixture(scope="session")
def anchors(browser: Browser, address: str) -> dict[str, set[str]]:
    """Return the anchors of every page."""
    opened = browser.new_page(java_script_enabled=True)
    found = {}
    for name in PAGES:
        opened.goto(f"{address}/{name}", wait_until="domcontentloaded")
        found[name] = set(opened.evaluate(ANCHORS))
    opened.close()
    return found


def test_the_site_is_built() -> None:
    assert len(PAGES) > 30, "run `make docs`, which builds the site first"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_loads_and_its_links_lead_somewhere(
    page: Page, address: str, name: str, anchors: dict[str, set[str]]
) -> None:
    problems = problems_of(page, f"{address}/{name}")
    if name != "404.html":  # its links are absolute, for a site at the root of a host
        for link in set(page.evaluate(LINKS)):
            url, anchor = urldefrag(link)
            if not url.startswith(address):
                continue
            target = unquote(url.removeprefix(address)).lstrip("/") or "index.html"
            if not (SITE / target).is_file():
                problems.append(f"link to {target}, which is not there")
            elif anchor and unquote(anchor) not in anchors[target]:
                problems.append(f"link to {target}#{anchor}, which is not there")
    assert not problems


def test_search_finds_a_function(page: Page, address: str) -> None:
    page.goto(f"{address}/index.html")
    field = page.locator("input.md-search__input")
    field.click()
    field.press_sequentially("create_model")
    result = page.locator(".md-search-result__item").first
    result.wait_for(timeout=30_000)
    assert "create_model" in result.inner_text()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<img src='missing.png'>", "picture"),
        ("<script>undefined_function()</script>", "script"),
        ("<script>console.error('wrong')</script>", "console"),
        ("<img src='http://127.0.0.2:9/x.png'>", "loads"),
    ],
)
def test_the_check_sees_what_is_wrong(page: Page, address: str, body: str, problem: str) -> None:
    page.route("**/probe.html", lambda route: route.fulfill(body=f"<html>{body}</html>", content_type="text/html"))
    assert any(line.startswith(problem) for line in problems_of(page, f"{address}/probe.html"))
