"""What a result must say of its data: the dataset's card, the split, and every option in force.

The hash is of all that decides what the samples are, as far as this package knows, and of the
card's words; of a prepared copy also that copy's own hash. Where the files lie is not in it: two
machines with the same files agree.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, get_args

from slot_data.catalog import card
from slot_data.hub_folders import prepared_folder
from slot_data.manifest import read_manifest
from slot_data.options import all_options, allowed_options, check_options
from slot_data.prepared import split_of
from slot_data.presets import preset_of


def describe_data(
    name: str, *, split: str, preset: str | None = None, **options: Any
) -> dict[str, Any]:
    """Name, split, preset, all options, licence, citation and hash, as JSON can hold them.

    Raises DataError for an unknown dataset, preset or option, and a split that a prepared folder
    does not hold, as `load_dataset_by_name` does.
    """
    found = card(name)
    if preset is not None:
        options = {**preset_of(name, preset).options_of(split), **options}
    check_options(name, found.loader, options)
    folder = prepared_folder(options.get("root"))
    prepared: dict[str, Any] = {}
    if folder is not None:
        manifest = read_manifest(folder)
        options = {**split_of(manifest, folder, split).fixed, **options}
        prepared["prepared"] = manifest.hash
    settled = all_options(found.loader, options)
    allowed = allowed_options(found.loader)
    files = {key for key, entry in allowed.items() if Path in get_args(entry.annotation)}
    description: dict[str, Any] = {
        "name": name,
        "split": split,
        "preset": preset,
        "options": {key: value for key, value in settled.items() if key not in files},
        "description": found.description,
        "objects": found.objects,
        "licence": found.licence,
        "citation": found.citation,
        **prepared,
    }
    text = json.dumps(description, sort_keys=True, default=str)
    description["hash"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return json.loads(json.dumps(description, default=str))
