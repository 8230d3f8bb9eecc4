"""What comes after a video, as ``predict.py --future`` draws it.

    future/<video>/<number>.png   the frames that are expected, at the video's own size
    future/<video>.png            a strip of them, under the true ones where those are known
    future/<video>.gif            the same, moving

The slots that the video model finds go through a model of dynamics, and what that expects through
the video model's own decoder, whichever it is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from slot_core import InputError, fingerprint
from slot_decoders.models import SlotAutoencoder, SlotDynamicsModel, load_model
from slot_decoders.models.load import published_half
from slot_decoders.models.preprocessing import resize
from support.pictures import Picture, pixels
from support.slot_inputs import precision
from support.slot_scoring import animation, strip

SEED = 0  # of what a decoder draws: the same command gives the same files


@dataclass(frozen=True)
class Foresight:
    """What is the same for the futures of all videos.

    Attributes:
        dynamics: slots to later slots.
        num_steps: how many frames to expect.
        observed: how many frames of a video are seen first; None for all of them. Those after
            them are what truly came.
    """

    dynamics: SlotDynamicsModel
    num_steps: int
    observed: int | None

    @property
    def num_needed(self) -> int:
        """How many frames a prediction needs to have seen."""
        config = self.dynamics.config
        return config.dynamics.burn_in * config.stride

    def check(self, source: Path, num_frames: int) -> None:
        """Raise InputError if so many frames of a video are not enough."""
        seen = num_frames if self.observed is None else min(num_frames, self.observed)
        if seen < self.num_needed:
            raise InputError(
                f"{source}: {seen} frames are seen; what comes after them is predicted from "
                f"{self.num_needed}, the burn-in of the model of dynamics"
            )


def check_future(
    future: int | None, dynamics: str | None, observed: int | None, *, of_videos: bool
) -> None:
    """Raise InputError unless the options about the future go together."""
    if future is None and (dynamics is not None or observed is not None):
        raise InputError("--dynamics and --observed are about --future; give all of them")
    if future is not None and dynamics is None:
        raise InputError("--future needs --dynamics, the model that predicts slots")
    if future is not None and not of_videos:
        raise InputError("--future is of videos; what was given are pictures")


def open_foresight(
    checkpoint: str,
    found_by: str,
    model: SlotAutoencoder,
    revision: str | None,
    num_steps: int,
    observed: int | None,
) -> Foresight:
    """The model of dynamics in ``checkpoint``, for slots of ``model``, which is in ``found_by``.

    Raises:
        InputError: if it is another kind of model, or predicts the slots of another one, or
            ``model`` paints no frames.
        CheckpointError: if either cannot be read.
    """
    if not model.paints:
        raise InputError(
            f"{found_by}: decodes slots to features, not to pictures, so --future has nothing to "
            "draw"
        )
    dynamics = load_model(checkpoint, device=next(model.parameters()).device)
    if not isinstance(dynamics, SlotDynamicsModel):
        raise InputError(
            f"{checkpoint}: holds a {type(dynamics).__name__}, which predicts no slots"
        )
    wanted, found = dynamics.config.slots_of, fingerprint(published_half(found_by), revision)
    if wanted not in (None, found):
        raise InputError(
            f"{checkpoint}: predicts slots of the model {str(wanted)[:12]}, but {found_by} is "
            f"{found[:12]}"
        )
    return Foresight(dynamics, num_steps, observed)


class Future:
    """What comes after one video, whose frames are handed over one by one.

    Args:
        foresight: what expects it.
        model: the video model, that decodes it.
    """

    def __init__(self, foresight: Foresight, model: SlotAutoencoder) -> None:
        self.foresight, self.model = foresight, model
        self._past: deque[np.ndarray] = deque(maxlen=foresight.num_needed)
        self._truth: list[Tensor] = []
        self._count, self._size = 0, (0, 0)

    def add(self, picture: Picture, slots: Float[np.ndarray, "slots dim"]) -> None:
        """The next frame, and what was found in it."""
        observed, self._size = self.foresight.observed, picture.shape[:2]
        if observed is None or self._count < observed:
            self._past.append(slots)
        elif self._count < observed + self.foresight.num_steps:
            frame = torch.from_numpy(picture).movedim(-1, 0)[None, None].float() / 255
            self._truth.append(resize(frame, self.model.preprocessing.image_size).clamp(0, 1))
        self._count += 1

    def write(self, folder: Path, name: str) -> None:
        """Predict and draw it.

        Raises:
            OSError: if a file cannot be written.
        """
        painted = self._paint()
        frames = folder / name
        frames.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(pixels(resize(painted, self._size).clamp(0, 1))[0], 1):
            Image.fromarray(frame).save(frames / f"{number:06d}.png")
        rows = {"expected": painted}
        if self._truth:
            truth = torch.cat(self._truth, 1)
            rows = {"truth": truth, "expected": painted[:, : truth.shape[1]]}
        strip(rows).save(folder / f"{name}.png")
        animation(rows, folder / f"{name}.gif")

    @torch.no_grad()
    def _paint(self) -> Float[Tensor, "1 time 3 height width"]:
        """The expected frames in [0, 1], at the model's size."""
        device = next(self.model.parameters()).device
        dynamics, decoder = self.foresight.dynamics, cast(Any, self.model.decoder)
        past = torch.from_numpy(np.stack(self._past))[None].to(device, precision(dynamics))
        slots = dynamics.rollout(past, self.foresight.num_steps).to(precision(decoder))
        decoded = decoder.decode(slots, torch.Generator().manual_seed(SEED))
        return self.model.preprocessing.undo(decoded.reconstruction).float().cpu()
