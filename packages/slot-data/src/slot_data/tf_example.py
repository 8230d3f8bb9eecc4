"""The features of a `tf.train.Example`, found in its bytes and decoded one by one, on demand.

The message is nested lists in the Protocol Buffers wire format (protobuf.dev, "Encoding"):

    Example { 1: Features { 1: entry { 1: key, 2: Feature } ... } }
    Feature { 1: BytesList | 2: FloatList | 3: Int64List }, each list { 1: value ... }

A field is a varint, number << 3 | kind, and its content: kind 0 a varint, 1 and 5 eight and four
bytes, 2 a varint that counts the bytes which follow. A varint holds 7 bits a byte, the lowest
first, and the eighth bit says that more follow. The numbers of a list stand packed in one field,
or in one field each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap

import numpy as np

from slot_data.sample import DataError

VARINT, EIGHT, COUNTED, FOUR = 0, 1, 2, 5
BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3
KINDS = {BYTES_LIST: "bytes", FLOAT_LIST: "floats", INT64_LIST: "integers"}


class TFExample:
    """The features in content[start:stop], by their names.

    name: what to call the message in errors.

    Raises DataError, as do its methods, if the bytes are no such message.
    """

    def __init__(self, content: mmap | bytes, start: int, stop: int, name: str) -> None:
        self._content, self.name = content, name
        self._features: dict[str, slice] = {}
        with _blaming(f"{name} is no tf.train.Example"):
            for features in self._parts(slice(start, stop), 1):
                for entry in self._parts(features, 1):
                    parts = dict(self._fields(entry))
                    if 1 in parts and 2 in parts:
                        self._features[content[parts[1]].decode()] = parts[2]

    def __contains__(self, key: str) -> bool:
        return key in self._features

    def texts(self, key: str) -> list[slice]:
        """Where each value of a list of bytes lies in the content."""
        with _blaming(f"feature {key!r} of {self.name} is damaged"):
            return self._values(key, BYTES_LIST)

    def single_bytes(self, key: str) -> np.ndarray:
        """uint8 [N]: a list of texts of one byte each. They are not looked at one by one: on the
        wire each is its field's tag, the length 1 and the byte."""
        with _blaming(f"feature {key!r} of {self.name} is damaged"):
            part = self._list(key, BYTES_LIST)
            wire = np.frombuffer(self._content[part] if part else b"", np.uint8)
            if len(wire) % 3 or (wire[0::3] != 1 << 3 | COUNTED).any() or (wire[1::3] != 1).any():
                raise ValueError("not every value is one byte")
            return wire[2::3]

    def integers(self, key: str) -> np.ndarray:
        """int64 [N]."""
        with _blaming(f"feature {key!r} of {self.name} is damaged"):
            parts = self._values(key, INT64_LIST)
            values = [_varints(self._content[part]) for part in parts]
            return np.concatenate([np.zeros(0, np.int64), *values])

    def floats(self, key: str) -> np.ndarray:
        """float32 [N]."""
        with _blaming(f"feature {key!r} of {self.name} is damaged"):
            parts = self._values(key, FLOAT_LIST)
            values = [np.frombuffer(self._content[part], "<f4") for part in parts]
            return np.concatenate([np.zeros(0, np.float32), *values])

    def _values(self, key: str, kind: int) -> list[slice]:
        """The fields of a feature's list."""
        part = self._list(key, kind)
        return list(self._parts(part, 1)) if part else []

    def _list(self, key: str, kind: int) -> slice | None:
        """Where a feature's list lies. A feature without any list is an empty one."""
        if key not in self._features:
            raise DataError(f"{self.name} has no feature {key!r}")
        lists = dict(self._fields(self._features[key]))
        if lists and kind not in lists:
            holds = KINDS.get(next(iter(lists)), "something unknown")
            raise DataError(f"feature {key!r} of {self.name} holds {holds}; expected {KINDS[kind]}")
        return lists[kind] if lists else None

    def _parts(self, message: slice, number: int) -> Iterator[slice]:
        return (part for found, part in self._fields(message) if found == number)

    def _fields(self, message: slice) -> Iterator[tuple[int, slice]]:
        """(number, where its content lies) of each field."""
        place = message.start
        while place < message.stop:
            tag, place = self._varint(place, message.stop)
            number, kind = tag >> 3, tag & 7
            if kind == VARINT:
                _, end = self._varint(place, message.stop)
            elif kind == COUNTED:
                length, place = self._varint(place, message.stop)
                end = place + length
            elif kind in (EIGHT, FOUR):
                end = place + (8 if kind == EIGHT else 4)
            else:
                raise ValueError(f"a field of the unknown kind {kind}")
            if end > message.stop:
                raise ValueError("a field reaches beyond its message")
            yield number, slice(place, end)
            place = end

    def _varint(self, place: int, stop: int) -> tuple[int, int]:
        """(value, where the next thing begins)."""
        value = shift = 0
        while place < stop and shift < 70:
            byte = self._content[place]
            value |= (byte & 127) << shift
            place, shift = place + 1, shift + 7
            if byte < 128:
                return value, place
        raise ValueError("a number that does not end")


def _varints(text: bytes) -> np.ndarray:
    """int64 [N]: all of them side by side, those of any length."""
    seven = np.frombuffer(text, np.uint8)
    last = np.flatnonzero(seven < 128)
    if len(seven) and (not len(last) or last[-1] != len(seven) - 1):
        raise ValueError("a number that does not end")
    first = np.concatenate([[0], last[:-1] + 1]) if len(last) else last
    lengths = last - first + 1
    if lengths.max(initial=0) > 10:
        raise ValueError("a number that does not end")
    values = np.zeros(len(last), np.uint64)
    for place in range(lengths.max(initial=0)):
        longer = lengths > place
        part = (seven[first[longer] + place] & 127).astype(np.uint64)
        values[longer] |= part << np.uint64(7 * place)
    return values.view(np.int64)


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    """Turns what decoding damaged bytes raises into a DataError that begins with `what`."""
    try:
        yield
    except DataError:
        raise
    except (ValueError, IndexError) as error:
        raise DataError(f"{what}: {error}") from error
