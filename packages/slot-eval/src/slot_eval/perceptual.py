"""LPIPS (Zhang et al. 2018, arXiv 1801.03924), by torchmetrics, behind the extra ``perceptual``.

torchmetrics brings the weights that LPIPS learned itself. Those of the network under them
(torchvision's AlexNet, VGG or SqueezeNet) torchvision downloads once, to
``$TORCH_HOME/hub/checkpoints``; without a network, put the file there, or name one: ``weights``, as
torchvision publishes it.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from slot_eval.errors import EvalError, first_line
from slot_eval.streaming.metric import StreamingMetric

Videos = Float[Tensor, "batch *time channels height width"]
# The library's names of the networks, and torchvision's.
NETWORKS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


def lpips(
    predicted: Videos, true: Videos, *, network: str = "alex", weights: str | None = None
) -> Float64[Tensor, " batch"]:
    """LPIPS of pictures [B 3 H W] or clips [B T 3 H W] in [0, 1], the mean over frames; 0 is best.

    Raises EvalError if the extra is missing, or the network's weights cannot be had.
    """
    return lpips_of(network, weights)(predicted, true)


class LPIPS(StreamingMetric):
    """Streaming ``lpips``."""

    def __init__(self, *, network: str = "alex", weights: str | None = None) -> None:
        super().__init__(partial(lpips, network=network, weights=weights))


@lru_cache(maxsize=2)
def lpips_of(network: str, weights: str | None) -> Callable[[Tensor, Tensor], Tensor]:
    """``lpips`` with one network, loaded once."""
    model = loaded(network, weights)

    def score(predicted: Tensor, true: Tensor) -> Tensor:
        x, y = (video.float().reshape(-1, *video.shape[-3:]) for video in (predicted, true))
        pairs = zip(x.split(16), y.split(16), strict=True)
        with torch.no_grad():
            values = torch.cat([model(*pair, normalize=True) for pair in pairs])
        return values.double().view(len(true), -1).mean(1)

    return score


def loaded(network: str, weights: str | None) -> Any:
    """The library's network in eval mode."""
    if network not in NETWORKS:
        raise EvalError(f"LPIPS has the networks {', '.join(NETWORKS)}, not {network!r}")
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        with published_file(network, weights):
            metric = LearnedPerceptualImagePatchSimilarity(net_type=network)  # pyright: ignore[reportArgumentType]: checked above
    except ImportError as error:
        raise EvalError("LPIPS needs an extra: pip install 'slot-eval[perceptual]'") from error
    except OSError as error:
        raise EvalError(
            f"the weights of {network} cannot be fetched ({error}); give a local file as "
            "--lpips-weights, or leave --lpips out"
        ) from error
    return metric.net.eval().requires_grad_(False)


@contextmanager
def published_file(network: str, weights: str | None) -> Iterator[None]:
    """Let torchvision find ``weights`` where it looks for the file that it publishes."""
    if weights is None:
        yield
        return
    from torchvision.models import get_model, get_model_weights

    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # damage comes up as anything from zipfile's to pickle's errors
        raise EvalError(f"{weights}: cannot be read as weights: {first_line(error)}") from error
    with torch.device("meta"):
        own = get_model(NETWORKS[network], weights=None).state_dict()
    if missing := [name for name in own if name not in state]:
        raise EvalError(f"{weights}: lacks {missing[0]}, expected torchvision's {network}")
    url = get_model_weights(NETWORKS[network])["DEFAULT"].url
    before = torch.hub.get_dir()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "checkpoints")
        place.mkdir()
        torch.save(state, place / url.rpartition("/")[2])
        torch.hub.set_dir(folder)
        try:
            yield
        finally:
            torch.hub.set_dir(before)
