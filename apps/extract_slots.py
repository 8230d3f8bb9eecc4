"""Write the slots that a model finds in the videos of a dataset to disk, to train on them.

    python apps/extract_slots.py CHECKPOINT DATASET --out DIR --option num_frames=24
    accelerate launch apps/extract_slots.py CHECKPOINT physion --out DIR --split train \
        --option preset=slotdiffusion --option num_frames=150 --option clips=first \
        --option root=DATA

Pixels are those of the options, whatever the model was trained on: the preset of its data is given
here as well. The slots of a split go to DIR/SPLIT, where the dataset ``slots`` reads them; what the
files hold is said in slot_data/slot_files.py. Whole samples of the dataset are encoded, some frames
at a time. The same command goes on with what a killed one left, on any number of processes.
"""

from __future__ import annotations

import support.starting  # noqa: F401  (before the seconds that torch takes to import)

# isort: split

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from accelerate import Accelerator
from torch import Tensor

from slot_core import InputError, fingerprint
from slot_data import Sample, collate
from slot_data.sample import SampleDataset
from slot_data.slot_files import SlotDescription
from slot_decoders.models import SlotAutoencoder, load_model
from slot_decoders.models.load import published_half
from support.command_line import run_and_leave
from support.datasets import load_dataset, read_options
from support.inputs import conditioning_of
from support.slot_folders import write_slots

FRAMES_AT_ONCE = 32  # of a video, in memory with all their features


def main(
    checkpoint: Annotated[str, typer.Argument(help="folder of a model or a run, or a Hub id")],
    data: Annotated[str, typer.Argument(metavar="DATASET", help="as data.name of apps/train.py")],
    out: Annotated[Path, typer.Option(help="folder to write to, or to go on with")],
    split: Annotated[
        list[str] | None, typer.Option(help="of the dataset; repeatable, train if left out")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="key=value for the dataset; repeatable")
    ] = None,
    videos_per_part: Annotated[int, typer.Option(min=1, help="videos in one file")] = 64,
    batch_size: Annotated[int, typer.Option(min=1, help="videos encoded at once")] = 8,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit on the Hub")] = None,
) -> None:
    """Write the slots of a dataset's videos to disk."""
    options = read_options(data, option or [])
    accelerator = Accelerator()
    model = load_model(checkpoint, revision=revision, device=accelerator.device)
    if not isinstance(model, SlotAutoencoder):
        raise InputError(f"{checkpoint}: holds a {type(model).__name__}, which encodes no video")
    for part in split or ["train"]:
        dataset = load_dataset(data, split=part, **options)
        description = SlotDescription(
            model=checkpoint,
            fingerprint=fingerprint(published_half(checkpoint), revision),
            data=data,
            split=part,
            options=options,
            num_videos=len(dataset),
            videos_per_part=videos_per_part,
            num_slots=model.num_slots,
            slot_dim=model.config.slot_dim,
        )
        encoder = Extraction(model, dataset, batch_size)
        frames = len(dataset[0]["video"])
        write_slots(accelerator, out / part, description, frames, encoder.slots)
    there = [part.name for part in sorted(out.iterdir()) if part.is_dir()]
    more = "" if "validation" in there else ", once there is a --split validation, too"
    accelerator.print(
        f"done, there are slots of {', '.join(there)}; train on them with --set data.name=slots "
        f"--set data.root={out}{more}"
    )


class Extraction:
    """Slots of the videos of a dataset.

    Args:
        model: that finds them.
        dataset: of videos.
        batch_size: how many videos of one size are encoded at once.
    """

    def __init__(self, model: SlotAutoencoder, dataset: SampleDataset, batch_size: int) -> None:
        self.model, self.dataset, self.batch_size = model, dataset, batch_size

    def slots(self, videos: range) -> tuple[dict[str, Tensor], Sequence[bool] | None]:
        """Slots [T K D] by id, and the outcomes where every video has one."""
        found: dict[str, Tensor] = {}
        outcomes: list[bool] = []
        # Random first slots are a function of the part, not of what this process did before.
        generator = torch.Generator().manual_seed(videos.start)
        for samples in self._batches(videos):
            batch = collate(samples)
            found.update(zip(batch["id"], self._encode(batch, generator), strict=True))
            outcomes += [sample["outcome"] for sample in samples if "outcome" in sample]
        return found, outcomes if len(outcomes) == len(videos) else None

    def _batches(self, videos: range) -> Iterator[list[Sample]]:
        """Neighbours of one size, at most ``batch_size`` together."""
        batch: list[Sample] = []
        for number in videos:
            sample = self.dataset[number]
            alike = not batch or batch[0]["video"].shape == sample["video"].shape
            if not alike or len(batch) == self.batch_size:
                yield batch
                batch = []
            batch.append(sample)
        yield batch

    def _encode(self, batch: Any, generator: torch.Generator) -> Tensor:
        """Slots [B T K D] of a batch, some frames at a time."""
        device = next(self.model.parameters()).device
        told, state, slots = conditioning_of(self.model, batch), None, []
        for frames in batch["video"].split(FRAMES_AT_ONCE, dim=1):
            encoded = self.model.encode(frames.to(device), told, state=state, generator=generator)
            state, told = encoded.state, None
            slots.append(encoded.slots.cpu())
        return torch.cat(slots, 1)


if __name__ == "__main__":
    run_and_leave(main)
