"""Whether a copy of a dataset is whole: every sample of a split is read once."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from slot_data.card import Card
from slot_data.catalog import load_dataset_by_name
from slot_data.dataset_card import objects_in_words
from slot_data.framing import FramingOptions
from slot_data.manifest import Manifest, file_hash
from slot_data.sample import DataError, Sample, SampleDataset

# Options that do not change how many samples there are.
HARMLESS = {"root", "masks", "outcomes", *FramingOptions.__annotations__}


@dataclass
class SplitReport:
    """expected: what the card says, None where it does not or where options change it.
    objects: number of objects -> samples with so many, where there are labels.
    faults: a sentence for each sample that cannot be read, or for the split.
    """

    split: str
    samples: int
    expected: int | None
    objects: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.faults and self.expected in (None, self.samples)


def splits_of(card: Card) -> list[str]:
    """Those of the card that are not the union of others."""
    return [split for split in card.splits if split not in ("all", "trainval")] or ["all"]


def open_split(
    card: Card, split: str, options: Mapping[str, Any]
) -> tuple[SplitReport, SampleDataset | None]:
    """A report without samples yet, and what to read; None where that cannot be had."""
    expected = card.splits.get(split) if set(options) <= HARMLESS else None
    try:
        dataset = load_dataset_by_name(card.name, split=split, **options)
    except DataError as error:
        return SplitReport(split, 0, expected, faults=[str(error)]), None
    return SplitReport(split, len(dataset), expected), dataset


def read_all(dataset: SampleDataset, report: SplitReport, workers: int) -> Iterator[None]:
    """Reads every sample and adds what it finds to the report, once for each sample."""
    loader = DataLoader(_Readings(dataset), batch_size=None, num_workers=workers)
    for objects, fault in loader:
        if fault:
            report.faults.append(fault)
        elif objects is not None:
            report.objects[objects] += 1
        yield


def table(reports: list[SplitReport]) -> str:
    """One line per split."""
    rows = [("split", "samples", "card", "unreadable", "objects")]
    for report in reports:
        expected = "-" if report.expected is None else f"{report.expected:,}"
        unread = f"{len(report.faults):,}" if report.samples else "all"
        rows.append(
            (
                report.split,
                f"{report.samples:,}",
                expected,
                unread,
                objects_in_words(report.objects),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place in (0, 4) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def verdict(card: Card, reports: list[SplitReport]) -> str:
    """What is wrong, in one sentence; empty where nothing is."""
    for report in reports:
        if report.faults:
            count = len(report.faults)
            found = "one fault" if count == 1 else f"{count:,} faults, the first"
            return f"split {report.split!r} of {card.name} has {found}: {report.faults[0]}"
    short = [
        f"{report.split!r} has {report.samples:,} samples and not {report.expected:,}"
        for report in reports
        if not report.complete
    ]
    return f"{card.name} is not what its card says: {', '.join(short)}" if short else ""


def check_files(folder: Path, manifest: Manifest) -> Iterator[str]:
    """What is wrong with each file of a prepared folder, in one sentence; empty where nothing is.
    Every byte is read."""
    for split in manifest.splits.values():
        for name, checksum in split.checksums.items():
            if not (folder / name).is_file():
                yield f"{folder} lacks {name}"
            elif file_hash(folder / name) != checksum:
                yield f"{folder / name} is damaged: it does not fit its checksum"
            else:
                yield ""


def num_files(manifest: Manifest) -> int:
    """How many `check_files` looks at."""
    return sum(len(split.checksums) for split in manifest.splits.values())


class _Readings(Dataset[tuple[int | None, str]]):
    """(number of objects, "") of each sample, or (None, what is wrong with it)."""

    def __init__(self, dataset: SampleDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[int | None, str]:
        try:
            return _num_objects(self._dataset[index]), ""
        except DataError as error:
            return None, str(error)


def _num_objects(sample: Sample) -> int | None:
    """Raises DataError for labels that are below 0."""
    if "labels" not in sample:
        return None
    present = sample["labels"].unique()
    if int(present[0]) < 0:
        raise DataError(f"sample {sample['id']!r} has the label {int(present[0])}, below 0")
    return int((present > 0).sum())
