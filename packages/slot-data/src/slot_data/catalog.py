"""The datasets by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from slot_data.card import Card
from slot_data.dataset_card import suggested_slots as suggested_slots_of
from slot_data.hub_folders import prepared_folder
from slot_data.options import all_options, check_options, meant
from slot_data.options import parse_option as parse_option_of
from slot_data.picture_cards import PICTURES
from slot_data.prepared import Prepared, load_prepared
from slot_data.presets import PRESETS, Preset, preset_of
from slot_data.sample import Configured, DataError, SampleDataset
from slot_data.video_cards import VIDEOS

_BY_NAME = {card.name: card for card in (*PICTURES, *VIDEOS)}


def names() -> list[str]:
    return list(_BY_NAME)


def card(name: str) -> Card:
    """Raises DataError for an unknown name."""
    if name not in _BY_NAME:
        raise DataError(
            f"dataset {name!r} is not one of {', '.join(_BY_NAME)}{meant(name, _BY_NAME)}"
        )
    return _BY_NAME[name]


def suggested_slots(name: str, dataset: SampleDataset) -> int | None:
    """The most objects that a sample may show, and one for the background: counted, of a prepared
    folder; as the dataset's `max_objects` says; or else as the card does. None where nobody knows,
    as of a dataset that another package offers."""
    if isinstance(dataset, Prepared) and dataset.manifest.most_objects is not None:
        return suggested_slots_of(dataset.manifest)
    most = getattr(dataset, "max_objects", None)
    if most is not None:
        return most + 1
    return _BY_NAME[name].num_slots if name in _BY_NAME else None


def presets(name: str) -> Mapping[str, Preset]:
    """What published pipelines do with a dataset, by name."""
    return PRESETS.get(card(name).name, {})


def parse_option(name: str, text: str) -> tuple[str, Any]:
    """ "key=value" of a command line, as a keyword of `load_dataset_by_name`.

    Raises DataError where it is none.
    """
    key, sign, value = text.partition("=")
    if key == "preset" and sign:
        preset_of(name, value)
        return key, value
    return parse_option_of(name, card(name).loader, text)


def load_dataset_by_name(
    name: str, *, split: str, preset: str | None = None, **options: Any
) -> SampleDataset:
    """A map-style dataset of `Sample`s. The options are the parameters of the dataset's class;
    `slot-data info NAME` lists them. A preset sets those that a published pipeline sets; options
    given beside it win. A `root` that `slot-data prepare` has written, also on the Hugging Face Hub
    (hf://datasets/ORG/NAME), gives the same samples as the raw files it was made from.

    The dataset's `settings` are all of its options, for a run or a result to name them: also those
    that the preset, the preparation or nobody set.

    Raises DataError for an unknown dataset, split, preset or option, a missing option, a value of
    the wrong kind, and whatever the dataset finds wrong with its files.
    """
    loader = card(name).loader
    given = options if preset is None else {**preset_of(name, preset).options_of(split), **options}
    check_options(name, loader, given)
    root = given.get("root")
    folder = prepared_folder(root, split)
    if root is not None and folder is None and not Path(root).expanduser().is_dir():
        raise DataError(f"root {root} is not a folder")
    if folder is not None:
        dataset = load_prepared(name, loader, folder, split, given)
        given = {**dataset.split.fixed, **given}
    else:
        dataset = loader(split=split, **given)
    settings = {"name": name, "split": split, "preset": preset, **all_options(loader, given)}
    cast(Configured, dataset).settings = settings
    return dataset
