"""LPIPS, the distance of pictures in the features of a VGG (Zhang et al. 2018, arXiv 1801.03924).

torchmetrics computes it; the VGG's ImageNet weights are torchvision's, which it downloads to
``$TORCH_HOME/hub/checkpoints`` on first use. The network judges and never trains, so it is kept
here, outside every module: no checkpoint holds it.
"""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slot_core import InputError

LEAVE_OUT = "perceptual_weight=0 leaves the perceptual loss out"


def perceptual_distances(
    painted: Float[Tensor, "batch 3 height width"], frames: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, " batch"]:
    """The LPIPS distance of each two pictures in [-1, 1], in single precision.

    Raises:
        InputError: if torchmetrics or the weights are not to be had, naming the option that
            leaves the loss out.
    """
    network = _network(painted.device)
    with torch.autocast(painted.device.type, enabled=False):
        return network(painted.float(), frames.float()).flatten()


@functools.cache
def _network(device: torch.device) -> nn.Module:
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        metric = LearnedPerceptualImagePatchSimilarity(net_type="vgg")
    except ImportError as error:  # ModuleNotFoundError of torchmetrics, or of what it needs
        raise InputError(
            f"the perceptual loss needs torchmetrics and torchvision: install "
            f"slot-decoders[perceptual]; {LEAVE_OUT} ({error})"
        ) from None
    except OSError as error:
        raise InputError(
            f"the perceptual loss needs the weights of torchvision's vgg16, which cannot be had "
            f"({error}); {LEAVE_OUT}"
        ) from None
    return metric.net.requires_grad_(False).eval().to(device)
