"""DAVIS 2017 and 2016 (Pont-Tuset et al. 2017, Perazzi et al. 2016): short videos of moving things
with a mask for every frame.

    ROOT/JPEGImages/480p/<video>/<frame, five digits>.jpg
    ROOT/Annotations/480p/<video>/<frame>.png                  of the semi-supervised task
    ROOT/Annotations_unsupervised/480p/<video>/<frame>.png     of the unsupervised task
    ROOT/ImageSets/2017/{train,val}.txt
    ROOT/ImageSets/480p/{train,val}.txt                        as DAVIS 2016 came by itself

ROOT is that folder, or one that holds it as `DAVIS`. Masks are palette PNGs whose index is the
object, 0 the background and 255 void. Those of DAVIS 2016 are grey and know one object, 255.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Unpack

import numpy as np

from slot_data.clips import ClipChoice, Clips, num_clips
from slot_data.file_lists import first_of, later, lines_of, names_in
from slot_data.framing import Framing, FramingOptions
from slot_data.image_files import read_sample
from slot_data.sample import DataError, Sample, with_maps
from slot_data.video_clips import VideoClips

LISTS = {"train": ("train",), "validation": ("val",), "all": ("train", "val")}
FOLDERS = {"semi_supervised": "Annotations", "unsupervised": "Annotations_unsupervised"}
VOID = 255

Year = Literal["2017", "2016"]
Annotations = Literal["auto", "semi_supervised", "unsupervised"]
Void = Literal["mark", "background"]


class Davis(VideoClips):
    """Clips of the videos of one split, in the order of its list.

    root: a folder of the layout above.
    split: "train", "validation" or "all", which is both.
    year: whose lists; "2016" makes one object of whatever is marked.
    annotations: of which task; "auto" is the one that is there.
    num_frames, stride, clips: see `ClipChoice`; num_frames None takes whole videos, which differ in
        length.
    short: what becomes of videos that are too short for a clip.
    void: pixels that nobody decided on have the label 0; "mark" gives them as `void`, "background"
        does not tell.
    masks: False reads the frames alone, and does not ask for masks.
    resolution: the folder of frames and masks, such as 480p or Full-Resolution.
    framing: see `Framing`.

    A sample's id is its video's name and the number of its first frame, counted from 0. Raises
    DataError if a list, folder, frame or mask is missing, cannot be read, or differs in size.
    """

    default_framing: ClassVar[Framing] = Framing(image_size=224, fit="resize_first")

    def __init__(
        self,
        split: str,
        root: str | Path,
        year: Year = "2017",
        annotations: Annotations = "auto",
        num_frames: int | None = None,
        stride: int = 1,
        clips: Clips = "first",
        short: Literal["error", "drop"] = "error",
        void: Void = "mark",
        masks: bool = True,
        resolution: str = "480p",
        **framing: Unpack[FramingOptions],
    ) -> None:
        if split not in LISTS:
            raise DataError(f"split {split!r} of davis is not one of {', '.join(LISTS)}")
        base = first_of(Path(root).expanduser(), ("JPEGImages", "DAVIS/JPEGImages"), "davis").parent
        self.root = base
        frames = first_of(base, [f"JPEGImages/{resolution}"], "davis")
        marks = _annotations(base, annotations, resolution) if masks else None
        names = [name for part in LISTS[split] for name in _listed(base, frames, year, part)]
        style = (year == "2016", void == "mark")
        videos = [_video(frames / name, marks / name if marks else None, *style) for name in names]
        choice = ClipChoice(num_frames, stride, clips) if num_frames is not None else None
        if choice and short == "drop":
            videos = [v for v in videos if num_clips(v.length, choice.num_frames, choice.stride)]
            if not videos:
                raise DataError(
                    f"split {split!r} of davis holds no video with a clip of {num_frames} frames "
                    f"{stride} apart"
                )
        super().__init__(videos, choice, replace(self.default_framing, **framing))


@dataclass(frozen=True)
class _Video:
    """masks: where they are; None where none are wanted."""

    path: Path
    stems: tuple[str, ...]
    masks: Path | None
    one_object: bool
    mark_void: bool

    def __str__(self) -> str:
        return f"video {self.path}"

    @property
    def length(self) -> int:
        return len(self.stems)

    @property
    def name(self) -> str:
        return self.path.name

    def read(self, identity: str, frames: range) -> Sample:
        """Raises DataError if a file cannot be read, or sizes differ."""
        stems = [self.stems[frame] for frame in frames]
        masks = None if self.masks is None else [self.masks / f"{stem}.png" for stem in stems]
        sample = read_sample(identity, [self.path / f"{stem}.jpg" for stem in stems], masks)
        if "labels" not in sample:
            return sample
        ids = sample["labels"].numpy()
        void = ids == VOID
        if self.one_object:
            # Alone beside the background, 255 is the object: so DAVIS 2016 stores its masks.
            alone = np.array([(mask[mask > 0] == VOID).all() for mask in ids])
            void &= ~alone[:, None, None]
            ids = (ids > 0).astype(np.uint8)
        maps = {"labels": np.where(void, 0, ids)}
        return with_maps(sample, maps | {"void": void} if self.mark_void else maps)


def _annotations(base: Path, asked: Annotations, resolution: str) -> Path:
    """The folder of the masks."""
    possible = {k: f"{v}/{resolution}" for k, v in FOLDERS.items() if asked in ("auto", k)}
    there = [kind for kind, place in possible.items() if (base / place).is_dir()]
    if len(there) > 1:
        raise DataError(
            f"{base} holds the masks of two tasks; name one of them by annotations: "
            f"{', '.join(there)}"
        )
    return base / possible[there[0]] if there else first_of(base, list(possible.values()), "davis")


def _listed(base: Path, frames: Path, year: Year, part: str) -> list[str]:
    """The videos of a list, which have folders in `frames`. Its lines are names, or a path of each
    frame and its mask."""
    places = [f"ImageSets/{year}/{part}.txt"]
    if year == "2016":
        places.append(f"ImageSets/480p/{part}.txt")
    path = first_of(base, places, "davis")
    firsts = [line.split()[0] for line in lines_of(path, "davis") if line.strip()]
    names = dict.fromkeys(Path(p).parent.name if "/" in p else p for p in firsts)
    if not names:
        raise DataError(f"list {path} of davis is empty")
    present = names_in(frames)
    missing = [name for name in names if name not in present]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(names)} videos in list {path} have no folder in {frames}; "
            f"{missing[0]!r} is the first"
        )
    return list(names)


def _video(frames: Path, masks: Path | None, one_object: bool, mark_void: bool) -> _Video:
    pictures = names_in(frames)
    count = sum(name.endswith(".jpg") for name in pictures)
    if not count:
        raise DataError(f"video {frames} has no frames; expected pictures such as 00000.jpg")
    marked = {name for name in names_in(masks) if name.endswith(".png")} if masks else set()
    if later():
        count = max(count, len(marked))  # a frame that is not there is found when it is read
    stems = [f"{number:05d}" for number in range(count)]
    for stem in stems:
        if f"{stem}.jpg" not in pictures and not later():
            raise DataError(f"video {frames} has {count} frames, but {stem}.jpg is not among them")
        if masks and f"{stem}.png" not in marked and not later():
            raise DataError(f"frame {frames / stem}.jpg has no mask: expected {masks / stem}.png")
    if len(marked) > count:
        raise DataError(f"{masks} holds {len(marked)} masks, but video {frames} has {count} frames")
    return _Video(frames, tuple(stems), masks, one_object, mark_void)
