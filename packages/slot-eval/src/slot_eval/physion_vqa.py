"""How well a readout answers whether two objects touch (Physion), chosen in one of two ways.

A training run leaves many checkpoints, and a probability becomes an answer by a threshold. Which of
them is reported decides several points:

slotdiffusion  as SlotDiffusion's test script does, and SlotFormer's before it: the best threshold
               of six, of the best checkpoint, of the best seed, all chosen by the accuracy on the
               test set itself. It can be compared with their numbers alone.
held-out       checkpoint and threshold are chosen for each seed on videos that the readout was not
               trained on and that are not those of the test. The accuracy on the test set is then
               taken once, and given as mean and standard error over the seeds.

A file of predictions is an ``.npz`` of one checkpoint on one set of videos: ``ids``, ``logits`` and
``outcomes`` of the videos, ``scenarios`` where they have any, and the ``seed`` and ``step`` of the
checkpoint.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from slot_eval.errors import EvalError
from slot_eval.npz_files import read_npz
from slot_eval.report import as_json

THRESHOLDS = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65)  # of the probability
# Of the arrays of a file: number of axes, and kinds of numpy's types.
KINDS = {
    "ids": (1, "iuU"),
    "logits": (1, "f"),
    "outcomes": (1, "biuf"),
    "scenarios": (1, "iuU"),
    "seed": (0, "iu"),
    "step": (0, "iu"),
}
ChoiceProtocol = Literal["slotdiffusion", "held-out"]
WARNING = "chosen on the test set itself: an upper bound, comparable with published numbers alone"


@dataclass(frozen=True)
class Answers:
    """What one checkpoint says of one set of videos. The arrays are parallel."""

    source: str
    seed: int
    step: int
    ids: np.ndarray
    logits: np.ndarray
    outcomes: np.ndarray
    scenarios: np.ndarray | None = field(default=None)

    def right(self, threshold: float) -> np.ndarray:
        """bool: which videos are answered rightly; a probability above the threshold is a yes."""
        return (self.logits > math.log(threshold / (1 - threshold))) == self.outcomes

    def accuracy(self, threshold: float) -> float:
        return float(self.right(threshold).mean())

    def best_threshold(self) -> float:
        """The first of the best."""
        return max(THRESHOLDS, key=self.accuracy)


def read_answers(path: Path) -> Answers:
    """Raises EvalError unless it is a file of predictions with both answers among its outcomes."""
    stored = read_npz(path)
    wanted = ("ids", "logits", "outcomes", "seed", "step")
    if missing := [name for name in wanted if name not in stored]:
        raise EvalError(f"{path}: lacks {missing[0]}; expected {', '.join(wanted)}")
    for name, array in stored.items():
        axes, kinds = KINDS.get(name, (array.ndim, array.dtype.kind))
        if array.ndim != axes or array.dtype.kind not in kinds:
            raise EvalError(
                f"{path}: {name} is {array.dtype} of shape {list(array.shape)}, expected "
                + ("one for each video" if axes else "one number")
            )
    ids, logits, outcomes = (stored[name] for name in wanted[:3])
    scenarios = stored.get("scenarios")
    lengths = {
        len(each) for each in (ids, logits, outcomes, *([] if scenarios is None else [scenarios]))
    }
    if len(lengths) > 1 or not len(ids):
        raise EvalError(f"{path}: ids, logits and outcomes are not of equally many videos")
    if len(set(ids.tolist())) < len(ids):
        raise EvalError(f"{path}: a video occurs more than once")
    if not np.isfinite(logits).all():
        raise EvalError(f"{path}: a logit is not finite")
    outcomes = outcomes.astype(bool)
    if outcomes.all() or not outcomes.any():
        answer = "true" if outcomes.all() else "false"
        raise EvalError(f"{path}: the outcome of all {len(ids)} videos is {answer}; expected both")
    seed, step = int(stored["seed"]), int(stored["step"])
    order = np.argsort(ids, kind="stable")
    if scenarios is not None:
        scenarios = scenarios[order]
    return Answers(str(path), seed, step, ids[order], logits[order], outcomes[order], scenarios)


def score_answers(
    protocol: ChoiceProtocol, test: Sequence[Answers], validation: Sequence[Answers]
) -> dict[str, Any]:
    """The accuracy under a protocol, and how it came about.

    Raises EvalError if the files are of different videos, a checkpoint occurs twice, a seed of the
    test has no validation, or a checkpoint that was chosen has not answered the test.
    """
    for group in (test, validation):
        check_same_videos(group)
    if protocol == "slotdiffusion":
        if validation:
            raise EvalError("the protocol slotdiffusion chooses on the test set: no --validation")
        chosen = [max(test, key=lambda answers: answers.accuracy(answers.best_threshold()))]
        thresholds = [chosen[0].best_threshold()]
    else:
        chosen, thresholds = choose_held_out(test, validation)
    accuracies = [one.accuracy(at) for one, at in zip(chosen, thresholds, strict=True)]
    return {
        "protocol": protocol,
        "accuracy": math.fsum(accuracies) / len(accuracies),
        "standard_error": standard_error(accuracies) if protocol == "held-out" else None,
        "num_videos": len(test[0].ids),
        "chance": float(max(test[0].outcomes.mean(), 1 - test[0].outcomes.mean())),
        "num_numbers_seen_on_test": len(test) * len(THRESHOLDS)
        if protocol == "slotdiffusion"
        else len(chosen),
        "note": WARNING if protocol == "slotdiffusion" else "chosen on held-out videos, per seed",
        "chosen": [
            {"seed": one.seed, "step": one.step, "threshold": at, "accuracy": accuracy}
            for one, at, accuracy in zip(chosen, thresholds, accuracies, strict=True)
        ],
        "scenarios": accuracy_by_scenario(chosen, thresholds),
    }


def choose_held_out(
    test: Sequence[Answers], validation: Sequence[Answers]
) -> tuple[list[Answers], list[float]]:
    """For each seed, the test answers of the checkpoint that is best on validation."""
    if not validation:
        raise EvalError("the protocol held-out chooses on other videos: give their --validation")
    if shared := set(test[0].ids.tolist()) & set(validation[0].ids.tolist()):
        raise EvalError(f"video {min(shared)!r} is both in the test and in the validation")
    seeds = sorted({answers.seed for answers in validation})
    if lacking := sorted({answers.seed for answers in test}.difference(seeds)):
        named = ("seed " if len(lacking) == 1 else "seeds ") + ", ".join(map(str, lacking))
        raise EvalError(f"{named} of the test: there is no --validation to choose a checkpoint on")
    answered = {(answers.seed, answers.step): answers for answers in test}
    chosen, thresholds = [], []
    for seed in seeds:
        mine = [answers for answers in validation if answers.seed == seed]
        best = max(mine, key=lambda answers: answers.accuracy(answers.best_threshold()))
        if (seed, best.step) not in answered:
            raise EvalError(
                f"{best.source}: step {best.step} of seed {seed} is the best on validation, but "
                "has not answered the test"
            )
        chosen.append(answered[seed, best.step])
        thresholds.append(best.best_threshold())
    return chosen, thresholds


def check_same_videos(group: Sequence[Answers]) -> None:
    """Raise EvalError unless all are of the same videos and each of another checkpoint."""
    seen: dict[tuple[int, int], str] = {}
    for answers in group:
        if answers.ids.tolist() != group[0].ids.tolist():
            raise EvalError(f"{answers.source}: is of other videos than {group[0].source}")
        if (answers.outcomes != group[0].outcomes).any():
            raise EvalError(f"{answers.source}: has other outcomes than {group[0].source}")
        key = (answers.seed, answers.step)
        if key in seen:
            raise EvalError(f"{answers.source}: is step {key[1]} of seed {key[0]}, as {seen[key]}")
        seen[key] = answers.source


def accuracy_by_scenario(
    chosen: Sequence[Answers], thresholds: Sequence[float]
) -> dict[str, float]:
    """Each scenario's accuracy, the mean over seeds; empty where videos have none."""
    sums: dict[str, list[float]] = {}
    for answers, threshold in zip(chosen, thresholds, strict=True):
        if answers.scenarios is None:
            continue
        right = answers.right(threshold)
        for scenario in sorted(set(answers.scenarios.tolist())):
            sums.setdefault(scenario, []).append(float(right[answers.scenarios == scenario].mean()))
    return {scenario: math.fsum(values) / len(values) for scenario, values in sums.items()}


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean; None for a single value."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))


def answers_table(result: Mapping[str, Any]) -> str:
    """One result, in words."""
    error = result["standard_error"]
    spread = "" if error is None else f" ± {error:.4f} (standard error)"
    lines = [
        f"protocol  {result['protocol']}: {result['note']}",
        f"videos    {result['num_videos']}",
        f"accuracy  {result['accuracy']:.4f}{spread}",
        f"chance    {result['chance']:.4f} (always the commoner answer)",
    ]
    for one in result["chosen"]:
        lines.append(
            f"  seed {one['seed']}, step {one['step']}, threshold {one['threshold']:.2f}: "
            f"{one['accuracy']:.4f}"
        )
    lines += [f"  {name}: {value:.4f}" for name, value in result["scenarios"].items()]
    return "\n".join(lines)


def physion_vqa(
    test: Annotated[list[Path], typer.Argument(help=".npz files: each checkpoint on the test.")],
    validation: Annotated[
        list[Path] | None, typer.Option(help="The same on held-out videos; once for each file.")
    ] = None,
    protocol: Annotated[
        ChoiceProtocol, typer.Option(help="Who chooses checkpoint and threshold.")
    ] = "held-out",
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Score answers about videos, chosen on the test set or on held-out videos."""
    if out is not None and out.exists():
        raise EvalError(f"{out}: exists already; choose another --out")
    result = score_answers(
        protocol,
        [read_answers(path) for path in test],
        [read_answers(path) for path in validation or ()],
    )
    if out is not None:
        try:
            out.write_text(as_json(result), encoding="utf-8")
        except OSError as error:
            raise EvalError(f"{out}: cannot be written: {error.strerror or error}") from error
    typer.echo(answers_table(result))
