"""What goes wrong because of the input, told in one sentence that a user can act on.

A command line prints the sentence and exits with 2. Every other exception is a bug and stays
loud. The classes derive from ValueError so that callers without this package can catch them.
"""


class InputError(ValueError):
    """A value, file or key given by the user cannot be used; the message says which and why."""


class ConfigError(InputError):
    """A configuration names an unknown key, lacks one, or holds a value that cannot be used."""


class CheckpointError(InputError):
    """A checkpoint is missing, incomplete, damaged, or was made for another model."""


def printable(text: str, most: int = 60) -> str:
    """Others' words as they may stand in a sentence: on one line, and cut after ``most``."""
    shown = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:most]
    )
    return shown if len(text) <= most else f"{shown}…"
