"""The Fréchet distance between two sets of features, each taken for a Gaussian (Dowson and Landau,
1982; Heusel et al., NeurIPS 2017, "GANs Trained by a Two Time-Scale Update Rule", section 3):

    d = |m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)).

FID is that of Inception features of pictures, FVD that of video features (Unterthiner et al.,
2018). What makes the features is ``slot_eval.features``; this is only the distance. The trace of
the root is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric:
nothing complex comes up, as it does with the root of C1 C2 that most code takes.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from slot_eval.errors import EvalError


def frechet_distance(
    predicted: Float[Tensor, "samples dim"], true: Float[Tensor, "others other_dim"]
) -> float:
    """The distance between two sets of features; 0 is equal moments, there is no largest.

    It is biased upwards for few samples: say how many there were. Raises EvalError on fewer than
    two samples, or sizes that differ.
    """
    if predicted.shape[1] != true.shape[1]:
        raise EvalError(
            f"features of {predicted.shape[1]} and of {true.shape[1]} values do not compare"
        )
    return gaussian_distance(*moments(predicted), *moments(true))


def gaussian_distance(
    mean1: Float64[Tensor, " dim"],
    covariance1: Float64[Tensor, "dim dim"],
    mean2: Float64[Tensor, " dim"],
    covariance2: Float64[Tensor, "dim dim"],
) -> float:
    """The distance between two Gaussians."""
    values, vectors = torch.linalg.eigh(covariance1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root @ covariance2 @ root
    shared = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    distance = (mean1 - mean2).square().sum() + covariance1.trace() + covariance2.trace()
    return float((distance - 2 * shared).clamp(min=0))


def moments(
    features: Float[Tensor, "samples dim"],
) -> tuple[Float64[Tensor, " dim"], Float64[Tensor, "dim dim"]]:
    """Mean and covariance (divided by one less than the samples) of features."""
    if len(features) < 2:
        raise EvalError(f"a Fréchet distance needs at least 2 samples, not {len(features)}")
    features = features.double()
    centred = features - features.mean(0)
    return features.mean(0), centred.T @ centred / (len(features) - 1)
