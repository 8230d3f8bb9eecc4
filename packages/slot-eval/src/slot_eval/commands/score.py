"""``slot-eval score``: predicted labels, or painted pictures, against the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from slot_eval import plugins, protocols
from slot_eval.commands.common import (
    Also,
    Limit,
    Lpips,
    LpipsWeights,
    Options,
    Out,
    Report,
    Rows,
    RowsForm,
    Split,
    also_of,
    check_out,
    finish,
    parse_options,
    weights_of,
)
from slot_eval.errors import EvalError
from slot_eval.exhibits import label_exhibits, painted_exhibits
from slot_eval.html_report import Exhibit
from slot_eval.perceptual import lpips_of
from slot_eval.picture_files import open_pictures
from slot_eval.predictions import check_same_ids, open_labels
from slot_eval.provenance import departures
from slot_eval.report import make_result
from slot_eval.scoring import score_pictures, score_predictions
from slot_eval.streaming import Results
from slot_eval.truth import DatasetTruth, FileTruth, TrueLabels, Truth, labels_of, pictures_of

PICTURES = protocols.RECONSTRUCTION.id
Protocol = Annotated[
    str,
    typer.Option(
        help=f"One of: {', '.join(protocols.names())}; or {PICTURES}, which compares pictures."
    ),
]


def score(
    predictions: Annotated[
        Path, typer.Argument(help=".npz file, or folder of label PNGs or of pictures.")
    ],
    truth: Annotated[Path | None, typer.Option(help="The truth, in the same two forms.")] = None,
    data: Annotated[str | None, typer.Option(help="The truth, as a data set by name.")] = None,
    split: Split = "test",
    option: Options = None,
    limit: Limit = None,
    clips: Annotated[
        bool, typer.Option("--clips", help="Each folder of files is a clip, not pictures.")
    ] = False,
    protocol: Protocol = "slotdiffusion",
    also: Also = None,
    lpips: Lpips = None,
    lpips_weights: LpipsWeights = None,
    out: Out = None,
    rows: Rows = False,
    rows_format: RowsForm = "jsonl",
    report: Report = False,
) -> None:
    """Score predicted labels, or painted pictures, against the truth."""
    if (truth is None) == (data is None):
        raise EvalError("give the truth either as --truth PATH or as --data NAME")
    if truth is not None and (option or limit):
        raise EvalError("--option and --limit belong to --data, not to --truth")
    if protocol != PICTURES and lpips is not None:
        raise EvalError(f"--lpips compares pictures, which needs --protocol {PICTURES}")
    if protocol == PICTURES and also:
        raise EvalError(f"--also is of labels, and --protocol {PICTURES} compares pictures")
    further, weights = also_of(also), weights_of(lpips, lpips_weights)
    check_out(out, rows, rows_format, report)
    given = Given(truth, data, split, parse_options(option), limit, clips)
    if protocol == PICTURES:
        scored = of_pictures(predictions, given, lpips, weights, report)
    else:
        scored = of_labels(predictions, given, protocol, further, report)
    settings = {"command": "score", **scored.settings, **given.settings}
    result = make_result(
        scored.results,
        model=str(predictions),
        data=given.name,
        settings=settings,
        data_card=None if data is None else plugins.data_card(data, split, given.options),
        departures=scored.departures,
    )
    finish(scored.results, result, out, rows, rows_format, scored.exhibits if report else None)


@dataclass(frozen=True)
class Given:
    """What the command line says of the truth: a path, or a data set."""

    path: Path | None
    data: str | None
    split: str
    options: dict[str, Any]
    limit: int | None
    clips: bool

    @property
    def name(self) -> str:
        """What a result calls it."""
        return str(self.path) if self.data is None else f"{self.data}/{self.split}"

    @property
    def settings(self) -> dict[str, Any]:
        """What a result says of it."""
        if self.data is None:
            return {}
        return {"split": self.split, "options": self.options, "limit": self.limit}

    def dataset(self) -> tuple[Any, str, int | None]:
        """The data set, its name, and how many samples count."""
        assert self.data is not None
        loaded = plugins.load_dataset(self.data, self.split, self.options)
        return loaded, self.data, self.limit


GAPS = (
    "the truth's labels have gaps: up to {count} below the largest do not occur in a sample, and "
    "{protocol} counts each as IoU 0; number them without gaps"
)


@dataclass(frozen=True)
class Scored:
    """Scores, what a result says of how they were made, and what a report shows."""

    results: Results
    settings: dict[str, Any]
    exhibits: Sequence[Exhibit]
    departures: Sequence[str] = ()


def of_labels(
    predictions: Path, given: Given, protocol: str, also: tuple[str, ...], report: bool
) -> Scored:
    """Score labels."""
    results = Results(protocols.get(protocol))
    found = open_labels(predictions, clips=given.clips)
    if given.data is None:
        files = open_labels(given.path or "", clips=given.clips)
        check_same_ids(found, files)
        truth = FileTruth(files, labels_of)
    else:
        truth = DatasetTruth(*given.dataset(), labels_of)
    absent = score_predictions(found, truth, results, also)
    exhibits = label_exhibits(results.rows, found, truth) if report else []
    told = told_of(given, results.protocol, truth, absent)
    return Scored(results, {"also": list(also)}, exhibits, told)


def told_of(
    given: Given, protocol: protocols.Protocol, truth: Truth[TrueLabels], absent: int
) -> list[str]:
    """In what the truth departs from the protocol: of a data set what ``run`` says, of files that
    their labels have gaps, as they hold whatever their tool wrote."""
    if given.data is None:
        return [GAPS.format(count=absent, protocol=protocol.id)] if absent else []
    first = next(truth.samples(), None)
    size = None if first is None else (first.labels.shape[-2], first.labels.shape[-1])
    return departures(protocol, given.data, given.split, given.options, size, None)


def of_pictures(
    predictions: Path, given: Given, lpips: str | None, weights: str | None, report: bool
) -> Scored:
    """Score pictures."""
    results = Results(protocols.RECONSTRUCTION)
    found = open_pictures(predictions, clips=given.clips)
    perceptual = None if lpips is None else lpips_of(lpips, weights)
    if given.data is None:
        files = open_pictures(given.path or "", clips=given.clips)
        check_same_ids(found, files)
        truth = FileTruth(files, pictures_of)
    else:
        truth = DatasetTruth(*given.dataset(), pictures_of)
    score_pictures(found, truth, results, perceptual)
    exhibits = painted_exhibits(results.rows, found, truth) if report else []
    return Scored(results, {"lpips": lpips}, exhibits)
