"""Write what a model of dynamics expects after the first frames of videos, as slots.

    python apps/roll_out_slots.py CHECKPOINT SLOTS --out DIR --observed 45 --frames 150

SLOTS is what ``apps/extract_slots.py`` wrote. In DIR the first frames of each video have the slots
that were observed, the others those expected from them; a readout trains on such slots. The same
command goes on with what a killed one left, on any number of processes.
"""

from __future__ import annotations

import support.starting  # noqa: F401  (before the seconds that torch takes to import)

# isort: split

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from accelerate import Accelerator
from torch import Tensor

from slot_core import InputError, fingerprint
from slot_data.slots import Slots
from slot_decoders.models import SlotDynamicsModel, load_model
from slot_decoders.models.load import published_half
from support.command_line import run_and_leave
from support.slot_folders import write_slots
from support.slot_inputs import check_slots, precision


def main(
    checkpoint: Annotated[str, typer.Argument(help="folder of a model or a run, or a Hub id")],
    slots: Annotated[Path, typer.Argument(help="folder that extract_slots.py wrote")],
    out: Annotated[Path, typer.Option(help="folder to write to, or to go on with")],
    observed: Annotated[int, typer.Option(min=1, help="frames of each video that are seen")],
    frames: Annotated[int, typer.Option(min=2, help="frames of each video, seen and expected")],
    split: Annotated[
        list[str] | None, typer.Option(help="of the slots; repeatable, train if left out")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="videos rolled out at once")] = 32,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit on the Hub")] = None,
) -> None:
    """Roll slots of videos out into the future."""
    if frames <= observed:
        raise InputError(f"--frames {frames}: expected more than the {observed} observed")
    accelerator = Accelerator()
    model = load_model(checkpoint, revision=revision, device=accelerator.device)
    if not isinstance(model, SlotDynamicsModel):
        raise InputError(f"{checkpoint}: holds a {type(model).__name__}, which predicts no slots")
    for part in split or ["train"]:
        dataset = Slots(part, slots, num_frames=observed)
        check_slots(model.config, dataset)
        predicted = fingerprint(published_half(checkpoint), revision)
        lengths = f"after {observed} frames, {frames} in all"
        description = replace(dataset.description, dynamics=f"{predicted} {lengths}")
        rollout = Rollout(model, dataset, frames - observed, batch_size)
        write_slots(accelerator, out / part, description, frames, rollout.slots)
    accelerator.print(f"done; answer questions from them with --set data.root={out}")


class Rollout:
    """Slots of the videos of a dataset, observed first and then expected.

    Args:
        model: that expects them.
        dataset: of the observed frames.
        num_steps: how many frames to expect.
        batch_size: how many videos at once.
    """

    def __init__(
        self, model: SlotDynamicsModel, dataset: Slots, num_steps: int, batch_size: int
    ) -> None:
        self.model, self.dataset = model, dataset
        self.num_steps, self.batch_size = num_steps, batch_size

    def slots(self, videos: range) -> tuple[dict[str, Tensor], Sequence[bool] | None]:
        """Slots [T K D] by id, and the outcomes that were written with the observed ones."""
        found: dict[str, Tensor] = {}
        device = next(self.model.parameters()).device
        for start in range(videos.start, videos.stop, self.batch_size):
            numbers = range(start, min(start + self.batch_size, videos.stop))
            samples = [self.dataset[number] for number in numbers]
            past = torch.stack([sample.get("slots", torch.empty(0)) for sample in samples])
            seen = past.to(device, precision(self.model))
            future = self.model.rollout(seen, self.num_steps).float().cpu()
            together = torch.cat([past, future], 1)
            found.update(zip((sample["id"] for sample in samples), together, strict=True))
        return found, self.dataset.outcomes_of(videos)


if __name__ == "__main__":
    run_and_leave(main)
