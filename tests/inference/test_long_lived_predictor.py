"""`vitrail.Predictor`: built once, then used for single images, streams and from several threads."""

from __future__ import annotations

import inspect
import itertools
import threading
import tracemalloc
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from helpers.evaluation_models import small_model
from PIL import Image

import vitrail
from vitrail.checkpoints import save_model
from vitrail.datasets import benchmarks
from vitrail.errors import DatasetError, DeviceError, ModelError, PredictionError
from vitrail.inference import defaults
from vitrail.inference import predictor as predictor_module
from vitrail.inference.predictor import PredictorOptions
from vitrail.inference.sources import Frame
from vitrail.recipes import EvalConfig, ResizeConfig, model_config_from_dict
from vitrail.segmentors import Segmentor, build_model


@pytest.fixture
def model() -> Segmentor:
    return small_model(3, 2)


def picture(index: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 255, (*size, 3), np.uint8)


def test_it_is_public() -> None:
    assert vitrail.Predictor is predictor_module.Predictor


def test_the_model_is_loaded_and_the_recipe_resolved_once(
    model: Segmentor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[str] = []

    def load(name, **options):
        calls.append(name)
        return model

    def resolve(*arguments, **options):
        calls.append("recipe")
        return original(*arguments, **options)

    original = defaults.resolve_recipe
    monkeypatch.setattr(predictor_module, "load", load)
    monkeypatch.setattr(defaults, "resolve_recipe", resolve)
    predictor = vitrail.Predictor("some/model.safetensors", recipe="fastscnn_scenes", device="cpu")
    for index in range(3):
        predictor.predict(picture(index))
        list(predictor([picture(index)] * 2))
    assert calls == ["some/model.safetensors", "recipe"]


def test_a_stream_without_end_is_read_as_it_is_consumed(model: Segmentor) -> None:
    read: list[int] = []

    def frames():
        for index in itertools.count():
            read.append(index)
            yield picture(index)

    predictor = vitrail.Predictor(model, device="cpu", batch_size=3)
    predictions = predictor(frames())
    assert read == []
    for index, prediction in enumerate(itertools.islice(predictions, 7)):
        assert np.array_equal(prediction.image, picture(index))
        assert np.array_equal(prediction.mask, predictor.predict(picture(index)).mask)
        assert len(read) == index // 3 * 3 + 3  # one batch, and nothing ahead of it


def test_memory_does_not_grow_with_the_stream(model: Segmentor) -> None:
    predictions = vitrail.Predictor(model, device="cpu", batch_size=2)(picture(0, (64, 64)) for _ in itertools.count())
    next(predictions)
    tracemalloc.start()
    for _ in range(50):
        next(predictions)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 50 * 64 * 64 * 3 / 4  # a few frames, not 50 of them


def test_sizes_may_alternate_and_results_stay_in_order(model: Segmentor) -> None:
    sizes = [(48, 64), (64, 48), (48, 64), (40, 40), (64, 48), (48, 64), (48, 64)]
    batches: list[torch.Size] = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0].shape))
    images = [picture(index, size) for index, size in enumerate(sizes)]
    predictions = list(vitrail.Predictor(model, device="cpu", batch_size=4)(iter(images)))
    assert [prediction.mask.shape for prediction in predictions] == sizes
    assert all(np.array_equal(p.image, image) for p, image in zip(predictions, images, strict=True))
    assert [shape[0] for shape in batches] == [2, 1, 1, 1, 2]  # equal sizes of each four go together


def test_predict_takes_exactly_one_image(model: Segmentor, tmp_path: Path) -> None:
    predictor = vitrail.Predictor(model, device="cpu")
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    tensor = torch.from_numpy(picture(0)).permute(2, 0, 1)
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), picture(0), Image.fromarray(picture(0)), tensor):
        assert predictor.predict(image).mask.shape == (24, 32)
    for several in (tmp_path, f"{tmp_path}/*.png", tensor[None], [picture(0)], iter([picture(0)])):
        with pytest.raises(PredictionError, match=r"iterate over predictor\(images\)"):
            predictor.predict(several)
        assert len(list(predictor(several))) == 1  # the advice


def test_unreadable_frames_end_the_stream_or_are_reported(model: Segmentor, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"broken")
    stream = [picture(0), tmp_path / "b.png", picture(1)]
    predictor = vitrail.Predictor(model, device="cpu")
    with pytest.raises(DatasetError, match=r"b\.png"):
        list(predictor(iter(stream)))
    failures: list[str] = []
    found = list(predictor(iter(stream), on_error=lambda name, error: failures.append(name)))
    assert len(found) == 2 and failures == ["b"]


def test_several_threads_get_the_same_results_even_of_a_model_in_training_mode(model: Segmentor) -> None:
    images = [picture(index, (24 + index, 32)) for index in range(8)]
    predictor = vitrail.Predictor(model, device="cpu")
    expected = [predictor.predict(image).mask for image in images]
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found: dict[int, np.ndarray] = {}

    def work(start: int) -> None:
        for index in range(start, len(images), 4):
            for _ in range(3):
                found[index] = predictor.predict(images[index]).mask

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[index], mask) for index, mask in enumerate(expected))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_predictor_serves_predict_and_files(model: Segmentor, tmp_path: Path) -> None:
    from vitrail.inference.files import predict_files

    predictor = vitrail.Predictor(model, device="cpu", scores=True)
    assert vitrail.predict(predictor, picture(0)).scores is not None
    records = predict_files(predictor, [picture(0), picture(1)], tmp_path, kinds=["index"])
    assert [record["id"] for record in records] == ["image0000", "image0001"] and len(list(tmp_path.glob("*.png"))) == 2
    with pytest.raises(PredictionError, match=r"scores cannot be changed.*Predictor\(model, scores=…\)"):
        vitrail.predict(predictor, picture(0), scores=False)


def test_the_options_of_functions_are_those_of_the_predictor() -> None:
    parameters = inspect.signature(vitrail.Predictor.__init__).parameters
    assert list(PredictorOptions.__annotations__) == list(parameters)[2:]
    assert set(get_type_hints(PredictorOptions)) <= set(get_type_hints(vitrail.Predictor.__init__))
    with pytest.raises(TypeError, match="flips"):
        vitrail.predict("fastscnn_camvid", picture(0), flips=True)


@pytest.mark.parametrize("amp", ["none", "bfloat16"])
def test_precision_is_that_of_the_settings_unless_given(model: Segmentor, amp) -> None:
    seen: list[torch.dtype] = []
    model.backbone.conv.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    dtype = torch.bfloat16 if amp == "bfloat16" else torch.float32
    vitrail.Predictor(model, EvalConfig(amp=amp), device="cpu").predict(picture(0))
    vitrail.Predictor(model, amp=amp, device="cpu").predict(picture(0))
    vitrail.Predictor(model, EvalConfig(amp="bfloat16"), amp="none", device="cpu").predict(picture(0))
    assert seen == [dtype, dtype, torch.float32]
    with pytest.raises(DeviceError, match="Did you mean 'bfloat16'"):
        vitrail.Predictor(model, amp="bfloat", device="cpu")


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_format_can_be_chosen(model: Segmentor, channels_last: bool) -> None:
    seen: list[bool] = []
    model.backbone.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    vitrail.Predictor(model, device="cpu", channels_last=channels_last).predict(picture(0))
    assert seen == [channels_last]


def test_resize_and_flip_pairs_come_from_the_recipe_or_are_given(model: Segmentor) -> None:
    seen: list[tuple[int, ...]] = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    resize = ResizeConfig(size=(48, 64), keep_ratio=False)
    found = vitrail.Predictor(model, resize=resize, device="cpu").predict(picture(0))
    assert seen == [(48, 64)] and found.mask.shape == (24, 32)
    overrides = ["data.eval_resize={size: [32, 40], keep_ratio: false}", "data.dataset=lip"]
    by_recipe = vitrail.Predictor(model, recipe="fastscnn_scenes", overrides=overrides, device="cpu")
    by_recipe.predict(picture(0))
    assert seen[1:] == [(32, 40)]
    assert by_recipe._segmenter.flip_pairs == benchmarks()["lip"].flip_pairs != ()


def test_settings_and_overrides_of_settings_exclude_each_other(model: Segmentor) -> None:
    with pytest.raises(PredictionError, match=r"evaluation\.flip=true has no effect"):
        vitrail.Predictor(model, EvalConfig(), recipe="fastscnn_scenes", overrides=["evaluation.flip=true"])
    vitrail.Predictor(model, EvalConfig(), recipe="fastscnn_scenes", overrides=["data.eval_resize=null"])


def test_a_batch_has_at_least_one_image(model: Segmentor) -> None:
    with pytest.raises(PredictionError, match="at least 1, not 0"):
        vitrail.Predictor(model, batch_size=0)


def test_a_model_without_card_segments_tensors_and_says_what_predictions_lack(model: Segmentor) -> None:
    card, model.card = model.card, None
    with pytest.raises(ModelError, match="no card"):
        vitrail.Predictor(model, device="cpu")
    predictor = vitrail.Predictor(model, mean=card.mean, std=card.std, device="cpu")
    predictor.segment([torch.from_numpy(picture(0)).permute(2, 0, 1)])
    with pytest.raises(ModelError, match=r"set model\.card"):
        predictor([picture(0)])


def test_files_of_a_plugins_frames_stay_in_the_folder_and_apart(model: Segmentor, tmp_path: Path) -> None:
    from vitrail.inference.files import predict_files

    predictor = vitrail.Predictor(model, device="cpu")
    frames = [Frame.of_pixels(picture(index), id="frame") for index in range(3)]
    records = predict_files(predictor, frames, tmp_path / "out", kinds=["index"])
    assert len({record["files"]["index"] for record in records}) == 3
    for record, index in zip(records, range(3), strict=True):
        written = np.asarray(Image.open(record["files"]["index"]))
        assert np.array_equal(written, predictor.predict(picture(index)).mask)
    with pytest.raises(PredictionError, match="leads out of the folder"):
        predict_files(predictor, [Frame.of_pixels(picture(0), id="../../x")], tmp_path / "out")


def test_a_file_serves_as_well_as_a_model(model: Segmentor, tmp_path: Path) -> None:
    settings = {"segmentor": "fastscnn"}
    card = vitrail.ModelCard(model.card.classes, model.card.palette, recipe={"model": settings})
    torch.manual_seed(0)
    fast = build_model(model_config_from_dict(settings), 4, card=card).eval()
    save_model(fast, tmp_path / "m.safetensors")
    from_file = vitrail.Predictor(tmp_path / "m.safetensors", device="cpu").predict(picture(0, (64, 64)))
    assert np.array_equal(from_file.mask, vitrail.Predictor(fast, device="cpu").predict(picture(0, (64, 64))).mask)
