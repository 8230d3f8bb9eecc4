"""From files of any size to samples of one: the last steps that datasets of files share."""

from dataclasses import dataclass

from slot_data.sample import DataError, Sample
from slot_data.transforms import LabelResize, centre_crop, relabel, resize


@dataclass(frozen=True)
class Framing:
    """Centre crop, resize, relabel, in this order. The fields are options of every dataset of
    files.

    centre_crop: side of the centred square in the file's pixels; None takes the largest.
    image_size: height and width of the sample.
    antialias: of the picture's resize; the published pipelines before 2023 had none.
    label_resize: the rule for labels, see `transforms`.
    relabel: number the objects that are left 1..K; False keeps the file's numbers.
    """

    image_size: int
    centre_crop: int | None
    antialias: bool
    label_resize: LabelResize
    relabel: bool

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise DataError(f"image_size is {self.image_size}, not at least 1")

    def __call__(self, sample: Sample) -> Sample:
        sample = centre_crop(sample, self.centre_crop)
        sample = resize(sample, self.image_size, self.antialias, self.label_resize)
        return relabel(sample) if self.relabel else sample
