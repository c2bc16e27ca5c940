"""Every kind of image becomes 8-bit RGB; anything else is named."""

import io
import struct

import numpy as np
import pytest
from helpers.image_makers import picture, save
from PIL import Image

from vitrail.datasets import read_image
from vitrail.datasets.image_files import IMAGE_SUFFIXES
from vitrail.datasets.pixel_format import PixelFormat
from vitrail.errors import DatasetError


def pixels(path):
    return read_image(path).permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.jpg", {"quality": 92}),
        ("a.jpg", {"quality": 60, "progressive": True}),
        ("a.jpg", {"quality": 90, "subsampling": 0}),
        ("a.bmp", {}),
        ("a.webp", {"lossless": True}),
        ("a.tif", {}),
        ("a.png", {"compress_level": 0}),
    ],
)
def test_pixels_are_those_of_pillow(tmp_path, name, options):
    path = tmp_path / name
    picture(97, 131).save(path, **options)
    assert np.array_equal(pixels(path), np.asarray(Image.open(path).convert("RGB")))


def test_grey(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (pixels(save(tmp_path / "a.png", grey)) == grey[..., None]).all()


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    grey = np.array([[0, 255, 256, 65535, 300]], np.uint16)
    assert pixels(save(tmp_path / "a.png", grey))[0, :, 1].tolist() == [0, 0, 1, 255, 1]


def test_sixteen_bit_tiff(tmp_path):
    grey = np.array([[0, 256, 65535]], np.uint16)
    assert pixels(save(tmp_path / "a.tif", grey))[0, :, 0].tolist() == [0, 1, 255]


def test_sixteen_bit_colour(tmp_path):
    # Pillow cannot write 16-bit RGB: a PNG by hand, one row of two pixels
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\x00" + struct.pack(">6H", 0x0102, 0x8000, 0xFFFF, 0xFF00, 0x00FF, 0x7F7F)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    assert pixels(tmp_path / "a.png")[0].tolist() == [[1, 128, 255], [255, 0, 127]]


def test_palette(tmp_path):
    indexed = picture().quantize(16)
    assert np.array_equal(pixels(save(tmp_path / "a.png", indexed)), np.asarray(indexed.convert("RGB")))


def test_two_colours(tmp_path):
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert pixels(save(tmp_path / "a.png", bits))[0].tolist() == [[0] * 3, [255] * 3]


def test_alpha_is_dropped(tmp_path):
    image = picture()
    clear = image.copy()
    clear.putalpha(0)
    assert np.array_equal(pixels(save(tmp_path / "a.png", clear)), np.asarray(image))
    grey = image.convert("L")
    both = Image.merge("LA", [grey, grey])
    assert np.array_equal(pixels(save(tmp_path / "b.png", both))[..., 0], np.asarray(grey))


def test_palette_with_transparency(tmp_path):
    indexed = picture().quantize(8)
    indexed.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    assert np.array_equal(pixels(tmp_path / "a.png"), np.asarray(indexed.convert("RGB")))


def test_cmyk(tmp_path):
    image = picture(64, 64)
    image.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(pixels(tmp_path / "a.jpg").astype(int) - np.asarray(image)).mean() < 4


# What EXIF's "orientation" says of the first row and the first column of the stored pixels, as a change of the array.
UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: image.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, name, orientation):
    image = picture(40, 64)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / name, exif=exif, **({"quality": 95} if name.endswith("jpg") else {}))
    stored = np.asarray(Image.open(tmp_path / name).convert("RGB"))
    assert np.array_equal(pixels(tmp_path / name), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_is_applied_when_other_exif_data_are_damaged(tmp_path, orientation):
    entries = struct.pack("<HHII", 0x0112, 3, 1, orientation) + struct.pack("<HHII", 0x9286, 99, 1 << 20, 1 << 30)
    notes = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0)
    picture(40, 64).save(tmp_path / "a.jpg", exif=notes)
    stored = np.asarray(Image.open(tmp_path / "a.jpg"))
    assert np.array_equal(pixels(tmp_path / "a.jpg"), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("notes", [b"Exif\0\0garbage!", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_damaged_exif_data_do_not_matter(tmp_path, name, notes):
    picture().save(tmp_path / name, exif=notes)
    assert read_image(tmp_path / name).shape == (3, 24, 32)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_truncated_images_are_named(tmp_path, name, share):
    path = save(tmp_path / name, picture(200, 200))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DatasetError, match=name):
        read_image(path)


def test_a_damaged_png_is_named(tmp_path):
    buffer = io.BytesIO()
    picture(100, 100).save(buffer, "png")
    data = bytearray(buffer.getvalue())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"this is not an image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_what_is_no_image_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"b\.png.*No such file"):
        read_image(tmp_path / "b.png")
    with pytest.raises(DatasetError, match="directory"):
        read_image(tmp_path)


def test_floating_point_images_need_a_range_unless_they_fill_zero_to_one(tmp_path):
    path = save(tmp_path / "a.tif", Image.fromarray(np.array([[0, 0.5, 1.0]], np.float32)))
    assert pixels(path)[0, :, 0].tolist() == [0, 128, 255]
    path = save(tmp_path / "b.tif", Image.fromarray(np.array([[-10, 0, 300.0]], np.float32)))
    with pytest.raises(DatasetError, match=r"data.value_range=\[-10, 300\]"):
        read_image(path)
    told = PixelFormat(value_range=(-10, 300))  # as the message says
    assert np.asarray(read_image(path, told))[0, 0].tolist() == [0, 8, 255]


@pytest.mark.parametrize(("top", "levels"), [(255, 256), (1023, 256), (4095, 256), (16383, 256), (65535, 256)])
def test_sixteen_bits_are_taken_by_the_bits_in_use(tmp_path, top, levels):
    grey = np.linspace(0, top, 64 * 64).astype(np.uint16).reshape(64, 64)
    seen = pixels(save(tmp_path / "a.png", grey))[..., 0]
    assert len(np.unique(seen)) == levels
    assert (np.diff(seen.flatten().astype(int)) >= 0).all()
    assert (seen.min(), seen.max()) == (0, 255)


def test_a_stated_range_is_the_same_for_every_image(tmp_path):
    told = PixelFormat(value_range=(100, 1123))
    for name, values in (("a", [100, 611, 1123]), ("b", [90, 356, 2000])):
        save(tmp_path / f"{name}.png", np.array([values], np.uint16))
    assert np.asarray(read_image(tmp_path / "a.png", told))[0, 0].tolist() == [0, 127, 255]
    assert np.asarray(read_image(tmp_path / "b.png", told))[0, 0].tolist() == [0, 64, 255]


@pytest.mark.parametrize("bands", [2, 4, 7])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_any_number_of_bands_in_tiff_and_npy(tmp_path, bands, planar):
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(bands).integers(0, 4096, (9, 11, bands), dtype=np.uint16)
    stored = np.moveaxis(values, -1, 0) if planar == "separate" else values
    tifffile.imwrite(tmp_path / "a.tif", stored, planarconfig=planar, photometric="minisblack")
    np.save(tmp_path / "a.npy", values)
    expected = np.moveaxis(np.minimum(values * (255 / 4095) + 0.5, 255), -1, 0).astype(int)
    for name in ("a.tif", "a.npy"):
        image = np.asarray(read_image(tmp_path / name, PixelFormat(bands, (0, 4095))))
        assert image.shape == (bands, 9, 11)
        assert np.abs(image - expected).max() <= 1


def test_channels_that_are_not_there_are_named(tmp_path):
    path = save(tmp_path / "a.png", picture())
    with pytest.raises(DatasetError, match=r"has 3 channels, but the model takes 5: give it .* model\.in_channels=3"):
        read_image(path, PixelFormat(5))
    assert np.asarray(read_image(path, PixelFormat(1)))[0].tolist() == np.asarray(picture().convert("L")).tolist()


def test_transparency_is_a_channel_where_four_are_wanted(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    path = save(tmp_path / "a.png", rgba)
    assert (np.moveaxis(np.asarray(read_image(path, PixelFormat(4))), 0, -1) == rgba).all()


def test_arrays_that_hold_no_numbers_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"allow_pickle|object"):
        read_image(tmp_path / "a.npy")


def test_the_limit_of_pixels_is_stated_and_can_be_raised(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", np.zeros((30, 40), np.uint8))
    monkeypatch.setenv("VITRAIL_MAX_PIXELS", "1199")
    with pytest.raises(DatasetError, match="VITRAIL_MAX_PIXELS=1200"):
        read_image(path)
    monkeypatch.setenv("VITRAIL_MAX_PIXELS", "1200")  # as the message says
    assert pixels(path).shape == (30, 40, 3)
    monkeypatch.delenv("VITRAIL_MAX_PIXELS")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own limit would refuse more than 200
    assert pixels(path).shape == (30, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_every_suffix_that_pillow_decodes_as_a_picture_is_known():
    Image.init()
    formats = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "AVIF", "GIF", "JPEG2000", "PPM", "TGA", "DIB")
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in formats}
    assert suffixes - set(IMAGE_SUFFIXES) <= {".pfm", ".icb", ".vda", ".vst", ".avifs"}
