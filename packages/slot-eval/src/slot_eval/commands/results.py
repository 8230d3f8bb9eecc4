"""``slot-eval compare``, ``explain`` and ``seeds``: what results and protocols say."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from slot_eval import protocols
from slot_eval.errors import EvalError
from slot_eval.report import aligned, compare_table, decimal, read_result
from slot_eval.seeds import check_data, check_seeds, sentence

ResultFiles = Annotated[list[Path], typer.Argument(help="result.json files, or their folders.")]


def compare(
    results: ResultFiles,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Show different protocols, in separate columns.")
    ] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="Show this metric only; repeatable.")
    ] = None,
) -> None:
    """Show results side by side."""
    found = told_apart(results)
    table = compare_table(found, mixed, metric or ())
    for warning in check_data(results, found):
        typer.echo(warning, err=True)
    typer.echo(table)


def explain(
    one: Annotated[str, typer.Argument(help=f"One of: {', '.join(protocols.names())}.")],
    other: Annotated[str | None, typer.Argument(help="Another one, to be compared.")] = None,
) -> None:
    """Say what a protocol does, or how two differ, switch by switch."""
    first = protocols.get(one)
    if other is None:
        for name, says, value in protocols.switches(first):
            typer.echo(f"{name}: {shown(value)}\n    {says}")
        return
    differing = protocols.differences(first, protocols.get(other))
    if not differing:
        typer.echo(f"{one} and {other} are the same")
    for name, says, mine, theirs in differing:
        typer.echo(f"{name}: {says}\n    {one}: {shown(mine)}\n    {other}: {shown(theirs)}")


def seeds(
    results: ResultFiles,
    metric: Annotated[str, typer.Option(help="The metric of the results.")] = "fg_ari",
    success: Annotated[float, typer.Option(help="The score from which a run counts.")] = 0.9,
) -> None:
    """Mean, standard error, extremes and success rate of results that differ in their seed."""
    found = told_apart(results)
    for warning in check_seeds(results, found):
        typer.echo(warning, err=True)
    scores = []
    for path, result in zip(results, found, strict=True):
        mean = result["metrics"].get(metric, {}).get("mean")
        if mean is None:
            raise EvalError(f"{path}: has no {metric}")
        scores.append(mean)
    lines = [[result["model"], decimal(s)] for result, s in zip(found, scores, strict=True)]
    typer.echo(aligned([["model", metric], *lines]))
    typer.echo(sentence(metric, scores, success))


def told_apart(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The results; where several are of one model's name, as of seeds, their paths take its place.

    Raises EvalError unless each is a result.
    """
    found = [read_result(path) for path in paths]
    times = Counter(str(result["model"]) for result in found)
    return [
        result if times[str(result["model"])] == 1 else {**result, "model": str(path)}
        for path, result in zip(paths, found, strict=True)
    ]


def shown(value: Any) -> str:
    """A switch's value on one line."""
    if isinstance(value, tuple):
        return ", ".join(shown(one) for one in value)
    if isinstance(value, protocols.DataSet):
        size = f" at {value.size}" if value.size else ""
        preset = f" (preset {value.preset})" if value.preset else ""
        return f"{value.name} {value.split}{size}{preset}"
    return "none" if value is None else str(value)
