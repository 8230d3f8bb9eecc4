"""Tiny copies of MOVi in each layout, and the TFRecord files of any dataset, for the tests."""

import io
import struct

import numpy as np
from PIL import Image


def save(pixels, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **options)


def write_numbered(folder, video, labels=None):
    """SlotDiffusion's naming. video: uint8 [T H W 3], labels: uint8 [T H W]."""
    for number, frame in enumerate(video):
        save(frame, folder / f"{number:06d}.jpg")
        if labels is not None:
            save(labels[number], folder / f"{number:06d}_mask.png")


def write_per_object(folder, video, labels, num_masks=0, first=0):
    """STEVE's naming: mask n shows the object `first` + n; with `first` 0 mask 0 is the
    background."""
    for number, frame in enumerate(video):
        save(frame, folder / f"{number:08d}_image.png")
        for mask in range(num_masks):
            pixels = np.where(labels[number] == first + mask, 255, 0).astype(np.uint8)
            if first == 0:  # STEVE saves them in colour
                pixels = pixels[..., None].repeat(3, axis=2)
            save(pixels, folder / f"{number:08d}_mask_{mask:02d}.png")


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, "png")
    return file.getvalue()


def varint(value):
    value %= 2**64
    text = b""
    while value > 127:
        text += bytes([value & 127 | 128])
        value >>= 7
    return text + bytes([value])


def counted(number, content):
    """A field of the wire format whose content is so many bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(values):
    """bytes, floats and integers go to the three kinds of lists; numbers are packed."""
    if not len(values):
        return b""
    if isinstance(values[0], bytes):
        return counted(1, b"".join(counted(1, value) for value in values))
    if isinstance(values[0], float):
        return counted(2, counted(1, np.array(values, "<f4").tobytes()))
    return counted(3, counted(1, b"".join(varint(int(value)) for value in values)))


def example(features):
    entries = (counted(1, key.encode()) + counted(2, feature(features[key])) for key in features)
    return counted(1, b"".join(counted(1, entry) for entry in entries))


def crc32c(text):
    """By the definition, bit by bit."""
    state = 0xFFFFFFFF
    for byte in text:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 * (state & 1))
    return state ^ 0xFFFFFFFF


def masked(text):
    checksum = crc32c(text)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) % 2**32)


def tfrecord(records):
    text = b""
    for record in records:
        length = struct.pack("<Q", len(record))
        text += length + masked(length) + record + masked(record)
    return text


def movi_example(video, labels, name="5390", flow=None, depth=None):
    """A record as Kubric's: video uint8 [T H W 3], labels uint8 [T H W], flow uint16 [T H W 2]
    from -5 to 5 pixels, depth uint16 [T H W] from 0 to 10."""
    length, height, width = labels.shape
    features = {
        "metadata/video_name": [name.encode()],
        "metadata/num_frames": [length],
        "metadata/height": [height],
        "metadata/width": [width],
        "instances/mass": [0.5, 1.5],
        "instances/bboxes/ragged_flat_values": [],
        "segmentations": [png(frame) for frame in labels],
        "video": [png(frame) for frame in video],
    }
    for side in ("forward", "backward"):
        if flow is not None:
            features[f"{side}_flow"] = flow.flatten().tolist()
            features[f"metadata/{side}_flow_range"] = [-5.0, 5.0]
    if depth is not None:
        features["depth"] = [png(frame) for frame in depth]
        features["metadata/depth_range"] = [0.0, 10.0]
    return example(features)


def features_of(record):
    """An independent reading of a `tf.train.Example`: key -> the bytes of its list."""
    (features,) = (content for _, content in fields_of(record))
    found = {}
    for _, entry in fields_of(features):
        parts = dict(fields_of(entry))
        found[parts[1].decode()] = next(fields_of(parts[2]))[1] if parts[2] else b""
    return found


def fields_of(text):
    """(number, content) of each field, all of which are counted."""
    place = 0
    while place < len(text):
        tag, place = varint_at(text, place)
        assert tag & 7 == 2
        length, place = varint_at(text, place)
        yield tag >> 3, text[place : place + length]
        place += length


def varint_at(text, place):
    value = shift = 0
    while True:
        value |= (text[place] & 127) << shift
        place, shift = place + 1, shift + 7
        if text[place - 1] < 128:
            return value, place


def records_in(text):
    """Of an uncompressed TFRecord file."""
    while text:
        (length,) = struct.unpack_from("<Q", text)
        yield text[12 : 12 + length]
        text = text[16 + length :]


def write_shards(folder, name, split, records):
    """records: of each file."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, of_file in enumerate(records):
        file = folder / f"{name}-{split}.tfrecord-{number:05d}-of-{len(records):05d}"
        file.write_bytes(tfrecord(of_file))
