"""The door to diffusers, which takes seconds to import and comes with the extra ``diffusion``."""

from __future__ import annotations

from types import ModuleType

from slot_core import InputError


def import_diffusers(purpose: str) -> ModuleType:
    """diffusers, whose classes are attributes of the module.

    Args:
        purpose: what needs it, for the error.

    Raises:
        InputError: naming the extra to install.
    """
    try:
        import diffusers
    except ImportError as error:
        raise InputError(
            f"{purpose} needs diffusers: install slot-decoders[diffusion] ({error})"
        ) from None
    return diffusers
