"""`slot-data info`, `show` and `verify`. Bad input ends with one sentence and exit code 2."""

import inspect
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from slot_data import catalog, verification
from slot_data.contact_sheet import contact_sheet
from slot_data.options import allowed_options, describe
from slot_data.sample import DataError

Option = Annotated[
    list[str] | None, typer.Option(help="An option of the dataset as key=value; repeatable.")
]
app = typer.Typer(
    help="Datasets of unsupervised object-centric learning.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    try:
        app()
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def info(
    name: Annotated[str | None, typer.Argument(help="A dataset; all of them if left out.")] = None,
) -> None:
    """Prints what is in a dataset, how it is divided and which options it has."""
    cards = [catalog.card(known) for known in (catalog.names() if name is None else [name])]
    print("\n\n".join(_readable(card) for card in cards))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A dataset.")],
    out: Annotated[Path, typer.Option(help="The picture to write, a .png file.")],
    split: Annotated[str, typer.Option(help="Part of the dataset.")] = "train",
    option: Option = None,
    count: Annotated[int, typer.Option(min=1, help="Samples to draw.")] = 24,
    columns: Annotated[int, typer.Option(min=1, help="Samples in a row.")] = 8,
) -> None:
    """Draws the first samples of a dataset with their masks on one sheet."""
    if out.suffix.lower() != ".png":
        raise DataError(f"--out {out} does not end in .png")
    catalog.card(name)  # an unknown dataset is named before its options
    options: dict[str, Any] = dict(catalog.parse_option(name, text) for text in option or [])
    dataset = catalog.load_dataset_by_name(name, split=split, **options)
    sheet = contact_sheet(dataset, count, columns)
    try:
        sheet.save(out)
    except OSError as error:
        raise DataError(f"--out {out} cannot be written: {error.strerror}") from error
    print(f"{out}: {min(count, len(dataset))} of {len(dataset):,} samples of {name}, split {split}")


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help="A dataset.")],
    split: Annotated[
        list[str] | None, typer.Option(help="Part of the dataset; repeatable. All if left out.")
    ] = None,
    option: Option = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read.")] = 0,
) -> None:
    """Reads every sample of a dataset and compares their numbers with its card."""
    card = catalog.card(name)
    options = dict(catalog.parse_option(name, text) for text in option or [])
    reports = []
    for part in split or verification.splits_of(card):
        report, dataset = verification.open_split(card, part, options)
        if dataset is not None:
            readings = verification.read_all(dataset, report, workers)
            with typer.progressbar(
                readings, length=len(dataset), label=part, file=sys.stderr
            ) as bar:
                for _ in bar:
                    pass
        reports.append(report)
    print(verification.table(reports))
    wrong = verification.verdict(card, reports)
    if wrong:
        raise DataError(wrong)


def _readable(card: catalog.Card) -> str:
    splits = ", ".join(
        split if size is None else f"{split} {size:,}" for split, size in card.splits.items()
    )
    fields = {
        "splits": splits,
        "pictures": card.image_size,
        "objects": card.objects,
        "slots": "as your pictures need" if card.num_slots is None else str(card.num_slots),
        "preprocessing": card.preprocessing,
        "licence": card.licence,
        "citation": card.citation,
        "options": ", ".join(
            _option(name, parameter) for name, parameter in allowed_options(card.loader).items()
        ),
        "presets": "; ".join(
            f"{name}: {preset.description}" for name, preset in catalog.presets(card.name).items()
        )
        or "none",
    }
    lines = [card.name, *textwrap.wrap(card.description, 92)]
    for field, text in fields.items():
        lines += textwrap.wrap(text, 92, initial_indent=f"{field:15}", subsequent_indent=" " * 15)
    return "\n".join(lines)


def _option(name: str, parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return f"{name} ({describe(parameter.annotation)}, required)"
    return f"{name}={parameter.default}"
