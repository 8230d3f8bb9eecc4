"""``slot-eval run``: segment a data set with a model, and score it under a protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from slot_eval import protocols
from slot_eval.commands.common import (
    Also,
    BatchSize,
    Data,
    Device,
    Limit,
    Model,
    ModelOptions,
    NumSlots,
    Options,
    Out,
    Processes,
    Protocol,
    Report,
    Rows,
    RowsForm,
    Seed,
    Split,
    Threads,
    also_of,
    check_out,
    finish,
    finished_blocks,
    parse_model_options,
    parse_options,
    provenance,
    settings_of,
)
from slot_eval.errors import EvalError
from slot_eval.exhibits import segmentation_exhibits
from slot_eval.jobs import chosen_device
from slot_eval.model_jobs import SegmentJob
from slot_eval.predictions import save_labels
from slot_eval.report import check_writable, make_result
from slot_eval.streaming import Results


def run(
    model: Model,
    data: Data,
    split: Split = "test",
    option: Options = None,
    limit: Limit = None,
    batch_size: BatchSize = 16,
    source: Annotated[
        str | None, typer.Option(help="Masks of the encoder or decoder; else the protocol's.")
    ] = None,
    model_option: ModelOptions = None,
    num_slots: NumSlots = None,
    device: Device = None,
    processes: Processes = 1,
    threads: Threads = None,
    seed: Seed = 0,
    protocol: Protocol = "slotdiffusion",
    also: Also = None,
    save_predictions: Annotated[
        Path | None, typer.Option(help="Also write the hard labels to this .npz file.")
    ] = None,
    out: Out = None,
    rows: Rows = False,
    rows_format: RowsForm = "jsonl",
    report: Report = False,
) -> None:
    """Segment a data set with a model and score the result."""
    if source not in (None, "encoder", "decoder"):
        raise EvalError(f"--source must be encoder or decoder, not {source!r}")
    results = Results(protocols.get(protocol))
    check_out(out, rows, rows_format, report)
    check_predictions_path(save_predictions)
    job = SegmentJob(
        model=model,
        data=data,
        split=split,
        options=parse_options(option),
        limit=limit,
        batch_size=batch_size,
        device=chosen_device(device),
        seed=seed,
        threads=threads,
        num_slots=num_slots,
        model_options=parse_model_options(model_option),
        protocol=protocol,
        source=source,
        also=also_of(also),
        keep=save_predictions is not None,
    )
    opened = job.open()
    ids: list[str] = []
    kept: list[torch.Tensor] = []
    for block in finished_blocks(opened, processes):
        results.extend(block.rows)
        ids += block.ids
        kept += [labels.to(torch.int16) for labels in block.kept]  # as many slots as anyone has

    masks = job.masks or getattr(opened.model, "default_mask_source", None)
    result = make_result(
        results,
        model=model,
        data=f"{data}/{split}",
        settings=settings_of("run", opened, source=masks, also=list(job.also)),
        **provenance(opened, masks, protocol),
    )
    exhibits = segmentation_exhibits(opened, results.rows, ids) if report else None
    finish(results, result, out, rows, rows_format, exhibits)
    if save_predictions is not None:
        save_kept(save_predictions, ids, kept)


def check_predictions_path(path: Path | None) -> None:
    """Refuse a path that cannot be written before the work, not after it."""
    if path is None:
        return
    if path.suffix != ".npz":
        raise EvalError(f"{path}: --save-predictions writes an .npz file")
    if path.exists():
        raise EvalError(f"{path}: exists already; choose another --save-predictions")
    if not path.parent.is_dir():
        raise EvalError(f"{path.parent}: there is no such folder to write predictions to")
    check_writable(path.parent)


def save_kept(path: Path, ids: Sequence[str], kept: Sequence[torch.Tensor]) -> None:
    """Write the labels of all samples; raises EvalError unless they have one size."""
    if len({labels.shape for labels in kept}) != 1:
        raise EvalError(f"{path}: not written, as an .npz needs samples of one size")
    save_labels(path, ids, torch.stack(list(kept)))
