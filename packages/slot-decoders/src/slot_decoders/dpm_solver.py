"""DPM-Solver++ of third order, as its authors' code solves it (Lu et al. 2022, arXiv 2211.01095).

diffusers has the same solver, and most of this is it. Two things are as in the authors' code, with
which SlotDiffusion samples, where diffusers goes its own way:

* The steps are equally long in time, from T down to 1/T of the whole, and their times are not
  rounded to whole steps of the training.
* The second stage of a step of third order is the solution with the exact factor of the first
  difference (their phi_2), where diffusers takes the midpoint rule.

Their coefficients at times between two steps of the training are those of a logarithm of alpha
that is interpolated linearly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_dpmsolver_singlestep import DPMSolverSinglestepScheduler
from jaxtyping import Float
from torch import Tensor


class DPMSolverPlusPlus(DPMSolverSinglestepScheduler):
    """diffusers' scheduler with the times and the second stage of the authors' code."""

    def set_timesteps(
        self, num_inference_steps: int, device: str | torch.device = "cpu", **_: Any
    ) -> None:
        """Lay ``num_inference_steps`` evaluations of the model evenly over time."""
        super().set_timesteps(num_inference_steps, device=device)
        trained = len(self.betas)
        times = np.linspace(1, 1 / trained, num_inference_steps + 1) * trained - 1
        log_alphas = 0.5 * np.log1p(-self.betas.double().numpy()).cumsum()
        log_alphas = np.interp(times, np.arange(trained), log_alphas)
        sigmas = np.sqrt(np.expm1(-2 * log_alphas))  # of the noise before a signal of scale 1
        self.sigmas = torch.from_numpy(sigmas.astype(np.float32))
        self.timesteps = torch.from_numpy(times[:-1].astype(np.float32)).to(device)
        self.set_begin_index(0)  # otherwise it is looked for among whole times

    def singlestep_dpm_solver_update(
        self, *args: Any, order: int, **kwargs: Any
    ) -> Float[Tensor, "batch channels height width"]:
        """One stage of a step; ``order`` counts its evaluations so far."""
        following = self.order_list[self.step_index + 1 : self.step_index + 2]
        # What diffusers calls "heun" is, of a second stage, the one with the exact factor.
        exact = order == 2 and following == [3]
        self.register_to_config(solver_type="heun" if exact else "midpoint")
        return super().singlestep_dpm_solver_update(*args, order=order, **kwargs)
