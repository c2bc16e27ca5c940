"""Masks: every stored value becomes a class, is ignored, or is an error that names it."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
import tifffile
from helpers.image_makers import picture, save
from PIL import Image
from scipy.io import savemat

from vitrail.datasets import read_mask
from vitrail.datasets.mask_encoding import look_at
from vitrail.datasets.mask_files import ColourMasks, IndexMasks
from vitrail.datasets.storage import Folder
from vitrail.errors import DatasetError

LABELS = {0: 255, 7: 0, 300: 1, 8: 2}


def encode(tmp_path, image):
    return save(tmp_path / "m.png", image).read_bytes()


def test_values_are_read_as_they_stand(tmp_path):
    values = np.array([[0, 1, 2], [7, 254, 255]], np.uint8)
    palette = Image.fromarray(values).convert("P")
    palette.putpalette(list(range(256)) * 3)
    rgb = Image.fromarray(np.repeat(values[..., None], 3, 2))
    for kind in (values, values.astype(np.uint16), palette, rgb):
        assert np.array_equal(read_mask(save(tmp_path / "m.png", kind)).numpy(), values)


def test_two_colour_masks_are_zero_and_one(tmp_path):
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert read_mask(save(tmp_path / "m.png", bits)).tolist() == [[0, 1]]


def png_of(values: np.ndarray, bits: int) -> bytes:
    """Return a grey PNG whose samples have so many bits, as other encoders write it and Pillow does not."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    planes = values[..., None] >> np.arange(bits - 1, -1, -1) & 1
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in planes.reshape(len(values), -1).astype(np.uint8))
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


def tiff_of(values: np.ndarray, bits: int) -> bytes:
    """Return an uncompressed grey TIFF whose samples have so many bits."""
    planes = (values[..., None] >> np.arange(bits - 1, -1, -1) & 1).reshape(len(values), -1).astype(np.uint8)
    pixels = b"".join(np.packbits(row).tobytes() for row in planes)
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(pixels)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + directory


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_greys_of_few_bits_are_read_as_they_are_stored(tmp_path, bits):
    values = np.random.default_rng(bits).integers(0, min(1 << bits, 16), (9, 11))
    (tmp_path / "mask.png").write_bytes(png_of(values, bits))
    assert np.array_equal(read_mask(tmp_path / "mask.png"), values)
    assert look_at(Folder(tmp_path), "mask.png").values == set(np.unique(values))
    (tmp_path / "mask.tif").write_bytes(tiff_of(values, bits))
    assert np.array_equal(read_mask(tmp_path / "mask.tif"), values)


def test_labels_become_classes(tmp_path):
    read = IndexMasks(LABELS, 3)
    assert read(encode(tmp_path, np.array([[0, 7, 8]], np.uint8)), "m.png").tolist() == [[255, 0, 2]]
    assert read(encode(tmp_path, np.array([[0, 7, 300]], np.uint16)), "m.png").tolist() == [[255, 0, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_unknown_value_is_named_with_its_file(tmp_path, dtype):
    with pytest.raises(DatasetError, match=r"m\.png holds the value 9.*0, 7–8, 300"):
        IndexMasks(LABELS, 3)(encode(tmp_path, np.array([[7, 9]], dtype)), "m.png")


def test_colours_become_classes(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 0, 9], [1, 1, 1]]], np.uint8)
    read = ColourMasks({(255, 0, 0): 4, (0, 0, 9): 0, (1, 1, 1): 255}, 5)
    assert read(encode(tmp_path, colours), "m.png").tolist() == [[4, 0, 255]]
    indexed = Image.fromarray(colours).quantize(3)
    assert read(encode(tmp_path, indexed), "m.png").tolist() == [[4, 0, 255]]
    with pytest.raises(DatasetError, match=r"m\.png holds the colour \(1, 1, 1\)"):
        ColourMasks({(255, 0, 0): 4, (0, 0, 9): 0}, 5)(encode(tmp_path, colours), "m.png")


def matlab(**variables):
    file = io.BytesIO()
    savemat(file, variables, do_compression=True)
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_maps_of_matlab_become_classes(dtype):
    read = IndexMasks(LABELS, 3)
    labels = np.array([[0, 7, 8], [8, 8, 7]], dtype)
    assert read(matlab(S=labels, regionMapStuff=labels), "m.mat").tolist() == [[255, 0, 2], [2, 2, 0]]
    with pytest.raises(DatasetError, match=r"m\.mat holds the value 9"):
        read(matlab(S=np.array([[9]], dtype)), "m.mat")


def test_other_and_damaged_files_of_matlab_are_refused():
    good = matlab(S=np.random.default_rng(0).integers(0, 9, (30, 40), np.uint8))
    read = IndexMasks(dict.fromkeys(range(9), 0), 1)
    assert read(good, "m.mat").shape == (30, 40)
    for bad in (good[:200], good[:-9], good[:150] + bytes(len(good) - 150), matlab(T=np.zeros((2, 2), np.uint8))):
        with pytest.raises(DatasetError, match=r"cannot read the mask m\.mat"):
            read(bad, "m.mat")
    for other in (np.zeros((2, 2)), np.zeros((2, 2, 2), np.uint8), "text"):
        with pytest.raises(DatasetError, match=r"m\.mat holds no label map"):
            read(matlab(S=other), "m.mat")


def test_without_scipy_a_mask_of_matlab_says_what_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DatasetError, match=r"m\.mat needs scipy: pip install 'vitrail\[matlab\]'"):
        IndexMasks(LABELS, 3)(matlab(S=np.zeros((2, 2), np.uint8)), "m.mat")


def test_coloured_masks_are_not_mistaken_for_indices(tmp_path):
    with pytest.raises(DatasetError, match="coloured"):
        read_mask(save(tmp_path / "m.png", picture()))


def test_lossy_and_odd_masks_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="JPEG"):
        read_mask(save(tmp_path / "m.jpg", np.zeros((8, 8), np.uint8)))
    with pytest.raises(DatasetError, match="value 8192: class indices end at 8191"):
        read_mask(save(tmp_path / "m.png", np.full((4, 4), 8192, np.uint16)))


def test_truncated_and_missing_masks_are_named(tmp_path):
    path = save(tmp_path / "m.png", np.random.default_rng(0).integers(0, 9, (90, 90), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DatasetError, match=r"m\.png is truncated"):
        read_mask(path)
    with pytest.raises(DatasetError, match=r"n\.png"):
        read_mask(tmp_path / "n.png")


def test_floating_point_masks_hold_whole_numbers(tmp_path):
    values = np.array([[0, 3], [255, 1]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.array_equal(read_mask(tmp_path / "a.tif"), values.astype(np.uint8))
    for wrong in (0.5, np.nan, np.inf, -9999.5):
        values[0, 1] = wrong
        Image.fromarray(values).save(tmp_path / "a.tif")
        with pytest.raises(DatasetError, match=r"a\.tif holds the value .*whole numbers"):
            read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_arrays_and_tiff_files_of_maps_are_masks(tmp_path, dtype):
    values = np.array([[0, 1], [1, 0]], dtype)
    np.save(tmp_path / "a.npy", values[..., None])
    assert np.array_equal(read_mask(tmp_path / "a.npy"), values)
    if dtype in (np.int64, np.float32):
        tifffile.imwrite(tmp_path / "a.tif", values)
        assert np.array_equal(read_mask(tmp_path / "a.tif"), values)
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 3), dtype))
    with pytest.raises(DatasetError, match=r"the shape \[2, 2, 3\]: class indices are one band"):
        read_mask(tmp_path / "a.npy")
