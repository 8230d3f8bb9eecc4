"""Scoring a model on held-out samples on all processes at once, and drawing what it found."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from slot_data import collate
from slot_decoders.models import SlotAutoencoder
from slot_eval import Results, protocols
from support.inputs import conditioning_of
from support.pictures import comparison


def score(
    accelerator: Accelerator,
    model: SlotAutoencoder,
    dataset: Any,
    *,
    protocol: str,
    num_samples: int,
    batch_size: int,
) -> Results:
    """Score the first ``num_samples`` of ``dataset``; each process takes every n-th batch.

    Rows are gathered by sample id, so any number of processes gives the same result. It is empty
    where the samples have no labels.
    """
    results = Results(protocols.get(protocol))
    count = min(num_samples, len(dataset))
    for indices in _batches(
        count, batch_size, accelerator.process_index, accelerator.num_processes
    ):
        batch = collate([dataset[index] for index in indices])
        if "labels" not in batch:
            break  # and still meet the other processes below
        labels = batch["labels"]
        video = batch["video"].to(accelerator.device)
        masks = model.segment(video, conditioning_of(model, batch)).float().cpu()
        found = results.protocol.labels(masks, *labels.shape[-2:])
        results.update(batch["id"], found, labels)
    results.extend(gather_object(results.rows))
    return results


def means(results: Results) -> dict[str, float]:
    """Each metric's mean over the samples where it is defined; empty without samples."""
    if not len(results):
        return {}
    return {name: float(entry["mean"]) for name, entry in results.summary().items()}


def draw(
    model: SlotAutoencoder, dataset: Any, path: Path, *, num_pictures: int, device: torch.device
) -> None:
    """Draw samples, truth, found masks and reconstructions.

    A picture is never worth a training run: whatever goes wrong is told and passed over.
    """
    try:
        samples = [dataset[index] for index in range(min(num_pictures, len(dataset)))]
        batch = collate(samples)
        video = batch["video"].to(device)
        told = conditioning_of(model, batch)
        sheet = comparison(
            batch["video"],
            batch.get("labels"),
            model.segment(video, told).float().cpu(),
            model.reconstruct(video, told).float().cpu(),
        )
        sheet.save(path)
    except Exception:
        print(f"could not draw {path.name}; training goes on:", file=sys.stderr)
        traceback.print_exc()


def _batches(count: int, batch_size: int, rank: int, world_size: int) -> Iterator[range]:
    for start in range(rank * batch_size, count, world_size * batch_size):
        yield range(start, min(start + batch_size, count))
