"""How much GPU memory a training takes, told without a GPU and without data.

    uv run python tools/memory.py slot_attention/clevrtex --set train.mixed_precision=bf16
    uv run python tools/memory.py steve/movi_e slot_diffusion/movi_e --processes 2
    uv run python tools/memory.py slot_attention/clevrtex --batch-size 16 --batch-size 32
    uv run python tools/memory.py slot_attention/clevrtex --fit 12
    uv run python tools/memory.py --all

Recipes and changes are those of apps/train.py; files that options name need not be there. Each row
is of one process: what it holds of weights (those that do not train included), gradients, the
optimizer's state and the average of ``train.ema_decay``, what the forward pass keeps for the
backward pass, and the peak, which is what ``torch.cuda.max_memory_allocated`` says of such a run.
The peak is not the sum, since gradients come as what is kept goes. ``--fit`` goes on with twice,
three times ... as many micro-batches until the peak is below that many GiB. ``--all`` prints the
table in apps/recipes/README.md.

memory_estimate.py says what is estimated, fake_gpu.py how. On a GPU there come on top: what kernels
take for themselves (on an H200 the four peaks that were measured lay 0.07 to 0.15 GiB above their
estimates, recomputed 0.08 to 0.77), gaps between tensors, and what the driver takes before any
tensor is made.
"""

from __future__ import annotations

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # one that is there is left alone

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from memory_estimate import Memory, dataset_shape, estimate, frames_of, samples_at_once
from slot_core import ConfigError, InputError
from slot_data import DataError

sys.path.insert(0, str(Path(__file__).parents[1] / "apps"))
from support.command_line import run
from support.options import DEFAULT_RECIPE, RECIPES, RunOptions, load_options

GIB = 2**30
TITLES = ("batch", "parts", "at once", "parameters", "weights", "gradients", "optimizer")
TITLES += ("average", "kept", "peak")
VARIANTS = {
    "float32": ("no", False),
    "bf16": ("bf16", False),
    "bf16, recomputed": ("bf16", True),
}  # columns of the table: precision, and whether it is with gradient_checkpointing
EMBEDDED = "shapes"


def main(
    recipes: Annotated[
        list[str] | None, typer.Argument(help="as for apps/train.py; one or several")
    ] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="as for apps/train.py")] = None,
    processes: Annotated[int, typer.Option(min=1, help="that share train.batch_size")] = 1,
    batch_size: Annotated[
        list[int] | None, typer.Option(help="a row for each instead of train.batch_size")
    ] = None,
    fit: Annotated[
        float | None, typer.Option(help="GiB to stay below, by a larger train.accumulation")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="all recipes of real datasets")] = False,
) -> None:
    """Tell the memory that trainings take on a GPU."""
    if every:
        if recipes or batch_size or fit is not None:
            raise ConfigError("--all is of all recipes as they are; leave the rest out, but --set")
        for line in table(real_recipes(), changes or [], processes):
            print(line, flush=True)
        return
    names = recipes or [DEFAULT_RECIPE]
    sizes = [[f"train.batch_size={size}"] for size in batch_size or ()] or [[]]
    chosen = [load_options(name, [*(changes or []), *size]) for name in names for size in sizes]
    width = max(32, *(len(name) + 1 for name in names))
    print(f"GiB of one process of {processes}, estimated")
    print(" " * width + "".join(f"{title:>12}" for title in TITLES), flush=True)
    too_large = [one for options in chosen if (one := tell(options, processes, fit, width))]
    if too_large:
        raise InputError("; ".join(too_large))


def tell(options: RunOptions, processes: int, fit: float | None, width: int) -> str:
    """Print the rows of one training; why it cannot fit, if so."""
    memory = None
    for tried in [options] if fit is None else accumulations(options, processes):
        memory = estimate(tried, processes)
        print(f"{tried.recipe:{width}}" + cells(tried, processes, memory), flush=True)
        if fit is not None and memory.peak < fit * GIB:
            print(f"below {fit:g} GiB with --set train.accumulation={tried.train.accumulation}")
            return ""
    if fit is None or memory is None:
        return ""
    return (
        f"{options.recipe} takes {memory.peak / GIB:.2f} GiB also with "
        f"{samples_at_once(tried, processes)} sample(s) at once, not below {fit:g}"
    )


def accumulations(options: RunOptions, processes: int) -> Iterator[RunOptions]:
    """The same training in as many micro-batches as it states, and in more.

    Raises:
        DataError: if the batch cannot be shared as it is stated.
    """
    samples_at_once(options, processes)
    for parts in range(options.train.accumulation, options.train.batch_size // processes + 1):
        train = options.train.model_copy(update={"accumulation": parts})
        more = options.model_copy(update={"train": train})
        try:
            samples_at_once(more, processes)
        except DataError:
            continue
        yield more


def cells(options: RunOptions, processes: int, memory: Memory) -> str:
    """The row of one training, without its name."""
    train = options.train
    at_once = f"{samples_at_once(options, processes)}x{frames_of(options)}"
    texts = [f"{train.batch_size}", f"{train.accumulation}", at_once, f"{memory.parameters:,}"]
    parts = (memory.weights, memory.gradients, memory.optimizer, memory.average, memory.kept)
    texts += [f"{size / GIB:.2f}" for size in (*parts, memory.peak)]
    return "".join(f"{text:>12}" for text in texts)


def real_recipes() -> list[str]:
    """Those that train on data that one has to have."""
    paths = (path.relative_to(RECIPES).with_suffix("") for path in RECIPES.rglob("*.yaml"))
    return sorted(str(path) for path in paths if not path.name.startswith(EMBEDDED))


def table(recipes: Sequence[str], changes: Sequence[str], processes: int) -> Iterator[str]:
    """Lines of Markdown, one for each recipe, with the peak of each variant."""
    titles = ("recipe", "batch", "parameters", *VARIANTS)
    yield f"| {' | '.join(titles)} |"
    yield "|---" * len(titles) + "|"
    known: dict[str, Memory] = {}  # some recipes differ in their data alone
    for recipe in recipes:
        options = load_options(recipe, changes)
        found = []
        for precision, recomputed in VARIANTS.values():
            varied = {"mixed_precision": precision, "gradient_checkpointing": recomputed}
            train = options.train.model_copy(update={**varied, "num_steps": 1})
            one = options.model_copy(update={"train": train})
            key = f"{one.model!r} {one.train!r} {one.optimizer!r} {dataset_shape(one)}"
            found.append(known.get(key) or estimate(one, processes))
            known[key] = found[-1]
        batch = f"{options.train.batch_size}x{frames_of(options)}"
        peaks = [f"{memory.peak / GIB:.1f}" for memory in found]
        yield f"| {' | '.join([recipe, batch, f'{found[0].parameters:,}', *peaks])} |"


if __name__ == "__main__":
    run(main)
