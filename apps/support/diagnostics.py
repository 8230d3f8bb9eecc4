"""Early warnings: three numbers that tell, long before the scores do, that slots do not bind.

They are read off the encoder's attention, which costs nothing, and are written to the log beside
the loss. A loss that falls says little: a model whose slots cut every picture into the same
stripes reconstructs well.

attention_entropy      of a position over the slots, 0 to 1 (log K): at 1 all slots share every
                       position and none has bound to anything; it should fall early.
slots_in_use           how many slots own at least a hundredth of the frame, on average; 1 means
                       that one slot has taken everything.
partition_similarity   adjusted Rand index between the partitions of two different samples: near 0
                       where slots follow the content, near 1 where all samples are cut alike.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from slot_data.catalog import suggested_slots
from slot_data.sample import SampleDataset
from slot_eval.functional import ari

SMALLEST_SHARE = 0.01  # of the frame, from which a slot counts as used


def few_slots(name: str, dataset: SampleDataset, model: object) -> str:
    """A line that warns of a model with fewer slots than samples of the dataset show objects,
    the background counted; empty for others."""
    suggested, slots = suggested_slots(name, dataset), getattr(model, "num_slots", None)
    if suggested is None or slots is None or slots >= suggested:
        return ""
    return (
        f"warning: the model has {slots} slots, but {name} shows up to {suggested - 1} objects and "
        f"a background; model.num_slots={suggested} has one for each"
    )


def few_samples(num_samples: int, batch_size: int) -> str:
    """A line that warns of a batch in which samples repeat; empty for others."""
    if batch_size <= num_samples:
        return ""
    return (
        f"warning: a step takes {batch_size} samples, but there are {num_samples} to train on, so "
        f"some repeat within it; train.batch_size={num_samples} takes each once"
    )


def busy_machine(load: float, cores: int, threads: int) -> str:
    """A line that warns of a machine on which others compute; empty where a core is free, and for a
    run of one thread, which waits for no other of its own.

    Args:
        load: how many processes want to compute, on average over the last minute.
        cores: of the machine.
        threads: of this process.
    """
    if load <= cores or threads == 1:
        return ""
    return (
        f"warning: others compute on this machine (load {load:.1f} on {cores} cores), and the "
        f"{threads} threads of this run wait for one another; with fewer, as train.num_threads=1, "
        "both may be faster"
    )


@torch.no_grad()
def diagnose(attention: Float[Tensor, "batch time slots positions"]) -> dict[str, Tensor]:
    """The three warnings, averaged over the batch; the similarity needs two samples.

    Args:
        attention: softmax over the slots.
    """
    attention = attention.float()
    num_slots = attention.shape[2]
    entropy = torch.special.entr(attention).sum(dim=2).mean() / max(math.log(num_slots), 1e-9)
    owner = attention.argmax(dim=2)
    share = torch.nn.functional.one_hot(owner, num_slots).float().mean(dim=2)
    used = (share >= SMALLEST_SHARE).sum(dim=-1).float().mean()
    found = {"attention_entropy": entropy, "slots_in_use": used}
    if len(owner) > 1:
        first = owner[:, :1].cpu()  # the first frame of each sample, as a picture of one row
        similarity = ari(first, first.roll(1, dims=0)).mean()
        found["partition_similarity"] = similarity.to(attention.device, torch.float32)
    return found
