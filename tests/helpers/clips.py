"""Short videos with known frames: the built-in scenes under a moving camera."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vitrail.datasets.scenes.scene import render

SOUND_RATE = 16_000


def moving_scene(count: int = 9, height: int = 64, width: int = 96, step: int = 5) -> list[np.ndarray]:
    """Return frames, uint8 RGB [H, W, 3], of a camera that turns to the right."""
    wide = render("moving", height, width + step * count)[0]
    return [np.ascontiguousarray(wide[:, step * index : step * index + width]) for index in range(count)]


def write_clip(
    path: Path,
    frames: list[np.ndarray],
    *,
    rate: int = 10,
    times: list[Fraction] | None = None,
    sound: str | None = None,
    quarters: int = 0,
) -> Path:
    """Write a video; .mkv is lossless. Players turn it counterclockwise by `quarters`."""
    lossless = path.suffix == ".mkv"
    options = {} if path.suffix != ".mp4" else {"movflags": "+faststart"}  # so that the index survives cutting
    with av.open(str(path), "w", options=options) as output:
        stream = output.add_stream("ffv1" if lossless else "libx264", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0" if lossless else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        track = output.add_stream(sound, rate=SOUND_RATE) if sound else None
        if track is not None:
            track.layout = "mono"
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.rot90(pixels, -quarters).copy(), format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = round(1000 * (times[index] if times else Fraction(index, rate)))
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if track is not None:
            samples = track.frame_size or 1024
            for index in range(int(SOUND_RATE * len(frames) / rate) // samples):
                wave = (8000 * np.sin(np.arange(samples) * (index + 1) / 50)).astype(np.int16)
                part = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
                part.sample_rate, part.pts = SOUND_RATE, index * samples
                output.mux(track.encode(part))
            output.mux(track.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    """Write the first part of a file beside it."""
    data = path.read_bytes()
    part = path.with_name(f"cut{path.suffix}")
    part.write_bytes(data[: int(share * len(data))])
    return part


def sound_packets(path: Path) -> list[bytes]:
    """Return the encoded sound of a video."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]
