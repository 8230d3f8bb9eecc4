"""`slot-data info`, `show`, `verify`, `prepare` and `push`. Bad input ends with one sentence and
exit code 2."""

import inspect
import os
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from slot_data import catalog, cli_prepare, hub_folders, verification
from slot_data.card import Card
from slot_data.contact_sheet import contact_sheet
from slot_data.cores import usable_cores
from slot_data.encodings import Encoding, Masks, Pictures
from slot_data.manifest import read_manifest
from slot_data.options import allowed_options, describe
from slot_data.prepare import SHARD_BYTES, Plan
from slot_data.sample import DataError
from slot_data.starting import INTERRUPTED, over

Option = Annotated[
    list[str] | None, typer.Option(help="An option of the dataset as key=value; repeatable.")
]
DATASET = "A dataset, a prepared folder, or the address of one, hf://datasets/ORG/NAME"

# typer carries a click of its own since 0.2x, and used the installed one before
CLICK_ERROR = cast(type[Exception], typer.BadParameter.__mro__[2])

app = typer.Typer(
    help="Datasets of unsupervised object-centric learning.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    over()
    try:
        # Not standalone: typer would print usage errors in a frame, in its own words.
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except DataError as error:
        fail(str(error))
    except CLICK_ERROR as error:
        fail(usage(error.format_message()))  # pyright: ignore[reportAttributeAccessIssue]: click's
    except PermissionError as error:
        place = error.filename or "a file"
        fail(f"{place}: {error.strerror or error}; this user may not read or write it")
    except typer.Abort:  # by which an older typer tells of it
        leave(INTERRUPTED)
    else:
        leave(code or 0)


def leave(code: int) -> None:
    """End with this exit code, and a word where it was Ctrl-C."""
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    sys.exit(code)


def usage(told: str) -> str:
    """Click's words for wrong usage as one sentence."""
    sentence = told.replace("Value error, ", "").rstrip(".?")
    return f"{sentence}; --help shows what is expected"


def fail(sentence: str) -> None:
    """Say it on stderr and end with exit code 2."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


@app.command()
def info(
    name: Annotated[
        str | None,
        typer.Argument(help=f"{DATASET}; all datasets if left out."),
    ] = None,
) -> None:
    """Prints what is in a dataset, how it is divided and which options it has."""
    if name is not None and (folder := _prepared(name)) is not None:
        print(cli_prepare.result_table(name, read_manifest(folder)))
        return
    cards = [catalog.card(known) for known in (catalog.names() if name is None else [name])]
    print("\n\n".join(_readable(card) for card in cards))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help=f"{DATASET}.")],
    out: Annotated[Path, typer.Option(help="The picture to write, a .png file.")],
    split: Annotated[str, typer.Option(help="Part of the dataset.")] = "train",
    option: Option = None,
    count: Annotated[int, typer.Option(min=1, help="Samples to draw.")] = 24,
    columns: Annotated[int, typer.Option(min=1, help="Samples in a row.")] = 8,
) -> None:
    """Draws the first samples of a dataset with their masks on one sheet."""
    if out.suffix.lower() != ".png":
        raise DataError(f"--out {out} does not end in .png")
    roots = {}
    if (folder := _prepared(name)) is not None:
        name, roots = read_manifest(folder).dataset, {"root": name}
    catalog.card(name)  # an unknown dataset is named before its options
    options: dict[str, Any] = dict(catalog.parse_option(name, text) for text in option or [])
    options |= roots
    dataset = catalog.load_dataset_by_name(name, split=split, **options)
    sheet = contact_sheet(dataset, count, columns)
    try:
        sheet.save(out)
    except OSError as error:
        raise DataError(f"--out {out} cannot be written: {error.strerror}") from error
    print(f"{out}: {min(count, len(dataset))} of {len(dataset):,} samples of {name}, split {split}")


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help=f"{DATASET}.")],
    split: Annotated[
        list[str] | None, typer.Option(help="Part of the dataset; repeatable. All if left out.")
    ] = None,
    option: Option = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read.")] = 0,
) -> None:
    """Reads every sample of a dataset and compares their numbers with its card; of a prepared
    folder, every byte, and compares the checksums."""
    if _prepared(name) is not None:
        if split or option:
            raise DataError(
                f"{name} is a prepared folder, which is verified whole; expected neither --split "
                "nor --option"
            )
        _verify_files(name)
        return
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


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="A dataset.")],
    source: Annotated[
        Path, typer.Option(help="The folder of its files, an archive, or a folder of archives.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    split: Annotated[
        list[str] | None, typer.Option(help="Part of the dataset; repeatable. All if left out.")
    ] = None,
    option: Option = None,
    pictures: Annotated[
        Pictures,
        typer.Option(help="keep: as the files hold them, or WebP without loss; raw: bare pixels."),
    ] = "keep",
    masks: Annotated[Masks, typer.Option(help="None of them loses anything.")] = "png",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG.")] = 95,
    cache: Annotated[
        bool, typer.Option("--cache", help="Also write all pixels for mapping into memory.")
    ] = False,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out, and list, what cannot be read.")
    ] = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Read links that lead out of the source.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=-1, help="Processes that read and encode; -1: one for each core.")
    ] = -1,
    shard_megabytes: Annotated[int, typer.Option(min=1, help="Of pixels in one file.")] = (
        SHARD_BYTES // 2**20
    ),
) -> None:
    """Writes a dataset as Parquet files that load fast. Started again after a kill, it goes on."""
    card = catalog.card(name)
    options = dict(catalog.parse_option(name, text) for text in option or [])
    if "root" in options:
        raise DataError("option root is given by --source")
    plan = Plan(
        dataset=name,
        source=source.expanduser(),
        out=out.expanduser(),
        splits=tuple(split or verification.splits_of(card)),
        preset=options.pop("preset", None),
        options=options,
        encoding=Encoding(pictures, masks, quality),
        shard_bytes=shard_megabytes * 2**20,
        workers=usable_cores() if workers < 0 else workers,
        skip_broken=skip_broken,
        cache=cache,
    )
    cli_prepare.prepare(plan, follow_links)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A prepared folder.")],
    repo_id: Annotated[str, typer.Argument(help="ORG/NAME of the dataset repository.")],
    public: Annotated[
        bool, typer.Option("--public", help="A new repository is for everybody to read.")
    ] = False,
) -> None:
    """Puts a prepared folder on the Hugging Face Hub; the terms of the data must allow it."""
    card = catalog.card(read_manifest(folder).dataset)
    print(f"{card.name}, licence: {card.licence}", flush=True)
    print(hub_folders.push(folder, repo_id, public))
    print(f"to be read with root={hub_folders.DATASETS}{repo_id}")


def _prepared(name: str) -> Path | None:
    """The names of datasets come first: write ./shapes for a folder of that name.

    Raises DataError of a path that is no prepared folder.
    """
    if name in catalog.names():
        return None
    folder = hub_folders.prepared_folder(name)
    path = Path(name).expanduser()
    if folder is None and (path.exists() or os.sep in name):
        what = (
            "is no folder that slot-data prepare has written" if path.exists() else "is not there"
        )
        raise DataError(f"{name} {what}, and no dataset has that name")
    return folder


def _verify_files(name: str) -> None:
    folder = hub_folders.whole_folder(name)
    assert folder is not None, "the caller has seen it"
    manifest = read_manifest(folder)
    faults = []
    count = verification.num_files(manifest)
    findings = verification.check_files(folder, manifest)
    with typer.progressbar(findings, length=count, label="files", file=sys.stderr) as bar:
        faults += [fault for fault in bar if fault]
    print(cli_prepare.result_table(name, manifest))
    if faults:
        found = "one fault" if len(faults) == 1 else f"{len(faults):,} faults, the first"
        raise DataError(f"{folder} has {found}: {faults[0]}")
    print(f"{count:,} files fit their checksums")


def _readable(card: Card) -> str:
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
