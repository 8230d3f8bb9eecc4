"""CelebA (Liu, Luo, Wang, Tang 2015): 202,599 aligned faces without masks, as torchvision lays them
out or as they are published:

    ROOT/img_align_celeba/<number, six digits>.jpg      or  ROOT/Img/img_align_celeba/
    ROOT/list_eval_partition.txt                        or  ROOT/Eval/list_eval_partition.txt

ROOT is that folder, or one that holds it as `celeba` or `CelebA`. A line of the list is a name and
the number of its split; in the published file lines end with CRLF.
"""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Unpack

import numpy as np

from slot_data.file_lists import first_of, lines_of, require_files
from slot_data.framing import Framing, FramingOptions
from slot_data.image_files import read_sample
from slot_data.sample import DataError, Sample

SPLITS = {"train": 0, "validation": 1, "test": 2}
LIST = "list_eval_partition.txt"
FOLDER = "img_align_celeba"


class CelebA:
    """The faces of one split, in the order of the list.

    root: a folder of one of the layouts above.
    split: "train", "validation", "test" or "all".
    framing: see `Framing`. The pictures are 178 wide and 218 high.

    Samples have no labels. Raises DataError if the list or a picture that it names is missing, or
    cannot be read.
    """

    default_framing: ClassVar[Framing] = Framing()

    def __init__(self, split: str, root: str | Path, **framing: Unpack[FramingOptions]) -> None:
        if split not in (*SPLITS, "all"):
            raise DataError(f"split {split!r} of celeba is not one of {', '.join(SPLITS)}, all")
        self._framing = replace(self.default_framing, **framing)
        root = Path(root).expanduser()
        bases = ("", "celeba/", "CelebA/")
        folders = [b + p for b in bases for p in (FOLDER, f"Img/{FOLDER}")]
        self._folder = first_of(root, folders, "celeba")
        path = first_of(root, [b + p for b in bases for p in (LIST, f"Eval/{LIST}")], "celeba")
        names, numbers = read_partition(path)
        kept = np.ones(len(names), dtype=bool) if split == "all" else numbers == SPLITS[split]
        self._names = names[kept]  # an array: loader workers share it
        if not len(self._names):
            raise DataError(f"list {path} of celeba names no picture of split {split!r}")
        require_files(self._folder, self._names.tolist(), f"pictures of split {split!r}")

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self._folder}: there are {len(self)}")
        path = self._folder / str(self._names[index])
        return self._framing(read_sample(path.stem, [path], None))


def read_partition(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Names and, int64, the numbers of their splits, in the order of the list. Raises DataError if
    it cannot be read or has other lines."""
    names, numbers = [], []
    for place, line in enumerate(lines_of(path, "celeba"), 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2 or parts[1] not in ("0", "1", "2"):
            raise DataError(
                f"line {place} of {path} is {line.strip()[:80]!r}; expected a name and 0, 1 or 2"
            )
        names.append(parts[0])
        numbers.append(int(parts[1]))
    return np.array(names, dtype=str), np.array(numbers, dtype=np.int64)
