"""What is fuzzed: how an input of each parser is made, and how it is read in all ways there are.

A reader returns whether all of it could be read. What it refuses, it refuses by the error of its
own package; anything else is a bug.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "apps"), str(ROOT / "packages" / "slot-data" / "tests")]

from movi_files import example, movi_example, tfrecord  # noqa: E402  (the path to it is set above)

import fuzz_inputs as inputs  # noqa: E402
from slot_core import ConfigError  # noqa: E402
from slot_data import DataError  # noqa: E402
from slot_data.gzip_records import GzipRecords  # noqa: E402
from slot_data.movi_tfrecord import RecordVideo, Wanted  # noqa: E402
from slot_data.tf_example import TFExample  # noqa: E402
from slot_data.tfrecord import GZIP, records_of  # noqa: E402
from slot_eval.errors import EvalError  # noqa: E402
from slot_eval.physion_vqa import read_answers  # noqa: E402
from slot_eval.picture_files import open_pictures  # noqa: E402
from slot_eval.predictions import open_labels  # noqa: E402
from support.options import RECIPES, flatten, load_options  # noqa: E402

KEYS = ("video", "segmentations", "depth", "forward_flow", "metadata/depth_range", "image", "mask",
        "metadata/forward_flow_range", "visibility")  # fmt: skip
WORDS = [word.encode("utf-8", "surrogatepass") for word in inputs.ODD_WORDS]
LONGEST_SENTENCE = 2_000  # characters: of a command line, --set may say much


@dataclass(frozen=True)
class Target:
    """A parser. ``read`` is given an input and an empty folder for it; ``vary`` changes an input
    a little, behind its checksums."""

    name: str
    inputs: st.SearchStrategy[Any]
    read: Callable[[Any, Path], bool]
    vary: Callable[[Any, Random], Any]


class Reading:
    """Whether everything was read; a refusal must be one sentence of the right class."""

    def __init__(self, error: type[Exception]) -> None:
        self.error, self.whole = error, True

    @contextmanager
    def part(self) -> Iterator[None]:
        try:
            yield
        except self.error as error:
            self.whole = False
            sentence = str(error)
            assert sentence.isprintable(), sentence
            assert len(sentence) <= LONGEST_SENTENCE, sentence


def _write(path: Path, content: bytes) -> None:
    """Write a file anew: cutting off an old one can make a file system wait for its disk."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def read_tfrecord(content: bytes, folder: Path) -> bool:
    """Plain or compressed: each record, each feature in each way, and a MOVi video with all."""
    path, reading = folder / "movi_a-train.tfrecord-00000-of-00001", Reading(DataError)
    _write(path, content)
    with reading.part():
        if content[:2] == GZIP:
            records = GzipRecords(path, spacing=1)
            for number in (0, 2, 1):
                with reading.part():
                    record = records.read(number)
                    _read_features(record, 0, len(record), reading)
            reading.whole = records.count() > 0
            return reading.whole
        for record in records_of(path)[:4]:
            with reading.part():
                record.verify()
            with record.mapped() as mapped:
                _read_features(mapped, record.start, record.stop, reading)
            with reading.part():
                RecordVideo(record, 2, Wanted(True, "forward", True)).read("0", range(1))
    return reading.whole


def _read_features(content: Any, start: int, stop: int, reading: Reading) -> None:
    with reading.part():
        found = TFExample(content, start, stop, "a record")
        for key in KEYS:
            if key not in found:
                continue
            kinds = (found.texts, found.integers, found.floats, found.single_bytes)
            read = 0
            for kind in kinds:
                whole = reading.whole
                with reading.part():
                    kind(key)
                    read += 1
                reading.whole = whole
            reading.whole &= read > 0


def read_options(stated: tuple[bytes, list[str]], folder: Path) -> bool:
    """A recipe with changes, and all that a run does with its options."""
    path, reading = folder / "recipe.yaml", Reading(ConfigError)
    _write(path, stated[0])
    with reading.part():
        options = load_options(str(path), stated[1])
        described = options.model_dump(mode="json")
        json.dumps(described, allow_nan=False).encode()
        flatten(described)
    return reading.whole


def read_predictions(content: bytes, folder: Path) -> bool:
    """As labels, as pictures, and as answers; read is what one of them can read."""
    path, whole = folder / "predictions.npz", False
    _write(path, content)
    for open_file in (open_labels, open_pictures, read_answers):
        reading = Reading(EvalError)
        with reading.part():
            found: Any = open_file(path)
            for name in found.ids[:4] if open_file is not read_answers else ():
                json.dumps(name).encode()
                found.sample(name)
        whole |= reading.whole
    return whole


def _tfrecord_inputs() -> st.SearchStrategy[bytes]:
    random = np.random.default_rng(0)
    video = random.integers(256, size=(2, 4, 4, 3), dtype=np.uint8)
    labels = random.integers(3, size=(2, 4, 4), dtype=np.uint8)
    depth, flow = (random.integers(2**16, size=(2, 4, 4, *more), dtype=np.uint16)
                   for more in ((), (2,)))  # fmt: skip
    single = [bytes([value]) for value in range(12)]
    valid = [
        movi_example(video, labels, flow=flow, depth=depth),
        example({"image": single, "mask": single, "visibility": [1.0, 0.0]}),
        example({"video": [], "depth": [3]}),
    ]
    return (
        st.binary(max_size=200)
        | inputs.tfrecords(valid, KEYS)
        | inputs.tfrecords(valid, KEYS)
        | inputs.edited([tfrecord(valid[1:]), struct.pack("<QI", 2**63, 0)])
    )


def _options_inputs() -> st.SearchStrategy[tuple[bytes, list[str]]]:
    recipes = sorted(path.read_bytes() for path in RECIPES.rglob("*.yaml"))
    stated = [
        "train.seed=1", "train.num_steps=20", "data.root=DATA", "data={name: folder, root: X}",
        "model.num_slots=5", "model.encoder.initializer.type=gaussian", "model.slot_dim=64",
        "start.fresh=[encoder.predictor]", "optimizer.learning_rate=1e-3", "log.trackers=[a]",
        "model.decoder.channels=[8, 8]", "model.preset=savi", "validation.protocol=x", "model={}",
    ]  # fmt: skip
    text = st.binary(max_size=100) | inputs.edited(recipes, WORDS) | st.sampled_from(recipes)
    return st.tuples(text, st.lists(inputs.changes(stated), max_size=2))


def _predictions_inputs() -> st.SearchStrategy[bytes]:
    ids, labels = np.array(["a", "b"]), np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    arrays = [ids, labels, labels > 3, labels[:, None].astype(np.int64), np.ones(2, np.float32)]
    arrays.append(np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2))
    saved = [inputs.saved(array) for array in arrays]
    wholes = []
    for write in (np.savez, np.savez_compressed):
        for overlap in (True, False):
            file = io.BytesIO()
            if overlap:
                write(file, ids=ids, labels=labels, overlap=labels > 3)
            else:
                write(file, ids=ids, labels=labels)
            wholes.append(file.getvalue())
    made = inputs.archives(saved)
    return st.binary(max_size=200) | made | made | inputs.edited(wholes, [b"PK\1\2", b"PK\5\6"])


def _vary_tfrecord(content: bytes, random: Random) -> bytes:
    return (inputs.edit if random.random() < 0.25 else inputs.edit_record)(content, random)


def _vary_options(stated: tuple[bytes, list[str]], random: Random) -> tuple[bytes, list[str]]:
    return inputs.edit(stated[0], random, WORDS), stated[1]


def _vary_predictions(content: bytes, random: Random) -> bytes:
    return (inputs.edit if random.random() < 0.25 else inputs.edit_member)(content, random)


TARGETS = {
    "tfrecord": lambda: Target("tfrecord", _tfrecord_inputs(), read_tfrecord, _vary_tfrecord),
    "options": lambda: Target("options", _options_inputs(), read_options, _vary_options),
    "predictions": lambda: Target(
        "predictions", _predictions_inputs(), read_predictions, _vary_predictions
    ),
}
