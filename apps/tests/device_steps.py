"""Every family of models on a pretended device, for test_other_devices.py: in a process of its own.

Prints a line of JSON for each family: how far the loss, and the weights after a step of the
optimizer, are from those on the CPU, and which methods were called.
"""

from __future__ import annotations

import copy
import json

import pretended_device
import torch
from families import BATCH, FAMILIES, inputs, prepared
from pretended_device import DEVICE, NAME
from torch import Tensor

from slot_core import HubModel, sample_generators
from slot_decoders.models import SlotAutoencoder

METHODS = ("segment", "reconstruct", "encode", "rollout", "answer")


def stepped(model: HubModel, family: str, device: torch.device | str) -> Tensor:
    """The training loss on a device, after which the weights have moved. Noise is drawn on the CPU,
    as only that gives the same numbers on both."""
    model.to(device)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    own = sample_generators(3, 2, [f"sample {row}" for row in range(BATCH)])
    given = [whole.to(device) for whole in inputs(family)]
    loss = model(*given, generator=own, progress=0.1).total
    assert loss.device == torch.device(device)
    loss.backward()
    optimizer.step()
    return loss.detach().cpu()


def called(model: HubModel, family: str) -> list[str]:
    """The methods that a user calls, on the device, with noise of their own choice."""
    first = inputs(family)[0].to(DEVICE)
    names = [name for name in METHODS if callable(getattr(model, name, None))]
    if not getattr(model, "paints", True):
        names.remove("reconstruct")
    for name in names:
        more = {"num_steps": 2, "stride": 1} if name == "rollout" else {}
        found = getattr(model.eval(), name)(first, **more)
        parts = (found,) if isinstance(found, Tensor) else vars(found).values()
        assert {one.device for one in parts if isinstance(one, Tensor)} == {DEVICE}, name
    return names


def compared(family: str) -> dict[str, object]:
    """One step of the same model on both."""
    here = prepared(family)
    there = copy.deepcopy(here)
    losses = [float(stepped(here, family, "cpu")), float(stepped(there, family, DEVICE))]
    weights, moved = here.state_dict(), there.state_dict()
    assert {one.device for one in moved.values()} == {DEVICE}
    apart = max(float((weights[name] - moved[name].cpu()).abs().max()) for name in weights)
    names = called(there, family)
    if isinstance(there, SlotAutoencoder) and there.paints:
        slots = there.encode(inputs(family)[0].to(DEVICE)).slots
        own = torch.Generator(NAME)
        assert there.sample(slots, generator=own.manual_seed(0)).device == DEVICE
        names.append("sample")
    return {
        "family": family,
        "loss": abs(losses[0] - losses[1]) / abs(losses[0]),
        "weights": apart,
        "called": names,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in FAMILIES:
        print(json.dumps(compared(name)), flush=True)
    assert pretended_device.GENERATORS
