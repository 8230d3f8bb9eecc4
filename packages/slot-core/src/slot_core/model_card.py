"""The README.md of a checkpoint: what it was trained on, how well, and by which command.

It is made to be published, so a command and a place are written into it without the folders of the
machine that they were typed on, which often bear a person's name.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slot_core.errors import InputError, printable

NOT_STATED = "not stated"
# Of SPDX's identifiers and those of the Hub: cc-by-4.0, openrail++, bigscience-bloom-rail-1.0.
LICENSE = re.compile(r"[a-z0-9]+([.+-][a-z0-9]+)*\+*")
LONGEST_LICENSE = 60
FENCE = "---\n"  # around the front matter
# An absolute path within a word, such as that of {root: /data/photos}; not that of an address.
PATH = re.compile(r"(?<![\w/:.~$}*-])/[^\s'\",;{}\[\]()]+")


@dataclass(frozen=True)
class ModelCard:
    """What a reader of a checkpoint needs to know besides its configuration.

    Attributes:
        data: the dataset, its split and its options.
        metrics: values by name, as measured; the name says on what and under which protocol.
        command: the command that made the checkpoint.
        license: SPDX identifier of the weights' licence, in lower case as the Hub writes it; who
            made them decides, so it is "unknown" until they say.
    """

    data: str = NOT_STATED
    metrics: Mapping[str, float | int | str] = field(default_factory=dict)
    command: str = NOT_STATED
    license: str = "unknown"

    def render(
        self,
        model_class: type,
        config: Mapping[str, object],
        num_parameters: int,
        *,
        purpose: str = "",
        usage: str = "",
    ) -> str:
        """The card as Markdown with the Hub's front matter; ``purpose`` and ``usage`` are those of
        a ``HubModel``."""
        name = model_class.__name__
        rows = [f"| {name} | {_number(value)} |" for name, value in self.metrics.items()]
        table = ["| metric | value |", "|---|---|", *rows] if rows else [f"Metrics: {NOT_STATED}."]
        return "\n".join(
            [
                "---",
                f"license: {self.license}",
                "library_name: slot-core",
                "tags:",
                "- object-centric-learning",
                "- unsupervised",
                "---",
                "",
                f"# {name}",
                "",
                f"{num_parameters:,} parameters. {purpose}".rstrip(),
                "",
                "```python",
                f"from {model_class.__module__} import {name}",
                "",
                f'model = {name}.from_pretrained("this/repository")',
                *([usage] if usage else []),
                "```",
                "",
                "## Data",
                "",
                self.data,
                "",
                "## Metrics",
                "",
                *table,
                "",
                "## Made by",
                "",
                "```",
                self.command,
                "```",
                "",
                "## Configuration",
                "",
                "```json",
                json.dumps(config, indent=2),
                "```",
                "",
            ]
        )


def license_id(text: str) -> str:
    """A licence's identifier in lower case, as the Hub writes it.

    Raises:
        InputError: if it cannot be one.
    """
    identifier = text.lower()
    if len(identifier) > LONGEST_LICENSE or not LICENSE.fullmatch(identifier):
        raise InputError(
            f"'{printable(text, 100)}' is no identifier of a licence; expected one of the Hub's, "
            "such as mit, apache-2.0, cc-by-4.0 or other"
        )
    return identifier


def with_license(card: str, identifier: str) -> str:
    """A card's text with another licence in its front matter, which it is given if it has none."""
    line = f"license: {identifier}\n"
    front, end, rest = card.removeprefix(FENCE).partition(f"\n{FENCE}")
    if not card.startswith(FENCE) or not end:
        return f"{FENCE}{line}{FENCE}\n{card}"
    others = re.sub(r"^license:.*\n([ -].*\n)*", "", f"{front}\n", flags=re.MULTILINE)
    return f"{FENCE}{line}{others}{FENCE}{rest}"


def public_command(words: Sequence[str]) -> str:
    """A command line for a card: to be read and typed, and without the folders of this machine."""
    return shlex.join(public_place(word) for word in words)


def public_place(text: str) -> str:
    """A word of a command, or another text, with harmless paths.

    An absolute path below the current folder becomes relative to it, and of any other only the last
    part stays.
    """
    before, equals, value = text.rpartition("=")
    if value.startswith("/") and not PATH.search(before):  # all of it, whatever it is made of
        return before + equals + _public_path(value)
    return PATH.sub(lambda found: _public_path(found[0]), text)


def _public_path(path: str) -> str:
    place = Path(path)
    try:
        return str(place.relative_to(Path.cwd()))
    except (ValueError, OSError):  # it lies elsewhere, or the current folder is gone
        return place.name or path


def _number(value: float | int | str) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
