"""``slot-eval compose``: new scenes out of the slots of different samples, and how close they come
to real ones."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from slot_eval.commands.common import (
    BatchSize,
    Data,
    Device,
    Limit,
    Model,
    ModelOptions,
    NumSlots,
    Options,
    Processes,
    Seed,
    Split,
    Threads,
    finished_blocks,
    parse_model_options,
    parse_options,
    provenance,
    settings_of,
)
from slot_eval.composition_job import ComposeJob, distance_of
from slot_eval.features import load_extractor
from slot_eval.html_report import save_pictures
from slot_eval.jobs import chosen_device
from slot_eval.report import check_free, make_distance, result_table, write_result

Out = Annotated[Path | None, typer.Option(help="Folder for result.json and pictures.")]


def compose(
    model: Model,
    data: Data,
    features: Annotated[
        str, typer.Option(help="What sees the pictures: inception, inception:FILE, or a network.")
    ] = "inception",
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
    pictures: Annotated[
        int, typer.Option(min=0, help="How many composed samples to save in --out.")
    ] = 16,
    out: Out = None,
) -> None:
    """Mix slots between samples, paint them, and measure the Fréchet distance to real samples."""
    if out is not None:
        check_free(out, None)
    place = chosen_device(device)
    load_extractor(features, place)  # what is wrong with it is told before the model is loaded
    job = ComposeJob(
        model=model,
        data=data,
        split=split,
        options=parse_options(option),
        limit=limit,
        batch_size=batch_size,
        device=place,
        seed=seed,
        threads=threads,
        num_slots=num_slots,
        model_options=parse_model_options(model_option),
        features=features,
    )
    opened = job.open()
    blocks = list(finished_blocks(opened, processes))
    distance, count = distance_of(blocks)
    result = make_distance(
        distance,
        count,
        model=model,
        data=f"{data}/{split}",
        settings=settings_of("compose", opened, features=features),
        **provenance(opened),
    )
    typer.echo(result_table(result))
    if out is not None:
        write_result(out, result, [], None)
        if pictures:
            shown = replace(job, limit=min(pictures, len(opened)))
            save_pictures(out / "composed.png", torch.stack(list(shown.pictures(opened))))
