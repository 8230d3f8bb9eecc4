"""Samplers: the original code's times and numbers, an oracle that they must end at, and errors."""

import itertools
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_deis_multistep import DEISMultistepScheduler
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import (
    EulerAncestralDiscreteScheduler,
)
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_sasolver import SASolverScheduler
from diffusers.schedulers.scheduling_tcd import TCDScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from safetensors.torch import load_file
from torch import Tensor

from slot_core import ConfigError, InputError
from slot_decoders import NoiseSchedule
from slot_decoders.sampling import Target, denoise, make_scheduler

REFERENCE = load_file(Path(__file__).parent / "reference" / "diffusion_schedules.safetensors")
SCHEDULE = NoiseSchedule()
CLEAN = torch.linspace(-1, 1, 48).view(1, 3, 4, 4)


def oracle(target: Target):
    """A model that knows the clean latents: ``CLEAN``, whatever it is shown."""
    log_signal = SCHEDULE.signal.log()

    def model(noisy: Tensor, times: Tensor) -> Tensor:
        time = float(times[0])
        low = min(int(time), 998)
        log = log_signal[low] + (time - low) * (log_signal[low + 1] - log_signal[low])
        signal, spread = float(log.exp()), float((1 - (2 * log).exp()).sqrt())
        noise = (noisy - signal * CLEAN) / spread
        return {"epsilon": noise, "x0": CLEAN, "v": signal * noise - spread * CLEAN}[target]

    return model


def run(name, target: Target = "epsilon", num_steps: int | None = None, correct=None) -> Tensor:
    scheduler, usual = make_scheduler(name, SCHEDULE, target)
    noise = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    steps = denoise(
        oracle(target),
        noise,
        scheduler,
        SCHEDULE,
        target,
        num_steps=num_steps or min(usual, 40),
        correct=correct,
        generator=torch.Generator().manual_seed(2),
    )
    (latents,) = deque(steps, maxlen=1)
    return latents


def test_the_noise_schedule_is_that_of_the_original_code():
    every = slice(None, None, 9)
    torch.testing.assert_close(SCHEDULE.betas[every], REFERENCE["betas"], atol=0, rtol=1e-12)
    torch.testing.assert_close(
        SCHEDULE.signal[every].float(), REFERENCE["sqrt_alphas_bar"], atol=0, rtol=1e-6
    )


@pytest.mark.parametrize("steps", [10, 15, 20, 21])
def test_dpm_solver_takes_the_original_code_s_times(steps: int):
    scheduler, _ = make_scheduler("dpm_solver", SCHEDULE, "epsilon")
    scheduler.set_timesteps(steps)
    expected = REFERENCE[f"dpm{steps}.model_times"]
    torch.testing.assert_close(scheduler.timesteps, expected, atol=1e-3, rtol=0)
    stages = [*scheduler.order_list, 1]  # each step counts its stages from 1
    ends = [stage for stage, after in itertools.pairwise(stages) if after == 1]
    assert ends == REFERENCE[f"dpm{steps}.orders"].tolist()


@pytest.mark.parametrize("steps", [10, 15, 20, 21])
def test_dpm_solver_ends_where_the_original_code_does(steps: int):
    scheduler, _ = make_scheduler("dpm_solver", SCHEDULE, "epsilon")
    path = denoise(
        lambda noisy, _: torch.zeros_like(noisy),
        torch.ones(1, 1, 2, 2),
        scheduler,
        SCHEDULE,
        "epsilon",
        num_steps=steps,
    )
    (latents,) = deque(path, maxlen=1)
    expected = REFERENCE[f"dpm{steps}.final_from_ones_zero_eps"]
    torch.testing.assert_close(latents, expected, atol=0, rtol=1e-5)


def test_a_step_of_third_order_is_that_of_the_authors():
    """Lu et al. 2022: both further stages are exact in the first difference of what is believed,
    x_s + phi_2 (m - m_s); worked out here in double precision from the noise of the training."""
    scheduler, _ = make_scheduler("dpm_solver", SCHEDULE, "epsilon")
    noise = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))

    def model(noisy: Tensor, _: Tensor | float = 0.0) -> Tensor:
        return (2 * noisy).sin()

    path = list(denoise(model, noise, scheduler, SCHEDULE, "epsilon", num_steps=4))
    assert scheduler.order_list == [1, 2, 3, 1]
    logs = np.interp([999, 749.25, 499.5, 249.75], np.arange(1000), SCHEDULE.signal.log().numpy())
    alphas = torch.from_numpy(logs).exp()
    sigmas = (1 - alphas**2).sqrt()
    ratios = (alphas / sigmas).log()
    gaps = ratios - ratios[0]
    noisy = noise.double()
    first = (noisy - sigmas[0] * model(noisy)) / alphas[0]

    def stage(index: int, difference: Tensor, share: float) -> Tensor:
        """x at a later time; ``difference`` of two beliefs, ``share`` of the gap between them."""
        shrunk = torch.expm1(-gaps[index])
        second = shrunk / gaps[index] + 1
        start = sigmas[index] / sigmas[0] * noisy - alphas[index] * shrunk * first
        return start + alphas[index] * second * difference / share

    one = stage(1, torch.zeros_like(first), 1.0)
    belief = (one - sigmas[1] * model(one)) / alphas[1]
    two = stage(2, belief - first, float(gaps[1] / gaps[2]))
    last = (two - sigmas[2] * model(two)) / alphas[2]
    three = stage(3, last - first, float(gaps[2] / gaps[3]))
    for made, expected in zip(path, (one, two, three), strict=False):
        torch.testing.assert_close(made.double(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("steps", [10, 50, 200])
def test_ddim_takes_the_original_code_s_times(steps: int):
    scheduler, usual = make_scheduler("ddim", SCHEDULE, "epsilon")
    scheduler.set_timesteps(steps)
    assert torch.equal(scheduler.timesteps.flip(0), REFERENCE[f"ddim{steps}.timesteps"])
    alphas = scheduler.alphas_cumprod[scheduler.timesteps].flip(0)
    torch.testing.assert_close(alphas, REFERENCE[f"ddim{steps}.alphas"], atol=0, rtol=2e-6)
    assert usual == 200


ANY = ["ddpm", "ddim", "dpm_solver", "EulerDiscreteScheduler", "UniPCMultistepScheduler"]
ANY += ["HeunDiscreteScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler"]


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("target", ["epsilon", "v"])
def test_every_scheduler_finds_what_the_model_knows(name: str, target: Target):
    torch.testing.assert_close(run(name, target), CLEAN, atol=0.1, rtol=0)


KNOW_NO_CLEAN_LATENTS = ["EulerAncestralDiscreteScheduler", "KDPM2DiscreteScheduler"]


@pytest.mark.parametrize("name", [*ANY, *KNOW_NO_CLEAN_LATENTS])
def test_a_model_may_predict_the_clean_latents_themselves(name: str):
    torch.testing.assert_close(run(name, "x0"), CLEAN, atol=0.1, rtol=0)


@pytest.mark.parametrize("name", [name for name in ANY if name != "ddim"])
def test_every_scheduler_lets_beliefs_be_corrected(name: str):
    """Each belief is replaced by the nearest of two values, and so is where it ends."""
    made = run(name, correct=lambda clean: torch.where(clean > 0.5, 1.0, -1.0))
    torch.testing.assert_close(made, torch.where(CLEAN > 0.5, 1.0, -1.0), atol=0.1, rtol=0)


OUT_OF_PLACE = {
    "TCD": TCDScheduler(),
    "UniPC": UniPCMultistepScheduler(predict_x0=False, final_sigmas_type="sigma_min"),
    "SA-Solver": SASolverScheduler(algorithm_type="noise_prediction"),
}


@pytest.mark.parametrize("name", OUT_OF_PLACE)
@pytest.mark.parametrize("target", ["epsilon", "x0", "v"])
def test_schedulers_that_do_not_heed_thresholding_correct_beliefs_too(name: str, target: Target):
    made = run(OUT_OF_PLACE[name], target, correct=lambda x: torch.where(x > 0.5, 1.0, -1.0))
    torch.testing.assert_close(made, torch.where(CLEAN > 0.5, 1.0, -1.0), atol=0.15, rtol=0)


def test_a_scheduler_that_skips_its_place_is_refused():
    class Heedless(DDIMScheduler):
        def step(self, *args: Any, **options: Any) -> Any:
            self.register_to_config(thresholding=False)
            return super().step(*args, **options)

    assert run(Heedless(), num_steps=2).isfinite().all()
    with pytest.raises(InputError, match="Heedless has the setting 'thresholding' and a step that"):
        run(Heedless(), num_steps=2, correct=torch.ones_like)


def test_ddim_corrects_the_belief_and_keeps_the_noise_that_the_model_told():
    """As the original code does; the last step adds a little of that noise again."""
    seen = []

    def correct(clean: Tensor) -> Tensor:
        seen.append(clean)
        return torch.ones_like(clean)

    made = run("ddim", num_steps=2, correct=correct)  # from time 501 to time 1 to time 0
    signal = SCHEDULE.signal[[501, 1, 0]].tolist()
    spread = (1 - SCHEDULE.signal[[501, 1, 0]] ** 2).sqrt().tolist()
    noisy = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    for here, there in ((0, 1), (1, 2)):
        torch.testing.assert_close(seen[here], CLEAN, atol=1e-3, rtol=1e-3)
        told = (noisy - signal[here] * CLEAN) / spread[here]
        noisy = signal[there] + spread[there] * told
    torch.testing.assert_close(made, noisy, atol=1e-3, rtol=1e-4)


def test_a_scheduler_s_own_settings_are_kept_and_its_noise_is_not():
    own = DDIMScheduler(beta_start=0.5, beta_end=0.9, timestep_spacing="trailing")
    made, usual = make_scheduler(own, SCHEDULE, "v")
    assert made.config.timestep_spacing == "trailing"
    assert made.config.prediction_type == "v_prediction"
    assert made.betas[0].item() == pytest.approx(0.0015)
    assert usual == 50
    assert own.config["prediction_type"] == "epsilon"  # it is not changed
    torch.testing.assert_close(run(EulerDiscreteScheduler()), CLEAN, atol=0.1, rtol=0)


@pytest.mark.parametrize(
    "scheduler",
    ["CogVideoXDDIMScheduler", DDIMScheduler(rescale_betas_zero_snr=True)],
    ids=str,
)
def test_a_scheduler_does_not_change_the_noise_of_the_training(scheduler: object):
    made, _ = make_scheduler(scheduler, SCHEDULE, "epsilon")
    torch.testing.assert_close(
        made.alphas_cumprod.double(), SCHEDULE.signal**2, atol=1e-6, rtol=1e-4
    )


FLOWS = {  # each scheduler takes those that it knows
    "use_flow_sigmas": True,
    "prediction_type": "flow_prediction",
    "use_dynamic_shifting": True,
    "shift_terminal": 0.1,
}


@pytest.mark.parametrize(
    "kind", [UniPCMultistepScheduler, DEISMultistepScheduler, SASolverScheduler]
)
@pytest.mark.parametrize("target", ["epsilon", "v"])
def test_a_scheduler_of_flows_takes_the_noise_of_the_training(kind: Any, target: Target):
    torch.testing.assert_close(run(kind.from_config(FLOWS), target), CLEAN, atol=0.15, rtol=0)


@pytest.mark.parametrize("kind", [UniPCMultistepScheduler, DEISMultistepScheduler])
def test_steps_may_share_a_time_once_it_is_rounded(kind: Any):
    short = NoiseSchedule(num_steps=10, beta_start=0.1, beta_end=0.9)
    scheduler, _ = make_scheduler(kind(use_karras_sigmas=True), short, "epsilon")
    path = denoise(
        lambda noisy, _: torch.zeros_like(noisy),
        torch.ones(1, 1, 2, 2),
        scheduler,
        short,
        "epsilon",
        num_steps=10,
    )
    assert [bool(latents.isfinite().all()) for latents in path] == [True] * 10
    assert scheduler.timesteps[0] == scheduler.timesteps[1]


def test_a_solver_of_noise_that_would_end_without_any_is_refused():
    with pytest.raises(InputError, match=r"predict_x0=False, .* final_sigmas_type='sigma_m"):
        make_scheduler(UniPCMultistepScheduler(predict_x0=False), SCHEDULE, "epsilon")


def test_a_scheduler_that_does_not_lead_to_pictures_is_refused():
    for name in ("DDIMInverseScheduler", "CogVideoXDPMScheduler"):
        with pytest.raises(InputError, match=f"{name} does not lead from noise to pictures"):
            make_scheduler(name, SCHEDULE, "epsilon")


@pytest.mark.parametrize(
    ("name", "num_steps", "begin"),
    [("ddim", 1, 1), ("ddim", 600, 600), ("ddim", 1000, 1000), ("EulerDiscreteScheduler", 1, 0)],
)
def test_steps_that_do_not_begin_at_noise_are_refused(name: str, num_steps: int, begin: int):
    with pytest.raises(InputError, match=f"num_steps is {num_steps}, .* time {begin} of 999"):
        run(name, num_steps=num_steps)


@pytest.mark.parametrize(
    ("scheduler", "sentence"),
    [
        ("ddimm", "there is no scheduler 'ddimm'; expected dpm_solver, ddim, ddpm, or the name of"),
        ("UNet2DModel", "there is no scheduler 'UNet2DModel'"),
        ("NoSuchScheduler", "there is no scheduler 'NoSuchScheduler'"),
        ("FlowMatchEulerDiscreteScheduler", "EulerDiscreteScheduler is not for noise of preserved"),
        ("", "there is no scheduler ''"),
        (3, "the scheduler is 3, expected a name such as dpm_solver, ddim, ddpm or EulerDiscre"),
        (
            DDIMScheduler,
            "the scheduler is the class DDIMScheduler, expected a name .* that is made$",
        ),
        (
            EDMEulerScheduler(),
            "EDMEulerScheduler is not for noise of preserved variance",
        ),
    ],
    ids=str,
)
def test_what_is_no_scheduler_for_this_noise_is_refused(scheduler: object, sentence: str):
    with pytest.raises(InputError, match=sentence):
        make_scheduler(scheduler, SCHEDULE, "epsilon")


@pytest.mark.parametrize("target", ["epsilon", "x0", "v"])
@pytest.mark.parametrize(
    ("name", "num_steps", "sentence"),
    [
        ("PNDMScheduler", 3, "num_steps is 3, expected at least 4 of PNDMScheduler"),
        (
            "LCMScheduler",
            51,
            r"is 51, which LCMScheduler does not take \(The combination of .*51",
        ),
        (
            "TCDScheduler",
            51,
            r"is 51, which TCDScheduler does not take \(The combination of .*51",
        ),
    ],
)
def test_a_number_of_steps_that_a_scheduler_does_not_take_is_refused(
    name: str, num_steps: int, sentence: str, target: Target
):
    for correct in (None, torch.clone):
        with pytest.raises(InputError, match=sentence):
            run(name, target, num_steps=num_steps, correct=correct)
    assert run(name, target, num_steps=5).isfinite().all()


def test_few_steps_of_a_scheduler_without_a_least_number_are_fine():
    one_after_the_other = PNDMScheduler(skip_prk_steps=True)
    torch.testing.assert_close(run(one_after_the_other, num_steps=3), CLEAN, atol=0.1, rtol=0)


@pytest.mark.parametrize("name", ["dpm_solver", "ddim", "ddpm", "EulerDiscreteScheduler"])
@pytest.mark.parametrize("trained", [2, 3, 10, 100])
def test_the_usual_number_of_steps_is_one_that_a_short_training_has(name: str, trained: int):
    schedule = NoiseSchedule(num_steps=trained, beta_start=0.1, beta_end=0.9)
    scheduler, usual = make_scheduler(name, schedule, "epsilon")
    noise = torch.randn(1, 3, 4, 4)
    path = denoise(
        lambda noisy, _: torch.zeros_like(noisy),
        noise,
        scheduler,
        schedule,
        "epsilon",
        num_steps=usual,
    )
    assert all(latents.isfinite().all() for latents in path)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("num_steps", [-1, 1001, 2.5])
def test_a_number_of_steps_that_the_training_lacks_is_refused(num_steps: Any):
    with pytest.raises(InputError, match=rf"num_steps is {num_steps}, expected 1 to 1000"):
        run("ddim", num_steps=num_steps)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_steps": 0}, "num_steps is 0, expected at least 1"),
        ({"beta_start": 0.0}, "beta_start is 0.0, expected between 0 and 1"),
        ({"beta_end": 1.5}, "beta_end is 1.5, expected between 0 and 1"),
    ],
)
def test_noise_that_cannot_be_is_refused(changes: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        NoiseSchedule(**changes)


def second_step(scheduler: Any, seed: int) -> Tensor:
    """The latents after two steps from noise that is always the same."""
    made, _ = make_scheduler(scheduler, SCHEDULE, "epsilon")
    noise, own = torch.ones(1, 3, 4, 4), torch.Generator().manual_seed(seed)
    path = denoise(oracle("epsilon"), noise, made, SCHEDULE, "epsilon", num_steps=5, generator=own)
    return list(path)[1]


def test_a_scheduler_that_draws_takes_the_generator():
    torch.testing.assert_close(second_step("ddpm", 1), second_step("ddpm", 1))
    assert not torch.allclose(second_step("ddpm", 1), second_step("ddpm", 2), atol=0.1)


class SeededScheduler(EulerAncestralDiscreteScheduler):
    """As diffusers' DPMSolverSDEScheduler, it takes a seed and no generator in its steps."""

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        trained_betas: list[float] | None = None,
        prediction_type: str = "epsilon",
        noise_sampler_seed: int | None = None,
    ) -> None:
        super().__init__(
            num_train_timesteps, trained_betas=trained_betas, prediction_type=prediction_type
        )
        self.own = torch.Generator()
        self.own.manual_seed(self.own.seed() if noise_sampler_seed is None else noise_sampler_seed)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> Any:
        return super().step(model_output, timestep, sample, generator=self.own)


def test_a_scheduler_that_draws_from_a_seed_takes_it_from_the_generator():
    free, given = SeededScheduler(), SeededScheduler(noise_sampler_seed=3)
    torch.testing.assert_close(second_step(free, 1), second_step(free, 1))
    assert not torch.allclose(second_step(free, 1), second_step(free, 2), atol=0.1)
    torch.testing.assert_close(second_step(given, 1), second_step(given, 2))


def test_a_scheduler_whose_packages_are_missing_names_them():
    with pytest.raises(InputError, match=r"SDEScheduler needs packages .* installed: torchsde$"):
        make_scheduler("DPMSolverSDEScheduler", SCHEDULE, "epsilon")


def test_latents_know_no_bounds_and_ancestral_sampling_takes_the_smaller_variance():
    for name in ("ddpm", "ddim", "DDPMScheduler"):
        assert make_scheduler(name, SCHEDULE, "epsilon")[0].config.clip_sample is False
    assert make_scheduler("ddpm", SCHEDULE, "epsilon")[0].config.variance_type == "fixed_small"


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "HeunDiscreteScheduler", "ddim"])
def test_a_model_is_first_shown_noise_of_its_own_size(name: str):
    seen: list[Tensor] = []
    scheduler, _ = make_scheduler(name, SCHEDULE, "epsilon")

    def model(noisy: Tensor, times: Tensor) -> Tensor:
        seen.append(noisy)
        return noisy

    noise = torch.randn(1, 3, 4, 4)
    next(denoise(model, noise, scheduler, SCHEDULE, "epsilon", num_steps=10))
    torch.testing.assert_close(seen[0], noise, atol=1e-3, rtol=1e-3)
