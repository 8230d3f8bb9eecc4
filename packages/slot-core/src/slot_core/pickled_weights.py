"""Files of ``torch.save``, read without running what lies in them.

Every such file of any package and app here comes through this door. torch's restricted unpickler
makes tensors and plain containers and nothing else; what it does not look at is checked before: the
zip around them may claim more bytes than the file has.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from slot_core.errors import CheckpointError, printable


def read_pickled(path: Path) -> Any:
    """Tensors, on the CPU, and plain containers of them.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds anything else.
    """
    try:
        _check_sizes(path)
        with warnings.catch_warnings(action="ignore"):  # about pickle's protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: the file is missing") from None
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: holds Python objects besides tensors and is not opened, as they could run "
            "code; save its 'state_dict' alone where you trust it"
        ) from None
    except Exception as error:  # torch.load raises whatever the damage happens to trigger
        reason = printable(next(iter(str(error).strip().splitlines()), type(error).__name__), 200)
        raise CheckpointError(f"{path}: is damaged or truncated ({reason})") from None


def _check_sizes(path: Path) -> None:
    """torch.save compresses nothing, so no tensor is larger than the file."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if packed or sum(member.file_size for member in members) > path.stat().st_size:
        raise ValueError("it claims to hold more bytes than it has")
