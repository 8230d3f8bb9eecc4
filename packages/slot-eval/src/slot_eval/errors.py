"""The one exception of slot-eval: something the user handed over cannot be scored."""


class EvalError(ValueError):
    """A file, key or value from outside is wrong; the message is one sentence that names it."""
