"""LPIPS (Zhang et al., CVPR 2018), by the library of its authors, behind the extra ``perceptual``.

The library brings the weights that it learned itself. The network under them (torchvision's AlexNet
or VGG) is fetched by torchvision, or read from a local file: ``weights``, as torchvision publishes
it.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.streaming.metric import StreamingMetric

Videos = Float[Tensor, "batch *time channels height width"]
NETWORKS = ("alex", "vgg", "squeeze")


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
    """The library's model in eval mode."""
    if network not in NETWORKS:
        raise EvalError(f"LPIPS has the networks {', '.join(NETWORKS)}, not {network!r}")
    try:
        import lpips as library
    except ImportError as error:
        raise EvalError("LPIPS needs an extra: pip install 'slot-eval[perceptual]'") from error
    try:
        model = library.LPIPS(net=network, pnet_rand=weights is not None, verbose=False)
    except OSError as error:
        raise EvalError(
            f"the weights of {network} cannot be fetched ({error}); give a local file"
        ) from error
    if weights is not None:
        read_backbone(model, Path(weights))
    return model.eval().requires_grad_(False)


def read_backbone(model: Any, path: Path) -> None:
    """Fill the network under LPIPS from a file as torchvision publishes it."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise EvalError(f"{path}: cannot be read as weights: {first_line(error)}") from error
    # The library cuts torchvision's ``features`` into slices that keep the layers' numbers.
    own = model.net.state_dict()
    renamed = {key: "features." + key.split(".", 1)[1] for key in own if key.startswith("slice")}
    if missing := [name for name in renamed.values() if name not in state]:
        raise EvalError(f"{path}: lacks {missing[0]}, expected torchvision's weights")
    model.net.load_state_dict({key: state[name] for key, name in renamed.items()})


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
