"""The Multi-Object Datasets from their compressed TFRecord files."""

# pyright: reportTypedDictNotRequiredAccess=false

import gzip
import os
import pickle
import struct
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from movi_files import counted, feature, features_of, masked, records_in
from scenes import prepared

from slot_data import DataError, load_dataset_by_name
from slot_data.gzip_records import GzipRecords
from slot_data.sample import Configured


def single_bytes(values):
    """A feature that lists the bytes of an array as texts of one byte each."""
    wire = np.full((values.size, 3), (10, 1, 0), dtype=np.uint8)
    wire[:, 2] = values.reshape(-1)
    return counted(1, wire.tobytes())


def record_of(**features):
    entries = (counted(1, key.encode()) + counted(2, text) for key, text in features.items())
    return counted(1, b"".join(counted(1, entry) for entry in entries))


def framed(records):
    """As in a TFRecord file; the checksums of the records, which are not looked at, are 0."""
    lengths = [struct.pack("<Q", len(record)) for record in records]
    return b"".join(
        length + masked(length) + record + bytes(4)
        for length, record in zip(lengths, records, strict=True)
    )


def write(path, records, members=1):
    """Compressed, as one member or as several, which a reader of GZIP takes for one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = framed(records)
    size = -(-len(text) // members)
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    path.write_bytes(b"".join(gzip.compress(part, 1) for part in parts))
    return path


def scene(shape, entities, seed=0):
    """uint8 [H W C] and [entities H W]: every pixel belongs to one of them. In blocks, since noise
    takes long to compress."""
    bits = np.random.default_rng(seed)
    height, width, channels = shape
    blocks = (-(-height // 8), -(-width // 8))

    def enlarged(values):
        return values.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]

    owner = enlarged(bits.integers(entities, size=blocks))
    masks = np.where(owner == np.arange(entities)[:, None, None], 255, 0).astype(np.uint8)
    image = enlarged(bits.integers(256, size=(*blocks, channels), dtype=np.uint8))
    return image, masks, owner


def texts(count):
    """Records of several lengths, also longer than what is decompressed at once."""
    bits = np.random.default_rng(0)
    return [bits.bytes(int(length)) for length in bits.integers(0, 90_000, size=count)] + [b""]


def load(name, root, split="all", **options):
    return load_dataset_by_name(name, split=split, root=root, **options)


@pytest.mark.parametrize("members", [1, 3])
def test_records_in_any_order(tmp_path, members):
    records = texts(30)
    path = write(tmp_path / "a.tfrecords", records, members)
    found = GzipRecords(path, spacing=4)
    for number in (*range(5), 30, 7, 6, 0, 29, 12, 13, 13):
        assert found.read(number) == records[number]
    assert found.count() == 31
    assert found.read(2) == records[2]
    assert GzipRecords(path, spacing=7).count() == 31


def test_a_worker_gets_the_file_not_the_state(tmp_path):
    records = texts(9)
    found = GzipRecords(write(tmp_path / "a.tfrecords", records), spacing=2)
    found.read(7)
    other = pickle.loads(pickle.dumps(found))
    assert other.read(5) == records[5]
    assert found.read(8) == records[8]


def test_faults_of_compressed_files_are_named(tmp_path):
    records = texts(6)
    path = write(tmp_path / "a.tfrecords", records)
    whole = path.read_bytes()
    with pytest.raises(DataError, match=r"a.tfrecords has 7 records; asked for record 9, counted"):
        GzipRecords(path).read(9)
    with pytest.raises(DataError, match=r"b.tfrecords cannot be read: No such file"):
        GzipRecords(tmp_path / "b.tfrecords")
    path.write_bytes(whole[: len(whole) // 2])
    found = GzipRecords(path)
    with pytest.raises(DataError, match=r"a.tfrecords is cut off within record \d"):
        found.count()
    assert found.read(0) == records[0], "what comes before is still there"
    path.write_bytes(whole[:2000] + bytes(50) + whole[2050:])
    with pytest.raises(DataError, match=r"a.tfrecords is (damaged at|cut off within) record \d"):
        GzipRecords(path).count()
    text = bytearray(framed(records))
    text[9] ^= 1
    path.write_bytes(gzip.compress(bytes(text)))
    with pytest.raises(DataError, match="damaged at record 0: its length does not fit its check"):
        GzipRecords(path).read(0)
    path.write_bytes(gzip.compress(framed(records)[:-2]))
    with pytest.raises(DataError, match="cut off within record 6"):
        GzipRecords(path).count()
    path.write_bytes(b"<html>Quota exceeded</html>")
    with pytest.raises(DataError, match="is not compressed by GZIP; expected a"):
        GzipRecords(path)


def test_clevr_by_hand(tmp_path):
    image, masks, owner = scene((240, 320, 3), 11)
    visible = [1.0] * 7 + [0.0] * 4
    records = [
        record_of(
            image=single_bytes(image), mask=single_bytes(masks), visibility=feature(visible[n:])
        )
        for n in range(2)  # six visible objects and, without the first entry, five
    ]
    write(tmp_path / "clevr_with_masks/clevr_with_masks_train.tfrecords", records)
    sample = load("clevr", tmp_path, crop="none", fit="file", relabel=False)[0]
    assert sample["id"] == "clevr_with_masks_train-0000000"
    assert np.array_equal(sample["video"][0].permute(1, 2, 0).numpy(), image)
    assert np.array_equal(sample["labels"][0].numpy(), owner)
    cut = load("clevr", tmp_path, fit="file", relabel=False)[1]
    assert np.array_equal(cut["labels"][0].numpy(), owner[29:221, 64:256])
    small = load("clevr", tmp_path, preset="slot_attention")[1]
    window = torch.from_numpy(image[29:221, 64:256]).permute(2, 0, 1)[None].double()
    expected = F.interpolate(window, (128, 128), mode="bilinear")
    assert (small["video"] - expected).abs().max() <= 0.5 + 1e-3
    assert [len(load("clevr", tmp_path, max_objects=most)) for most in (6, 5)] == [2, 1]
    with pytest.raises(DataError, match=r"no picture of split 'all' in .* has at most 4 objects"):
        load("clevr", tmp_path, max_objects=4)


@pytest.mark.parametrize(
    ("variant", "entities", "channels"),
    [("colored_on_grayscale", 6, 3), ("colored_on_colored", 5, 3), ("binarized", 4, 1)],
)
def test_multi_dsprites_by_hand(tmp_path, variant, entities, channels):
    """Its masks have the entities last."""
    image, masks, owner = scene((64, 64, channels), entities)
    record = record_of(image=single_bytes(image), mask=single_bytes(masks.transpose(1, 2, 0)))
    write(tmp_path / f"multi_dsprites/multi_dsprites_{variant}.tfrecords", [record] * 20)
    dataset = load("multi_dsprites", tmp_path, variant=variant, relabel=False)
    assert len(dataset) == 20
    sample = dataset[3]
    assert sample["video"].shape == (1, 3, 64, 64)
    for channel in range(3):
        plane = image[..., channel % channels]
        assert np.array_equal(sample["video"][0, channel].numpy(), plane)
    assert np.array_equal(sample["labels"][0].numpy(), owner)
    parts = [len(load("multi_dsprites", tmp_path, split, variant=variant)) for split in SPLITS]
    assert parts == [14, 3, 3]


SPLITS = ("train", "validation", "test")


def test_objects_room_by_hand(tmp_path):
    image, masks, owner = scene((64, 64, 3), 7)
    record = record_of(image=single_bytes(image), mask=single_bytes(masks))
    write(tmp_path / "objects_room/objects_room_train.tfrecords", [record])
    write(tmp_path / "objects_room/objects_room_test_six_objects.tfrecords", [record, record])
    one = load("objects_room", tmp_path, relabel=False)[0]
    assert np.array_equal(one["labels"][0].numpy(), np.maximum(owner - 3, 0))
    each = load("objects_room", tmp_path, ground="each", relabel=False)[0]
    assert np.array_equal(each["labels"][0].numpy(), owner)
    tests = load("objects_room", tmp_path, "test", variant="six_objects")
    assert [sample["id"] for sample in tests] == [
        f"objects_room_test_six_objects-000000{number}" for number in (0, 1)
    ]
    with pytest.raises(DataError, match=r"split 'train' of .*six_objects.* is not one of test,"):
        load("objects_room", tmp_path, "train", variant="six_objects")


def test_a_size_is_never_passed_over(tmp_path):
    image, masks, _ = scene((35, 35, 3), 4)
    record = record_of(image=single_bytes(image), mask=single_bytes(masks))
    write(tmp_path / "tetrominoes/tetrominoes_train.tfrecords", [record] * 3)
    prepared("tetrominoes", tmp_path, tmp_path / "out", ("all",))
    for root in (tmp_path, tmp_path / "out"):
        for given in ({}, {"fit": "file"}):
            with pytest.raises(
                DataError, match=r"^image_size 16 needs a fit other than 'file', whi"
            ):
                load("tetrominoes", root, image_size=16, **given)
        sized = load("tetrominoes", root, image_size=16, fit="stretch")
        assert sized[0]["video"].shape[-2:] == (16, 16)
        assert cast(Configured, sized).settings["image_size"] == 16
        whole = cast(Configured, load("tetrominoes", root))
        assert whole.settings["image_size"] is None


def test_tetrominoes_by_hand(tmp_path):
    image, masks, owner = scene((35, 35, 3), 4)
    record = record_of(image=single_bytes(image), mask=single_bytes(masks))
    path = write(tmp_path / "tetrominoes/tetrominoes_train.tfrecords", [record] * 3)
    sample = load("tetrominoes", tmp_path)[2]
    assert np.array_equal(sample["video"][0].permute(1, 2, 0).numpy(), image)
    assert np.array_equal(sample["labels"][0].numpy(), owner)
    assert load("tetrominoes", tmp_path, fit="crop_first", centre_crop=32, image_size=32)[0][
        "video"
    ].shape == (1, 3, 32, 32)
    with pytest.raises(DataError, match=r"split 'validation' of .* is empty: it has 3 records"):
        load("tetrominoes", tmp_path, "validation")
    assert len(load("tetrominoes", tmp_path, num_records=2)) == 2
    with pytest.raises(DataError, match=r"has 3 records; asked for record 4, counted from 0"):
        load("tetrominoes", tmp_path, num_records=9)[4]
    with pytest.raises(IndexError):
        load("tetrominoes", tmp_path)[3]
    with pytest.raises(DataError, match="num_records is 0, not at least 1"):
        load("tetrominoes", tmp_path, num_records=0)
    with pytest.raises(DataError, match=r"split 'val' of tetrominoes/.* is not one of train"):
        load("tetrominoes", tmp_path, "val")
    other = record_of(image=single_bytes(image[:-1]), mask=single_bytes(masks))
    write(path, [other])
    with pytest.raises(DataError, match=r"record 0 of .* holds 3570 bytes of image and 4900 of"):
        load("tetrominoes", tmp_path)[0]
    write(path, [record_of(image=counted(1, counted(1, b"ab")), mask=single_bytes(masks))])
    with pytest.raises(DataError, match=r"'image' of record 0 of .*damaged: not every value is"):
        load("tetrominoes", tmp_path)[0]
    write(path, [record_of(image=single_bytes(image))])
    with pytest.raises(DataError, match=r"record 0 of .*tetrominoes_train.* has no feature 'mask'"):
        load("tetrominoes", tmp_path)[0]
    path.unlink()
    with pytest.raises(DataError, match=r"tetrominoes_train.tfrecords cannot be read: No"):
        load("tetrominoes", tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "shape", "options"),
    [
        ("clevr", "clevr_with_masks_train", (240, 320, 3), {"crop": "none", "fit": "file"}),
        ("tetrominoes", "tetrominoes_train", (35, 35, 3), {}),
        ("objects_room", "objects_room_train", (64, 64, 3), {"ground": "each"}),
        (
            "objects_room",
            "objects_room_test_six_objects",
            (64, 64, 3),
            {"variant": "six_objects", "ground": "each"},
        ),
        ("multi_dsprites", "multi_dsprites_colored_on_grayscale", (64, 64, 3), {}),
        (
            "multi_dsprites",
            "multi_dsprites_colored_on_colored",
            (64, 64, 3),
            {"variant": "colored_on_colored"},
        ),
    ],
)
def test_real_files_agree_with_an_independent_reading(name, file, shape, options):
    reference = os.environ.get("SLOT_REFERENCE_DATA")
    if reference is None:
        pytest.skip("SLOT_REFERENCE_DATA names no folder of reference data")
    root = Path(reference) / "samples" / "multi_object_datasets"
    (path,) = root.rglob(f"{file}.tfrecords")
    records = list(records_in(gzip.decompress(path.read_bytes())))
    dataset = load(name, root, relabel=False, **options)
    assert len(dataset) == len(records)
    for number in range(len(records)):
        features, sample = features_of(records[number]), dataset[number]
        image, mask = (np.frombuffer(features[key][2::3], np.uint8) for key in ("image", "mask"))
        assert np.array_equal(sample["video"][0].permute(1, 2, 0).numpy(), image.reshape(shape))
        if name == "multi_dsprites":
            owner = mask.reshape(*shape[:2], -1).argmax(-1)
        else:
            owner = mask.reshape(-1, *shape[:2]).argmax(0)
        assert np.array_equal(sample["labels"][0].numpy(), owner)
