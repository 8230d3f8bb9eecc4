"""What a user does with a prepared folder and a Hub, in a process of its own: the Hub's address is
read when huggingface_hub is imported.

    python hub_folder_client.py everything FOLDER | offline

Prints what happened as JSON. Errors that are no DataError end the process.
"""

import contextlib
import hashlib
import io
import json
import sys

import numpy as np

from slot_data import DataError, load_dataset_by_name
from slot_data.cli import main
from slot_data.description import describe_data
from slot_data.prepared_stream import PreparedStream

REPOSITORY = "someone/scenes"
ADDRESS = f"hf://datasets/{REPOSITORY}"


def digest(sample):
    """Of the pixels and labels of a sample."""
    parts = [np.ascontiguousarray(sample[key][0]).tobytes() for key in ("video", "labels")]
    return [sample["id"], hashlib.sha256(b"".join(parts)).hexdigest()]


def typed(*arguments):
    """The output of slot-data, and its error if it has one."""
    sys.argv, output, errors = ["slot-data", *arguments], io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        contextlib.suppress(SystemExit),
    ):
        main()
    return output.getvalue() + errors.getvalue()


def refused(call):
    try:
        call()
    except DataError as error:
        return str(error)
    raise AssertionError("it was not refused")


def by_name(**options):
    return load_dataset_by_name("clevrtex", **{"split": "test", "root": ADDRESS, **options})


def by_datasets(streaming):
    """Digests of the rows, and the ids that each of two processes gets."""
    from datasets import load_dataset
    from datasets.distributed import split_dataset_by_node

    rows = load_dataset(REPOSITORY, split="test", streaming=streaming)
    found = []
    for row in rows:
        video = np.asarray(row["video"][0]).transpose(2, 0, 1)
        found.append(digest({**row, "video": [video], "labels": [np.asarray(row["labels"][0])]}))
    parts = [split_dataset_by_node(rows, rank=rank, world_size=2) for rank in range(2)]
    return {"rows": found, "ranks": [[row["id"] for row in part] for part in parts]}


def streamed(**options):
    return [digest(sample) for sample in PreparedStream(ADDRESS, split="test", **options)]


def everything(folder):
    yield "empty", refused(lambda: by_name())
    yield "pushed", typed("push", folder, REPOSITORY)
    yield "again", typed("push", folder, REPOSITORY)
    yield "no name", typed("push", folder, "no/good/name")
    yield "datasets", by_datasets(streaming=False)
    yield "datasets, streamed", by_datasets(streaming=True)
    yield "by name", [digest(sample) for sample in by_name()]
    yield "settings", by_name().settings["root"]  # pyright: ignore[reportAttributeAccessIssue]
    yield "streamed", streamed()
    yield "streamed by two", [streamed(rank=rank, world_size=2) for rank in range(2)]
    yield "described", describe_data("clevrtex", split="test", root=ADDRESS)["prepared"]
    yield "info", typed("info", ADDRESS)
    yield "verify", typed("verify", ADDRESS)
    yield "no split", refused(lambda: by_name(split="train"))
    yield "no revision", refused(lambda: by_name(root=f"{ADDRESS}@v9"))
    yield "no repository", refused(lambda: by_name(root="hf://datasets/some/thing"))
    yield "no address", refused(lambda: by_name(root="hf://some/thing"))
    yield "not prepared", refused(lambda: by_name(root="hf://datasets/someone/else"))
    yield "no stream", refused(lambda: PreparedStream("hf://datasets/some/thing", split="test"))


def offline():
    yield "by name", [digest(sample) for sample in by_name()]
    yield "validation", refused(lambda: by_name(root="hf://datasets/some/thing"))


if __name__ == "__main__":
    scenario = {"everything": everything, "offline": offline}[sys.argv[1]]
    print(json.dumps(dict(scenario(*sys.argv[2:]))))
