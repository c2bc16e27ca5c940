"""`vitrail serve` and `vitrail app` as processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.service import Client, picture

from vitrail import cli


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[Client]:
    """Run a command until its service answers, then end it as a container's supervisor does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vitrail", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    with process:
        line = process.stdout.readline()
        try:
            yield Client(re.search(r"http://\S+/", line)[0])
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors, errors


@pytest.mark.slow
def test_serve_answers_and_ends_at_sigterm() -> None:
    with running("serve", "street=fastscnn_camvid", "--port", "0", "--device", "cpu", VITRAIL_API_KEY="k") as client:
        assert client.get("/healthz")[0] == 200
        assert client.segment(picture())[0] == 401
        client.headers["Authorization"] = "Bearer k"
        assert client.segment(picture(), model="street")[0] == 200


def test_a_key_file_that_is_missing_or_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, message in (("gone", "cannot read the key"), ("empty", "write a key into it")):
        arguments = ["serve", "fastscnn_camvid", "--api-key-file", str(tmp_path / name)]
        result = CliRunner().invoke(cli.cli, arguments)
        assert message in str(result.exception)
