"""Pictures and videos as the slots that a model finds in them, and back to pixels.

All frames, edited and not, are painted from one map of noise, so that they differ in nothing but
their slots and a video does not flicker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from slot_core import InputError
from slot_data import DataError, collate
from slot_data.file_lists import files_below
from slot_data.image_files import PICTURE_SUFFIXES, read_picture
from slot_data.video_files import VIDEO_SUFFIXES
from slot_decoders.latent_diffusion import DiffusionDecoder
from slot_decoders.models import SlotAutoencoder, load_model
from support.pictures import Picture
from support.videos import MAX_BATCH_PIXELS, chunks, open_video

FRAME_RATE = Fraction(12)  # of folders of frames; nothing here plays them


@dataclass(frozen=True)
class Scene:
    """What a model found in one picture or video.

    Attributes:
        name: of its file or folder.
        frames: as they were read.
        slots: of every frame.
        labels: which slot each pixel belongs to.
    """

    name: str
    frames: list[Picture]
    slots: Float[Tensor, "time slots dim"]
    labels: np.ndarray


@dataclass(frozen=True)
class Painter:
    """How slots become pixels.

    Attributes:
        model: whose decoder paints.
        scheduler: of a diffusion decoder; None for its usual one.
        num_steps: of the scheduler; None for its usual number.
        seed: of the noise.
        batch_size: frames at once.
    """

    model: SlotAutoencoder
    scheduler: str | None = None
    num_steps: int | None = None
    seed: int = 0
    batch_size: int = 16

    def paint(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        kept: tuple[Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "batch time 3 height width"]:
        """Every frame, a few at a time, from the same noise.

        Args:
            slots: of videos of one length.
            kept: the same videos in [0, 1], and which of their pixels stay.

        Raises:
            InputError: if there is no such scheduler or number of steps.
        """
        decoder: Any = self.model.decoder
        noise = None
        if isinstance(decoder, DiffusionDecoder):
            noise = decoder.draw_noise(1, torch.Generator().manual_seed(self.seed))
        given = [slots, *(part.to(slots.device) for part in kept or ())]
        frames = [part.flatten(0, 1).split(self.batch_size) for part in given]
        painted = [
            self.model.sample(
                chunk[None],
                generator=torch.Generator().manual_seed(self.seed),  # as in every chunk
                scheduler=self.scheduler,
                num_steps=self.num_steps,
                noise=noise,
                kept=(staying[0][None], staying[1][None]) if staying else None,
            )[0].cpu()
            for chunk, *staying in zip(*frames, strict=True)
        ]
        return torch.cat(painted).unflatten(0, slots.shape[:2])


def open_model(
    checkpoint: str,
    revision: str | None,
    device: torch.device,
    changes: Mapping[str, Any] | None = None,
) -> SlotAutoencoder:
    """A model that finds slots and paints them, with ``changes`` to its configuration.

    Raises:
        InputError: if the checkpoint holds another kind.
    """
    model = load_model(checkpoint, revision=revision, device=device, changes=changes)
    if not isinstance(model, SlotAutoencoder):
        raise InputError(f"{checkpoint}: holds a {type(model).__name__}, which finds no slots")
    if model.conditioned_on is not None:
        raise InputError(
            f"{checkpoint}: must be told the {model.conditioned_on} of objects; expected a model "
            f"that finds them by itself"
        )
    return model


def find_places(places: Sequence[Path]) -> list[Path]:
    """Pictures, videos, and folders of frames, each of another name; . and .. get theirs.

    Raises:
        InputError: if one does not exist, is none of these, or two have one name.
    """
    places = [place.resolve() if place.name in ("", "..") else place for place in places]
    for place in places:
        suffix = place.suffix.lower()
        if not place.exists():
            raise InputError(f"{place}: does not exist")
        if place.is_file() and suffix not in PICTURE_SUFFIXES | VIDEO_SUFFIXES:
            raise InputError(f"{place}: is no picture, video, or folder of frames")
    names = [place.name for place in places]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two pictures have the name '{name}'; edits need names that differ")
    return places


def look(model: SlotAutoencoder, places: Sequence[Path], batch_size: int, seed: int) -> list[Scene]:
    """What the model finds in each place; their sizes may differ, slots know none."""
    scenes: list[Scene] = []
    for place in places:
        frames = read_frames(place)
        scenes.append(Scene(place.name, frames, *_find(model, frames, batch_size, seed)))
    return scenes


def read_frames(place: Path) -> list[Picture]:
    """The one picture of a file, or all frames of a video."""
    if place.is_file() and place.suffix.lower() in PICTURE_SUFFIXES:
        return [read_picture(place)]
    source = frames_in(place) if place.is_dir() else place
    try:
        return list(open_video(source, FRAME_RATE).frames())
    except DataError as error:
        if place.is_dir():
            raise InputError(f"{error}; a folder is taken for the frames of one video") from None
        raise


def frames_in(folder: Path) -> list[Path]:
    """The pictures of a folder in order, as the frames of one video.

    Raises:
        InputError: if there are none, or some lie deeper, where they may be of several videos.
    """
    paths = files_below(folder, PICTURE_SUFFIXES)
    if not paths:
        raise InputError(f"{folder}: holds no pictures")
    for path in paths:
        if path.parent != folder:
            raise InputError(
                f"{path}: lies in a folder inside {folder}; a folder is taken for the frames of "
                "one video"
            )
    return paths


def _find(
    model: SlotAutoencoder, frames: Sequence[Picture], batch_size: int, seed: int
) -> tuple[Float[Tensor, "time slots dim"], np.ndarray]:
    device = next(model.parameters()).device
    found = model.stream(
        (
            collate([{"video": as_video(chunk), "id": ""}])["video"].to(device)
            for chunk in chunks(frames, batch_size, MAX_BATCH_PIXELS)
        ),
        source="encoder",
        generator=torch.Generator().manual_seed(seed),
    )
    slots, labels = [], []
    for chunk in found:  # whose soft masks are too large to keep
        slots.append(chunk.slots[0])
        labels.append(chunk.masks[0].argmax(1).to(torch.int16).cpu().numpy())
    return torch.cat(slots), np.concatenate(labels)


def as_video(frames: Sequence[Picture]) -> Tensor:
    """uint8 [time 3 height width]."""
    return torch.from_numpy(np.stack(frames)).movedim(-1, 1)


def write_scene(folder: Path, name: str, frames: UInt8[np.ndarray, "time height width 3"]) -> Path:
    """A picture as a PNG of its name, or a video as a folder of numbered ones.

    Args:
        folder: made if there is none.
        name: of the file or folder that the scene was read from.
        frames: as they are written.

    Returns:
        The file or folder.

    Raises:
        InputError: if it is there already or cannot be written.
    """
    is_picture = Path(name).suffix.lower() in PICTURE_SUFFIXES and len(frames) == 1
    place = folder / (name if name.lower().endswith(".png") or not is_picture else f"{name}.png")
    if place.exists():
        raise InputError(f"{place}: is written for another picture already; rename one")
    paths = [place] if is_picture else [place / f"{i:06d}.png" for i in range(len(frames))]
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for path, frame in zip(paths, frames, strict=True):
            Image.fromarray(frame).save(path, format="PNG")
    except OSError as error:
        raise InputError(f"{place}: cannot be written ({error.strerror})") from None
    return place
