"""The command line: ``slot-eval score | run | compare | physion-vqa``.

Wrong input ends with one sentence on stderr and exit code 2; any other exception is a bug and
shows its traceback.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer

from slot_eval import plugins, protocols
from slot_eval.errors import EvalError
from slot_eval.physion_vqa import physion_vqa
from slot_eval.predictions import check_same_ids, open_labels, save_labels
from slot_eval.report import (
    RowsFormat,
    check_free,
    compare_table,
    make_result,
    read_result,
    result_table,
    rows_table,
    write_result,
)
from slot_eval.scoring import (
    num_samples,
    samples_of_dataset,
    samples_of_file,
    score_model,
    score_predictions,
)
from slot_eval.streaming import Results

# typer carries a click of its own since 0.2x, and used the installed one before
CLICK_ERROR = cast(type[Exception], typer.BadParameter.__mro__[2])

app = typer.Typer(
    help="Score segmentations of unsupervised object-centric learning.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Protocol = Annotated[str, typer.Option(help=f"One of: {', '.join(protocols.names())}.")]
Split = Annotated[str, typer.Option(help="The split of the data set.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", help="KEY=VALUE for the data set; repeatable.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use the first N samples only.")]
Out = Annotated[Path | None, typer.Option(help="Folder for result.json and the rows.")]
Rows = Annotated[bool, typer.Option("--rows", help="One row per sample: to --out, or shown.")]
RowsForm = Annotated[RowsFormat, typer.Option(help="The form of the rows in --out.")]


@app.command()
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
    check_out(out, rows, rows_format)
    labels = open_labels(predictions, clips=clips)
    settings: dict[str, Any] = {"command": "score"}
    if data is not None:
        options = parse_options(option)
        dataset = plugins.load_dataset(data, split, options)
        score_predictions(labels, samples_of_dataset(dataset, data, limit), data, results)
        settings |= {"split": split, "options": options, "limit": limit}
        name = f"{data}/{split}"
    else:
        true = open_labels(truth or "", clips=clips)
        check_same_ids(labels, true)
        score_predictions(labels, samples_of_file(true), true.source, results)
        name = true.source
    finish(results, str(predictions), name, settings, out, rows, rows_format)


@app.command()
def run(
    model: Annotated[str, typer.Option(help="Folder or repo id of a saved model.")],
    data: Annotated[str, typer.Option(help="A data set by name.")],
    split: Split = "test",
    option: Options = None,
    limit: Limit = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples segmented at once.")] = 16,
    source: Annotated[
        str | None, typer.Option(help="Masks of the encoder or decoder; else the model's choice.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, cuda, ...")] = "cpu",
    protocol: Protocol = "slotdiffusion",
    save_predictions: Annotated[
        Path | None, typer.Option(help="Also write the hard labels to this .npz file.")
    ] = None,
    out: Out = None,
    rows: Rows = False,
    rows_format: RowsForm = "jsonl",
) -> None:
    """Segment a data set with a model and score the result."""
    if source not in (None, "encoder", "decoder"):
        raise EvalError(f"--source must be encoder or decoder, not {source!r}")
    results = Results(protocols.get(protocol))
    check_out(out, rows, rows_format)
    check_predictions_path(save_predictions)
    options = parse_options(option)
    dataset = plugins.load_dataset(data, split, options)
    network = on_device(plugins.load_model(model), device)
    truth = samples_of_dataset(dataset, data, limit)
    scored = score_model(
        network, truth, results, source=source, batch_size=batch_size, device=device
    )

    kept: list[tuple[list[str], torch.Tensor]] = []
    with typer.progressbar(length=num_samples(dataset, limit), file=sys.stderr) as bar:
        for ids, labels in scored:
            if save_predictions is not None:
                kept.append((ids, labels.to(torch.int16)))  # as many slots as anyone has
            bar.update(len(ids))

    settings = {
        "command": "run",
        "split": split,
        "options": options,
        "limit": limit,
        "source": source or getattr(network, "default_mask_source", None),
        "batch_size": batch_size,
        "device": device,
    }
    finish(results, model, f"{data}/{split}", settings, out, rows, rows_format)
    if save_predictions is not None:
        save_kept(save_predictions, kept)


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(help="result.json files, or their folders.")],
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Show different protocols, in separate columns.")
    ] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="Show this metric only; repeatable.")
    ] = None,
) -> None:
    """Show results side by side."""
    typer.echo(compare_table([read_result(path) for path in results], mixed, metric or ()))


app.command()(physion_vqa)


def finish(
    results: Results,
    model: str,
    data: str,
    settings: dict[str, Any],
    out: Path | None,
    rows: bool,
    rows_format: RowsFormat,
) -> None:
    """Write what was asked for and show the table."""
    result = make_result(results, model=model, data=data, settings=settings)
    if out is not None:
        write_result(out, result, results.rows, rows_format if rows else None)
    elif rows:
        typer.echo(rows_table(results.rows) + "\n")
    typer.echo(result_table(result))


def check_out(out: Path | None, rows: bool, rows_format: RowsFormat) -> None:
    """Refuse an occupied folder before the work, not after it."""
    if out is not None:
        check_free(out, rows_format if rows else None)


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


def save_kept(path: Path, kept: Sequence[tuple[list[str], torch.Tensor]]) -> None:
    """Write the labels of all batches; raises EvalError if their sizes differ."""
    if len({labels.shape[1:] for _, labels in kept}) > 1:
        raise EvalError(f"{path}: not written, as an .npz needs samples of one size")
    ids = [name for names, _ in kept for name in names]
    save_labels(path, ids, torch.cat([labels for _, labels in kept]))


def parse_options(pairs: Sequence[str] | None) -> dict[str, Any]:
    """``["num_frames=6", "level=plain"]`` -> values read as JSON where they are, else as text."""
    options: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise EvalError(f"--option {pair}: expected KEY=VALUE")
        if key in options or key == "split":
            raise EvalError(f"--option {pair}: {key} is given already")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def on_device(model: Any, device: str) -> Any:
    """The model where it should run; raises EvalError on a device torch does not have."""
    try:
        return model.to(torch.device(device)) if isinstance(model, torch.nn.Module) else model
    except (RuntimeError, AssertionError) as error:  # how torch says it lacks one
        raise EvalError(f"--device {device}: {str(error).splitlines()[0]}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on ``sys.argv`` or these; the exit code is 0, or 2 on wrong input."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except EvalError as error:
        fail(str(error))
    except CLICK_ERROR as error:
        fail(error.format_message())  # pyright: ignore[reportAttributeAccessIssue]: click's own
    else:
        sys.exit(code or 0)


def fail(sentence: str) -> None:
    """Say it on stderr and end with exit code 2."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
