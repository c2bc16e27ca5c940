"""Predictions that threads write while the model goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail import ModelCard, Predictor, create_model
from vitrail.errors import PredictionError
from vitrail.inference import Prediction
from vitrail.inference.files import default_writers, predict_files
from vitrail.inference.parallel_writing import MAX_PIXELS, ParallelWriting


def prediction(number: int, pixels: int = 1) -> Prediction:
    mask = np.broadcast_to(np.uint8(0), (1, pixels))
    return Prediction(mask=mask, image=Image.new("RGB", (1, 1)), classes=("a",), palette=((0, 0, 0),), id=str(number))


def test_records_come_in_order_while_several_are_written() -> None:
    finished: list[str] = []
    both = threading.Barrier(2, timeout=10)

    def write(each: Prediction) -> str:
        if each.id in ("0", "1"):
            both.wait()  # passes only if two are written at once
        if each.id == "0":
            time.sleep(0.1)
        return each.id

    with ParallelWriting(write, finished.append, 2) as writing:
        for number in range(20):
            writing.add(prediction(number))
            assert number + 1 - len(finished) <= 4
    assert finished == [str(number) for number in range(20)]


def test_large_predictions_are_not_kept_side_by_side() -> None:
    finished: list[str] = []
    with ParallelWriting(lambda each: each.id, finished.append, 4) as writing:
        for number in range(4):
            writing.add(prediction(number, MAX_PIXELS // 2 + 1))
            assert len(finished) >= number
    assert len(finished) == 4


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("threads", [0, 3])
def test_an_error_of_writing_is_raised_after_what_came_before(threads: int, early: bool) -> None:
    finished: list[str] = []

    def write(each: Prediction) -> str:
        if each.id == "5":
            raise PredictionError("disk full")
        time.sleep(0 if early else 0.05)  # the error is met when another prediction is added, or at the end
        return each.id

    with pytest.raises(PredictionError, match="disk full"), ParallelWriting(write, finished.append, threads) as writing:
        for number in range(9):
            writing.add(prediction(number))
    assert finished == ["0", "1", "2", "3", "4"]


def test_what_was_added_is_finished_when_the_block_fails() -> None:
    finished: list[str] = []
    with pytest.raises(KeyError), ParallelWriting(lambda each: each.id, finished.append, 2) as writing:
        writing.add(prediction(0))
        writing.add(prediction(1))
        raise KeyError("reading")
    assert finished == ["0", "1"]


def test_nothing_is_finished_after_an_interruption() -> None:
    finished: list[str] = []

    def finish(name: str) -> None:
        finished.append(name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ParallelWriting(lambda each: each.id, finish, 2) as writing:
        for number in range(9):
            writing.add(prediction(number))
    assert finished == ["0"]


def test_a_model_on_a_small_cpu_keeps_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in (2, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found += [default_writers(torch.device(device)) for device in ("cpu", "cuda")]
    assert found == [0, 2, 2, 2]


def test_files_do_not_depend_on_the_threads(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for number in range(7):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(photos / f"{number}.png")
    model = create_model("fastscnn", num_classes=3)
    model.card = ModelCard(("a", "b", "c"), ((0, 0, 0), (255, 0, 0), (0, 255, 0)))
    predictor = Predictor(model, device="cpu", batch_size=2)
    for writers in (0, 3):
        predict_files(predictor, photos, tmp_path / str(writers), kinds=["index", "overlay"], writers=writers)
    alone, together = ({file.name: file.read_bytes() for file in (tmp_path / n).iterdir()} for n in ("0", "3"))
    assert len(alone) == 14
    assert alone == together
