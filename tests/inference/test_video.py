"""Videos: every frame's result is that of the single image, and time, sound and turned pictures stay right."""

from __future__ import annotations

import builtins
import io
import itertools
import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.clips import cut, moving_scene, sound_packets, write_clip
from PIL import Image

from vitrail import cli
from vitrail.errors import PredictionError
from vitrail.inference import LiveView, Predictor, TruncatedVideoError, VideoSegmenter, predict_video, show_video
from vitrail.inference.files import UnreadableImagesError, predict_files
from vitrail.inference.read_ahead import read_ahead
from vitrail.inference.smoothing import Flicker, Smoothing
from vitrail.inference.sources import EveryNth, VideoFile, find_frame_source, open_frames, video
from vitrail.inference.video_writer import VideoWriter

FRAMES = moving_scene()
RATE = Fraction(10)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("fastscnn_camvid", device="cpu", batch_size=4, resize=None)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "street.mkv", FRAMES)


def read(path: Path) -> tuple[list[np.ndarray], list[Fraction]]:
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
        return [each.to_ndarray(format="rgb24") for each in decoded], [each.pts * each.time_base for each in decoded]


def test_frames_are_the_pixels_that_were_written(clip: Path) -> None:
    source = open_frames(clip)
    assert isinstance(source, VideoFile)
    frames = list(source)
    assert [frame.id for frame in frames] == [f"street/{index:06d}" for index in range(9)]
    assert [frame.time for frame in frames] == [Fraction(index, 10) for index in range(9)]
    for frame, pixels in zip(frames, FRAMES, strict=True):
        assert np.array_equal(frame.read().permute(1, 2, 0).numpy(), pixels)


def test_each_frame_gets_the_result_of_the_single_image(clip: Path, predictor: Predictor) -> None:
    single = [predictor.predict(pixels).mask for pixels in FRAMES]
    assert len({mask.tobytes() for mask in single}) > 1
    for results in (
        [prediction.mask for prediction in predictor(clip)],
        [timed.prediction.mask for timed in VideoSegmenter(predictor)(VideoFile(str(clip)), RATE)],
        [timed.prediction.mask for timed in VideoSegmenter(predictor, smoothing=1e-9)(VideoFile(str(clip)), RATE)],
    ):
        assert all(np.array_equal(result, mask) for result, mask in zip(results, single, strict=True))


def test_smoothing_is_the_exponential_mean_of_the_probabilities(clip: Path, predictor: Predictor) -> None:
    segmenter = VideoSegmenter(predictor, smoothing=0.8)
    results = list(segmenter(VideoFile(str(clip)), RATE))
    mean = None
    for pixels, timed in zip(FRAMES, results, strict=True):
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        current = predictor.scores([image])[0].softmax(0)
        mean = current if mean is None else 0.8 * mean + 0.2 * current
        np.testing.assert_allclose(timed.prediction.scores, mean.amax(0), atol=1e-5)
        assert (timed.prediction.mask == mean.argmax(0).numpy()).mean() > 0.999
    assert segmenter.flicker.share < 0.7 * segmenter.flicker_before.share
    raw = [predictor.predict(pixels).mask for pixels in FRAMES]
    expected = np.mean([(one != two).mean() for one, two in itertools.pairwise(raw)])
    assert segmenter.flicker_before.share == pytest.approx(expected)


def test_probabilities_belong_to_the_prediction() -> None:
    """The test-time resize of the recipe is applied to both."""
    predictor = Predictor("fastscnn_camvid", device="cpu", scores=True)
    prediction = predictor.predict(FRAMES[0])
    (probabilities,) = predictor.probabilities([torch.from_numpy(FRAMES[0]).permute(2, 0, 1)])
    assert np.array_equal(probabilities.argmax(0).numpy(), prediction.mask)
    np.testing.assert_allclose(probabilities.amax(0), prediction.scores, atol=1e-5)
    labels = predictor.segment_with_scores([torch.from_numpy(FRAMES[0]).permute(2, 0, 1)])[0]
    assert not np.array_equal(labels.mask.numpy(), prediction.mask)  # or the resize would not be tested


def test_smoothing_begins_anew_with_another_size() -> None:
    smoothing = Smoothing(0.9)
    smoothing.labels(torch.tensor([1.0, 0.0])[:, None, None])
    assert smoothing.labels(torch.tensor([0.4, 0.6])[:, None, None]).mask.item() == 0
    labels = smoothing.labels(torch.tensor([0.4, 0.6])[:, None, None].expand(2, 1, 2))
    assert labels.mask.tolist() == [[1, 1]]
    flicker = Flicker()
    for mask in (np.zeros((2, 2)), np.eye(2), np.zeros((1, 1))):
        flicker.add(mask)
    assert flicker.share == 0.5


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_the_video_keeps_times_and_sound(tmp_path: Path, predictor: Predictor, suffix: str) -> None:
    times = [Fraction(time, 10) for time in (0, 1, 2, 4, 5, 9, 10, 11, 12)]  # a variable frame rate
    clip = write_clip(tmp_path / "in.mp4", FRAMES, times=times, sound="aac")
    target = tmp_path / f"out{suffix}"
    result = predict_video(predictor, clip, target)
    pictures, written = read(target)
    assert [round(time - written[0], 2) for time in written] == [round(time, 2) for time in times]
    assert sound_packets(target) == sound_packets(clip)
    assert result.frames == 9
    sources, _ = read(clip)
    overlay = np.asarray(predictor.predict(sources[4]).overlay()).astype(float)
    assert np.abs(pictures[4] - overlay).mean() < 12  # the codec loses some
    assert sum(result.shares.values()) == pytest.approx(1)
    assert not list(predict_video(predictor, clip, tmp_path / "mute.mp4", audio=False).path.parent.glob("*.part"))
    with av.open(str(tmp_path / "mute.mp4")) as container:
        assert not container.streams.audio


def test_every_nth_frame_side_by_side_with_odd_sides(tmp_path: Path, predictor: Predictor) -> None:
    frames = [frame[:51, :73] for frame in FRAMES]
    clip = write_clip(tmp_path / "odd.mkv", frames)
    result = predict_video(predictor, clip, tmp_path / "out.mp4", every=4, side_by_side=True)
    pictures, times = read(result.path)
    assert [picture.shape for picture in pictures] == [(52, 146, 3)] * 3
    assert times == [0, Fraction(4, 10), Fraction(8, 10)]
    for picture, frame in zip(pictures, frames[::4], strict=True):
        assert np.abs(picture[:51, :72].astype(float) - frame[:, :72]).mean() < 12


def test_a_turned_video_is_shown_upright(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "plain.mp4", [np.rot90(frame, -1) for frame in FRAMES])
    turned = tmp_path / "turned.mp4"
    data = clip.read_bytes()
    place = data.index(b"tkhd") + 44  # the matrix: 9 numbers of 16.16 bits, the last column of 2.30
    matrix = [0, 1, 0, -1, 0, 0, FRAMES[0].shape[0], 0, 1]
    shifts = [16, 16, 30] * 3
    scaled = [number << shift for number, shift in zip(matrix, shifts, strict=True)]
    numbers = b"".join(number.to_bytes(4, "big", signed=True) for number in scaled)
    turned.write_bytes(data[:place] + numbers + data[place + 36 :])
    with av.open(str(turned)) as container:
        quarters = round(next(container.decode(video=0)).rotation / 90)
    assert quarters
    (first, *_), (plain, *_) = VideoFile(str(turned)), VideoFile(str(clip))
    expected = np.rot90(plain.read().permute(1, 2, 0).numpy(), quarters)
    assert np.array_equal(first.read().permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_truncated_video_gives_what_it_has_and_says_so(tmp_path: Path, predictor: Predictor, suffix: str) -> None:
    noise = [np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8) for seed in range(9)]
    part = cut(write_clip(tmp_path / f"whole{suffix}", noise), 0.6)
    target = tmp_path / "out.mp4"
    with pytest.raises(
        TruncatedVideoError, match=r"cut\.\w+ is truncated or damaged.*out\.mp4 has \d frames"
    ) as caught:
        predict_video(predictor, part, target)
    count = caught.value.result.frames
    assert 2 <= count < 9
    assert len(read(target)[0]) == count
    with pytest.raises(UnreadableImagesError, match="truncated or damaged") as pictures:
        predict_files(predictor, part, tmp_path / "pictures")
    assert len(pictures.value.records) == count
    with pytest.raises(UnreadableImagesError, match="truncated or damaged"):
        predict_files(predictor, EveryNth(open_frames(part), 5), tmp_path / "fifth")


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    # A playlist names other files, which are not opened.
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/text.mp4\n#EXT-X-ENDLIST\n")
    for name, message in (("text.mp4", "cannot open"), ("list.mp4", "cannot open"), ("gone.mp4", "no video at")):
        with pytest.raises(PredictionError, match=message):
            open_frames(tmp_path / name)
    write_clip(tmp_path / "cut.mkv", FRAMES)
    assert find_frame_source("rtsp://host/stream") == ("stream", "rtsp://host/stream")
    assert find_frame_source("camera:0") == find_frame_source("0") == ("camera", "0")
    with pytest.raises(PredictionError, match="cannot open /dev/video97"):
        next(iter(open_frames("camera:97")))


def test_a_camera_that_stops_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "PATIENCE", 0.3)
    monkeypatch.setattr(video, "_PAUSE", 0.01)
    path = write_clip(tmp_path / "camera.mkv", FRAMES)
    frames = []
    for frame in video.LiveVideo(str(path), "camera", {}):
        frames.append(frame)
        if len(frames) == 12:
            path.unlink()  # it does not come back a second time
    *found, last = frames
    assert [frame.id for frame in found] == [f"camera/{index:06d}" for index in range(18)]
    assert all(
        np.array_equal(frame.read().permute(1, 2, 0), each) for frame, each in zip(found, FRAMES * 2, strict=True)
    )
    times = [frame.time for frame in found]
    assert times[:9] == [index / RATE for index in range(9)]
    assert Fraction(9, 10) <= times[9] < Fraction(9, 10) + 5 and times[10] - times[9] == 1 / RATE
    with pytest.raises(PredictionError, match=r"camera\.mkv stopped after 18 frames and did not come back within 0\.3"):
        last.read()


def test_pictures_are_shown_in_a_browser_while_they_are_made(predictor: Predictor) -> None:
    with LiveView() as view:
        stranger = view.url.replace(view.url.split("/")[3], "guess")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(stranger)
        with urllib.request.urlopen(view.url) as page:
            assert b'src="pictures"' in page.read()
        with ThreadPoolExecutor(1) as pool, urllib.request.urlopen(f"{view.url}pictures", timeout=60) as stream:
            shown = pool.submit(show_video, predictor, [FRAMES[0], FRAMES[4]], view, alpha=0.3)
            assert stream.readline() == b"--picture\r\n"
            assert stream.readline() == b"Content-Type: image/jpeg\r\n"
            length = int(stream.readline().split()[1])
            stream.readline()
            with Image.open(io.BytesIO(stream.read(length))) as picture:
                assert picture.width >= FRAMES[0].shape[1] and picture.height > FRAMES[0].shape[0]  # with the legend
            assert shown.result() == 2


def test_pictures_become_a_video_and_other_sizes_are_refused(tmp_path: Path, predictor: Predictor) -> None:
    (tmp_path / "in").mkdir()
    for index in range(3):
        Image.fromarray(FRAMES[index]).save(tmp_path / "in" / f"{index}.png")
    result = predict_video(predictor, tmp_path / "in", tmp_path / "out.webm")
    assert read(result.path)[1] == [0, Fraction(40, 1000), Fraction(80, 1000)]
    Image.fromarray(FRAMES[0][:40]).save(tmp_path / "in" / "3.png")
    with pytest.raises(PredictionError, match="96 × 40 does not fit into a video of 96 × 64"):
        predict_video(predictor, tmp_path / "in", tmp_path / "other.mp4")


def test_mistakes(tmp_path: Path, predictor: Predictor, clip: Path) -> None:
    for arguments, options, message in (
        ((clip, tmp_path / "out.gif"), {}, "its name must end in .mp4"),
        ((clip, clip), {}, "would replace the input"),
        (([clip, clip], tmp_path / "out.mp4"), {}, "one video at a time"),
        ((clip, tmp_path / "out.mp4"), {"every": 0}, "every must be at least 1"),
        ((clip, tmp_path / "out.mp4"), {"smoothing": 1.0}, "smoothing must be"),
    ):
        with pytest.raises(PredictionError, match=message):
            predict_video(predictor, *arguments, **options)
    assert not (tmp_path / "out.mp4").exists()
    sound = write_clip(tmp_path / "sound.mkv", FRAMES, sound="aac")
    with pytest.raises(PredictionError, match=r"write a \.mkv, or leave the sound out .*\(--no-audio\)"):
        predict_video(predictor, sound, tmp_path / "out.webm")
    assert predict_video(predictor, sound, tmp_path / "out.webm", audio=False).frames == 9
    assert sound_packets(predict_video(predictor, sound, tmp_path / "out.mkv").path) == sound_packets(sound)


def test_a_video_without_a_picture_leaves_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", Fraction(10), Fraction(1, 1000)):
        pass
    assert not (tmp_path / "out.mp4").exists()


def test_reading_ahead_is_bounded_and_passes_errors_on() -> None:
    taken = []

    def items():
        for item in "abcdefgh":
            taken.append(item)
            yield item
        raise PredictionError("no more")

    ahead = read_ahead(items(), 2)
    assert next(ahead) == "a"
    assert len(taken) <= 4
    with pytest.raises(PredictionError, match="no more"):
        list(ahead)
    ahead = read_ahead(items(), 2)
    next(ahead)
    ahead.close()


def test_a_missing_extra_says_what_to_install(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_av(name, *arguments, **options):
        if name == "av":
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(PredictionError, match=r"pip install 'vitrail\[video\]'"):
        open_frames(clip)


def test_the_command_line(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: object) -> tuple[str, BaseException | None]:
        result = CliRunner().invoke(cli.cli, ["predict", "fastscnn_camvid", *map(str, arguments), "--device", "cpu"])
        return result.stdout, result.exception

    output, error = run(clip, "-o", tmp_path / "out.mp4", "--smoothing", "0.5", "--every", "3", "--json")
    assert error is None
    assert json.loads(output)["frames"] == 3
    assert "--overwrite" in str(run(clip, "-o", tmp_path / "out.mp4")[1])
    assert "is for pictures" in str(run(clip, "-o", tmp_path / "out.mp4", "--skip-existing")[1])
    output, error = run(clip, "-o", tmp_path / "out.mp4", "--every", "4", "--overwrite")
    assert "3 frames" in output
    assert "flicker:" in output
    output, error = run(clip, "-o", tmp_path / "pictures", "--every", "4")
    assert error is None
    assert sorted(path.name for path in (tmp_path / "pictures" / "street").iterdir()) == [
        f"{index:06d}_overlay.png" for index in (0, 4, 8)
    ]
    for options in ([], ["-o", tmp_path / "x.mp4", "--show"]):
        assert "give either -o" in str(run(clip, *options)[1])
    for option in ("--side-by-side", "--no-audio", "--json", "--overwrite"):
        assert f"{option} is about files" in str(run(clip, "--show", option)[1])
    monkeypatch.setattr(click, "launch", lambda url: None)
    output, error = run(clip, "--show", "--every", "4")
    assert error is None and output.startswith("http://127.0.0.1:") and "3 frames shown" in output
    for options in (["--smoothing", "0.5"], ["--side-by-side"], ["--no-audio"]):
        assert "is for a video" in str(run(clip, "-o", tmp_path / "pictures", *options)[1])
    assert "leave out --kind" in str(run(clip, "-o", tmp_path / "x.mp4", "--kind", "index")[1])


def test_an_error_leaves_the_video_that_was_there_and_an_interruption_what_was_written(tmp_path: Path) -> None:
    path, picture = tmp_path / "out.mp4", np.zeros((32, 48, 3), np.uint8)
    path.write_bytes(b"before")
    with (
        pytest.raises(PredictionError, match="does not fit"),
        VideoWriter(path, Fraction(10), Fraction(1, 1000)) as out,
    ):
        out.write(picture, Fraction(0))
        out.write(picture[:16], Fraction(1, 10))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"out.mp4": b"before"}
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, Fraction(10), Fraction(1, 1000)) as out:
        out.write(picture, Fraction(0))
        out.write(picture, Fraction(1, 10))
        raise KeyboardInterrupt
    assert len(list(VideoFile(str(path)))) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]
