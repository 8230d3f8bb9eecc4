"""What a run does about a batch whose loss or gradient is not finite: nothing is learned from it,
it is kept for whoever wants to know why, and a run that meets nothing else stops."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from slot_core import InputError


def may_be_the_scale(scaler: torch.amp.GradScaler | None) -> bool:
    """Whether a gradient that is not finite may be so because half precision's scaler enlarged it.

    It begins with 65,536 and halves its scale at each such step. Below 1 it enlarges nothing.
    """
    return scaler is not None and scaler.get_scale() >= 1


class SkippedSteps:
    """Counts the steps that were passed over since the run was started.

    Args:
        folder: where their batches are written.
        in_a_row: as many may follow one another.
        rank: of this process, in the files' names.
    """

    def __init__(self, folder: Path, in_a_row: int, rank: int) -> None:
        self.folder = folder
        self.in_a_row = in_a_row
        self.rank = rank
        self.total = 0
        self.row = 0

    def good(self) -> None:
        """A step went well: the row ends."""
        self.row = 0

    def add(
        self,
        step: int,
        culprit: str,
        loss: float,
        batches: Sequence[Mapping[str, Any]],
        newest: Path | None,
    ) -> Path:
        """Write what step ``step`` was given on this process and return the file.

        Args:
            step: counted from 1.
            culprit: what is not finite, the loss or the gradient.
            loss: on this process; it may be another's that is not finite.
            batches: one for each accumulated part of the step.
            newest: the last good checkpoint.

        Raises:
            InputError: after more than ``in_a_row`` such steps one after the other.
        """
        self.total += 1
        self.row += 1
        path = self._write(step, loss, batches)
        if self.row > self.in_a_row:
            raise InputError(
                f"the {culprit} is not finite at step {step}, where the loss is {loss}, and the "
                f"{self.row - 1} steps before it were passed over, too; the batch is in {path}, "
                f"the last good checkpoint is {newest}; "
                "lower optimizer.learning_rate or set optimizer.clip_norm"
            )
        return path

    def _write(self, step: int, loss: float, batches: Sequence[Mapping[str, Any]]) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:08d}-process-{self.rank}.safetensors"
        names = [key for key, value in batches[0].items() if isinstance(value, torch.Tensor)]
        tensors = {name: torch.cat([b[name] for b in batches]).contiguous() for name in names}
        ids = [one for batch in batches for one in batch["id"]]
        save_file(tensors, path, metadata={"ids": json.dumps(ids), "loss": str(loss)})
        return path
