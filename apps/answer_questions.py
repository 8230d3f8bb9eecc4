"""What every checkpoint of a readout's run answers, for `slot-eval physion-vqa` to choose from.

    python apps/answer_questions.py RUN SLOTS --split test --out DIR
    slot-eval physion-vqa DIR/test-*.npz --validation DIR/validation-seed0-step00000118.npz ...

SLOTS are rolled-out slots with outcomes (``apps/roll_out_slots.py``). For each checkpoint that RUN
kept, DIR/SPLIT-seed<seed>-step<step>.npz gets ids, logits and outcomes.
"""

from __future__ import annotations

import support.starting  # noqa: F401  (before the seconds that torch takes to import)

# isort: split

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from slot_core import CheckpointError, InputError
from slot_core.json_files import read_json
from slot_data import collate
from slot_data.slots import Slots
from slot_decoders.models import RelationReadoutModel, load_model
from support.command_line import run
from support.slot_inputs import check_slots, precision


def main(
    place: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a readout's run")],
    slots: Annotated[Path, typer.Argument(help="folder that roll_out_slots.py wrote")],
    out: Annotated[Path, typer.Option(help="folder to write to")],
    split: Annotated[str, typer.Option(help="of the slots")] = "test",
    frames: Annotated[int | None, typer.Option(min=1, help="first ones; all if left out")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="videos at once")] = 64,
) -> None:
    """Answer a question about each video with every checkpoint of a run."""
    checkpoints = sorted((place / "checkpoints").glob("step-*"))
    if not checkpoints:
        raise CheckpointError(f"{place}: is no run with checkpoints")
    seed = _seed_of(place / "options.json")
    dataset = Slots(split, slots, num_frames=frames, outcomes=True)
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for checkpoint in checkpoints:
        model = load_model(checkpoint, device=device)
        if not isinstance(model, RelationReadoutModel):
            raise InputError(f"{checkpoint}: holds a {type(model).__name__}, which answers nothing")
        check_slots(model.config, dataset)
        answered: dict[str, list[np.ndarray]] = {"ids": [], "logits": [], "outcomes": []}
        for start in range(0, len(dataset), batch_size):
            numbers = range(start, min(start + batch_size, len(dataset)))
            batch = collate([dataset[number] for number in numbers])
            given = batch.get("slots", torch.empty(0)).to(device, precision(model))
            logits = model.answer(given)
            answered["ids"].append(np.array(batch["id"]))
            answered["logits"].append(logits.float().cpu().numpy())
            answered["outcomes"].append(np.asarray(batch.get("outcome")))
        step = int(checkpoint.name.partition("-")[2])
        path = out / f"{split}-seed{seed}-step{step:08d}.npz"
        joined: dict[str, Any] = {name: np.concatenate(values) for name, values in answered.items()}
        joined |= {"seed": np.array(seed), "step": np.array(step)}
        np.savez(path, **joined)
        print(path)


def _seed_of(stated: Path) -> int:
    """Of a run's options. Raises CheckpointError if they cannot be read."""
    try:
        return int(read_json(stated)["train"]["seed"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{stated}: states no seed ({error})") from None


if __name__ == "__main__":
    run(main)
