"""From noise to latents: the reverse process of a diffusion model under a scheduler of diffusers.

Three are set up as in the code of latent diffusion and SlotDiffusion: ``ddpm``, ancestral sampling
(Ho et al. 2020, arXiv 2006.11239); ``ddim`` (Song et al. 2021, arXiv 2010.02502); and
``dpm_solver`` (Lu et al. 2022, arXiv 2211.01095; see ``dpm_solver.py``). Any other scheduler of
diffusers for noise of preserved variance can be named by its class, or given as it is.

What a model believes the clean latents to be can be corrected at every step. SlotDiffusion
replaces them by their nearest codes (its samplers' ``vq_denoised``). Schedulers that heed
"thresholding" have a place for that; to the others the corrected belief is told as a prediction.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from slot_core import ConfigError, Generators, InputError
from slot_decoders.diffusers_extra import import_diffusers

Latents = Float[Tensor, "batch channels height width"]
Target = Literal["epsilon", "x0", "v"]
Correction = Callable[[Latents], Latents]
Model = Callable[[Latents, Float[Tensor, " batch"]], Latents]

# Our word for what a network predicts -> that of diffusers.
PREDICTION_TYPES: dict[Target, str] = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}

# Name -> the class in diffusers, how it is set up, and how many steps it takes unless told.
SETTINGS: dict[str, tuple[str, dict[str, Any], int]] = {
    "dpm_solver": (
        "DPMSolverPlusPlus",
        {"solver_order": 3, "lower_order_final": True, "final_sigmas_type": "sigma_min"},
        20,
    ),
    "ddim": (
        "DDIMScheduler",
        {"set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "leading"},
        200,
    ),
    "ddpm": ("DDPMScheduler", {"variance_type": "fixed_small"}, 1000),
}
DEFAULT_SCHEDULER = "dpm_solver"
DEFAULT_STEPS = 50  # of a scheduler that is named by its class
# Settings of some schedulers that change how much noise there is at a time, and the values that
# leave it as the model was trained with. Those of flows have another kind of noise altogether.
SAME_NOISE = {
    "rescale_betas_zero_snr": False,
    "snr_shift_scale": 1.0,
    "use_flow_sigmas": False,
    "use_dynamic_shifting": False,
    "shift_terminal": None,
}
# "algorithm_type" of the solvers that compute with noise: where they threshold, most of them fail.
NOISE_SOLVERS = ("dpmsolver", "sde-dpmsolver", "noise_prediction")


@dataclass(frozen=True)
class NoiseSchedule:
    """How a diffusion process adds noise: x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise.

    ``a_t`` is the product of 1 - beta up to step t; the square roots of the betas are equally
    spaced from that of ``beta_start`` to that of ``beta_end``, as in latent diffusion.

    Attributes:
        num_steps: how many; t runs from 0 to ``num_steps`` - 1.
        beta_start: variance that the first step adds.
        beta_end: likewise the last.

    Raises:
        ConfigError: if there are no steps, or a variance is not between 0 and 1.
    """

    num_steps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0195

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ConfigError(f"num_steps is {self.num_steps}, expected at least 1")
        for name in ("beta_start", "beta_end"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected between 0 and 1")

    @property
    def betas(self) -> Float[Tensor, " steps"]:
        """The variances, in double precision."""
        ends = self.beta_start**0.5, self.beta_end**0.5
        return torch.linspace(*ends, self.num_steps, dtype=torch.float64) ** 2

    @property
    def signal(self) -> Float[Tensor, " steps"]:
        """sqrt(a_t), in double precision."""
        return (1 - self.betas).cumprod(0).sqrt()


def make_scheduler(scheduler: Any, schedule: NoiseSchedule, target: Target) -> tuple[Any, int]:
    """A scheduler of diffusers for this noise and this target, and its usual number of steps.

    Args:
        scheduler: a name in ``SETTINGS``, the name of a class in diffusers, or a scheduler of
            diffusers, whose own settings apart from noise and target are kept; None for
            ``DEFAULT_SCHEDULER``.
        schedule: the noise that the model was trained with.
        target: what the model predicts.

    Raises:
        InputError: if there is no such scheduler, or it is for another kind of noise.
    """
    diffusers = import_diffusers("sampling")
    scheduler = DEFAULT_SCHEDULER if scheduler is None else scheduler
    if not isinstance(scheduler, str | diffusers.SchedulerMixin):
        found = (
            f"the class {scheduler.__name__}" if isinstance(scheduler, type) else f"{scheduler!r}"
        )
        raise InputError(
            f"the scheduler is {found}, expected a name such as {', '.join(SETTINGS)} or "
            "EulerDiscreteScheduler, or a scheduler of diffusers that is made"
        )
    if isinstance(scheduler, str):
        name, settings, steps = SETTINGS.get(scheduler, (scheduler, {}, DEFAULT_STEPS))
        kind, base = _scheduler_class(diffusers, name), {}
    else:
        kind, base, settings, steps = type(scheduler), scheduler.config, {}, DEFAULT_STEPS
    known = inspect.signature(kind.__init__).parameters
    if "trained_betas" not in known or "prediction_type" not in known:
        raise InputError(
            f"the scheduler {kind.__name__} is not for noise of preserved variance; expected one "
            f"such as {', '.join(SETTINGS)} or EulerDiscreteScheduler"
        )
    _check_samples(kind)
    if isinstance(scheduler, str) and "clip_sample" in known:
        settings = {"clip_sample": False, **settings}  # latents know no bounds
    made = kind.from_config(
        base,
        **settings,
        **{name: value for name, value in SAME_NOISE.items() if name in known},
        num_train_timesteps=schedule.num_steps,
        trained_betas=schedule.betas.tolist(),
        prediction_type=PREDICTION_TYPES[target],
    )
    if not made.config.get("predict_x0", True) and made.config.final_sigmas_type == "zero":
        raise InputError(
            f"the scheduler {kind.__name__} has predict_x0=False, which has no end without noise; "
            "expected final_sigmas_type='sigma_min' with it"
        )
    # With an offset the steps are from the second time on, so there is one less than of all.
    most = schedule.num_steps // 2 if made.config.get("steps_offset") else schedule.num_steps
    return made, max(1, min(steps, most))


def _check_samples(kind: type[Any]) -> None:
    """Raise InputError for a scheduler that does not lead from noise to latents step by step."""
    wanted = list(inspect.signature(kind.step).parameters.values())[4:]  # self, and the usual three
    if "Inverse" in kind.__name__ or any(one.default is one.empty for one in wanted):
        raise InputError(
            f"the scheduler {kind.__name__} does not lead from noise to pictures by itself; "
            f"expected one such as {', '.join(SETTINGS)} or EulerDiscreteScheduler"
        )


def _scheduler_class(diffusers: Any, name: str) -> Any:
    if name == "DPMSolverPlusPlus":
        from slot_decoders.dpm_solver import DPMSolverPlusPlus

        return DPMSolverPlusPlus
    found = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if found is None:
        raise InputError(
            f"there is no scheduler '{name}'; expected {', '.join(SETTINGS)}, or the name of a "
            f"class in diffusers such as EulerDiscreteScheduler"
        )
    # In place of a class whose packages are not all there, diffusers has one that names them.
    missing = [package for package in getattr(found, "_backends", ()) if not find_spec(package)]
    if missing:
        raise InputError(
            f"the scheduler {name} needs packages that are not installed: {', '.join(missing)}"
        )
    return found


def denoise(
    model: Model,
    noise: Latents,
    scheduler: Any,
    schedule: NoiseSchedule,
    target: Target,
    *,
    num_steps: int,
    correct: Correction | None = None,
    generator: Generators | None = None,
) -> Iterator[Latents]:
    """The latents after each step of the reverse process; the last are the sample.

    Args:
        model: its prediction for noisy latents at given times.
        noise: of variance 1, to begin with.
        scheduler: from ``make_scheduler`` with the same ``schedule`` and ``target``.
        schedule: the noise that the model was trained with.
        target: what the model predicts.
        num_steps: evaluations of the model (some schedulers of higher order take more).
        correct: improves what the model believes the clean latents to be, at every step.
        generator: draws what the scheduler adds; one, or one for each of the latents.

    Raises:
        InputError: if the number of steps is not between 1 and that of the training, or the
            scheduler takes none of so many, or would not begin near the end of the training's.
    """
    if not hasattr(num_steps, "__index__") or not 1 <= num_steps <= schedule.num_steps:
        raise InputError(
            f"num_steps is {num_steps}, expected 1 to {schedule.num_steps}, the steps of the "
            f"training"
        )
    if correct is None and target == "x0" and "thresholding" not in scheduler.config:
        correct = _unchanged  # most schedulers without it take no clean latents
    scheduler = _with_seed(scheduler, generator)
    scheduler, place = _with_correction(scheduler, correct)
    _set_steps(scheduler, num_steps, noise.device)
    _check_beginning(scheduler, num_steps, schedule.num_steps)
    options = _step_options(scheduler, generator)
    latents = noise * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        seen = scheduler.scale_model_input(latents, time)
        times = time.to(noise.device, torch.float32).expand(len(noise))
        prediction = model(seen, times)
        if correct is not None and place is None:
            signal, spread = _levels(schedule, float(time))
            clean = correct(_clean(seen, prediction, signal, spread, target))
            prediction = (signal * seen - clean) / spread
        latents = scheduler.step(prediction, time, latents, **options).prev_sample
        if place is not None and not place.was_asked():
            raise InputError(
                f"the scheduler {type(scheduler).__name__} has the setting 'thresholding' and a "
                f"step that does without; expected one such as {', '.join(SETTINGS)}"
            )
        yield latents


def _with_seed(scheduler: Any, generator: Generators | None) -> Any:
    """The scheduler; one that draws from a seed of its own, and has none, gets it drawn, by the
    first of several generators."""
    if generator is None or scheduler.config.get("noise_sampler_seed", 0) is not None:
        return scheduler
    first = generator if isinstance(generator, torch.Generator) else generator[0]
    seed = torch.randint(2**63 - 1, (), generator=first, device=first.device)
    return scheduler.from_config(scheduler.config, noise_sampler_seed=int(seed))


class _Place:
    """Stands where a scheduler thresholds what is believed, and corrects that instead."""

    def __init__(self, correct: Correction) -> None:
        self.correct = correct
        self.asked = False

    def __call__(self, clean: Latents) -> Latents:
        self.asked = True
        return self.correct(clean)

    def was_asked(self) -> bool:
        """Whether it was since the last time that this was called."""
        asked, self.asked = self.asked, False
        return asked


def _with_correction(scheduler: Any, correct: Correction | None) -> tuple[Any, _Place | None]:
    """The scheduler that corrects at its own place, and that; or one that takes velocities.

    A velocity tells clean latents without loss at any time: epsilon does not where little signal
    is left.
    """
    if correct is None:
        return scheduler, None
    if not _has_place(scheduler):
        return scheduler.from_config(scheduler.config, prediction_type=PREDICTION_TYPES["v"]), None
    place = _Place(correct)
    scheduler = scheduler.from_config(scheduler.config, thresholding=True)
    scheduler._threshold_sample = place
    return scheduler, place


def _has_place(scheduler: Any) -> bool:
    """Whether each step heeds "thresholding": not of TCD, which has the setting all the same, and
    not of solvers that compute with noise instead of clean latents."""
    settings = scheduler.config
    with_noise = settings.get("algorithm_type") in NOISE_SOLVERS or not settings.get(
        "predict_x0", True
    )
    is_tcd = isinstance(scheduler, import_diffusers("sampling").TCDScheduler)
    return "thresholding" in settings and not with_noise and not is_tcd


def _unchanged(latents: Latents) -> Latents:
    return latents


def _set_steps(scheduler: Any, num_steps: int, device: torch.device) -> None:
    """Lay the steps; raise InputError where the scheduler cannot with so many."""
    name = type(scheduler).__name__
    # Where it begins by Runge-Kutta steps, diffusers' PNDM lacks a check of its own.
    least = getattr(scheduler, "pndm_order", 1)
    if not scheduler.config.get("skip_prk_steps", True) and num_steps < least:
        raise InputError(f"num_steps is {num_steps}, expected at least {least} of {name}")
    try:
        scheduler.set_timesteps(num_steps, device=device)
    except ValueError as error:
        reason = str(error).split(". ")[0]
        raise InputError(
            f"num_steps is {num_steps}, which {name} does not take ({reason})"
        ) from None
    if hasattr(scheduler, "set_begin_index"):
        # Otherwise it is looked for by its time, which several may share once they are rounded.
        scheduler.set_begin_index(0)


def _check_beginning(scheduler: Any, num_steps: int, trained: int) -> None:
    """Raise InputError unless the first step takes its latents for (nearly) nothing but noise.

    Steps that are a whole number of the training's each, counted from its beginning, end early
    where their number does not divide the training's: 600 of 1,000 would begin at time 600. And a
    single one of them begins at the beginning, where noise would be taken for the picture.
    """
    begin = float(scheduler.timesteps[0])
    missing = trained - 1 - begin
    if missing < 0 or missing > max(trained / num_steps, trained / 8) or begin < trained / 2 - 1:
        raise InputError(
            f"num_steps is {num_steps}, with which {type(scheduler).__name__} begins at time "
            f"{begin:g} of {trained - 1}, where the training has no noise alone; expected another "
            f"number, such as a divisor of {trained}, 2 to {trained // 2}"
        )


def _step_options(scheduler: Any, generator: Generators | None) -> dict[str, Any]:
    takes = inspect.signature(scheduler.step).parameters
    return {"generator": generator} if "generator" in takes else {}


def _levels(schedule: NoiseSchedule, time: float) -> tuple[float, float]:
    """Scale of the signal and of the noise at a time, which may lie between two steps."""
    logs: Sequence[float] = schedule.signal.log().tolist()
    low = min(int(time), len(logs) - 2)
    log = logs[low] + (time - low) * (logs[low + 1] - logs[low])
    signal = torch.tensor(log, dtype=torch.float64).exp()
    return float(signal), float((1 - signal**2).sqrt())


def _clean(
    seen: Latents, prediction: Latents, signal: float, spread: float, target: Target
) -> Latents:
    """What the model believes the clean latents to be."""
    if target == "x0":
        return prediction
    if target == "v":
        return signal * seen - spread * prediction
    return (seen - spread * prediction) / signal
