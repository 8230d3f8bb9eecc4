"""Feature extractors for Fréchet distances: pictures or videos in [0, 1] to [samples, dim].

* ``inception``: the network of the published FID, by torch-fidelity (extra ``generative``), which
  fetches its weights or takes a local file, ``inception:FILE``.
* a file: any network saved by ``torch.jit.save`` (``.pt``) or ``torch.export.save`` (``.pt2``),
  which takes float pictures [B 3 H W] or videos [B T 3 H W] in [0, 1] and gives features [B D].
  FVD needs one of videos, such as the published I3D with its own resizing.

A network is a program of torch's own language: it cannot do what Python can, but it can use up time
and memory, so take one from whom you trust. Python objects in any of these files are never made.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from slot_eval.errors import EvalError, first_line

OPAQUE = "opaque_obj_"  # what torch.export calls the files of such constants
Extractor = Callable[[Tensor], Float[Tensor, "samples dim"]]


def load_extractor(name: str, device: str = "cpu") -> Extractor:
    """The extractor of this name or file; raises EvalError when it cannot be had."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # how torch says it lacks one
        raise EvalError(f"--device {device}: {first_line(error)}") from error
    if name == "inception" or name.startswith("inception:"):
        return inception(name.partition(":")[2] or None, device)
    return from_file(Path(name), device)


def inception(weights: str | None, device: str) -> Extractor:
    """Pool features (2048) of pictures; each frame of a video is a picture."""
    if weights is not None and not Path(weights).is_file():
        raise EvalError(f"{weights}: there is no such file of Inception's weights")
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise EvalError("FID needs an extra: pip install 'slot-eval[generative]'") from error
    try:
        with tensors_alone():
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], weights)
    except Exception as error:  # no network, and whatever damage comes up as
        if weights is not None:
            raise EvalError(f"{weights}: is no file of Inception's weights, or damaged") from error
        raise EvalError(
            f"Inception's weights cannot be had ({first_line(error)}); give them as inception:FILE"
        ) from error
    network = network.eval().to(device)

    def extract(samples: Tensor) -> Tensor:
        flat = samples.reshape(-1, *samples.shape[-3:])
        pixels = (flat.clamp(0, 1) * 255).round().to(torch.uint8)
        with torch.no_grad():
            return network(pixels.to(device))[0].float().cpu()

    return extract


def from_file(path: Path, device: str) -> Extractor:
    """A saved network, TorchScript or an exported program."""
    if not path.is_file():
        raise EvalError(f"{path}: there is no such file, nor a known feature extractor")
    try:
        if path.suffix == ".pt2":
            with tensors_alone():
                refuse_objects(path)
                network = torch.export.load(path).module()
        else:
            network = script_of(path, device)
    except Exception as error:  # damage comes up as anything from zipfile's to pickle's errors
        said = first_line(error).partition(". ")[0]  # torch goes on with what may have happened
        raise EvalError(f"{path}: cannot be read as a network: {said}") from error

    def extract(samples: Tensor) -> Tensor:
        with torch.no_grad():
            try:
                features = network(samples.to(device))
            except RuntimeError as error:
                raise EvalError(
                    f"{path}: does not take samples of shape {list(samples.shape)}"
                ) from error
        if features.ndim != 2 or len(features) != len(samples):
            raise EvalError(
                f"{path}: expected features [samples, dim] of {len(samples)} samples, "
                f"not {list(features.shape)}"
            )
        return features.float().cpu()

    return extract


def script_of(path: Path, device: str) -> torch.nn.Module:
    """A TorchScript network. That torch advises those who save one to do it otherwise is nothing to
    who has one, such as the published I3D."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.load` is", FutureWarning)
        return torch.jit.load(path, map_location=device).eval()


@contextmanager
def tensors_alone() -> Iterator[None]:
    """Let torch.load make tensors and plain containers alone, also where a library that reads a
    file for us, and torch.export itself, ask it for any Python object."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def refuse_objects(path: Path) -> None:
    """Raise ValueError for an exported program with constants that are pickled Python objects,
    which torch.export reads without torch.load."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.rpartition("/")[2].startswith(OPAQUE):
                raise ValueError("it holds pickled Python objects")
