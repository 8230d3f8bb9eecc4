"""Where a model runs that is not trained."""

from __future__ import annotations

import torch

from slot_core import InputError


def usable_device(name: str | None) -> torch.device:
    """The device of this name; a GPU if there is one, else the CPU, for None.

    Raises:
        InputError: if torch knows or has no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--device {name}: cannot be used ({reason})") from None
    return device
