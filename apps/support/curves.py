"""The curves of a run, or of several over one another: every number of ``metrics.jsonl`` by step.

One small panel for each number: thin lines for training, lines with dots for validation, a star for
the test. Where a recipe has recorded runs, what they let expect of a further one lies behind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.expectations import SHARE, Expectation

Event = Mapping[str, Any]

UNDRAWN = {"step", "learning_rate", "samples_per_second"}
COLUMNS = 4
WIDTH, HEIGHT = 3.2, 2.2  # of a panel, in inches
LEGEND = 0.4  # its height
WIDE_RANGE = 20.0  # the largest loss over the smallest, from which the scale is logarithmic
STYLES: dict[str, dict[str, Any]] = {
    "train": {"linewidth": 0.8, "alpha": 0.6},
    "validation": {"linewidth": 1.4, "marker": "."},
    "test": {"linestyle": "", "marker": "*", "markersize": 9},
}
SHADE, INK = "#d9d9e3", "#3c3c42"


def draw_curves(
    runs: Mapping[str, Sequence[Event]], path: Path, expectation: Expectation | None = None
) -> None:
    """Draw the events of runs, by the names that the legend gives them; x is the step."""
    from matplotlib.figure import Figure  # it takes long to import, and most apps draw no curves

    names = _numbers(runs)
    rows, columns = math.ceil(len(names) / COLUMNS), min(COLUMNS, len(names))
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows + LEGEND))
    low, high = LEGEND / figure.get_figheight(), 1 - 0.3 / figure.get_figheight()
    figure.subplots_adjust(0.05, low + 0.2 / rows, 0.98, high, wspace=0.25, hspace=0.35)
    for place, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, place + 1)
        _draw_number(axes, name, runs, expectation)
    _legend(figure, list(runs), expectation)
    figure.savefig(path, dpi=100)


def _numbers(runs: Mapping[str, Sequence[Event]]) -> list[str]:
    """What there is to draw: the loss, its parts, the scores, the warnings; each once."""
    names = {"loss": None}
    for kind in ("validation", "train"):
        for events in runs.values():
            for event in events:
                if event["kind"] == kind:
                    names |= dict.fromkeys(key for key in event if _is_number(event[key]))
    return [name for name in names if name not in UNDRAWN and not _is_the_loss(name, runs)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_the_loss(name: str, runs: Mapping[str, Sequence[Event]]) -> bool:
    """Whether a part of the loss is all of it."""
    trained = [event for events in runs.values() for event in events if event["kind"] == "train"]
    return name != "loss" and bool(trained) and all(e.get(name) == e["loss"] for e in trained)


def _draw_number(
    axes: Any, name: str, runs: Mapping[str, Sequence[Event]], expectation: Expectation | None
) -> None:
    axes.set_title(name, fontsize=9, loc="left")
    axes.tick_params(labelsize=7)
    axes.locator_params(nbins=4)
    axes.spines[["top", "right"]].set_visible(False)
    band = expectation.band(name) if expectation else {}
    steps = [event["step"] for events in runs.values() for event in events]
    axes.set_xlim(0, max([*steps, *band, 1]))
    drawn: list[float] = []
    for number, events in enumerate(runs.values()):
        for kind, style in STYLES.items():
            seen = {e["step"]: e[name] for e in events if e["kind"] == kind and name in e}
            if seen:
                axes.plot([*seen], [*seen.values()], color=f"C{number}", clip_on=False, **style)
            drawn += seen.values()
    if band:
        low, high = zip(*band.values(), strict=True)
        axes.fill_between([*band], low, high, color=SHADE, linewidth=0, zorder=0)
    if name == "loss" and drawn and min(drawn) > 0 and max(drawn) > WIDE_RANGE * min(drawn):
        axes.set_yscale("log")


def _legend(figure: Any, names: Sequence[str], expectation: Expectation | None) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=f"C{number}", label=name) for number, name in enumerate(names)
    ]
    handles += [Line2D([], [], color=INK, label=kind, **style) for kind, style in STYLES.items()]
    if expectation:
        told = f"{SHARE:.0%} of further runs, from {expectation.num_seeds} seeds"
        handles.append(Patch(color=SHADE, label=told))
    figure.legend(handles=handles, loc="lower center", ncols=6, frameon=False, fontsize=8)
