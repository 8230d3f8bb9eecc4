"""The Multi-Object Datasets (Kabra et al. 2019): CLEVR with masks, Multi-dSprites, Objects Room and
Tetrominoes, each a TFRecord file that is compressed as a whole.

    ROOT/clevr_with_masks/clevr_with_masks_train.tfrecords
    ROOT/multi_dsprites/multi_dsprites_{binarized,colored_on_grayscale,colored_on_colored}.tfrecords
    ROOT/objects_room/objects_room_train.tfrecords
    ROOT/objects_room/objects_room_test_{empty_room,six_objects,identical_color}.tfrecords
    ROOT/tetrominoes/tetrominoes_train.tfrecords

A record is a `tf.train.Example` whose `image` and `mask` are lists of texts of one byte each. The
mask is 0 or 255 for each entity at each pixel; the first entity is the background, and in Objects
Room the first four are sky, floor and two walls.

The files are read in order (see `gzip_records`), so `slot-data prepare` comes before training. Nor
are they divided: here the first 70 % of the records are for training, as the first 70,000 of CLEVR
were for Slot Attention (Locatello et al. 2020), the next 15 % for validation and the rest for test.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Unpack

import numpy as np
import torch

from slot_data.framing import Framing, FramingOptions, framing_of
from slot_data.gzip_records import GzipRecords
from slot_data.sample import DataError, Sample
from slot_data.tf_example import TFExample
from slot_data.transforms import crop

SPLITS = {"train": (0, 70), "validation": (70, 85), "test": (85, 100), "all": (0, 100)}
COUNTED_BELOW = 2**26  # bytes: what a file may have for its records to be counted
KEPT_STATES = 200

Sprites = Literal["colored_on_grayscale", "colored_on_colored", "binarized"]
Room = Literal["train", "empty_room", "six_objects", "identical_color"]
ROOM_GROUND = 4  # entities


@dataclass(frozen=True)
class Source:
    """One file. count: its published number of records. shape: of an image. entities_first: whether
    a mask is [entities height width 1], else [height width entities 1]. divided: whether it has
    parts for training. ground: how many entities are background."""

    file: str
    count: int
    shape: tuple[int, int, int]
    entities_first: bool = True
    divided: bool = True
    ground: int = 1


class MultiObject:
    """What the four datasets share: the samples of one split, in the order of the records.

    root: the folder that holds those of the datasets.
    split: "train", "validation", "test" or "all".
    num_records: of the file. None is the published number; a file of less than 64 MiB is counted.
    framing: see `Framing`.

    A sample's id is the file's name and the record's number. Raises DataError if the file is
    missing, is damaged, ends early, or holds something else.
    """

    default_framing: ClassVar[Framing] = Framing(fit="file")

    def __init__(
        self,
        source: Source,
        split: str,
        root: str | Path,
        num_records: int | None,
        framing: FramingOptions,
    ) -> None:
        known = tuple(SPLITS) if source.divided else ("test", "all")
        if split not in known:
            raise DataError(f"split {split!r} of {source.file} is not one of {', '.join(known)}")
        self._framing = framing_of(self.default_framing, framing)
        self._source = source
        path = Path(root).expanduser() / source.file
        if num_records is None:
            small = path.is_file() and path.stat().st_size < COUNTED_BELOW
            num_records = GzipRecords(path).count() if small else source.count
        if num_records < 1:
            raise DataError(f"num_records is {num_records}, not at least 1")
        self._records = GzipRecords(path, spacing=-(-num_records // KEPT_STATES))
        start, stop = SPLITS[split if source.divided else "all"]
        self._numbers = np.arange(num_records * start // 100, num_records * stop // 100)
        if not len(self._numbers):
            raise DataError(f"split {split!r} of {path} is empty: it has {num_records} records")

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self._records.path}: there are {len(self)}")
        return self._framing(self._read(int(self._numbers[index])))

    def _example(self, number: int) -> TFExample:
        record = self._records.read(number)
        return TFExample(record, 0, len(record), f"record {number} of {self._records.path}")

    def _read(self, number: int) -> Sample:
        example, (height, width, channels) = self._example(number), self._source.shape
        image, mask = example.single_bytes("image"), example.single_bytes("mask")
        if len(image) != height * width * channels or len(mask) % (height * width):
            raise DataError(
                f"{example.name} holds {len(image)} bytes of image and {len(mask)} of mask; "
                f"expected pictures of {width}x{height} pixels with {channels} channels"
            )
        pixels = torch.from_numpy(image.reshape(1, height, width, channels).copy())
        if self._source.entities_first:
            masks = mask.reshape(-1, height, width)
        else:
            masks = mask.reshape(height, width, -1).transpose(2, 0, 1)
        labels = np.zeros((height, width), dtype=np.uint8)
        for entity in range(self._source.ground, len(masks)):
            labels[masks[entity] > 127] = entity - self._source.ground + 1
        return {
            "video": pixels.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).contiguous(),
            "id": f"{Path(self._source.file).stem}-{number:07d}",
            "labels": torch.from_numpy(labels)[None],
        }


class Clevr(MultiObject):
    """CLEVR with masks: 100,000 pictures of 320x240 pixels with 3 to 10 objects.

    crop: "slot_attention" takes the 192x192 pixels at row 29 and column 64, as IODINE, Slot
        Attention and others after them; "none" leaves it to `framing`.
    max_objects: leaves out pictures with more visible objects. Every record of the split is read
        for that. 6 is the CLEVR6 of IODINE and Slot Attention; what the code of DINOSAUR calls so
        is 5, since it counts the background.
    The others are those of `MultiObject`.
    """

    default_framing: ClassVar[Framing] = Framing(image_size=128)
    SOURCE: ClassVar[Source] = Source(
        "clevr_with_masks/clevr_with_masks_train.tfrecords", 100_000, (240, 320, 3)
    )

    def __init__(
        self,
        split: str,
        root: str | Path,
        crop: Literal["slot_attention", "none"] = "slot_attention",
        max_objects: int | None = None,
        num_records: int | None = None,
        **framing: Unpack[FramingOptions],
    ) -> None:
        super().__init__(self.SOURCE, split, root, num_records, framing)
        self._crop, self.max_objects = crop, max_objects
        if max_objects is not None:
            few = [self._num_objects(int(n)) <= max_objects for n in self._numbers]
            self._numbers = self._numbers[few]
            if not len(self._numbers):
                raise DataError(
                    f"no picture of split {split!r} in {self._records.path} has at most "
                    f"{max_objects} objects"
                )

    def _num_objects(self, number: int) -> int:
        return int((self._example(number).floats("visibility")[1:] > 0).sum())

    def _read(self, number: int) -> Sample:
        sample = super()._read(number)
        return crop(sample, 29, 64, 192, 192) if self._crop == "slot_attention" else sample


class MultiDSprites(MultiObject):
    """Multi-dSprites: a million pictures of 64x64 pixels with 2 to 5 flat shapes, 3 at most where
    they are binarized.

    variant: which of the three files.
    The others are those of `MultiObject`.
    """

    def __init__(
        self,
        split: str,
        root: str | Path,
        variant: Sprites = "colored_on_grayscale",
        num_records: int | None = None,
        **framing: Unpack[FramingOptions],
    ) -> None:
        channels = 1 if variant == "binarized" else 3
        source = Source(
            f"multi_dsprites/multi_dsprites_{variant}.tfrecords",
            1_000_000,
            (64, 64, channels),
            entities_first=False,
        )
        super().__init__(source, split, root, num_records, framing)


class ObjectsRoom(MultiObject):
    """Objects Room: a million pictures of 64x64 pixels of 1 to 3 objects in a room, and three sets
    of 922 for tests alone.

    variant: "train", or which of the sets for tests.
    ground: "one" makes sky, floor and walls the background; "each" numbers floor and walls 1 to 3
        and the objects from 4 on.
    The others are those of `MultiObject`.
    """

    def __init__(
        self,
        split: str,
        root: str | Path,
        variant: Room = "train",
        ground: Literal["one", "each"] = "one",
        num_records: int | None = None,
        **framing: Unpack[FramingOptions],
    ) -> None:
        name = "train" if variant == "train" else f"test_{variant}"
        source = Source(
            f"objects_room/objects_room_{name}.tfrecords",
            1_000_000 if variant == "train" else 922,
            (64, 64, 3),
            divided=variant == "train",
            ground=ROOM_GROUND if ground == "one" else 1,
        )
        super().__init__(source, split, root, num_records, framing)


class Tetrominoes(MultiObject):
    """Tetrominoes: a million pictures of 35x35 pixels with 3 pieces each that do not overlap. The
    parameters are those of `MultiObject`."""

    SOURCE: ClassVar[Source] = Source(
        "tetrominoes/tetrominoes_train.tfrecords", 1_000_000, (35, 35, 3)
    )

    def __init__(
        self,
        split: str,
        root: str | Path,
        num_records: int | None = None,
        **framing: Unpack[FramingOptions],
    ) -> None:
        super().__init__(self.SOURCE, split, root, num_records, framing)
