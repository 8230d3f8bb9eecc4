"""What faults cost: kills at random moments, and other faults one by one. Every run goes on after
its fault and must end with the same bits as one that was left alone.

    uv run python tools/bench/faults.py --points 200 --record kills.jsonl
    uv run python tools/bench/faults.py --points 40 --processes 2
    uv run python tools/bench/faults.py --points 40 --of prepare
    uv run python tools/bench/faults.py --points 40 --of extract_slots
    uv run python tools/bench/faults.py --others

Each point is a ``kill -9`` of a training (of two processes: of one of them, chosen at random, or
of both), or of a program that writes a folder piece by piece, at a random moment. It is killed
again and again until it gets through, then compared: weights, optimizer, average, losses, scores
and sample ids of a training, all bytes of a folder. For each phase in which it was hit, the table
says how often, what had to be done again at most (of a training: steps, never more than lie
between two checkpoints; of a folder: finished pieces, none; the piece it was at is lost), and how
long it took from the next start to the first new step or piece. With ``--record FILE`` each run
that was compared leaves a line there, and a later call of the same kind goes on behind those
lines: it takes other moments, and prints the table of all of them.

``--others`` prints one line for each fault of other_faults.py. A full disk is a small file system,
for which the program starts itself once more in a namespace of its own (``unshare -rm``). What
came of it all last is in tools/bench/faults.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import other_faults
from kills import PHASES, WRITING, Kill, Trainings, Writings
from pieces import extraction, preparation

WRITERS = {"prepare": preparation, "extract_slots": extraction}


def begun(of: str | None, folder: Path, processes: int) -> Trainings | Writings:
    """Runs to kill, below one folder, one of which was left alone."""
    return Writings(folder, WRITERS[of](folder)) if of else Trainings(folder, processes)


def recorded(record: Path, kind: str) -> list[list[Kill]]:
    """The kills of every run of one kind in a record."""
    lines = map(json.loads, record.read_text().splitlines() if record.exists() else [])
    return [[Kill(**kill) for kill in line["kills"]] for line in lines if line["kind"] == kind]


def print_table(runs: list[list[Kill]], kind: str, unit: str) -> None:
    """How often each phase was hit, and what that cost; ``unit`` is what is done again."""
    kills = [kill for run in runs for kill in run]
    print(
        f"{len(kills)} kills in {len(runs)} runs of {kind}: all {len(runs)} ended bitwise equal "
        "to the run that was left alone"
    )
    print(f"| hit in | kills | {unit}s done again, at most | seconds to the next {unit}, median |")
    print("|---|---|---|---|")
    for phase in PHASES if unit == "step" else WRITING:
        of = [kill for kill in kills if kill.phase == phase]
        again = max((kill.again for kill in of), default=0)
        seconds = sorted(kill.seconds for kill in of if kill.seconds is not None)
        median = f"{seconds[len(seconds) // 2]:.1f}" if seconds else "-"
        print(f"| {phase} | {len(of)} | {again} | {median} |")


def main() -> None:
    """Kill, resume, compare, and print the table."""
    parser = argparse.ArgumentParser(description="Kill runs at random moments and compare them.")
    parser.add_argument("--points", type=int, default=200, help="kills at random moments")
    parser.add_argument("--processes", type=int, default=1, help="of one run")
    parser.add_argument("--of", choices=WRITERS, help="kill this, instead of a training")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--record", type=Path, help="where each run leaves a line, to go on behind")
    parser.add_argument("--others", action="store_true", help="the other faults instead of kills")
    told = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if told.others:
        other_faults.print_table()
        return
    kind = told.of or f"{told.processes} process(es)"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = told.record or folder / "record.jsonl"
        done, runs = recorded(record, kind), None
        while (left := told.points - sum(map(len, done))) > 0:
            runs = runs or begun(told.of, folder, told.processes)
            done.append(runs.kill_and_compare(f"{told.seed} {len(done)}", min(5, left)))
            with record.open("a") as lines:
                kills = [asdict(kill) for kill in done[-1]]
                print(json.dumps({"kind": kind, "kills": kills}), file=lines)
    print_table(done, kind, "piece" if told.of else "step")


if __name__ == "__main__":
    main()
