"""Pictures and videos of a few bytes that state to be of any size, wherever they may lie: one
sentence, and no memory for what is only stated."""

import contextlib
import io
import re
import resource
import struct
import zlib

import movi_files
import numpy as np
import pytest
from PIL import Image
from scenes import prepared, write_scene

from slot_data import DataError, load_dataset_by_name
from slot_data.image_files import MOST_PIXELS, PictureBytes, read_mask, read_picture
from slot_data.video_files import VideoFile, frame_times

SIDE = 100_000


def refused(call, *words):
    """The sentence; reading takes no more memory than a small picture needs."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError) as caught:
        call()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # KiB
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert all(str(word) in sentence for word in words), sentence
    return sentence


def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(width=SIDE, height=SIDE, colour=0):
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def saved(kind):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return bytearray(file.getvalue())


def jpeg():
    content = saved("jpeg")
    place = content.index(b"\xff\xc0")  # height and width behind length and depth; 65,535 at most
    content[place + 5 : place + 9] = struct.pack(">HH", 65_535, 65_535)
    return bytes(content)


def bmp():
    content = saved("bmp")
    content[18:26] = struct.pack("<ii", SIDE, SIDE)
    return bytes(content)


def gif():
    content = saved("gif")
    content[6:10] = struct.pack("<HH", 65_535, 65_535)
    return bytes(content)


HUGE = {
    "a.png": png(),
    "wide.png": png(2**31 - 1, 1),
    "colour.png": png(colour=2),
    "smaller.png": png(12_000, 12_000),  # what Pillow alone would read, with a warning
    "a.jpg": jpeg(),
    "a.bmp": bmp(),
    "a.gif": gif(),
    "a.webp": png(),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("read", [read_picture, read_mask])
def test_a_picture(tmp_path, name, read):
    (tmp_path / name).write_bytes(HUGE[name])
    refused(lambda: read(tmp_path / name), tmp_path / name, "cannot be read as a picture")
    inside = PictureBytes("frame 3 of record 5", HUGE[name])
    refused(lambda: read(inside), "frame 3 of record 5 cannot be read as a picture")


def test_a_picture_of_the_most_pixels_would_be_read():
    assert 9_459**2 < MOST_PIXELS < 9_460**2


@pytest.mark.parametrize("kind", ["eps", "ppm", "ico", "pcx"])
def test_formats_that_are_no_datas_are_not_tried(tmp_path, kind):
    """Pillow would ask another program for the first of them."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a", kind)
    (tmp_path / "a").rename(tmp_path / "a.png")
    refused(lambda: read_picture(tmp_path / "a.png"), "a.png cannot be read as a picture")


def test_texts_in_a_picture_that_unpack_to_much(tmp_path):
    content = png(8, 8)
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**28)))
    (tmp_path / "a.png").write_bytes(content[:33] + bomb + content[33:])
    refused(lambda: read_picture(tmp_path / "a.png"), "a.png cannot be read as a picture")


@pytest.mark.parametrize("key", ["video", "segmentations"])
def test_a_picture_in_a_record(tmp_path, key):
    frames = [movi_files.png(np.zeros((8, 8, 3), np.uint8))] * 2
    masks = [movi_files.png(np.zeros((8, 8), np.uint8))] * 2
    record = movi_files.example({"video": frames, "segmentations": masks, key: [png()] * 2})
    path = tmp_path / "movi_a/128x128/1.0.0/movi_a-train.tfrecord-00000-of-00001"
    path.parent.mkdir(parents=True)
    path.write_bytes(movi_files.tfrecord([record]))
    options = {"num_frames": 2, "fit": "file", "relabel": False}
    dataset = load_dataset_by_name("movi_a", split="train", root=tmp_path, **options)
    refused(lambda: dataset[0], path, key, "frame 0 cannot be read as a picture")


@pytest.mark.slow
def test_a_picture_in_a_parquet_file(tmp_path):
    """The pixels of a prepared folder, exchanged for as many bytes that state another size."""
    write_scene(tmp_path, 7)
    prepared("clevrtex", tmp_path, tmp_path / "out", ("test",))
    shard = tmp_path / "out/data/test-00000.parquet"
    content = shard.read_bytes()
    assert len(load_dataset_by_name("clevrtex", split="test", root=tmp_path / "out")) == 1
    for found in list(re.finditer(b"IHDR", content)):  # some stand in Parquet's statistics
        content = with_size(content, found.start(), SIDE)
    shard.write_bytes(content)
    dataset = load_dataset_by_name("clevrtex", split="test", root=tmp_path / "out")
    refused(lambda: dataset[0], "cannot be read as a picture")


def with_size(content, place, side):
    """The PNG whose header lies there states another size."""
    header = struct.pack(">II", side, side) + content[place + 12 : place + 17]
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return content[: place + 4] + header + checksum + content[place + 21 :]


def test_frames_of_a_video_that_state_another_size(tmp_path, write_video, moving_noise):
    """The container says one size, each picture in it another."""
    path = tmp_path / "a.mov"
    write_video(path, moving_noise(3))
    content = path.read_bytes()
    path.write_bytes(with_size(content, content.index(b"IHDR"), 16_000))
    refused(lambda: VideoFile(path).read(range(1)), path)
    refused(lambda: list(VideoFile(path).frames()), path)


@pytest.mark.parametrize("box", [b"stsz", b"stts", b"stsc", b"stco"])
def test_a_video_that_states_any_number_of_frames(tmp_path, write_video, moving_noise, box):
    path = tmp_path / "a.mov"
    write_video(path, moving_noise(3))
    content = bytearray(path.read_bytes())
    place = content.index(box) + (12 if box == b"stsz" else 8)
    content[place : place + 4] = struct.pack(">I", 2**31 - 1)
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = 0
    with contextlib.suppress(DataError):  # or FFmpeg finds the right ones
        count = frame_times(path).count
        VideoFile(path, frame_times(path)).read(range(1))
    assert count <= 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16
