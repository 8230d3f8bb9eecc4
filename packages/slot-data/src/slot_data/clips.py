"""Which frames of a video make a clip. A clip is `num_frames` frames, `stride` apart."""

from dataclasses import dataclass

from slot_data.raw_bits import RawBits
from slot_data.sample import DataError, Sample


def clip_frames(start: int, num_frames: int, stride: int = 1) -> range:
    """Numbers of the frames of the clip that begins at frame `start`."""
    return range(start, start + num_frames * stride, stride)


def num_clips(length: int, num_frames: int, stride: int = 1) -> int:
    """How many clips, each with another first frame, a video of `length` frames holds."""
    return max(0, length - (num_frames - 1) * stride)


def take_frames(sample: Sample, frames: range) -> Sample:
    """Those frames of a video and their labels. Raises DataError if the video is shorter."""
    length = len(sample["video"])
    if frames[-1] >= length:
        raise DataError(
            f"sample {sample['id']!r} has {length} frames; "
            f"a clip of {len(frames)} frames {frames.step} apart needs {frames[-1] + 1}"
        )
    taken = sample.copy()
    taken["video"] = sample["video"][frames.start : frames.stop : frames.step].contiguous()
    if "labels" in sample:
        taken["labels"] = sample["labels"][frames.start : frames.stop : frames.step].contiguous()
    return taken


def first_frames(sample: Sample, num_frames: int, stride: int = 1) -> Sample:
    """The clip at the beginning of a video."""
    return take_frames(sample, clip_frames(0, num_frames, stride))


@dataclass(frozen=True)
class RandomClip:
    """An augmentation: a clip whose first frame is drawn anew in every epoch."""

    num_frames: int
    stride: int = 1

    def __call__(self, sample: Sample, bits: RawBits) -> Sample:
        starts = num_clips(len(sample["video"]), self.num_frames, self.stride)
        start = bits.below(starts) if starts else 0  # take_frames says why there is none
        return take_frames(sample, clip_frames(start, self.num_frames, self.stride))
