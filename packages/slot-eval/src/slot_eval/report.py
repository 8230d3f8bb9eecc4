"""What a scoring leaves behind: ``result.json``, a table to read, and one row per sample.

A result says by itself what its numbers mean: the protocol with all its switches, how many
samples there were, and for each metric how many of them it is defined for.
"""

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from slot_eval.errors import EvalError
from slot_eval.streaming import Results

RESULT = "result.json"
FORMAT = 1
LACKS = object()  # in place of a switch that a protocol of another version does not have
VERSION = version("slot-eval")  # where it is not installed, that is told before anything is scored
RowsFormat = Literal["jsonl", "csv"]


def make_result(
    results: Results,
    *,
    model: str,
    data: str,
    settings: Mapping[str, Any],
    model_hash: str | None = None,
    model_structure: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    data_card: Mapping[str, Any] | None = None,
    departures: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of ``result.json``; a mean over no sample at all is null.

    ``model_hash``, ``model_structure``, ``model_config``, ``data_card`` and ``departures`` as of
    ``slot_eval.provenance`` and ``slot_eval.plugins``.
    """
    metrics = {
        name: {**entry, "mean": None if math.isnan(entry["mean"]) else entry["mean"]}
        for name, entry in results.summary().items()
    }
    return {
        "format": FORMAT,
        "slot_eval": VERSION,
        "protocol": results.protocol.id,
        "protocol_settings": results.protocol.settings(),
        "model": model,
        "model_hash": model_hash,
        "model_structure": model_structure,
        "model_config": None if model_config is None else dict(model_config),
        "data": data,
        "data_card": None if data_card is None else dict(data_card),
        "departures": list(departures),
        "num_samples": len(results),
        "metrics": metrics,
        "settings": dict(settings),
    }


def make_distance(
    distance: float, count: int, *, settings: Mapping[str, Any], **provenance: Any
) -> dict[str, Any]:
    """The content of ``result.json`` of a Fréchet distance, which is of samples together."""
    undefined = math.isnan(distance)
    return {
        "format": FORMAT,
        "slot_eval": VERSION,
        "protocol": "frechet",
        "protocol_settings": {"features": settings["features"]},
        **provenance,
        "num_samples": count,
        "metrics": {
            "frechet_distance": {
                "mean": None if undefined else distance,
                "n": 0 if undefined else count,
                "undefined": count if undefined else 0,
            }
        },
        "settings": dict(settings),
    }


def check_free(folder: Path, rows: RowsFormat | None) -> None:
    """Raise EvalError if writing would overwrite an earlier result or cannot work at all."""
    check_writable(folder)
    for name in [RESULT, *([f"rows.{rows}"] if rows else [])]:
        if (folder / name).exists():
            raise EvalError(f"{folder / name}: exists already; choose another --out")


def check_writable(folder: Path) -> None:
    """Raise EvalError unless files can be written into a folder, which need not be there yet."""
    place = next(one for one in (folder, *folder.absolute().parents) if _is_seen(one))
    if not place.is_dir():
        raise EvalError(f"{place}: is a file, expected a folder to write to")
    if not os.access(place, os.W_OK | os.X_OK):
        raise EvalError(f"{folder}: cannot be written: this user has no right to write in {place}")


def _is_seen(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # what is above it may not be looked into
        return False


def write_result(
    folder: Path,
    result: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    form: RowsFormat | None,
) -> None:
    """Write ``result.json`` and, if a form is given, ``rows.jsonl`` or ``rows.csv``."""
    check_free(folder, form)
    files = {f"rows.{form}": ROW_WRITERS[form](rows)} if form else {}
    files[RESULT] = as_json(result)  # last: where it is, all is there
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            partial = folder / f"{name}.partial"
            partial.write_text(text, encoding="utf-8")
            partial.replace(folder / name)
    except OSError as error:
        raise EvalError(f"{folder}: cannot be written: {error.strerror or error}") from error


def rows_as_jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    """One JSON object per line; an undefined value is null."""
    return "".join(json.dumps(without_nan(row)) + "\n" for row in rows)


def rows_as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A header and one line per sample; an undefined value is empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns_of(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(without_nan(row) for row in rows)
    return text.getvalue()


ROW_WRITERS = {"jsonl": rows_as_jsonl, "csv": rows_as_csv}


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The id and all metrics of the rows: those of clips have more than those of pictures."""
    return list(dict.fromkeys(["id", *(key for row in rows for key in row)]))


def as_json(result: Mapping[str, Any]) -> str:
    """JSON to read; an undefined value is null at any depth."""
    return json.dumps(without_nan(result), indent=2, allow_nan=False) + "\n"


def without_nan(content: Any) -> Any:
    """The content with None for NaN and infinity, which JSON does not have."""
    if isinstance(content, Mapping):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_result(path: Path) -> dict[str, Any]:
    """Read a ``result.json``, or the one in a folder; raises EvalError unless it is one."""
    path = path / RESULT if path.is_dir() else path
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not JSON"
        raise EvalError(f"{path}: cannot be read as a result: {reason}") from error
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise EvalError(f"{path}: is not a result of slot-eval in format {FORMAT}")
    keys = ("protocol", "protocol_settings", "model", "data", "num_samples", "metrics")
    if missing := [key for key in keys if key not in result]:
        raise EvalError(f"{path}: lacks the key {missing[0]}")
    return result


def result_table(result: Mapping[str, Any]) -> str:
    """One result, one metric per line."""
    head = (
        f"model     {result['model']}\ndata      {result['data']}\n"
        f"protocol  {result['protocol']}\nsamples   {result['num_samples']}\n"
    )
    head += "".join(f"but       {one}\n" for one in result.get("departures", ())) + "\n"
    lines = [
        [name, decimal(entry["mean"]), str(entry["n"]), str(entry["undefined"])]
        for name, entry in result["metrics"].items()
    ]
    return head + aligned([["metric", "mean", "defined", "undefined"], *lines])


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per sample."""
    if not rows:
        return ""
    head = columns_of(rows)
    lines = [[row["id"], *(decimal(row.get(key)) for key in head[1:])] for row in rows]
    return aligned([head, *lines])


def compare_table(
    results: Sequence[Mapping[str, Any]], mixed: bool, chosen: Sequence[str] = ()
) -> str:
    """Results line by line, metrics side by side; protocols never share a column.

    ``chosen`` names the metrics to show, in this order; all where it is empty.

    Raises EvalError when the protocols differ (by name or by any switch), unless ``mixed`` asks
    for columns of their own, and when no result has a chosen metric.
    """
    known = metrics_of(results)
    if unknown := [metric for metric in chosen if metric not in known]:
        raise EvalError(f"no result has the metric {unknown[0]}; they have {', '.join(known)}")
    groups = by_protocol(results)
    if len(groups) > 1 and not mixed:
        raise EvalError(
            f"the results follow {len(groups)} different protocols "
            f"({'; '.join(name for name, _ in groups)}), so their numbers do not compare; --mixed "
            "shows them in separate columns"
        )
    columns = [
        (name, group, metric) for name, group in groups for metric in (chosen or metrics_of(group))
    ]
    heads = [metric if len(groups) == 1 else f"{metric} ({name})" for name, _, metric in columns]
    lines = [["model", "data", "samples", *heads]]
    for result in results:
        values = [
            decimal(result["metrics"].get(metric, {}).get("mean")) if result in group else "-"
            for _, group, metric in columns
        ]
        lines.append([result["model"], result["data"], str(result["num_samples"]), *values])
    title = f"protocol  {groups[0][0]}\n\n" if len(groups) == 1 else ""
    return title + aligned(lines, left=2)


def by_protocol(
    results: Sequence[Mapping[str, Any]],
) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Results of equal protocols together, under its name and, where names repeat, the switches.

    The switches are those that differ between protocols of one name (other versions, edits).
    """
    groups: list[tuple[str, dict[str, Any], list[Mapping[str, Any]]]] = []
    for result in results:
        name, switches = result["protocol"], result["protocol_settings"]
        for known, settings, group in groups:
            if (known, settings) == (name, switches):
                group.append(result)
                break
        else:
            groups.append((name, switches, [result]))
    named: list[tuple[str, list[Mapping[str, Any]]]] = []
    for name, switches, group in groups:
        others = [settings for known, settings, _ in groups if known == name]
        keys = dict.fromkeys(key for settings in others for key in settings)
        differ = [k for k in keys if any(o.get(k, LACKS) != switches.get(k, LACKS) for o in others)]
        told = [f"{k}={switches[k]!r}" if k in switches else f"without {k}" for k in differ]
        named.append((", ".join([name, *told]), group))
    return named


def metrics_of(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics of these results, each once, in order of appearance."""
    return list(dict.fromkeys(name for result in results for name in result["metrics"]))


def decimal(value: float | None) -> str:
    """Four decimals, which is more than the spread over seeds ever deserves."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def aligned(lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """Columns padded to equal width: the first ``left`` to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)
