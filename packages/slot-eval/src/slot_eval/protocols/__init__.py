"""Protocols: what exactly a score means, as an object with a name that every result carries."""

from collections.abc import Sequence

from slot_eval.errors import EvalError
from slot_eval.protocols.answers import ANSWERS, AnswerProtocol
from slot_eval.protocols.prediction import PREDICTION, PredictionProtocol
from slot_eval.protocols.published import PUBLISHED
from slot_eval.protocols.reconstruction import RECONSTRUCTION, ReconstructionProtocol
from slot_eval.protocols.segmentation import DataSet, Protocol, differences, switches

__all__ = [
    "ANSWERS",
    "PREDICTION",
    "PROTOCOLS",
    "RECONSTRUCTION",
    "AnswerProtocol",
    "DataSet",
    "PredictionProtocol",
    "Protocol",
    "ReconstructionProtocol",
    "differences",
    "get",
    "names",
    "switches",
]

PROTOCOLS = {protocol.id: protocol for protocol in PUBLISHED}


def get(name: str) -> Protocol:
    """The protocol of this name; raises EvalError that lists the known ones."""
    if name not in PROTOCOLS:
        raise EvalError(f"there is no protocol {name!r}; known: {', '.join(names())}")
    return PROTOCOLS[name]


def names() -> Sequence[str]:
    """The ids of all protocols."""
    return tuple(PROTOCOLS)
