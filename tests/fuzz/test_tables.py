"""Logs, results, tables and contents of checkpoints of any content: what they hold or a VitrailError."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from helpers.hostile import DURATIONS, altered, check_outcomes, damaged
from helpers.image_makers import mask, picture, save
from torch.distributed import checkpoint as dcp

from vitrail.datasets import create_dataset
from vitrail.evaluation.verify import read_verifications, verification_table
from vitrail.runtime.distributed.shards import read_shards
from vitrail.training.compare import read_run, table
from vitrail.training.compare_page import compare_page

RECORDS = [
    {
        "event": "start",
        "iteration": 0,
        "recipe": {"name": "x", "model": {"segmentor": "fcn"}, "optimizer": {"lr": 0.1}},
    },
    {"event": "train", "iteration": 1, "loss": 1.5, "lr": 0.1, "images_per_second": 3.0},
    {"event": "evaluation", "iteration": 1, "miou": 0.5},
]
RESULTS = [{"name": "x", "dataset": "y", "published": 0.5, "measured": None, "images": 3, "overrides": ["a=1"]}]


def as_json(value: Any) -> bytes:
    """Return a value as JSON; what is none of JSON's as the text of it."""
    return json.dumps(value, default=repr).encode()


@DURATIONS
def test_logs_of_runs(tmp_path: Path, seconds: float) -> None:
    def read(content: Any) -> None:
        lines = [content] if isinstance(content, bytes) else map(as_json, content if isinstance(content, list) else [])
        (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines))
        runs = [read_run(tmp_path)] * 2
        assert table(runs) and compare_page(runs)

    read(RECORDS)
    whole = b"\n".join(map(as_json, RECORDS))
    check_outcomes(altered(RECORDS) | damaged(whole), read, count=40, seconds=seconds)


@DURATIONS
def test_results_of_verifications(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "results.json"

    def read(content: Any) -> None:
        path.write_bytes(content if isinstance(content, bytes) else as_json(content))
        verification_table(list(read_verifications(path).values()))

    read(RESULTS)
    check_outcomes(altered(RESULTS) | damaged(as_json(RESULTS)), read, count=40, seconds=seconds)


@DURATIONS
def test_parquet_files(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "train.parquet"
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    cells: dict[str, list[bytes]] = {"image": [], "label": []}
    for seed in range(3):
        cells["image"].append(save(tmp_path / "x.png", picture(8, 9, seed)).read_bytes())
        cells["label"].append(save(tmp_path / "x.png", mask(8, 9, seed=seed)).read_bytes())
    pyarrow.parquet.write_table(pyarrow.table(cells), path)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        dataset = create_dataset("parquet", tmp_path, "all")
        for index in range(min(len(dataset), 3)):
            dataset[index]

    whole = path.read_bytes()
    read(whole)
    check_outcomes(
        damaged(whole) | damaged(whole[-600:]).map(lambda end: whole[:-600] + end), read, count=40, seconds=seconds
    )


@DURATIONS
def test_contents_of_checkpoints_in_parts(tmp_path: Path, seconds: float) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")
        dcp.save({"a": torch.arange(6.0), "b": torch.ones(3, 2)}, checkpoint_id=tmp_path / "shards")
    path = tmp_path / "shards" / ".metadata"
    whole = path.read_bytes()

    def read(content: bytes) -> None:
        path.write_bytes(content)
        read_shards(path.parent, lambda name: None)

    read(whole)
    check_outcomes(damaged(whole), read, count=40, seconds=seconds)
