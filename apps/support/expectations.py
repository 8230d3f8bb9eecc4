"""What a recipe's recorded runs let expect of a further one, told while that one trains.

``tools/seeds.py`` trains a recipe with several seeds and writes ``expected.json``. It is heeded if
it lies beside the recipe's YAML, as ``<dataset>.expected.json``. From n values with mean m and
standard deviation s, a further run's value lies within m +- t s sqrt(1 + 1/n) in 95 % of cases, t
being the quantile of Student's distribution with n - 1 degrees of freedom (the prediction interval
of a normal variable). Of a run that was told otherwise than the recorded ones nothing is expected.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import Field
from scipy.special import stdtrit

from slot_core import ConfigError, StrictConfig
from slot_core.json_files import read_json
from support.logs import read_events
from support.options import recipe_path, what_is_learned, with_newer_options

SHARE = 0.95


class Expectation(StrictConfig):
    """The scores of several seeds at each validation.

    Attributes:
        command: that made them.
        options: of the runs, without what may differ.
        metric: the one that says whether a run is on track.
        curves: metric -> step -> a value for each seed.
        test: metric -> a value for each seed, on the test split.
        cpu_seconds: of each run.
    """

    command: str
    options: dict[str, Any]
    metric: str
    curves: dict[str, dict[int, tuple[float, ...]]]
    test: dict[str, tuple[float, ...]] = Field(default={})
    cpu_seconds: tuple[float, ...] = ()

    @property
    def num_seeds(self) -> int:
        """How many runs were recorded."""
        return max(len(values) for steps in self.curves.values() for values in steps.values())

    def band(self, metric: str) -> dict[int, tuple[float, float]]:
        """The interval at each step where two values or more were recorded."""
        steps = self.curves.get(metric, {})
        return {step: interval(seen) for step, seen in sorted(steps.items()) if len(seen) > 1}

    def remark(self, step: int, found: Mapping[str, float]) -> str:
        """Whether a validation is where it should be; empty where nothing was recorded."""
        return self._remark(self.band(self.metric).get(step), found)

    def remark_on_test(self, found: Mapping[str, float]) -> str:
        """The same of the score on the test split."""
        seen = self.test.get(self.metric, ())
        return self._remark(interval(seen) if len(seen) > 1 else None, found)

    def _remark(self, expected: tuple[float, float] | None, found: Mapping[str, float]) -> str:
        if expected is None or self.metric not in found:
            return ""
        value, (low, high) = found[self.metric], expected
        place = "on track" if low <= value <= high else "low" if value < low else "high"
        rule = f"{self.num_seeds} seeds let expect {low:.3f} to {high:.3f}"
        return f"{self.metric} is {place}: {rule}"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where a further value lies in 95 % of cases; of two values or more."""
    count, mean = len(values), statistics.mean(values)
    quantile = float(stdtrit(count - 1, (1 + SHARE) / 2))
    width = quantile * statistics.stdev(values) * math.sqrt(1 + 1 / count)
    return mean - width, mean + width


def expected_of(recipe: str, stated: Mapping[str, Any]) -> Expectation | None:
    """What is recorded of a recipe, if ``stated``, all options of a run, are those of the records.

    Raises:
        ConfigError: if the file of expectations is no such file.
    """
    path = recipe_path(recipe).with_suffix(".expected.json")
    if not path.exists():
        return None
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected what tools/seeds.py writes")
    found = Expectation.parse(content, source=str(path))
    return found if comparable(found.options) == comparable(stated) else None


def recorded(
    runs: Sequence[Path], metric: str, command: str, cpu_seconds: Sequence[float]
) -> Expectation:
    """What finished runs of one recipe, which differ in their seed, let expect.

    Raises:
        ConfigError: if they differ in something else.
    """
    told = [comparable(read_json(run / "options.json")) for run in runs]
    for run, options in zip(runs, told, strict=True):
        if options != told[0]:
            raise ConfigError(f"{run}: differs from {runs[0]} in more than the seed")
    curves: dict[str, dict[int, tuple[float, ...]]] = {}
    tests: dict[str, tuple[float, ...]] = {}
    for event in (event for run in runs for event in read_events(run)):
        values = {key: value for key, value in event.items() if key not in ("kind", "step")}
        for name, value in values.items():
            if event["kind"] == "validation":
                steps = curves.setdefault(name, {})
                steps[event["step"]] = (*steps.get(event["step"], ()), value)
            elif event["kind"] == "test":
                tests[name] = (*tests.get(name, ()), value)
    return Expectation(
        command=command,
        options=told[0],
        metric=metric,
        curves=curves,
        test=tests,
        cpu_seconds=tuple(cpu_seconds),
    )


def comparable(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Options of what is learned but for the seed, and of the weights that a run begins with only
    whether there are any: they lie elsewhere for everybody."""
    kept = deepcopy(what_is_learned(with_newer_options(stated)))
    kept.pop("recipe", None)
    kept["train"].pop("seed", None)
    for key, value in kept["start"].items():
        if key != "fresh":
            kept["start"][key] = value not in (None, False)
    return kept
