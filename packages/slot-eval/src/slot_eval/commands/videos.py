"""``slot-eval reconstruct`` and ``predict-video``: what a model paints against the truth."""

from typing import Annotated

import typer

from slot_eval import protocols
from slot_eval.commands.common import (
    BatchSize,
    Data,
    Device,
    Limit,
    Lpips,
    LpipsWeights,
    Model,
    ModelOptions,
    NumSlots,
    Options,
    Out,
    Processes,
    Report,
    Rows,
    RowsForm,
    Seed,
    Split,
    Threads,
    check_out,
    finish,
    finished_blocks,
    parse_model_options,
    parse_options,
    provenance,
    settings_of,
    weights_of,
)
from slot_eval.exhibits import video_exhibits
from slot_eval.jobs import chosen_device
from slot_eval.model_jobs import PredictJob, ReconstructJob
from slot_eval.protocols.prediction import by_future_frame
from slot_eval.provenance import model_hash
from slot_eval.report import make_result
from slot_eval.streaming import Results


def reconstruct(
    model: Model,
    data: Data,
    split: Split = "test",
    option: Options = None,
    limit: Limit = None,
    batch_size: BatchSize = 16,
    model_option: ModelOptions = None,
    num_slots: NumSlots = None,
    device: Device = None,
    processes: Processes = 1,
    threads: Threads = None,
    seed: Seed = 0,
    lpips: Lpips = None,
    lpips_weights: LpipsWeights = None,
    out: Out = None,
    rows: Rows = False,
    rows_format: RowsForm = "jsonl",
    report: Report = False,
) -> None:
    """Reconstruct a data set with a model: MSE, PSNR, SSIM, and LPIPS if asked for."""
    job = ReconstructJob(
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
        lpips=lpips,
        lpips_weights=weights_of(lpips, lpips_weights),
    )
    check_out(out, rows, rows_format, report)
    results, opened, ids = Results(protocols.RECONSTRUCTION), job.open(), []
    for block in finished_blocks(opened, processes):
        results.extend(block.rows)
        ids += block.ids
    settings = settings_of("reconstruct", opened, lpips=lpips)
    result = make_result(
        results, model=model, data=f"{data}/{split}", settings=settings, **provenance(opened)
    )
    exhibits = video_exhibits(opened, results.rows, ids) if report else None
    finish(results, result, out, rows, rows_format, exhibits)


def predict_video(
    model: Model,
    data: Data,
    encoder: Annotated[
        str | None, typer.Option(help="The model that makes slots of frames, if it is another.")
    ] = None,
    burn_in: Annotated[
        int | None,
        typer.Option(min=1, help="Frames that are seen; else as many as the model needs."),
    ] = None,
    split: Split = "test",
    option: Options = None,
    limit: Limit = None,
    batch_size: BatchSize = 4,
    model_option: ModelOptions = None,
    num_slots: NumSlots = None,
    device: Device = None,
    processes: Processes = 1,
    threads: Threads = None,
    seed: Seed = 0,
    lpips: Lpips = None,
    lpips_weights: LpipsWeights = None,
    out: Out = None,
    rows: Rows = False,
    rows_format: RowsForm = "jsonl",
    report: Report = False,
) -> None:
    """Predict the frames after the first ones: slots, MSE, PSNR, SSIM, FG-ARI and mIoU."""
    job = PredictJob(
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
        burn_in=burn_in,
        encoder=encoder,
        lpips=lpips,
        lpips_weights=weights_of(lpips, lpips_weights),
    )
    check_out(out, rows, rows_format, report)
    results, opened, ids = Results(protocols.PREDICTION), job.open(), []
    for block in finished_blocks(opened, processes):
        results.extend(block.rows)
        ids += block.ids
    settings = settings_of(
        "predict-video",
        opened,
        burn_in=opened.burn_in,
        lpips=lpips,
        encoder=encoder,
        encoder_hash=model_hash(opened.encoder),
    )
    result = make_result(
        results, model=model, data=f"{data}/{split}", settings=settings, **provenance(opened)
    )
    result["by_frame"] = by_future_frame(results.rows)
    exhibits = video_exhibits(opened, results.rows, ids) if report else None
    finish(results, result, out, rows, rows_format, exhibits)
