"""Files of every kind a user has, and broken ones."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from slot_data import DataError
from slot_data.image_files import read_mask, read_picture, read_sample

GREY = np.array([[0, 100, 200], [7, 8, 9]], np.uint8)


def save(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def colours(seed=0, height=5, width=4, channels=3):
    return np.random.default_rng(seed).integers(256, size=(height, width, channels), dtype=np.uint8)


def test_rgb_is_read_as_it_is(tmp_path):
    for suffix in (".png", ".bmp"):
        assert np.array_equal(read_picture(save(tmp_path / f"a{suffix}", colours())), colours())
    webp = save(tmp_path / "a.webp", colours(), lossless=True)
    assert np.array_equal(read_picture(webp), colours())


def test_grey_and_palette_become_rgb(tmp_path):
    expected = np.repeat(GREY[..., None], 3, 2)
    assert np.array_equal(read_picture(save(tmp_path / "grey.png", GREY)), expected)
    assert np.array_equal(read_picture(save(tmp_path / "palette.png", GREY, "P")), expected)
    black_and_white = read_picture(save(tmp_path / "one.png", GREY, "1"))
    assert set(np.unique(black_and_white)) <= {0, 255}


def test_sixteen_bits_become_eight(tmp_path):
    deep = GREY.astype(np.uint16) * 256 + 77
    pixels = read_picture(save(tmp_path / "deep.png", deep))
    assert np.array_equal(pixels[..., 1], GREY)


def test_what_is_transparent_is_white_and_what_is_opaque_unchanged(tmp_path):
    pixels = colours(channels=4)
    pixels[..., 3] = 255
    assert np.array_equal(read_picture(save(tmp_path / "a.png", pixels)), pixels[..., :3])
    pixels[0, 0, 3] = 0
    read = read_picture(save(tmp_path / "b.png", pixels))
    assert read[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(read[1:], pixels[1:, :, :3])


def test_transparency_of_grey_and_palette_files(tmp_path):
    grey = Image.fromarray(GREY)
    grey.save(tmp_path / "grey.png", transparency=100)
    assert read_picture(tmp_path / "grey.png")[0].tolist() == [[0] * 3, [255] * 3, [200] * 3]


def test_exif_orientation_is_undone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns, right to left
    path = save(tmp_path / "turned.png", colours(), exif=exif)
    assert np.array_equal(read_picture(path), colours().transpose(1, 0, 2)[:, ::-1])


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_is_undone_as_pillow_does(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    pixels = colours(channels=4)
    path = save(tmp_path / "turned.png", pixels, exif=exif)
    save(tmp_path / "upright.png", np.array(ImageOps.exif_transpose(Image.open(path))))
    assert np.array_equal(read_picture(path), read_picture(tmp_path / "upright.png"))


def exif_of(*entries):
    """The bytes of EXIF with entries (number, kind, count, value of four bytes)."""
    packed = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4)


ASCII, SHORT = 2, 3
TURNED = (0x0112, SHORT, 1, b"\6\0\0\0")
ODD_EXIF = {
    "a resolution in words": (exif_of(TURNED, (0x011A, ASCII, 3, b"72\0\0")), True),
    "an offset in words": (exif_of(TURNED, (0x8769, ASCII, 3, b"72\0\0")), True),
    "an orientation in words": (exif_of((0x0112, ASCII, 2, b"6\0\0\0")), False),
    "several orientations": (exif_of((0x0112, SHORT, 2, b"\6\0\6\0")), True),
    "an orientation of nothing": (exif_of((0x0112, SHORT, 0, bytes(4))), False),
    "an orientation of no kind": (exif_of((0x0112, 99, 1, b"\6\0\0\0")), False),
    "no directory": (b"Exif\0\0II*\0", False),
    "no header": (b"Exif\0\0nothing at all", False),
}


@pytest.mark.parametrize(("exif", "turned"), ODD_EXIF.values(), ids=ODD_EXIF)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow tells of some
def test_odd_exif_is_no_reason_not_to_read_a_picture(tmp_path, exif, turned):
    plain = read_picture(save(tmp_path / "plain.jpg", colours()))
    read = read_picture(save(tmp_path / "odd.jpg", colours(), exif=exif))
    assert np.array_equal(read, plain.transpose(1, 0, 2)[:, ::-1] if turned else plain)


def test_exif_that_cannot_be_read_says_nothing(tmp_path):
    note = PngInfo()
    note.add_text("Raw profile type exif", "\nexif\n2\nno hexadecimal number")
    path = save(tmp_path / "odd.png", colours(), pnginfo=note)
    assert np.array_equal(read_picture(path), colours())


def test_masks_are_indices_never_brightness(tmp_path):
    ids = np.array([[0, 1, 2], [3, 10, 0]], np.uint8)
    palette = Image.fromarray(ids)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255] + [200, 10, 90] * 8)
    palette.save(tmp_path / "palette.png")
    assert Image.open(tmp_path / "palette.png").mode == "P"
    assert np.array_equal(read_mask(tmp_path / "palette.png"), ids)
    assert np.array_equal(read_mask(save(tmp_path / "grey.png", ids)), ids)
    deep = ids.astype(np.uint16) * 5000
    assert np.array_equal(read_mask(save(tmp_path / "deep.png", deep)), deep)
    binary = read_mask(save(tmp_path / "binary.png", ids > 0))
    assert np.array_equal(binary, ids > 0)


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (4, "RGBA"), (2, "LA")])
def test_a_colour_mask_is_refused(tmp_path, channels, mode):
    path = save(tmp_path / "m.png", colours(channels=channels))
    with pytest.raises(DataError, match=f"mask .*m.png is {mode}; expected a palette or grey PNG"):
        read_mask(path)


def test_broken_files_are_named(tmp_path):
    whole = save(tmp_path / "whole.png", colours(height=64, width=64)).read_bytes()
    broken = {
        "text.png": b"not a picture",
        "empty.jpg": b"",
        "truncated.png": whole[: len(whole) // 2],
        "header.png": whole[:20],
    }
    jpeg = save(tmp_path / "whole.jpg", colours(height=64, width=64)).read_bytes()
    broken["truncated.jpg"] = jpeg[: len(jpeg) // 2]
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} cannot be read as a picture: "):
            read_picture(tmp_path / name)
    with pytest.raises(DataError, match=r"gone.png cannot be read as a picture: .*No such file"):
        read_picture(tmp_path / "gone.png")


def test_a_picture_too_large_to_be_one_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "bomb.png", colours(height=64, width=64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"bomb.png cannot be read as a picture: .*exceeds limit"):
        read_picture(path)


def test_float_pixels_are_refused(tmp_path):
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=r"a.tiff holds float pixels"):
        read_picture(tmp_path / "a.tiff")


def test_sizes_that_differ_name_both_files(tmp_path):
    small, large = (save(tmp_path / f"{n}.png", colours(height=n, width=4)) for n in (5, 6))
    mask = save(tmp_path / "mask.png", GREY)
    with pytest.raises(DataError) as error:
        read_sample("s", [small], [mask])
    assert str(error.value) == (
        f"mask {mask} is 3x2 pixels (width x height), but its picture {small} is "
        "4x5 pixels (width x height)"
    )
    with pytest.raises(DataError, match=r"frame .*6.png is 4x6 .* but .*5.png .* is 4x5"):
        read_sample("s", [small, large], None)
