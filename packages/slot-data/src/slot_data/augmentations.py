"""Random changes of a training sample, as pure functions of (seed, epoch, sample id): the same
whatever process or worker computes them, and after a resume."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch.utils.data import Dataset

from slot_data.clips import RandomClip
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


AUGMENTATIONS: dict[str, type[Any]] = {
    "horizontal_flip": HorizontalFlip,
    "random_crop": RandomCrop,
    "random_square": RandomSquare,
    "random_clip": RandomClip,
}


Named = str | Mapping[str, Any]
"""A name, or a name and its settings: "random_crop", {"random_clip": {"num_frames": 6}}."""


def augmentations_by_name(names: Sequence[Named]) -> list[Augmentation]:
    """For recipes: the named augmentations in the order given. Raises DataError for an unknown name
    or setting, or one that is missing."""
    return [_augmentation(name) for name in names]


def _augmentation(named: Named) -> Augmentation:
    name, settings = (named, {}) if isinstance(named, str) else _single(named)
    if name not in AUGMENTATIONS:
        raise DataError(f"augmentation {name!r} is not one of {', '.join(AUGMENTATIONS)}")
    known = [field.name for field in fields(AUGMENTATIONS[name])]
    for key, value in settings.items():
        if key not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise DataError(f"augmentation {name!r} has no setting {key!r}; {has}")
        if type(value) is not int:
            raise DataError(f"augmentation {name!r}: {key} is {value!r}, not a whole number")
    try:
        return AUGMENTATIONS[name](**settings)
    except TypeError:
        needed = next(key for key in known if key not in settings)
        raise DataError(f"augmentation {name!r} needs {needed}") from None


def _single(named: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if len(named) != 1 or not all(isinstance(value, Mapping) for value in named.values()):
        raise DataError(f"augmentation {dict(named)!r} is not one name with its settings")
    return next(iter(named.items()))


class AugmentedDataset(Dataset[Sample]):
    """`dataset` indexed by (epoch, index), each sample changed by `augmentations` in turn.

    Raises DataError for a seed out of range, as `RandomClip.check` does, and for a sample of slots,
    which would no longer be those of its changed video.
    """

    def __init__(
        self, dataset: SampleDataset, augmentations: Sequence[Augmentation], seed: int
    ) -> None:
        if not 0 <= seed < KEY_LIMIT:
            raise DataError(f"seed is {seed}, not in [0, 2**64)")
        clip = next((one for one in augmentations if isinstance(one, RandomClip)), None)
        if clip is not None:
            clip.check(dataset)
        self.dataset, self.augmentations, self.seed = dataset, tuple(augmentations), seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        sample = self.dataset[index]
        if self.augmentations:
            _check_pixels(sample)
        bits = RawBits(AUGMENTATION, self.seed, key_of(f"{epoch}/{sample['id']}"))
        for augmentation in self.augmentations:
            sample = augmentation(sample, bits)
        return sample


def _check_pixels(sample: Sample) -> None:
    if "slots" in sample or "video" not in sample:
        what = "slots" if "slots" in sample else "no video"
        raise DataError(
            f"augmentations change pixels, but sample {sample['id']!r} has {what}; leave them out"
        )
