"""Train one recipe with several seeds and say how often, and how well, it works.

    uv run python tools/seeds.py --seeds 5
    uv run python tools/seeds.py slot_attention/shapes --seeds 3 --metric miou --success 0.8
    uv run python tools/seeds.py savi/shapes --seeds 3 --set 'start.fresh=[encoder.predictor]' \
        --set start.weights=runs/seeds/slot_attention-shapes/seed-{seed}

Prints each seed's score on the test split with the CPU time of its whole run (less what a killed
call took), then the mean, its standard error, the minimum and the success rate. Writes the same to
OUT/seeds.json, the curves of all seeds to OUT/curves.png, and what they let expect of a further run
to OUT/expected.json, which apps/train.py heeds if it lies beside the recipe's YAML as
<dataset>.expected.json. A seed whose result is in OUT already is not trained again, so an
interrupted call goes on where it was; one that was trained with other changes is an error.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from slot_core import ConfigError, InputError
from slot_core.model_card import public_command
from slot_eval.report import RESULT, read_result
from slot_eval.seeds import sentence, summarise

APPS = Path(__file__).parents[1] / "apps"
sys.path.insert(0, str(APPS))
from support.command_line import run  # noqa: E402  (the apps' shared folder is no package)
from support.curves import draw_curves  # noqa: E402
from support.expectations import recorded  # noqa: E402
from support.logs import read_events  # noqa: E402
from support.options import DEFAULT_RECIPE, flatten, parse_change  # noqa: E402


def main(
    recipe: Annotated[str, typer.Argument(help="as for apps/train.py")] = DEFAULT_RECIPE,
    seeds: Annotated[int, typer.Option(min=1, help="how many, from 0")] = 5,
    metric: Annotated[str, typer.Option(help="of the test split's result")] = "fg_ari",
    success: Annotated[float, typer.Option(help="the score from which a run counts")] = 0.9,
    out: Annotated[Path | None, typer.Option(help="runs/seeds/RECIPE if left out")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="as for apps/train.py; {seed} is the seed")
    ] = None,
) -> None:
    """Train a recipe with several seeds; mean, standard error, minimum and success rate."""
    refuse_seed(changes or [])
    out = out or Path("runs", "seeds", recipe.replace("/", "-"))
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        row = train(recipe, seed, out / f"seed-{seed}", metric, changes or [])
        rows.append(row)
        print(f"seed {seed}: {metric} {row['score']:.4f} in {row['cpu_seconds']:.0f} CPU-seconds")
    scores = [row["score"] for row in rows]
    report = {
        "recipe": recipe,
        "changes": changes or [],
        "metric": metric,
        "seeds": rows,
        **summarise(scores, success),
    }
    (out / "seeds.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    runs = [out / f"seed-{seed}" for seed in range(seeds)]
    command = public_command(["uv", "run", "python", "tools/seeds.py", *sys.argv[1:]])
    expected = recorded(runs, metric, command, [row["cpu_seconds"] for row in rows])
    (out / "expected.json").write_text(expected.model_dump_json(indent=1) + "\n", encoding="utf-8")
    draw_curves({run.name: read_events(run) for run in runs}, out / "curves.png", expected)
    print(sentence(f"{metric} on the test split", scores, success))


def refuse_seed(changes: list[str]) -> None:
    """Raise ConfigError if a change sets the seed: all runs would be one and the same."""
    for change in changes:
        if "train.seed" in flatten(parse_change(change.replace("{seed}", "0"))):
            raise ConfigError(
                f"--set {change}: seeds are counted from 0, and --seeds says how many"
            )


def train(recipe: str, seed: int, out: Path, metric: str, changes: list[str]) -> dict[str, Any]:
    """One run: its score, and the user and system time of all its processes."""
    done = out / "seed.json"
    told = {"recipe": recipe, "changes": [one.replace("{seed}", str(seed)) for one in changes]}
    if done.exists():
        row = json.loads(done.read_text(encoding="utf-8"))
        for key, value in told.items():
            if row.get(key, value) != value:
                raise ConfigError(
                    f"{out}: was trained with the {key} {row[key]}, not with {value}; choose "
                    "another --out"
                )
    else:
        row = {"seed": seed, "cpu_seconds": run_seed(recipe, seed, out, told["changes"]), **told}
        done.write_text(json.dumps(row) + "\n", encoding="utf-8")
    mean = read_result(out / "test" / RESULT)["metrics"].get(metric, {}).get("mean")
    if mean is None:
        raise InputError(f"{out / 'test' / RESULT}: has no {metric}")
    return {"seed": seed, "score": mean, "cpu_seconds": row["cpu_seconds"]}


def run_seed(recipe: str, seed: int, out: Path, changes: list[str]) -> float:
    """Train and test, or go on with it; the CPU-seconds of this call and of those before it."""
    settings = [word for one in [f"train.seed={seed}", *changes] for word in ("--set", one)]
    command = [sys.executable, "-m", "accelerate.commands.launch", str(APPS / "train.py"), recipe]
    kept = out / ".cpu_seconds"  # hidden: train.py begins in no folder that holds other files
    earlier, before = float(kept.read_text()) if kept.exists() else 0.0, child_seconds()
    ended = subprocess.run([*command, "--out", str(out), "--resume", *settings])
    spent = earlier + child_seconds() - before
    out.mkdir(parents=True, exist_ok=True)
    kept.write_text(f"{spent}\n")
    if ended.returncode:
        sys.exit(ended.returncode)  # the run has said why
    return spent


def child_seconds() -> float:
    """CPU time of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    run(main)
