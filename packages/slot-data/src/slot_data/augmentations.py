"""Random changes of a training sample, as pure functions of (seed, epoch, sample id): the same
whatever process or worker computes them, and after a resume."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch.utils.data import Dataset

from slot_data.order import Key
from slot_data.raw_bits import AUGMENTATION, KEY_LIMIT, RawBits, key_of
from slot_data.sample import DataError, Sample, SampleDataset
from slot_data.transforms import crop, horizontal_flip, resize

Augmentation = Callable[[Sample, RawBits], Sample]
"""Draws what it needs from the bits and returns a changed copy; one draw serves all frames."""


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirrors half of the samples left to right."""

    def __call__(self, sample: Sample, bits: RawBits) -> Sample:
        return horizontal_flip(sample) if bits.below(2) else sample


@dataclass(frozen=True)
class RandomCrop:
    """A window whose sides are between `smallest_percent` and 100 % of the picture's, anywhere in
    it, resized back to the picture's size."""

    smallest_percent: int = 75

    def __post_init__(self) -> None:
        if not 1 <= self.smallest_percent <= 100:
            raise DataError(f"smallest_percent is {self.smallest_percent}, not from 1 to 100")

    def __call__(self, sample: Sample, bits: RawBits) -> Sample:
        height, width = sample["video"].shape[-2:]
        percent = bits.between(self.smallest_percent, 100)
        rows, columns = max(1, height * percent // 100), max(1, width * percent // 100)
        top, left = bits.between(0, height - rows), bits.between(0, width - columns)
        return resize(crop(sample, top, left, rows, columns), (height, width))


@dataclass(frozen=True)
class RandomSquare:
    """The largest square, anywhere along the longer side; for samples whose shorter side alone has
    its size yet (`fit` "shorter_side")."""

    def __call__(self, sample: Sample, bits: RawBits) -> Sample:
        height, width = sample["video"].shape[-2:]
        size = min(height, width)
        top, left = bits.between(0, height - size), bits.between(0, width - size)
        return crop(sample, top, left, size, size)


AUGMENTATIONS: dict[str, Callable[[], Augmentation]] = {
    "horizontal_flip": HorizontalFlip,
    "random_crop": RandomCrop,
    "random_square": RandomSquare,
}


def augmentations_by_name(names: Sequence[str]) -> list[Augmentation]:
    """For recipes: the named augmentations with their default settings, in the order given.
    Raises DataError for an unknown name."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise DataError(f"augmentation {name!r} is not one of {', '.join(AUGMENTATIONS)}")
    return [AUGMENTATIONS[name]() for name in names]


class AugmentedDataset(Dataset[Sample]):
    """`dataset` indexed by (epoch, index), each sample changed by `augmentations` in turn."""

    def __init__(
        self, dataset: SampleDataset, augmentations: Sequence[Augmentation], seed: int
    ) -> None:
        if not 0 <= seed < KEY_LIMIT:
            raise DataError(f"seed is {seed}, not in [0, 2**64)")
        self.dataset, self.augmentations, self.seed = dataset, tuple(augmentations), seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        sample = self.dataset[index]
        bits = RawBits(AUGMENTATION, self.seed, key_of(f"{epoch}/{sample['id']}"))
        for augmentation in self.augmentations:
            sample = augmentation(sample, bits)
        return sample
