"""What is printed does not control the terminal."""

from __future__ import annotations

import pytest

import vitrail.cli
from vitrail.cli.output import echo, printable
from vitrail.errors import VitrailError

ESCAPE = "\x1b]0;PWNED\x07\x1b[2J"


def test_names_are_printed_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"{ESCAPE}road\n\tcar \udcdf \x9b31m é 道")
    assert capsys.readouterr().out == "\\x1b]0;PWNED\\x07\\x1b[2Jroad\n\tcar \\udcdf \\x9b31m é 道\n"
    assert printable("plain") == "plain"


def test_so_are_messages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise VitrailError(f"no image is called {ESCAPE}")

    monkeypatch.setattr(vitrail.cli, "cli", fail)
    with pytest.raises(SystemExit) as ended:
        vitrail.cli.main()
    assert ended.value.code == 2 and "\x1b" not in capsys.readouterr().err
