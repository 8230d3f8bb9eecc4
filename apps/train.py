"""Train any model on any dataset, on any number of processes.

    accelerate launch apps/train.py                                      the quickstart
    accelerate launch apps/train.py slot_attention/clevrtex --set data.root=DIR
    accelerate launch apps/train.py RECIPE --out DIR --resume

Read ``main`` from top to bottom: it is the whole loop, in the order in which it runs. Which
samples a step sees, how they are augmented and what noise the model draws are functions of the
seed and the step alone, so a resumed run computes where it was and repeats nothing.

SIGTERM or SIGUSR1 to any process makes all of them save after the step they are in and leave with
exit code 75, which means "start me again with --resume". Ctrl-C does the same with exit code 130;
twice, it stops at once. A launcher makes 1 of any of these codes: look for "--resume goes on" in
what the run said, or start one process with ``python apps/train.py``, which leaves with the code.
"""

from __future__ import annotations

import support.starting  # noqa: F401  (before the seconds that torch takes to import)

# isort: split

import atexit
import hashlib
import math
import os
import resource
import shutil
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import InitProcessGroupKwargs, gather_object
from torch.utils.data import DataLoader
from tqdm import tqdm

from slot_core import ConfigError, ModelCard, sample_generators
from slot_core.model_card import public_command, public_place
from slot_data import AugmentedDataset, DataError, StepBatches, collate
from slot_data.augmentations import augmentations_by_name
from slot_data.collate import Batch
from slot_data.cores import usable_cores
from slot_decoders.models import build_model
from slot_eval import Results, protocols
from slot_eval.provenance import of_model
from slot_eval.report import RESULT, make_result, result_table, write_result
from support.beginnings import begin, freeze
from support.checkpoints import RunFolder, read_state, restore_model
from support.command_line import run_and_leave
from support.datasets import load_dataset
from support.diagnostics import busy_machine, diagnose, few_samples, few_slots
from support.expectations import expected_of
from support.faults import SkippedSteps, may_be_the_scale
from support.frozen_outputs import open_cache
from support.held_out_loss import HeldOutLoss
from support.inputs import inputs_of, training_frames
from support.interruption import (
    Interruption,
    agree,
    check_agreement,
    compare_ranks,
    end_workers,
    leave_signals_to_parent,
)
from support.launching import check_launcher, check_precision, check_shards
from support.logs import MetricsLog, Throughput
from support.optimizers import WeightAverage, build_optimizer, check_gradients, set_learning_rate
from support.options import DEFAULT_RECIPE, RunOptions, flatten, load_options
from support.schedules import learning_rate_factor
from support.scoring import draw, draw_progress, means, score
from support.sharding import WholeCopy, gathered, load_optimizer, prepare
from support.slot_inputs import told_of_slots
from support.waiting import OwnWork


def main(
    recipe: Annotated[
        str, typer.Argument(help="<model>/<dataset>, or a YAML file")
    ] = DEFAULT_RECIPE,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="change one option: key.key=value")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder of the run; runs/RECIPE if left out")
    ] = None,
    resume: Annotated[bool, typer.Option(help="go on from the newest checkpoint in --out")] = False,
) -> None:
    """Train a model; without arguments, Slot Attention on the embedded shapes."""
    check_launcher()
    options = load_options(recipe, changes or ())
    out = out or Path("runs", recipe.replace("/", "-").removesuffix(".yaml"))
    stated = options.model_dump(mode="json")
    expectation = expected_of(recipe, stated)
    folder = RunFolder(out, stated, resume=resume)

    # ------------------------------------------------------------------ processes and precision
    accelerator = Accelerator(
        mixed_precision=options.train.mixed_precision,
        gradient_accumulation_steps=options.train.accumulation,
        log_with=_known_trackers(options.log.trackers),
        project_dir=out,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=options.train.timeout))],
    )
    check_shards(accelerator, options.train.compare_ranks_every)
    check_precision(accelerator)
    others_here = _share_threads(options.train.num_threads, accelerator)
    is_main = accelerator.is_main_process
    say = tqdm.write if is_main else lambda _: None

    # ------------------------------------------------------------------ data
    splits = options.data.splits
    train_set = _load(options, "train")
    validation_set = _load(options, "validation")
    test_set = _load(options, "test") if splits.test else None
    augmentations = augmentations_by_name(options.data.augmentations)
    augmented = AugmentedDataset(train_set, augmentations, options.train.seed)
    protocols.get(options.validation.protocol)  # a misspelt one is told now, not after a while

    # ------------------------------------------------------------------ model and optimizer
    torch.manual_seed(options.train.seed)
    model = build_model(told_of_slots(options.model, train_set, validation_set, test_set))
    num_frames = training_frames(model, augmented[0, 0])
    freeze(model, options.train.frozen, options.start)
    optimizer = build_optimizer(model, options.optimizer)

    # ------------------------------------------------------------------ where an earlier run was
    start, (checkpoint, damages) = 0, folder.newest_undamaged()
    for damage in damages:
        say(f"{damage}; an older checkpoint takes its place")
    if checkpoint is None:
        begin(model, options.start)
    decay = options.train.ema_decay
    average = WeightAverage(model, decay) if decay else None
    if checkpoint is not None:
        state = read_state(checkpoint)
        start = state["step"]
        if average is None:
            restore_model(checkpoint, model)
        else:
            restore_model(checkpoint, average.model)
            average.num_updates = state["average_updates"]
            model.load_state_dict(state["weights"])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
        say(f"resumed {checkpoint}")
    check_agreement(out, start)
    if is_main:
        folder.create(stated)
    accelerator.wait_for_everyone()

    copy = WholeCopy(model) if accelerator.is_fsdp2 and average is None else None
    published: Any = next((one.model for one in (average, copy) if one is not None), model)
    published.to(accelerator.device)
    if options.train.compile:
        model.compile()
    if options.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    trained, optimizer = prepare(accelerator, model, optimizer)
    if checkpoint is not None:
        load_optimizer(optimizer, state["optimizer"])
    # A run that was set back, or killed while it was tested, is tested again.
    tested = start == options.train.num_steps and (out / "test" / RESULT).exists()
    log = MetricsLog(out / "metrics.jsonl", start, tested=tested) if is_main else None
    if options.log.trackers:
        accelerator.init_trackers("slots", config=flatten(stated))

    # ------------------------------------------------------------------ batches from here on
    batches = StepBatches(
        num_samples=len(train_set),
        batch_size=options.train.batch_size,
        seed=options.train.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        start_step=start,
        num_steps=options.train.num_steps,
        accumulation=options.train.accumulation,
    )
    atexit.register(end_workers)
    loader = iter(
        DataLoader(
            augmented,
            batch_sampler=batches,
            num_workers=options.data.num_workers,
            collate_fn=collate,
            worker_init_fn=leave_signals_to_parent,
            pin_memory=accelerator.device.type == "cuda",
            # Its own generator: a loader without one draws from the global one when it starts,
            # and a resumed run starts it once more often.
            generator=torch.Generator().manual_seed(options.train.seed),
        )
    )

    cache = open_cache(options, model, train_set)
    keys = iter(batches)  # once more: which samples the next batch holds

    parameters = sum(parameter.numel() for parameter in model.parameters())
    for warning in (
        few_slots(options.data.name, train_set, model),
        few_samples(len(train_set), options.train.batch_size),
        others_here,
    ):
        if warning:
            say(warning)
    say(
        f"{recipe}: {parameters:,} parameters, {len(train_set):,} samples, "
        f"{accelerator.num_processes} process(es) on {accelerator.device.type}"
    )

    # ------------------------------------------------------------------ the loop
    progress = tqdm(
        initial=start, total=options.train.num_steps, disable=not is_main, unit="step", ncols=100
    )
    throughput, own_work = Throughput(), OwnWork()
    skips = SkippedSteps(out / "faults", options.train.skips_in_a_row, accelerator.process_index)
    interruption = Interruption()
    interruption.listen()
    for step in range(start, options.train.num_steps):
        trained.train()
        _seed_step(options.train.seed, step, accelerator.process_index)
        set_learning_rate(
            optimizer,
            learning_rate_factor(
                step,
                options.train.num_steps,
                schedule=options.optimizer.schedule,
                warmup_fraction=options.optimizer.warmup_fraction,
                final_fraction=options.optimizer.final_fraction,
            ),
        )
        parts: list[Batch] = []
        totals: dict[str, torch.Tensor] = {}
        for _ in range(options.train.accumulation):
            own_work.begin()
            parts.append(next(loader))
            with accelerator.accumulate(trained):
                inputs = inputs_of(model, parts[-1], accelerator.device)
                with accelerator.autocast():
                    known = cache.of(next(keys), inputs[0]) if cache else {}
                own = sample_generators(options.train.seed, step, parts[-1]["id"], inputs[0].device)
                share_done = step / options.train.num_steps
                own_work.end()
                losses = trained(*inputs, generator=own, progress=share_done, **known)
                accelerator.backward(losses.total)
                for name, value in {"loss": losses.total, **losses.parts}.items():
                    share = value.detach() / options.train.accumulation
                    totals[name] = totals.get(name, 0) + share
        if step == start:
            check_gradients(model)
        loss, norm, done = float(totals["loss"]), math.nan, step + 1
        stopping, skipped = agree(accelerator, [interruption.requested, not math.isfinite(loss)])
        culprit = "loss"
        if not skipped:
            # Measured also where nothing is clipped: it can be lost where the loss is not. In half
            # precision a scaler passes over such steps by itself, as long as they may be its own.
            limit = options.optimizer.clip_norm or math.inf
            norm = float(gathered(accelerator.clip_grad_norm_(trained.parameters(), limit)))
            skipped = not math.isfinite(norm) and not may_be_the_scale(accelerator.scaler)
            culprit = "gradient"
        if skipped:
            kept = skips.add(done, culprit, loss, parts, folder.newest())
            say(
                f"step {done}: the {culprit} is not finite, nothing is learned; the batch is in "
                f"{kept}"
            )
            if accelerator.scaler is not None and culprit == "gradient":
                accelerator.scaler.update()  # it waits for a step, or for this
        else:
            skips.good()
            optimizer.step()
            if average is not None:
                average.update(model)
        optimizer.zero_grad()
        if options.train.compare_ranks_every and done % options.train.compare_ranks_every == 0:
            compare_ranks(accelerator, model, done)
        throughput.add(options.train.batch_size)
        progress.update()

        last = done == options.train.num_steps
        if skipped and log:
            log.write("skipped", done, loss=str(loss), gradient_norm=str(norm))
        elif not skipped and (done % options.log.every == 0 or last):
            values = {name: _mean(accelerator, value) for name, value in totals.items()}
            values["gradient_norm"] = norm
            if losses.attention is not None:
                for name, value in diagnose(losses.attention).items():
                    values[name] = _mean(accelerator, value)
            values["learning_rate"] = optimizer.param_groups[0]["lr"]
            rate = throughput.read()
            progress.set_postfix_str(f"loss {values['loss']:.4f}, {rate:.0f} samples/s")
            accelerator.log({**values, "samples_per_second": rate}, step=done)
            if warning := own_work.read(accelerator):
                say(warning)
            seen = _digest(gather_object([one for part in parts for one in part["id"]]))
            if log:
                log.write("train", done, **values, sample_ids=seen, samples_per_second=rate)

        validating = done % options.validation.every == 0 or last
        saving = done % options.checkpoint.every == 0 or last or stopping
        if copy is not None and (validating or saving):
            copy.follow(model)
        validation = None  # the scores of these weights
        if validating:
            unseen = HeldOutLoss(
                published,
                num_frames=num_frames,
                batch_size=batches.samples_at_once,
                progress=done / options.train.num_steps,
            )
            validation = score(
                accelerator,
                published,
                validation_set,
                protocol=options.validation.protocol,
                num_samples=options.validation.num_samples,
                batch_size=options.validation.batch_size,
                loss=unseen,
            )
            found = means(validation)
            if not math.isnan(mean := unseen.mean()):
                found["loss"] = mean
            accelerator.log({f"validation/{name}": mean for name, mean in found.items()}, step=done)
            if log:
                told = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
                note = "" if len(validation) else "; no labels to score against"
                say(f"step {done}: {told}{note}")
                if expectation and (remark := expectation.remark(done, found)):
                    say(remark)
                log.write("validation", done, **found)
                if options.log.curves and not last:
                    draw_progress(out, expectation)
                draw(
                    published,
                    validation_set,
                    out / "pictures" / f"validation-{done:08d}.png",
                    num_pictures=options.validation.num_pictures,
                    device=accelerator.device,
                )
            throughput.read()

        if saving:
            state = {"optimizer": gathered(optimizer.state_dict(), "cpu")}
            if accelerator.scaler is not None:
                state["scaler"] = accelerator.scaler.state_dict()
            if average is not None:
                state["average_updates"] = average.num_updates
                state["weights"] = gathered(model.state_dict(), "cpu")
            if is_main:
                card = _card(options, validation, done)
                folder.save(done, published, card, state, options.checkpoint.keep)
        if stopping and not last:
            progress.close()
            accelerator.wait_for_everyone()  # the first to leave ends the others
            say(f"stopped by a signal after step {done}, everything is saved; --resume goes on")
            interruption.restore()
            raise typer.Exit(interruption.code)
    progress.close()
    interruption.restore()

    # ------------------------------------------------------------------ the score that counts
    if test_set is not None and not tested:
        test = score(
            accelerator,
            published,
            test_set,
            protocol=options.validation.protocol,
            num_samples=len(test_set),
            batch_size=options.validation.batch_size,
        )
        if not len(test):
            say("test: no labels to score against")
        elif log:
            log.write("test", options.train.num_steps, **means(test))
            result = make_result(
                test,
                model=str(out),
                data=f"{options.data.name} {splits.test}",
                settings={**test_set.settings, "source": _mask_source(published)},
                **of_model(published),
            )
            shutil.rmtree(out / "test", ignore_errors=True)  # of a run that was set back since
            write_result(out / "test", result, test.rows, "jsonl")
            say(result_table(result))
            if expectation and (remark := expectation.remark_on_test(means(test))):
                say(remark)
    if log and options.log.curves:
        draw_progress(out, expectation)
    accelerator.end_training()
    say(f"{_cpu_seconds():.0f} CPU-seconds; everything is in {out}")


def _load(options: RunOptions, purpose: str) -> Any:
    """The dataset for training, validation or test; of a split that is not there, its option, and
    of a test that cannot be read, how to go without."""
    split = getattr(options.data.splits, purpose)
    wanted = options.data.dataset_options(training=purpose == "train")
    try:
        return load_dataset(options.data.name, split=split, **wanted)
    except DataError as error:
        if purpose == "test":
            raise ConfigError(f"data.splits.test: {error}; null goes without a test") from None
        if not str(error).startswith("split "):
            raise
        raise ConfigError(f"data.splits.{purpose}: {error}") from None


def _mask_source(model: Any) -> str | None:
    """Whose masks a model is scored by; None of one that finds no objects."""
    return getattr(model, "default_mask_source", None)


def _known_trackers(names: Sequence[str]) -> Any:
    """``names``, each of a tracker that Accelerate knows and that is installed here."""
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(LOGGER_TYPE_TO_CLASS)
            raise ConfigError(f"log.trackers: there is no tracker '{name}'; there are {known}")
        if name not in get_available_trackers():
            raise ConfigError(f"log.trackers: '{name}' is not installed; run uv pip install {name}")
    return list(names) or None


def _share_threads(num_threads: int, accelerator: Accelerator) -> str:
    """Give each process its share of the cores; Accelerate's launcher leaves it one. A line where
    others share them, too."""
    if accelerator.device.type != "cpu":
        return ""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(num_threads or max(1, usable_cores() // processes))
    return busy_machine(os.getloadavg()[0], os.cpu_count() or 1, torch.get_num_threads())


def _seed_step(seed: int, step: int, rank: int) -> None:
    """Make what no sample has to itself, which is dropout, a function of seed, step and rank."""
    torch.manual_seed(((seed * 1_000_003 + step) * 65_537 + rank) % 2**63)


def _mean(accelerator: Accelerator, value: torch.Tensor) -> float:
    """The mean over the processes."""
    return float(cast(torch.Tensor, accelerator.reduce(value, "mean")))


def _digest(ids: Sequence[str]) -> str:
    """A short fingerprint of the samples that a step saw, on all processes together."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16]


def _card(options: RunOptions, validation: Results | None, step: int) -> ModelCard:
    data = {**options.data.dataset_options(training=True), "split": options.data.splits.train}
    where = f"{options.data.name} {options.data.splits.validation}"
    metrics: dict[str, float] = {"steps": step}
    if validation is not None and len(validation):
        for name, value in validation.summary().items():
            told = f"{name} on {where} ({validation.protocol.id}, {value['n']} samples)"
            metrics[told] = value["mean"]
    return ModelCard(
        data=f"{options.data.name}: {', '.join(public_place(f'{k}={v}') for k, v in data.items())}",
        metrics=metrics,
        command=public_command(["accelerate", "launch", *sys.argv]),
    )


def _cpu_seconds() -> float:
    """User and system time of this process and its workers so far."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    run_and_leave(main)
