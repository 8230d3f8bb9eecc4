"""The memory of a training, told without a GPU, against what was measured on one."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

import memory
from bench.recomputing import peak_bytes
from fake_gpu import DEVICE, FakeGPU
from graph_walk import backward
from memory_estimate import Memory, batch_of, estimate, sample_shapes
from slot_core import sample_generators
from slot_core.recomputing import kept_bytes
from slot_decoders.models import build_model
from support.command_line import run
from support.options import load_options

ROOT = Path(__file__).parents[2]
H200 = json.loads((ROOT / "tools/bench/results/h200/gpu.json").read_text())
MEASURED = {row["recipe"]: row for row in H200["rows"] if row["name"].endswith("-train")}
RECOMPUTED = {row["recipe"]: row for row in H200["rows"] if row["name"].endswith("+recomputing")}
TABLE = (ROOT / "apps/recipes/README.md").read_text(encoding="utf-8")
GIB = 2**30
SMALL = "slot_attention/shapes"
SMALLEST = "relation_readout/shapes"


@functools.cache
def told(recipe: str, *changes: str, processes: int = 1) -> Memory:
    """The estimate of a recipe with changes."""
    return estimate(load_options(recipe, changes), processes)


# ---------------------------------------------------------------- against what was measured


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(name, marks=[] if name == "slot_attention/clevrtex" else [pytest.mark.slow])
        for name in MEASURED
    ],
)
def test_the_peak_is_what_a_gpu_measured(recipe: str):
    """Within 2 %, and never above: kernels' own workspaces come on top of it."""
    row, options = MEASURED[recipe], load_options(recipe, ["train.mixed_precision=bf16"])
    video = sample_shapes(build_on_meta(options), options)["video"]
    assert (options.train.batch_size, video[0]) == (row["batch"], row["frames"])
    share = estimate(options).peak / GIB / row["peak_gib"]
    assert 0.98 < share <= 1
    assert f"| {recipe} | {row['peak_gib']:.2f} | {share * row['peak_gib']:.2f} |" in TABLE


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECOMPUTED)
def test_recomputed_the_peak_is_what_a_gpu_measured_but_for_its_kernels(recipe: str):
    """Little else is left then of a step."""
    changes = ["train.mixed_precision=bf16", "train.gradient_checkpointing=true"]
    estimated, measured = told(recipe, *changes).peak / GIB, RECOMPUTED[recipe]["peak_gib"]
    assert estimated <= measured < estimated + 0.8
    assert f" | {measured:.2f} | {estimated:.2f} |\n" in TABLE


def build_on_meta(options: Any) -> Any:
    with torch.device("meta"):
        return build_model(options.model)


def test_the_peak_is_that_of_pytorchs_own_tracker():
    options = load_options(SMALL)
    model = build_on_meta(options)
    shapes = sample_shapes(model, options)
    with FakeGPU() as gpu:
        model.to_empty(device=DEVICE)
        video = torch.zeros(4, *shapes["video"], device=DEVICE)
        tracker = MemTracker()
        tracker.track_external(model, video)
        with tracker:
            loss = [model(video).total]
            backward(loss)
        assert tracker.get_tracker_snapshot("peak")[DEVICE]["Total"] == gpu.peak > gpu.held


def test_what_is_kept_is_what_the_cpu_keeps():
    """Of the same step, with numbers; but for kernels that only one of the two has."""
    options = load_options(SMALL)
    model = build_model(options.model)
    batch = batch_of(sample_shapes(model, options), options.train.batch_size)
    own = sample_generators(0, 0, batch["id"])
    kept = kept_bytes(model, lambda: model(batch["video"], generator=own))
    assert told(SMALL).kept == pytest.approx(kept, rel=0.1)


def test_weights_and_what_belongs_to_them_are_counted_by_hand():
    found = told(SMALL, "train.ema_decay=0.9", processes=2)
    exact = 4 * sum(one.numel() for one in build_model(load_options(SMALL).model).parameters())
    assert found.parameters == exact / 4
    rounding = 512 * 200  # each of the tensors may take a block more
    assert exact <= found.weights == found.average < exact + rounding
    assert 2 * exact <= found.gradients == found.optimizer < 2 * (exact + rounding)
    assert found.peak > found.weights + found.gradients / 2 + found.optimizer + found.average
    assert told(SMALL).gradients == found.gradients / 2
    assert told(SMALL).average == 0


# ---------------------------------------------------------------- what options change


def test_frozen_parts_have_neither_gradients_nor_optimizer():
    frozen = told(SMALL, "train.frozen=[encoder]")
    assert frozen.weights == told(SMALL).weights
    assert frozen.gradients < told(SMALL).gradients
    assert frozen.optimizer < told(SMALL).optimizer
    assert frozen.kept < told(SMALL).kept


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    ["train.accumulation=2", "train.mixed_precision=bf16", "train.gradient_checkpointing=true"],
)
def test_each_way_to_take_less_takes_less(change: str):
    recipe = "slot_attention/shapes_textured"
    assert told(recipe, change).kept < 0.9 * told(recipe).kept
    assert told(recipe, change).peak < 0.9 * told(recipe).peak


@pytest.mark.slow
def test_half_the_batch_at_once_is_half_of_what_is_kept():
    whole = told(SMALL).kept
    for parts in (told(SMALL, "train.accumulation=2"), told(SMALL, processes=2)):
        assert parts.kept == pytest.approx(whole / 2, rel=0.01)
    accumulated, small = told(SMALL, "train.accumulation=2"), told(SMALL, "train.batch_size=8")
    assert accumulated.peak >= small.peak  # the gradients of the first part are there


@pytest.mark.slow
def test_a_video_takes_a_frame_s_memory_for_each_frame():
    still = ("data.num_frames=1", "model.encoder.predictor=null")
    assert told("savi/shapes").kept > 3.5 * told("savi/shapes", *still).kept


def test_nothing_is_really_taken():
    huge = told(SMALLEST, "train.batch_size=1000000")
    assert huge.peak > 100 * GIB


# ---------------------------------------------------------------- the device


def gradients(parameters: Sequence[Tensor], loss: Callable[[], Tensor], way: Any) -> list[Any]:
    for one in parameters:
        one.grad = None
    way([loss()])
    return [one.grad for one in parameters]


def test_the_walk_gives_the_gradients_of_the_engine():
    torch.manual_seed(0)
    first, second = nn.Linear(4, 4), nn.GRUCell(4, 4)
    x, scale = torch.randn(3, 4), nn.Parameter(torch.rand(1))
    calls = []

    def twice(value: Tensor) -> Tensor:
        calls.append(value)
        return first(value).relu() * first(value)

    def loss() -> Tensor:
        value = first(x) + x * scale  # one weight used often, one that is broadcast
        value = value + second(checkpoint(twice, value, use_reentrant=False), value)
        return value.square().mean() + value[0].sum()

    parameters = [*first.parameters(), *second.parameters(), scale]
    wanted = gradients(parameters, loss, lambda total: total[0].backward())
    found = gradients(parameters, loss, backward)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert len(calls) == 4  # recomputed once for each way


@pytest.mark.parametrize("recomputing", [False, True])
def test_the_walk_takes_as_much_memory_as_the_engine(recomputing: bool):
    """As PyTorch's profiler sees it on the CPU, where both can be had."""
    options = load_options(SMALL)
    model = build_model(options.model)
    video = torch.rand(4, *sample_shapes(model, options)["video"])
    if recomputing:
        model.enable_gradient_checkpointing()

    def peak(way: Callable[[list[Tensor]], None]) -> int:
        model.zero_grad()
        return peak_bytes(lambda: way([model(video).total]))

    assert peak(backward) == pytest.approx(peak(lambda loss: loss.pop().backward()), rel=0.01)


def test_what_a_node_saved_is_let_go_when_it_is_done():
    with FakeGPU() as gpu:
        weights = [torch.zeros(256, 256, device=DEVICE, requires_grad=True) for _ in range(20)]
        value = torch.zeros(256, 256, device=DEVICE)
        for one in weights:
            value = (value @ one).sigmoid()
        kept = gpu.held
        loss = [value.sum()]
        del value
        backward(loss)
        # Gradients take the places of what was kept, one by one.
        assert gpu.peak < kept + 4 * 256 * 256 * 4
        assert gpu.held == 2 * sum(one.numel() * 4 for one in weights)


@pytest.mark.parametrize(
    ("dtype", "masked"), [(torch.bfloat16, False), (torch.bfloat16, True), (torch.float32, False)]
)
def test_attention_is_that_of_a_gpu(dtype: torch.dtype, masked: bool):
    with FakeGPU() as gpu:
        query = torch.zeros(1, 2, 2048, 32, device=DEVICE, dtype=dtype, requires_grad=True)
        mask = torch.zeros(2048, device=DEVICE, dtype=dtype) if masked else None
        before = gpu.held
        backward([scaled_dot_product_attention(query, query, query, mask).float().sum()])
        matrix = 2 * 2048 * 2048 * query.element_size()
        assert gpu.peak - before < matrix / 4


def test_autocast_is_that_of_a_gpu():
    with FakeGPU(), torch.autocast("cuda", torch.bfloat16):
        square = torch.zeros(4, 4, device=DEVICE)
        assert (square @ square).dtype == torch.bfloat16
        assert (square @ square).softmax(-1).dtype == torch.float32
    assert not torch.is_autocast_enabled("cuda")


# ---------------------------------------------------------------- the command


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run(memory.main, list(words))
    return int(ended.value.code or 0)


def test_rows_are_of_recipes_and_batch_sizes(capsys: pytest.CaptureFixture):
    words = (SMALLEST, "relation_readout/physion", "--batch-size", "8", "--batch-size", "16")
    assert call(*words, "--processes", "2", "--set", "data.num_frames=5") == 0
    first, titles, *rows = capsys.readouterr().out.splitlines()
    assert "one process of 2" in first
    assert titles.split()[-1] == "peak"
    assert [row.split()[:4] for row in rows] == [
        [recipe, size, "1", once]
        for recipe in words[:2]
        for size, once in (("8", "4x5"), ("16", "8x5"))
    ]


@pytest.mark.slow
def test_the_smallest_accumulation_that_fits_is_found(capsys: pytest.CaptureFixture):
    parts = (1, 3, 9)  # into which nine samples can be shared
    changes = ("train.batch_size=9", "data.num_frames=100")
    peaks = [told(SMALLEST, *changes, f"train.accumulation={n}").peak / GIB for n in parts]
    words = [SMALLEST, *(word for change in changes for word in ("--set", change)), "--fit"]
    for index, peak in enumerate(peaks):
        assert call(*words, str(peak * 1.001)) == 0
        rows = capsys.readouterr().out.splitlines()[2:]
        assert len(rows) == index + 2
        assert rows[-1].endswith(f"GiB with --set train.accumulation={parts[index]}")
    assert call(*words, str(peaks[-1])) == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2 + len(parts)
    assert said.err.startswith(f"error: {SMALLEST} takes {peaks[-1]:.2f} GiB also with 1 sample")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["slot_atention/shapes"], "did you mean 'slot_attention/shapes'?"),
        (["--set", "train.batch=3"], "unknown key 'train.batch'; did you mean 'batch_size'?"),
        (["--set", "train.batch_size=many"], "'train.batch_size' has the value 'many'"),
        (["--set", "train.compile=true"], "what a compiled step takes cannot be told"),
        (["--set", "train.frozen=[eye]"], "train.frozen: the model has no part 'eye'"),
        (["--processes", "3"], "batch_size 16 is not divisible by 3"),
        (["slot_attention/clevrtex", "--set", "data.preset=mine"], "has no preset 'mine'"),
        (["slot_attention/clevrtex", "--set", "data.size=64"], "has no option 'size'"),
        (["--set", "data.image_size=0"], "data.image_size is 0, expected a number of at least 1"),
        (["savi/shapes", "--set", "data.num_frames=1"], "a sample has one frame"),
        (["slot_former/shapes", "--set", "data.num_frames=null"], "data.num_frames is not set"),
        (["slot_former/shapes", "--set", "data.num_frames=6"], "training needs the burn-in of 6"),
        ([SMALL, "--all"], "--all is of all recipes"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], sentence: str, capsys: Any):
    assert call(*words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


# ---------------------------------------------------------------- the committed table


def committed() -> dict[str, str]:
    """The rows of the page, by recipe."""
    rows = re.findall(r"^\| ((\w+/\w+) \|.*) \|$", TABLE, flags=re.MULTILINE)
    return {recipe: f"| {row} |" for row, recipe in rows}


def test_the_page_has_all_recipes_of_real_datasets():
    assert list(committed()) == memory.real_recipes()
    assert len(committed()) == 51


@pytest.mark.slow
def test_the_page_says_what_the_tool_says():
    *_, row = memory.table(["slot_attention/celeba"], [], 1)
    assert committed()["slot_attention/celeba"] == row


@pytest.mark.slow
def test_the_page_says_what_the_tool_says_of_each_kind():
    """In a process without the checks of shapes, which hold what a function lets go."""
    recipes = ["dvae/celeba", "relation_readout/physion", "savi/movi_a", "slate/celeba"]
    code = f"import memory; print(*memory.table({recipes}, [], 1), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "tools",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == [committed()[recipe] for recipe in recipes]
