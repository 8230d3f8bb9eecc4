"""From files of any size to samples of one: the last steps that datasets of files share."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, get_args

from slot_data.sample import DataError, Sample, SampleDataset
from slot_data.transforms import (
    Interpolation,
    LabelResize,
    Rounding,
    centre_crop,
    relabel,
    resize,
    size_by_shorter_side,
)

Fit = Literal["crop_first", "resize_first", "shorter_side", "stretch", "file"]
Relabel = bool | Literal["from_zero"]


@dataclass(frozen=True)
class Framing:
    """Crop, resize, relabel. The fields are options of every dataset of files.

    image_size: height and width of the sample, unless `fit` is "file".
    centre_crop: side of a centred square of the file's pixels that is cut out before all else.
    antialias: of the picture's resize; the published pipelines before 2023 had none.
    label_resize: the rule for labels, see `transforms`.
    relabel: number the objects that are left 1..K, and so the classes; False keeps the file's
        numbers; "from_zero" makes the first object the background where no background is left.
    fit: how the picture gets its size.
        "crop_first": the largest centred square, then resized.
        "resize_first": resized until the shorter side fits, then the centred square.
        "shorter_side": resized until the shorter side fits; what is longer stays, for a random
            crop later.
        "stretch": resized to a square; the aspect is lost.
        "file": as it is.
    interpolation: of the picture's resize.
    rounding: of the longer side and of odd margins, see `transforms`.
    """

    image_size: int = 128
    centre_crop: int | None = None
    antialias: bool = True
    label_resize: LabelResize = "nearest-exact"
    relabel: Relabel = True
    fit: Fit = "crop_first"
    interpolation: Interpolation = "bilinear"
    rounding: Rounding = "nearest"

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise DataError(f"image_size is {self.image_size}, not at least 1")
        if self.fit not in get_args(Fit):
            raise DataError(f"fit {self.fit!r} is not one of {', '.join(get_args(Fit))}")

    def __call__(self, sample: Sample) -> Sample:
        sample = self._resized(self.cut(sample))
        if self.fit == "resize_first":
            sample = centre_crop(sample, None, self.rounding)
        return relabel(sample, self.relabel == "from_zero") if self.relabel else sample

    def cut(self, sample: Sample) -> Sample:
        """The first step: what is cut out of the file's pixels before all else."""
        if self.centre_crop is None and self.fit != "crop_first":
            return sample
        return centre_crop(sample, self.centre_crop, self.rounding)

    def _resized(self, sample: Sample) -> Sample:
        if self.fit == "file":
            return sample
        size = self.image_size, self.image_size
        if self.fit in ("resize_first", "shorter_side"):
            height, width = sample["video"].shape[-2:]
            size = size_by_shorter_side(height, width, self.image_size, self.rounding)
        return resize(sample, size, self.antialias, self.label_resize, self.interpolation)


def framing_of(default: Framing, options: Mapping[str, Any]) -> Framing:
    """`default` with these fields. Raises DataError for a size where pictures stay as they
    are, of a dataset that leaves them so unless told otherwise."""
    if default.fit == "file" and "image_size" in options and options.get("fit", "file") == "file":
        raise DataError(
            f"image_size {options['image_size']} needs a fit other than 'file', which leaves the "
            "pictures of this dataset as they are; give one, such as 'crop_first'"
        )
    return replace(default, **options)


UNFRAMED = Framing(fit="file", relabel=False)


def unframed(dataset: SampleDataset) -> SampleDataset:
    """A copy of a dataset whose samples are as in its files. Each dataset of files keeps its
    `Framing` under one name; the others have none, and are themselves."""
    if not hasattr(dataset, "_framing"):
        return dataset
    other = copy(dataset)
    other.__dict__["_framing"] = UNFRAMED
    return other


class FramingOptions(TypedDict, total=False):
    """The fields of `Framing`, as keyword arguments of the datasets that have one."""

    image_size: int
    centre_crop: int | None
    antialias: bool
    label_resize: LabelResize
    relabel: Relabel
    fit: Fit
    interpolation: Interpolation
    rounding: Rounding
