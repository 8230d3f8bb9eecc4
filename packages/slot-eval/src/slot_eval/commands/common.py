"""What several commands share: their options, what they check first and how they end."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from slot_eval import plugins, protocols
from slot_eval.errors import EvalError
from slot_eval.html_report import Exhibit, html_report
from slot_eval.jobs import Block, OpenJob, run_job
from slot_eval.protocols.further import FURTHER_METRICS, check_known
from slot_eval.provenance import departures, of_model
from slot_eval.report import (
    RowsFormat,
    check_free,
    result_table,
    rows_table,
    write_result,
)
from slot_eval.streaming import Results

REPORT = "report.html"

Protocol = Annotated[str, typer.Option(help=f"One of: {', '.join(protocols.names())}.")]
Model = Annotated[str, typer.Option(help="Folder or repo id of a saved model.")]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--model-option",
        help="KEY=VALUE of its configuration, such as num_slots=9 or "
        "encoder.corrector.num_iterations=5, as far as its weights fit; repeatable.",
    ),
]
Data = Annotated[str, typer.Option(help="A data set by name.")]
Split = Annotated[str, typer.Option(help="The split of the data set.")]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="KEY=VALUE for the data set, such as preset=NAME; a text that reads as a number is "
        "quoted twice, year='\"2016\"'; repeatable.",
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use the first N samples only.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples that the model sees at once.")]
Device = Annotated[
    str | None,
    typer.Option(
        help="Where the model runs: cpu, cuda, cuda:1 ...; a GPU if there is one. Several "
        "processes take several GPUs in turn, unless one of them is named.",
        show_default=False,
    ),
]
Processes = Annotated[
    int, typer.Option(min=1, help="How many processes share the samples; the result is the same.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Of each process; else torch's own choice.")
]
Seed = Annotated[int, typer.Option(help="Of whatever the model draws at random.")]
NumSlots = Annotated[
    int | None, typer.Option(min=1, help="Refuse a model with another number of slots.")
]
Also = Annotated[
    list[str] | None,
    typer.Option(help=f"Further metrics, or all: {', '.join(FURTHER_METRICS)}; repeatable."),
]
Lpips = Annotated[
    str | None, typer.Option(help="Also LPIPS, with this network: alex, vgg or squeeze.")
]
LpipsWeights = Annotated[
    Path | None, typer.Option(help="The network's weights, as torchvision publishes them.")
]
Out = Annotated[Path | None, typer.Option(help="Folder for result.json and the rows.")]
Rows = Annotated[bool, typer.Option("--rows", help="One row per sample: to --out, or shown.")]
RowsForm = Annotated[RowsFormat, typer.Option(help="The form of the rows in --out.")]
Report = Annotated[
    bool, typer.Option("--report", help="Also write report.html, with pictures, to --out.")
]


def also_of(names: Sequence[str] | None) -> tuple[str, ...]:
    """The further metrics that were asked for; raises EvalError on an unknown one."""
    if names and "all" in names:
        return FURTHER_METRICS
    check_known(names or ())
    return tuple(dict.fromkeys(names or ()))


def weights_of(lpips: str | None, weights: Path | None) -> str | None:
    """The file of the network that LPIPS looks through; raises EvalError where nothing does."""
    if weights is not None and lpips is None:
        raise EvalError("--lpips-weights belongs to --lpips, which is not given")
    return None if weights is None else str(weights)


def check_out(out: Path | None, rows: bool, rows_format: RowsFormat, report: bool = False) -> None:
    """Refuse an occupied folder before the work, not after it."""
    if out is not None:
        check_free(out, rows_format if rows else None)
        if report and (out / REPORT).exists():
            raise EvalError(f"{out / REPORT}: exists already; choose another --out")
    elif report:
        raise EvalError("--report needs a folder to be written to: give --out")


def parse_options(pairs: Sequence[str] | None) -> dict[str, Any]:
    """``["num_frames=6", "level=plain"]`` -> values read as JSON where they are, else as text."""
    options: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise EvalError(f"--option {pair}: expected KEY=VALUE")
        if key in options or key == "split":
            raise EvalError(f"--option {pair}: {key} is given already")
        options[key] = read_value(value)
    return options


def parse_model_options(pairs: Sequence[str] | None) -> dict[str, Any]:
    """``["num_slots=9", "encoder.slot_noise=0"]`` -> ``{"num_slots": 9, "encoder": {...}}``."""
    options: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        *parts, last = key.split(".")
        if not equals or not all(part.isidentifier() for part in (*parts, last)):
            raise EvalError(f"--model-option {pair}: expected KEY=VALUE or KEY.KEY=VALUE")
        place: Any = options
        for part in parts:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise EvalError(f"--model-option {pair}: {part} is given already")
        if last in place:
            raise EvalError(f"--model-option {pair}: {last} is given already")
        place[last] = read_value(value)
    return options


def read_value(value: str) -> Any:
    """JSON where it is such, else text."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def finished_blocks(opened: OpenJob, processes: int) -> Iterator[Block]:
    """The blocks of a job as they are done, under a progress bar on stderr."""
    with typer.progressbar(length=len(opened), file=sys.stderr) as bar:
        for block in run_job(opened, processes):
            yield block
            bar.update(len(block.ids))


def provenance(opened: OpenJob, source: str | None = None, protocol: str | None = None) -> Any:
    """What a result says of its model and its data, as arguments of ``make_result``."""
    job = opened.job
    found: list[str] = []
    if protocol is not None:
        size = tuple(opened.sample(0)["video"].shape[-2:]) if len(opened) else None
        found = departures(protocols.get(protocol), job.data, job.split, job.options, size, source)
    return {
        **of_model(opened.model),
        "data_card": plugins.data_card(job.data, job.split, job.options),
        "departures": found,
    }


def settings_of(command: str, opened: OpenJob, **more: Any) -> dict[str, Any]:
    """What a result says of how it was made; not how many processes, which changes nothing."""
    job = opened.job
    return {
        "command": command,
        "split": job.split,
        "options": dict(job.options),
        "model_options": dict(job.model_options),
        "limit": job.limit,
        "batch_size": job.batch_size,
        "device": job.device,
        "seed": job.seed,
        **more,
    }


def finish(
    results: Results,
    result: Mapping[str, Any],
    out: Path | None,
    rows: bool,
    rows_format: RowsFormat,
    exhibits: Sequence[Exhibit] | None = None,
) -> None:
    """Show the table and write what was asked for, in this order: should the disk be full, the
    scores are seen."""
    if out is None and rows:
        typer.echo(rows_table(results.rows) + "\n")
    typer.echo(result_table(result))
    if out is not None:
        write_result(out, result, results.rows, rows_format if rows else None)
        if exhibits is not None:
            text = html_report(result, results.rows, exhibits)
            (out / REPORT).write_text(text, encoding="utf-8")
