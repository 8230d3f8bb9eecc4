r"""How fast samples are read, raw, prepared and cached, on files in the real layouts that are drawn
for it.

    uv run --with protobuf python tools/bench/data.py

Each line compares two ways to the same samples in one run: samples per second of one core, of
processor time, and their ratio. Pictures are those of `shapes` with the grain of a renderer, so
that the files are about as large as the real ones. `protobuf` parses every feature of a record, as
a generic reader does. Where TensorFlow Datasets is installed, a folder of real records with their
features.json is read by it as well (it decodes every field, on several threads whose time counts):

    uv run --with protobuf,tensorflow-cpu,tensorflow-datasets python tools/bench/data.py \
        DATA/movi_e/128x128/1.0.0
"""

from __future__ import annotations

import struct
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from slot_data import Shapes, load_dataset_by_name
from slot_data.encodings import Encoding
from slot_data.prepare import Plan, Preparation
from slot_data.raw_bits import RawBits
from slot_data.sample import SampleDataset
from slot_data.tfrecord import masked_crc32c

SCENES, VIDEOS, FILMS = 60, 8, 3
FILM_FRAMES = 151
READS = 400
GRAIN = 6  # of 255, up or down


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        print(f"{'samples per second of one core':56}{'slow':>9}{'fast':>9}{'ratio':>8}")
        records(root / "records")
        if len(sys.argv) > 1:
            real_records(Path(sys.argv[1]))
        scenes(root / "scenes")
        folders(root / "folders")
        films(root / "films")


def records(root: Path) -> None:
    """Whole videos of MOVi TFRecords, frames and masks."""
    folder = root / "movi_e/128x128/1.0.0"
    folder.mkdir(parents=True)
    example = example_message()
    written = [movi_example(example, number).SerializeToString() for number in range(4)]
    file = folder / "movi_e-validation.tfrecord-00000-of-00001"
    file.write_bytes(b"".join(map(record_of, written)))
    ours = load_dataset_by_name("movi_e", split="validation", root=root)
    speed = reads_per_second(ours, 40)
    slow = per_second(lambda place: every_feature(example, written[place % 4]), 20)
    line("MOVi records: every feature by protobuf | ours", slow, speed)


def real_records(folder: Path) -> None:
    """The same beside TensorFlow Datasets, which needs the files that come with real ones."""
    import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports] # by --with

    name, split = folder.parts[-3], "validation"
    read = tfds.ReadConfig(try_autocache=False)  # or else few videos are decoded but once
    builder = tfds.builder_from_directory(str(folder))
    dataset = builder.as_dataset(split=split, read_config=read).repeat()
    videos = iter(tfds.as_numpy(dataset))
    slow = per_second(lambda _: next(videos), 10)
    ours = load_dataset_by_name(name, split=split, root=folder.parents[2])
    line("MOVi records: tfds.as_numpy | ours", slow, reads_per_second(ours, 40))


def scenes(root: Path) -> None:
    """Pictures and masks at 128x128 of CLEVRTex's PNGs."""
    for number in range(SCENES):
        write_scene(root / "raw", number)
    raw = load_dataset_by_name("clevrtex", split="test", root=root / "raw")
    slow = reads_per_second(raw, READS // 2)
    for pictures in ("keep", "jpeg", "raw"):
        made = prepared("clevrtex", root, "test", pictures, image_size=128)
        line(f"CLEVRTex: PNG files | prepared at 128, {pictures}", slow, reads_per_second(made))
    cached = prepared("clevrtex", root, "test", "cache", image_size=128)
    line("CLEVRTex: PNG files | cache at 128", slow, reads_per_second(cached, 20_000))
    bare = load_dataset_by_name("clevrtex", split="test", root=root / "made-cache", masks=False)
    line("CLEVRTex: PNG files | cache at 128, no masks", slow, reads_per_second(bare, 20_000))


def folders(root: Path) -> None:
    """Clips of 6 frames and their masks of MOVi's JPEG folders."""
    for number in range(VIDEOS):
        video, labels = clip(number, 24, 128)
        folder = root / f"raw/MOVi-D/train/{number:08d}"
        folder.mkdir(parents=True)
        for place, (frame, ids) in enumerate(zip(video, labels, strict=True)):
            Image.fromarray(frame).save(folder / f"{place:06d}.jpg")
            Image.fromarray(ids).save(folder / f"{place:06d}_mask.png")
    clips = {"num_frames": 6, "clips": "every"}
    raw = load_dataset_by_name("movi_d", split="train", root=root / "raw", **clips)
    slow = reads_per_second(raw)
    for pictures in ("keep", "cache"):
        made = prepared("movi_d", root, "train", pictures, image_size=128, read=clips)
        name = "cache" if pictures == "cache" else f"prepared, {pictures}"
        line(f"MOVi, clips of 6: JPEG folders | {name}", slow, reads_per_second(made))


def films(root: Path) -> None:
    """Random clips of 3 frames at 128x128 of Physion's videos, which have one key frame each."""
    folder = root / "raw/PhysionTestMP4s/Roll/mp4s-redyellow"
    folder.mkdir(parents=True)
    for number in range(FILMS):
        video, _ = clip(number, FILM_FRAMES, 256)
        write_film(folder / f"a-redyellow_{number:04d}_img.mp4", video)
    options = {"outcomes": False, "num_frames": 3, "clips": "every"}
    raw = load_dataset_by_name("physion", split="test", root=root / "raw", **options)
    slow = reads_per_second(raw, 60)
    for pictures in ("keep", "jpeg", "raw", "cache"):
        size = {"image_size": 128, "outcomes": False}
        made = prepared("physion", root, "test", pictures, read=options, **size)
        name = "cache" if pictures == "cache" else f"prepared at 128, {pictures}"
        line(f"Physion, random clips of 3: mp4 | {name}", slow, reads_per_second(made))


# ------------------------------------------------------------------ measuring


def line(name: str, slow: float, fast: float) -> None:
    print(f"{name:56}{slow:9.0f}{fast:9.0f}{fast / slow:8.1f}", flush=True)


def reads_per_second(dataset: SampleDataset, count: int = READS) -> float:
    """Random samples."""
    bits = RawBits(0, 0, 0)
    order = [bits.below(len(dataset)) for _ in range(count)]
    return per_second(lambda place: dataset[order[place]], count)


def per_second(read: Callable[[int], Any], count: int) -> float:
    """Of processor time, so that other work on the machine does not count."""
    for place in range(min(count, 10)):
        read(place)
    start = time.process_time()
    for place in range(count):
        read(place)
    return count / (time.process_time() - start)


def prepared(
    name: str,
    root: Path,
    split: str,
    pictures: str,
    read: dict[str, Any] | None = None,
    **options: Any,
) -> SampleDataset:
    """pictures: an encoding, or "cache"."""
    cache = pictures == "cache"
    encoding = Encoding("keep" if cache else pictures, "raw" if pictures == "raw" else "png")  # type: ignore[arg-type]
    out = root / f"made-{pictures}"
    plan = Plan(name, root / "raw", out, (split,), options, encoding=encoding,
                cache=cache)  # fmt: skip
    preparation = Preparation(plan)
    for _ in preparation.run():
        pass
    preparation.finish()
    return load_dataset_by_name(name, split=split, root=out, **(read or {}))


# ------------------------------------------------------------------ files in the real layouts


def clip(number: int, num_frames: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [T H W 3] and [T H W]."""
    shapes = Shapes(num_samples=number + 1, num_frames=num_frames, image_size=size,
                    level="textured")  # fmt: skip
    sample = shapes[number]
    labels = sample.get("labels")
    assert labels is not None, "shapes always has labels"
    video = sample["video"].permute(0, 2, 3, 1).numpy().astype(np.int16)
    video += np.random.default_rng(number).integers(-GRAIN, GRAIN + 1, video.shape, dtype=np.int16)
    return video.clip(0, 255).astype(np.uint8), labels.numpy().astype(np.uint8)


def write_scene(root: Path, number: int) -> None:
    folder = root / "clevrtex_full" / str(number // 1000)
    folder.mkdir(parents=True, exist_ok=True)
    video, labels = clip(number, 1, 320)
    opaque = np.full((240, 320, 1), 255, np.uint8)
    stem = f"CLEVRTEX_full_{number:06d}"
    Image.fromarray(np.concatenate([video[0, :240], opaque], 2)).save(folder / f"{stem}.png")
    mask = Image.fromarray(labels[0, :240])
    mask.putpalette(range(42))
    mask.save(folder / f"{stem}_flat.png")


def write_film(path: Path, video: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "23"})
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt, stream.gop_size = "yuv420p", 250
        for frame in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def movi_example(example: Any, number: int) -> Any:
    """All that is large in a record of Kubric's."""
    video, labels = clip(number, 24, 128)
    bits = np.random.default_rng(number)
    coarse = bits.integers(65_536, size=(24, 16, 16, 3)).repeat(8, 1).repeat(8, 2)
    pictures = {
        "video": video,
        "segmentations": labels,
        "depth": coarse[..., 0].astype(np.uint16),
        "normal": coarse.astype(np.uint8),
        "object_coordinates": coarse.astype(np.uint8),
    }
    message = example()
    features = message.features.feature
    for name, frames in pictures.items():
        features[name].bytes_list.value.extend(map(png, frames))
    for name in ("forward_flow", "backward_flow"):
        flow = bits.integers(30_000, 36_000, size=labels.size * 2)
        features[name].int64_list.value.extend(flow.tolist())
    features["instances/positions"].float_list.value.extend([0.5] * (20 * 24 * 3))
    return message


def every_feature(example: Any, content: bytes) -> dict[str, Any]:
    """What a generic reader does: each list becomes an array, each picture is decoded."""
    message = example()
    message.ParseFromString(content)
    found: dict[str, Any] = {}
    for name, feature in message.features.feature.items():
        values = getattr(feature, feature.WhichOneof("kind")).value
        if feature.WhichOneof("kind") == "bytes_list":
            found[name] = np.stack([np.asarray(Image.open(BytesIO(text))) for text in values])
        else:
            found[name] = np.array(values)
    return found


def example_message() -> Any:
    """The class of `tf.train.Example`, built from its definition."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        sys.exit("error: protobuf is not installed; run with uv run --with protobuf")
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def message(where: Any, name: str, *fields: tuple[str, int, int, str]) -> Any:
        made = where.add(name=name)
        for label, number, kind, of in fields:
            repeated = label.startswith("*")
            made.field.add(
                name=label.lstrip("*"),
                number=number,
                type=kind,  # type: ignore[arg-type] # an enumeration's number
                type_name=of or None,
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
            )
        return made

    lists = {"BytesList": field.TYPE_BYTES, "FloatList": field.TYPE_FLOAT,
             "Int64List": field.TYPE_INT64}  # fmt: skip
    for name, kind in lists.items():
        message(file.message_type, name, ("*value", 1, kind, ""))
    names = ("bytes_list", "float_list", "int64_list")
    feature = message(
        file.message_type,
        "Feature",
        *[
            (name, number, field.TYPE_MESSAGE, f".t.{of}")
            for number, (name, of) in enumerate(zip(names, lists, strict=True), 1)
        ],
    )
    feature.oneof_decl.add(name="kind")
    for part in feature.field:
        part.oneof_index = 0
    features = message(
        file.message_type,
        "Features",
        ("*feature", 1, field.TYPE_MESSAGE, ".t.Features.FeatureEntry"),
    )
    entry = message(
        features.nested_type,
        "FeatureEntry",
        ("key", 1, field.TYPE_STRING, ""),
        ("value", 2, field.TYPE_MESSAGE, ".t.Feature"),
    )
    entry.options.map_entry = True
    message(file.message_type, "Example", ("features", 1, field.TYPE_MESSAGE, ".t.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


def record_of(content: bytes) -> bytes:
    """As a TFRecord file frames it."""
    length = struct.pack("<Q", len(content))
    checks = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return length + next(checks) + content + next(checks)


def png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


if __name__ == "__main__":
    main()
