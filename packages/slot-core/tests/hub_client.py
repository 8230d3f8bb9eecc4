"""What a user does with a Hub, in a process of its own: its address is read when it is imported.

    python hub_client.py online | offline

Prints what happened as JSON. Errors that are no CheckpointError end the process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from tiny_hub_model import TinyModel, fingerprint, make_tiny_model

from slot_core import CheckpointError, ModelCard

REPOSITORY = "someone/tiny"
CARD = ModelCard(data="shapes, train", metrics={"fg_ari": 0.91}, command="python train.py --seed 3")


def refused(call: Callable[[], object]) -> str:
    """The sentence of the CheckpointError that ``call`` must raise."""
    try:
        call()
    except CheckpointError as error:
        return str(error)
    raise AssertionError("it was not refused")


def loaded(revision: str | None = None) -> dict[str, Any]:
    model = TinyModel.from_pretrained(REPOSITORY, revision=revision)
    return {
        "weights": fingerprint(model),
        "config": model.config.model_dump(mode="json"),
        "training": model.training,
    }


def online() -> dict[str, Any]:
    first, second = make_tiny_model(seed=1), make_tiny_model(seed=2, dim=6)
    told: dict[str, Any] = {"before": refused(loaded)}
    told["first_address"] = first.push_to_hub(REPOSITORY, card=CARD)
    told["first"] = loaded()
    second.push_to_hub(REPOSITORY, commit_message="A wider one")
    told["second"] = loaded()
    told["first_again"] = loaded(told["first_address"].rpartition("/")[2])
    told["no_revision"] = refused(lambda: loaded("v9"))
    told["no_token"] = refused(lambda: first.push_to_hub("someone/else", token=False))  # pyright: ignore[reportArgumentType]: False asks huggingface_hub to send none
    told["bad_name"] = refused(lambda: first.push_to_hub("a/b/c"))
    return told


def offline() -> dict[str, Any]:
    return {
        "cached": loaded(),
        "missing": refused(lambda: TinyModel.from_pretrained("someone/new")),
        "push": refused(lambda: make_tiny_model().push_to_hub(REPOSITORY)),
    }


if __name__ == "__main__":
    print(json.dumps({"online": online, "offline": offline}[sys.argv[1]]()))
