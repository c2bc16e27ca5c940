"""What is written to this machine only says so for addresses, and makes no folder that is named like one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from vitrail.cli import cli

COMMANDS = {
    "train": ["train", "fastscnn_scenes", "-o", "s3://bucket/run"],
    "convert": ["convert", "cgnet_camvid_short", "gs://bucket/model.safetensors"],
    "export": ["export", "cgnet_camvid_short", "s3://bucket/model.onnx", "--overwrite"],
    "dataset": ["dataset", "scenes", "--write", "s3://bucket/scenes", "--limit", "1"],
    "check": ["dataset", "scenes", "--report", "s3://bucket/report"],
    "compare": ["compare", ".", "--page", "s3://bucket/page.html"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_an_address_is_refused(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code != 0
    assert "is an address: this is written to a folder of this machine only" in str(result.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["s3://", "gs:", "memory:///"])
@pytest.mark.parametrize(
    "arguments", [["predict", "cgnet_camvid_short", "one.png", "-o"], ["train", "fastscnn_scenes", "-o"]]
)
def test_an_address_without_a_place_is_refused(
    arguments: list[str], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32)).save("one.png")
    result = CliRunner().invoke(cli, [*arguments, address])
    assert f"{address.rstrip('/')}// names no place" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"]
