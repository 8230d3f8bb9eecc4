"""Annotation files in the manner of COCO: JSON of lists of entries that refer to one another by
their ids."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slot_data.sample import DataError

Entry = dict[str, Any]


class AnnotationJson:
    """The lists of one file.

    owners, keys: the name of the list of what is annotated, such as images, and the keys that its
        entries have, with their types.
    what: to call the file in errors.

    Raises DataError, as do its methods, if the file is missing, is no JSON, or lacks a list or key.
    """

    def __init__(self, path: Path, owners: str, keys: Mapping[str, type], what: str) -> None:
        self._path, self._what = path, what
        self._content = self._read()
        self.owners = self._list(owners)
        for number, entry in enumerate(self.owners):
            self._check(f"{owners.removesuffix('s')} {number}", entry, keys)
        self.places = {entry["id"]: n for n, entry in enumerate(self.owners)}
        if len(self.places) < len(self.owners):
            raise DataError(f"{path} lists two {owners} of the same id")
        categories = self._list("categories")
        for number, entry in enumerate(categories):
            self._check(f"category {number}", entry, {"id": int})
        self.kinds = {c: n for n, c in enumerate(sorted(e["id"] for e in categories), 1)}

    @property
    def annotated(self) -> bool:
        """Whether there is a list of annotations; those of unpublished truths are null or not
        there."""
        return self._content.get("annotations") is not None

    def annotations(self, owner: str) -> Sequence[tuple[int, Entry]]:
        """(place of the owner, annotation) of each, in the order of their owners and then of the
        file. `owner` is the key that holds an owner's id."""
        found = [(self._owner(entry, owner), entry) for entry in self._list("annotations")]
        return sorted(found, key=lambda pair: pair[0])

    def _owner(self, annotation: Entry, key: str) -> int:
        name = f"annotation {annotation.get('id')} of {self._path}"
        for field, known, word in (
            (key, self.places, f"belongs to {key.removesuffix('_id')}"),
            ("category_id", self.kinds, "has category"),
        ):
            value = annotation.get(field)
            if type(value) is not int or value not in known:
                raise DataError(f"{name} {word} {value}, which the file does not list")
        return self.places[annotation[key]]

    def _read(self) -> Entry:
        try:
            content = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            raise DataError(f"{self._path} is missing: expected {self._what}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{self._path} cannot be read as JSON: {error}") from error
        if not isinstance(content, dict):
            raise DataError(f"{self._path} holds no lists of entries: expected {self._what}")
        return content

    def _list(self, key: str) -> list[Entry]:
        entries = self._content.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{self._path} holds no list {key!r} of entries: expected {self._what}")
        return entries

    def _check(self, name: str, entry: Entry, keys: Mapping[str, type]) -> None:
        for key, kind in keys.items():
            if key not in entry:
                raise DataError(f"{name} of {self._path} has no {key!r}")
            if type(entry[key]) is not kind:
                raise DataError(
                    f"{name} of {self._path} has {key} {str(entry[key])[:60]!r}; expected "
                    f"{WORDS[kind]}"
                )


WORDS = {int: "an integer", str: "a text", list: "a list"}


def number_of(annotation: Entry) -> int:
    """Its id, which nothing but messages refers to; -1 where that is no number."""
    number = annotation.get("id")
    return number if type(number) is int and 0 <= number < 2**63 else -1
