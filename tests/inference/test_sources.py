"""Frame sources: what can be passed, how it is named, and how a plugin adds a kind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.datasets.pixel_format import RGB
from vitrail.errors import PredictionError
from vitrail.inference.sources import (
    FRAME_SOURCES,
    Frame,
    FrameSource,
    find_frame_source,
    is_single,
    open_frames,
    register_frame_source,
)
from vitrail.inference.sources.frame import as_pixels
from vitrail.registry import find_registry


class NpyStack:
    """Frames of a file of NumPy's, [N, H, W, 3]."""

    def __init__(self, where: str) -> None:
        self.name = Path(where).stem
        with Path(where).open("rb") as file:
            self.frames = np.load(file)
        self.num_frames = len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        for index, pixels in enumerate(self.frames):
            yield Frame.of_pixels(pixels, id=f"{self.name}/{index:03d}")


class Counting:
    """A camera that never stops: its frames are grey levels."""

    num_frames = None

    def __init__(self, where: str) -> None:
        self.start = int(where.removeprefix("counting://"))

    def __iter__(self) -> Iterator[Frame]:
        for level in itertools.count(self.start):
            yield Frame.of_pixels(np.full((8, 9), level % 256, np.uint8), id=str(level))


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FRAME_SOURCES, "_entries", dict(FRAME_SOURCES.items()))
    monkeypatch.setattr(FRAME_SOURCES, "_modules", dict(FRAME_SOURCES._modules))
    register_frame_source("npy-stack", suffixes=(".npy-stack",))(NpyStack)
    register_frame_source("counting", schemes=("counting", "count"))(Counting)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.PNG", "deep/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 10), (1, 2, 3)).save(tmp_path / name, "PNG")
    with (tmp_path / "s.npy-stack").open("wb") as file:
        np.save(file, np.arange(4 * 8 * 9 * 3, dtype=np.uint8).reshape(4, 8, 9, 3))
    return tmp_path


def ids(source: FrameSource) -> list[str]:
    return [frame.id for frame in source]


def test_the_registry_is_where_it_is_looked_for() -> None:
    assert find_registry("frame source") is FRAME_SOURCES
    assert FRAME_SOURCES.origin("images") == "vitrail"


def test_files_folders_patterns_and_sequences_know_their_length(folder: Path) -> None:
    for images, expected in (
        (folder / "a.png", ["a"]),
        (folder, ["a", "b", "deep/c"]),
        (f"{folder}/*.*", ["a", "b"]),
        ([folder / "deep" / "c.png", Image.new("L", (4, 4)), f"{folder}/a.*"], ["c", "", "a"]),
        (np.zeros((2, 8, 9, 3), np.uint8), ["", ""]),
    ):
        source = open_frames(images)
        assert isinstance(source, FrameSource)
        assert source.num_frames == len(expected)
        assert ids(source) == ids(source) == expected  # a source can be read again


def test_a_generator_is_read_item_by_item(folder: Path) -> None:
    source = open_frames(item for item in (folder / "a.png", np.zeros((4, 4), np.uint8), folder / "gone.png"))
    assert source.num_frames is None
    frames = iter(source)
    assert [next(frames).id, next(frames).id] == ["a", ""]
    with pytest.raises(PredictionError, match=r"no image at .*gone\.png"):
        next(frames)


@pytest.mark.parametrize("images", [3, None, object()])
def test_what_is_no_image_is_refused(images) -> None:
    with pytest.raises(PredictionError, match="is no image"):
        open_frames(images)


@pytest.mark.parametrize(
    "image",
    [
        np.array([[None]]), np.array([["a"]]), np.zeros((4, 4, 3), complex), np.zeros((4, 4, 3), "datetime64[s]"),
        np.zeros((4, 4, 3), [("a", int)]), torch.zeros(3, 4, 4, dtype=torch.complex64),
        torch.zeros(3, 4, 4, device="meta"), torch.zeros(3, 4, 4, dtype=torch.uint8, device="meta"),
        torch.zeros(3, 4, 4).to_sparse(),
    ],
)  # fmt: skip
def test_pixels_that_are_no_numbers_are_refused(image) -> None:
    with pytest.raises(PredictionError, match=r"no real numbers|is no image"):
        as_pixels(image, RGB)


def test_a_picture_that_was_closed_and_an_empty_name_are_refused() -> None:
    picture = Image.new("RGB", (4, 4))
    picture.close()
    with pytest.raises(PredictionError, match="cannot be read"):
        as_pixels(picture, RGB)
    with pytest.raises(PredictionError, match="empty name"):
        open_frames("")
    with pytest.raises(PredictionError, match="no image at ~nobody-of-this-name"):
        open_frames("~nobody-of-this-name/x.png")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_tensors_of_any_precision_with_or_without_gradients_are_read(dtype) -> None:
    image = torch.full((3, 4, 4), 0.5, dtype=dtype, requires_grad=True)
    assert as_pixels(image, RGB).unique().tolist() == [128]


def test_a_plugins_source_is_chosen_by_suffix_scheme_or_name(plugin: None, folder: Path) -> None:
    stack = f"{folder}/s.npy-stack"
    assert find_frame_source(stack) == ("npy-stack", stack)
    assert find_frame_source("counting://7") == ("counting", "counting://7")
    assert find_frame_source("count:7") == ("counting", "count:7")
    assert find_frame_source("npy-stack:other.npy") == ("npy-stack", "other.npy")
    assert find_frame_source(f"{folder}/a.png")[0] == "images"
    assert FRAME_SOURCES.origin("npy-stack") != "vitrail"
    source = open_frames([stack, folder / "a.png"])
    assert source.num_frames == 5
    assert ids(source) == ["s/000", "s/001", "s/002", "s/003", "a"]
    assert next(iter(open_frames(stack))).read().shape == (3, 8, 9)
    assert ids(open_frames(f"{folder}/*.npy-stack")) == ids(open_frames(stack))
    assert not is_single(stack)


def test_a_file_whose_name_looks_like_a_scheme_is_a_file(
    plugin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save("counting:7.png")
    assert find_frame_source("counting:7.png") == ("images", "counting:7.png")


def test_a_source_without_end_joins_the_others(plugin: None, folder: Path) -> None:
    source = open_frames([folder / "a.png", "counting://250"])
    assert source.num_frames is None
    frames = list(itertools.islice(source, 9))
    assert [frame.id for frame in frames] == ["a", *map(str, range(250, 258))]
    assert [int(frame.read()[0, 0, 0]) for frame in frames[1:]] == [250, 251, 252, 253, 254, 255, 0, 1]


def test_two_sources_for_one_suffix_are_told_apart_by_name(plugin: None, folder: Path) -> None:
    register_frame_source("other-stack", suffixes=(".npy-stack",))(NpyStack)
    stack = f"{folder}/s.npy-stack"
    with pytest.raises(PredictionError, match="several frame sources open") as caught:
        open_frames(stack)
    advice = str(caught.value).rpartition("write ")[2].split(" or ")
    assert len(advice) == 2
    for where in advice:
        assert open_frames(where).num_frames == 4


def test_a_missing_pattern_of_a_plugin_is_named(plugin: None, folder: Path) -> None:
    with pytest.raises(PredictionError, match="nothing matches"):
        open_frames(f"{folder}/x*.npy-stack")


def test_the_command_line_takes_a_plugins_source(
    plugin: None,
    folder: Path,
    model_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vitrail.cli import main

    with (folder / "t.npy-stack").open("wb") as file:
        np.save(file, torch.randint(256, (3, 64, 64, 3), dtype=torch.uint8).numpy())
    out = folder / "out"
    arguments = ["vitrail", "predict", str(model_file), f"{folder}/t.npy-stack", "-o", str(out), "--device", "cpu"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    assert sorted(path.name for path in (out / "t").iterdir()) == [f"{index:03d}_overlay.png" for index in range(3)]
