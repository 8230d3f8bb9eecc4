"""The one exception of slot-eval: something the user handed over cannot be scored; and how others'
words stand in its one sentence."""


class EvalError(ValueError):
    """A file, key or value from outside is wrong; the message is one sentence that names it."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def shown(name: object, most: int = 60) -> str:
    """A name out of a file as it may stand in a sentence: quoted, on one line, and not too long."""
    text = repr(name)
    return text if len(text) <= most else f"{text[:most]}…"
