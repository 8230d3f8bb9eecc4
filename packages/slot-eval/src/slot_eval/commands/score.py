"""``slot-eval score``: predicted labels against the truth."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slot_eval import plugins, protocols
from slot_eval.commands.common import (
    Also,
    Limit,
    Options,
    Out,
    Protocol,
    Rows,
    RowsForm,
    Split,
    also_of,
    check_out,
    finish,
    parse_options,
)
from slot_eval.errors import EvalError
from slot_eval.predictions import check_same_ids, open_labels
from slot_eval.report import make_result
from slot_eval.scoring import samples_of_dataset, samples_of_file, score_predictions
from slot_eval.streaming import Results


def score(
    predictions: Annotated[Path, typer.Argument(help=".npz file or folder of label PNGs.")],
    truth: Annotated[Path | None, typer.Option(help="The truth, in the same two forms.")] = None,
    data: Annotated[str | None, typer.Option(help="The truth, as a data set by name.")] = None,
    split: Split = "test",
    option: Options = None,
    limit: Limit = None,
    clips: Annotated[
        bool, typer.Option("--clips", help="Each folder of label PNGs is a clip, not pictures.")
    ] = False,
    protocol: Protocol = "slotdiffusion",
    also: Also = None,
    out: Out = None,
    rows: Rows = False,
    rows_format: RowsForm = "jsonl",
) -> None:
    """Score predicted labels against the truth."""
    if (truth is None) == (data is None):
        raise EvalError("give the truth either as --truth PATH or as --data NAME")
    if truth is not None and (option or limit):
        raise EvalError("--option and --limit belong to --data, not to --truth")
    results = Results(protocols.get(protocol))
    further = also_of(also)
    check_out(out, rows, rows_format)
    labels = open_labels(predictions, clips=clips)
    settings: dict[str, Any] = {"command": "score", "also": list(further)}
    card = None
    if data is not None:
        options = parse_options(option)
        dataset = plugins.load_dataset(data, split, options)
        samples = samples_of_dataset(dataset, data, limit)
        score_predictions(labels, samples, data, results, further)
        settings |= {"split": split, "options": options, "limit": limit}
        name, card = f"{data}/{split}", plugins.data_card(data, split, options)
    else:
        true = open_labels(truth or "", clips=clips)
        check_same_ids(labels, true)
        score_predictions(labels, samples_of_file(true), true.source, results, further)
        name = true.source
    result = make_result(
        results, model=str(predictions), data=name, settings=settings, data_card=card
    )
    finish(results, result, out, rows, rows_format)
