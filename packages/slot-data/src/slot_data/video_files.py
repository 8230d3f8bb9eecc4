"""Frames of a video file, by their number or one after the other, through PyAV (the extra
`video`).

A clip is read from the key frame before it, so neither time nor memory grows with the length of
the file. That takes the presentation time of every frame. The packets tell it without being
decoded, but for two kinds of files, which are decoded once to learn it: AVI keeps no presentation
times, and VP8 keeps frames that are never shown. Where even the decoded times do not increase (AVI
with frames out of order), each clip is decoded from the beginning.

Every decoded frame's number is looked up by its time, so a seek that lands elsewhere, which some
files cause, is noticed and made good from the beginning, and never gives another frame.
"""

from __future__ import annotations

import bisect
import importlib.util
import re
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from slot_data.clips import too_short
from slot_data.image_files import MOST_PIXELS, size_of
from slot_data.sample import DataError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm"})
# FFmpeg takes memory for whatever size a file states, which may change within it.
BOUNDS = {"max_pixels": str(MOST_PIXELS)}
MICROSECONDS = 1_000_000  # in which a container's duration is counted
MISSING_SECONDS = 0.5  # that a file may lack of what it declares: durations are rounded


@dataclass(frozen=True)
class FrameTimes:
    """shown: presentation time of each frame, increasing, in units of the stream; empty where the
    file does not tell it.
    keys: those of the key frames.
    count: number of frames.
    unit: seconds; where `shown` is empty, those from one frame to the next, on average.
    """

    shown: array[int]
    keys: array[int]
    count: int
    unit: Fraction

    def seconds(self, number: int) -> Fraction:
        """When the frame is shown, from the first one on."""
        units = self.shown[number] - self.shown[0] if self.shown else number
        return units * self.unit


@dataclass(frozen=True)
class VideoFile:
    """The frames of the file's best video stream, turned as the file says they are to be shown.

    times: what `frame_times` found; None reads from the beginning and counts.
    """

    path: Path
    times: FrameTimes | None = None

    def read(self, frames: range) -> list[np.ndarray]:
        """uint8 [H W 3] of each of these frames, all of one size. Raises DataError if the file
        cannot be read, ends before the last of them, or is damaged there."""
        taken: list[np.ndarray] = []
        length = 0
        for number, frame in self._decoded(frames.start):
            length = number + 1
            if number not in frames:
                continue
            if number != frames[len(taken)] or frame.is_corrupt:
                raise DataError(f"frame {frames[len(taken)]} of video {self.path} is damaged")
            taken.append(_pixels(frame))
            if taken[-1].shape != taken[0].shape:
                raise DataError(f"frame {number} of video {self.path} differs in size from others")
            if len(taken) == len(frames):
                return taken
        if self.times is None:
            raise DataError(too_short(f"video {self.path}", length, frames))
        raise DataError(f"frame {frames[len(taken)]} of video {self.path} cannot be decoded")

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 [H W 3] of every frame in order, decoded once and one at a time. Raises DataError
        if the file cannot be read, is damaged, ends before its last frame, or a frame differs in
        size from the first."""
        shape, count = None, 0
        for number, frame in self._decoded(0):
            if number != count or frame.is_corrupt:
                raise DataError(f"frame {count} of video {self.path} is damaged")
            pixels = _pixels(frame)
            shape = shape or pixels.shape
            if pixels.shape != shape:
                raise DataError(
                    f"frame {number} of video {self.path} is {size_of(pixels.shape)}, but those "
                    f"before it are {size_of(shape)}"
                )
            yield pixels
            count += 1
        if self.times is not None and count < self.times.count:
            raise DataError(
                f"video {self.path} ends after {count} of its {self.times.count} frames"
            )

    def _decoded(self, start: int) -> Iterator[tuple[int, VideoFrame]]:
        """(number, frame) in their order, from frame `start` or an earlier one on."""
        if self.times is None or not self.times.shown:
            with _opened(self.path) as (container, stream):
                yield from enumerate(container.decode(stream))
            return
        shown, keys = self.times.shown, self.times.keys
        key = bisect.bisect_right(keys, shown[start]) - 1
        for seek_to in [keys[key], None] if key >= 0 else [None]:
            with _opened(self.path) as (container, stream):
                if seek_to is not None:
                    container.seek(seek_to, stream=stream, backward=True)
                numbered = ((_number(shown, frame), frame) for frame in container.decode(stream))
                first = next(numbered, None)
                if seek_to is None or (first is not None and 0 <= first[0] <= start):
                    yield from chain([] if first is None else [first], numbered)
                    return


def require_av() -> None:
    """Raises DataError where PyAV is not installed."""
    if importlib.util.find_spec("av") is None:
        raise DataError(
            "video files are read through PyAV, which is not installed; "
            "it comes with pip install 'slot-data[video]'"
        )


def frame_times(path: Path) -> FrameTimes:
    """Raises DataError if the file cannot be read, has no frames, or ends early."""
    with _opened(path) as (container, stream):
        times = None
        unit = Fraction(stream.time_base or 1)  # PyAV has a type of its own from 19 on
        # The others do not tell what they show before they are decoded: see the top of this file.
        if container.format.name != "avi" and stream.codec_context.name != "vp8":
            times = _times_of_packets(path, container.demux(stream), unit)
        if times is None:
            container.seek(0)
            times = _times_of_frames(container.decode(stream), unit)
        if not times.count:
            raise DataError(f"video {path} has no frames")
        if not times.shown:
            times = replace(times, unit=1 / Fraction(stream.average_rate or 25))
        _refuse_cut_off(path, times, _declared_seconds(container, stream))
    return times


def may_be_shorter(path: Path, length: int) -> bool:
    """Whether a file may have fewer frames than `length` as far as its header tells, which is read
    in a millisecond: it counts frames (MP4, MOV, AVI) or seconds. One that is not short may be
    suspected, and one whose header errs is not: `frame_times` knows.

    Raises DataError if the file cannot be read.
    """
    with _opened(path) as (container, stream):
        if stream.frames:
            return stream.frames < length
        seconds = (container.duration or 0) / MICROSECONDS
        return 0 < seconds * (stream.average_rate or 0) < length + 1  # durations are rounded


def _declared_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """How long Matroska and WebM files say that their video is; None for others, and where they
    do not. Alone among all they show no trace of a missing end: other files have an index."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if found is None or "matroska" not in container.format.name:
        return None
    hours, minutes, seconds = found.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _refuse_cut_off(path: Path, times: FrameTimes, declared: float | None) -> None:
    if declared is None or len(times.shown) < 2:
        return
    longest = max(late - early for early, late in pairwise(times.shown))
    last = float(times.shown[-1] * times.unit)
    if declared > last + max(MISSING_SECONDS, float(2 * longest * times.unit)):
        raise DataError(
            f"video {path} ends early: its last frame is shown at {last:.2f} of the "
            f"{declared:.2f} seconds that it declares"
        )


def _times_of_packets(path: Path, packets: Iterable[Packet], unit: Fraction) -> FrameTimes | None:
    """None if a time is missing or occurs twice."""
    shown, keys = array("q"), array("q")
    for packet in packets:
        if packet.is_corrupt:
            raise DataError(f"video {path} is damaged or cut off")
        if not packet.size or packet.is_discard:
            continue  # the end, or what an edit cut away
        if packet.pts is None:
            return None
        shown.append(packet.pts)
        if packet.is_keyframe:
            keys.append(packet.pts)
    if len(set(shown)) < len(shown):
        return None
    return FrameTimes(array("q", sorted(shown)), array("q", sorted(keys)), len(shown), unit)


def _times_of_frames(frames: Iterable[VideoFrame], unit: Fraction) -> FrameTimes:
    times = [(frame.pts, frame.key_frame) for frame in frames]
    shown = array("q", (time for time, _ in times if time is not None))
    increasing = all(early < late for early, late in pairwise(shown))
    if len(shown) < len(times) or not increasing:
        return FrameTimes(array("q"), array("q"), len(times), unit)
    keys = array("q", (time for time, is_key in times if is_key and time is not None))
    return FrameTimes(shown, keys, len(times), unit)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """What FFmpeg finds wrong meanwhile becomes a DataError."""
    import av
    import av.error

    try:
        with av.open(str(path), options=BOUNDS) as container:  # which looks into it, too
            stream = container.streams.best("video")
            if stream is None:
                raise DataError(f"{path} holds no video")
            video = cast("VideoStream", stream)
            video.codec_context.thread_count = 1  # the loader's workers run side by side
            video.codec_context.options = dict(BOUNDS)
            yield container, video
    except av.error.EOFError as error:
        raise DataError(f"video {path} has no frames: it ends before the first") from error
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"{path} cannot be read as a video: {error.strerror}") from error


def _number(shown: array[int], frame: VideoFrame) -> int:
    """The frame's place among all, -1 for a time that is not among them."""
    if frame.pts is None:
        return -1
    place = bisect.bisect_left(shown, frame.pts)
    return place if place < len(shown) and shown[place] == frame.pts else -1


def _pixels(frame: VideoFrame) -> np.ndarray:
    """uint8 [H W 3], turned by the file's display matrix, as pictures are by their EXIF."""
    # PyAV keeps what converts colours, and threads of it would not be there in forked workers.
    pixels = frame.to_ndarray(format="rgb24", threads=1)
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
