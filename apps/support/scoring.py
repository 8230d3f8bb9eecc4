"""Scoring a model on held-out samples on all processes at once, and drawing what it found.

A model that finds objects is scored on them, under the protocol that the run names; one that only
paints, such as a tokenizer, on its reconstructions; one that is given slots on its predictions or
answers.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from slot_core import sample_generators
from slot_data import collate
from slot_decoders.models import RelationReadoutModel, SlotAutoencoder, SlotDynamicsModel
from slot_eval import Results, protocols
from support.curves import draw_curves
from support.expectations import Expectation
from support.held_out_loss import HeldOutLoss
from support.inputs import conditioning_of
from support.logs import read_events
from support.pictures import comparison, repainted
from support.slot_scoring import drawn_prediction, results_of_slots, update_of_slots


@contextmanager
def as_it_is() -> Iterator[None]:
    """Compiled models run as if they were not: eval mode, the lack of gradients and a last, smaller
    batch would each be compiled for, for minutes and a few hundred samples."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and it takes seconds to import
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@as_it_is()
def score(
    accelerator: Accelerator,
    model: Any,
    dataset: Any,
    *,
    protocol: str,
    num_samples: int,
    batch_size: int,
    loss: HeldOutLoss | None = None,
) -> Results:
    """Score the first ``num_samples`` of ``dataset``; each process takes every n-th batch.

    Rows are gathered by sample id and first slots drawn from it, so any number of processes gives
    the same result, whenever it is asked. It is empty where objects are to be found and the
    samples have no labels. ``loss`` is told of the same samples.
    """
    finds = isinstance(model, SlotAutoencoder)
    given_slots = isinstance(model, SlotDynamicsModel | RelationReadoutModel)
    results: Any = Results(protocols.get(protocol) if finds else protocols.RECONSTRUCTION)
    if given_slots:
        results = results_of_slots(model)
    count = min(num_samples, len(dataset))
    for indices in _batches(
        count, batch_size, accelerator.process_index, accelerator.num_processes
    ):
        batch = collate([dataset[index] for index in indices])
        if loss is not None:
            loss.update(batch, accelerator.device)
        if given_slots:
            update_of_slots(results, model, batch, accelerator.device)
            continue
        video = batch["video"].to(accelerator.device)
        if not finds:
            painted = model.reconstruct(video).float().cpu()
            results.update(batch["id"], painted, batch["video"])
            continue
        if "labels" not in batch:
            continue
        labels = batch["labels"]
        own = sample_generators(0, 0, batch["id"], accelerator.device)
        masks = model.segment(video, conditioning_of(model, batch), generator=own).float().cpu()
        found = results.protocol.labels(masks, *labels.shape[-2:])
        marks = {name: batch.get(name) for name in ("overlap", "void", "class_labels")}
        results.update(batch["id"], found, labels, **marks)
    results.extend(gather_object(results.rows))
    return results


def means(results: Results) -> dict[str, float]:
    """Each metric's mean over the samples where it is defined; empty without samples."""
    if not len(results):
        return {}
    return {name: float(entry["mean"]) for name, entry in results.summary().items()}


@as_it_is()
def draw(model: Any, dataset: Any, path: Path, *, num_pictures: int, device: torch.device) -> None:
    """Draw samples and reconstructions; of a model that finds objects also truth and masks."""
    with _never_in_the_way(path):
        samples = [dataset[index] for index in range(min(num_pictures, len(dataset)))]
        batch = collate(samples)
        if isinstance(model, SlotDynamicsModel | RelationReadoutModel):
            if isinstance(model, SlotDynamicsModel):
                drawn_prediction(model, batch, path, device)
            return
        video = batch["video"].to(device)
        if isinstance(model, SlotAutoencoder):
            told = conditioning_of(model, batch)
            drawn = comparison(
                batch["video"],
                batch.get("labels"),
                model.segment(video, told).float().cpu(),
                model.reconstruct(video, told).float().cpu() if model.paints else None,
            )
        else:
            drawn = repainted(batch["video"], model.reconstruct(video).float().cpu())
        drawn.save(path)


def draw_progress(run: Path, expectation: Expectation | None) -> None:
    """Draw the curves of a run so far."""
    path = run / "curves.png"
    with _never_in_the_way(path):
        draw_curves({run.name: read_events(run)}, path, expectation)


@contextmanager
def _never_in_the_way(path: Path) -> Iterator[None]:
    """A picture is never worth a training run: whatever goes wrong is told and passed over."""
    try:
        yield
    except Exception:
        print(f"could not draw {path.name}; training goes on:", file=sys.stderr)
        traceback.print_exc()


def _batches(count: int, batch_size: int, rank: int, world_size: int) -> Iterator[range]:
    for start in range(rank * batch_size, count, world_size * batch_size):
        yield range(start, min(start + batch_size, count))
