"""A small Hugging Face hub on this machine, for huggingface_hub to talk to."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlparse

import pytest

REVISIONS = ("main", "v1")
COMMIT = "0" * 40


class Hub(http.server.SimpleHTTPRequestHandler):
    """Answers as the hub does. A folder ORG/NAME below its root is a repository; "org/gated" may not be read."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def do_HEAD(self) -> None:
        self.answer(send=False)

    def do_GET(self) -> None:
        self.answer(send=True)

    def do_POST(self) -> None:
        self.note()
        path = urlparse(self.path).path
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if path == "/api/validate-yaml":
            return self.reply({"warnings": [], "errors": []})
        if "hf_secret" not in self.headers.get("Authorization", ""):
            return self.refuse(401, "")
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        _, _, _, org, name, verb, _ = path.split("/")
        if verb == "preupload":
            names = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": each, "uploadMode": "regular", "shouldIgnore": False} for each in names]
            return self.reply({"files": files})
        return self.commit(Path(self.directory) / org / name, body)

    def create(self, asked: dict[str, Any]) -> None:
        repository = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] == "others":
            return self.refuse(403, "")
        folder = Path(self.directory) / repository
        if folder.is_dir():
            return self.reply({"url": f"http://{self.headers['Host']}/{repository}"}, 409)
        folder.mkdir(parents=True)
        visible = "private" if asked.get("private") or asked.get("visibility") == "private" else "public"
        (folder / "visibility.txt").write_text(visible)
        return self.reply({"url": f"http://{self.headers['Host']}/{repository}"})

    def commit(self, folder: Path, body: bytes) -> None:
        for line in body.splitlines():
            part = json.loads(line)
            if part["key"] == "file":
                (folder / part["value"]["path"]).write_bytes(base64.b64decode(part["value"]["content"]))
        address = f"http://{self.headers['Host']}/{folder.parent.name}/{folder.name}"
        self.reply({"commitUrl": f"{address}/commit/{COMMIT}", "commitOid": COMMIT})

    def answer(self, *, send: bool) -> None:
        self.note()
        repository, _, rest = self.path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        folder = Path(self.directory) / repository.strip("/")
        if not folder.is_dir():
            return self.refuse(401 if repository == "/org/gated" else 404, "RepoNotFound")
        if revision not in REVISIONS:
            return self.refuse(404, "RevisionNotFound")
        if not (folder / file).is_file():
            return self.refuse(404, "EntryNotFound")
        content = (folder / file).read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{len(content)}-{file}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if send:
            self.wfile.write(content)
        return None

    def note(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization", "")))

    def reply(self, content: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", "GatedRepo" if status == 401 else code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def talk_to(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub ask the hub at an address, and keep what it gets in a folder."""
    from huggingface_hub import constants, file_download, hf_api

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(hf_api.api, "endpoint", endpoint)
    for module in (constants, file_download):  # older versions import it by name
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@contextlib.contextmanager
def running_hub(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """Context in which huggingface_hub talks to a hub of the repositories below `root`, with a token."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Hub, directory=str(root)))
    endpoint = f"http://127.0.0.1:{server.server_port}"
    talk_to(endpoint, cache, monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    Hub.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
