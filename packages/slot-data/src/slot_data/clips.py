"""Which frames of a video make a clip. A clip is `num_frames` frames, `stride` apart."""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

from slot_data.raw_bits import RawBits
from slot_data.sample import DataError, Sample, pixel_maps, with_pixels


def clip_frames(start: int, num_frames: int, stride: int = 1) -> range:
    """Numbers of the frames of the clip that begins at frame `start`."""
    return range(start, start + num_frames * stride, stride)


def num_clips(length: int, num_frames: int, stride: int = 1) -> int:
    """How many clips, each with another first frame, a video of `length` frames holds."""
    return max(0, length - (num_frames - 1) * stride)


def too_short(video: str, length: int, frames: range) -> str:
    """The sentence for a clip that a video of `length` frames does not hold, and its options."""
    options = "num_frames" if frames.step == 1 else "num_frames or stride"
    return (
        f"{video} has {length} frames; a clip of {len(frames)} frames {frames.step} apart needs "
        f"{frames[-1] + 1}; lower {options}"
    )


def take_frames(sample: Sample, frames: range) -> Sample:
    """Those frames of a video and of the maps over it. Raises DataError if the video is shorter."""
    length = len(sample["video"])
    if frames[-1] >= length:
        raise DataError(too_short(f"sample {sample['id']!r}", length, frames))
    part = slice(frames.start, frames.stop, frames.step)
    maps = {name: pixels[part] for name, pixels in pixel_maps(sample).items()}
    return with_pixels(sample, sample["video"][part], maps)


def first_frames(sample: Sample, num_frames: int, stride: int = 1) -> Sample:
    """The clip at the beginning of a video."""
    return take_frames(sample, clip_frames(0, num_frames, stride))


Clips = Literal["first", "every", "apart"]


@dataclass(frozen=True)
class ClipChoice:
    """Which clips of each video are samples. The fields are options of datasets of files.

    num_frames, stride: a clip is so many frames of a video, so far apart.
    clips: "first" is the one at the beginning of the video, "every" one for each frame that a clip
        can begin with, and "apart" as many as have no frame in common: with a stride, interleaved
        ones, and then the next ones after them. What is left over at the end is not used.
    """

    num_frames: int
    stride: int
    clips: Clips

    def __post_init__(self) -> None:
        if self.clips not in get_args(Clips):
            raise DataError(f"clips {self.clips!r} is not one of {', '.join(get_args(Clips))}")
        if self.num_frames < 1 or self.stride < 1:
            raise DataError(
                f"num_frames {self.num_frames} and stride {self.stride} must be at least 1"
            )

    @property
    def first(self) -> range:
        return self.frames(0)

    def count(self, video: str, length: int) -> int:
        """How many clips a video of `length` frames gives. Raises DataError, calling it `video`,
        if there is none."""
        starts = num_clips(length, self.num_frames, self.stride)
        if not starts:
            raise DataError(too_short(video, length, self.first))
        if self.clips == "apart":
            whole = length // (self.num_frames * self.stride)
            return max(1, whole * self.stride)
        return starts if self.clips == "every" else 1

    def frames(self, number: int) -> range:
        """The frames of a video's clip of this number, from 0."""
        start = number
        if self.clips == "apart":
            block, offset = divmod(number, self.stride)
            start = block * self.num_frames * self.stride + offset
        return clip_frames(start, self.num_frames, self.stride)


@runtime_checkable
class KnowsShortest(Protocol):
    """A dataset that knows the lengths of its samples without reading them."""

    def shortest(self) -> tuple[str, int]:
        """What to call the sample with the fewest frames, and how many these are."""
        ...


@dataclass(frozen=True)
class RandomClip:
    """An augmentation: a clip whose first frame is drawn anew in every epoch, of a sample that is a
    longer clip or a whole video (all of it is read for it)."""

    num_frames: int
    stride: int = 1

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.stride < 1:
            raise DataError(
                f"num_frames {self.num_frames} and stride {self.stride} must be at least 1"
            )

    def check(self, dataset: object) -> None:
        """Raises DataError where a dataset knows beforehand that it has a shorter sample."""
        if isinstance(dataset, KnowsShortest):
            name, length = dataset.shortest()
            if not num_clips(length, self.num_frames, self.stride):
                frames = clip_frames(0, self.num_frames, self.stride)
                raise DataError(f"random_clip: {too_short(name, length, frames)}")

    def __call__(self, sample: Sample, bits: RawBits) -> Sample:
        starts = num_clips(len(sample["video"]), self.num_frames, self.stride)
        start = bits.below(starts) if starts else 0  # take_frames says why there is none
        return take_frames(sample, clip_frames(start, self.num_frames, self.stride))
