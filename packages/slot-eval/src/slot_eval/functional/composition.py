"""New scenes out of old ones: slots of different pictures put together, to be painted anew.

As the SlotDiffusion code does it (its simplified version of the paper's section 4.3): slot i of
every picture is taken from the picture i places further on in the batch. A batch of B pictures has
no more than B different places, and slots from B on stay where they are.
"""

from jaxtyping import Float
from torch import Tensor


def compose_slots(
    slots: Float[Tensor, "batch *time slots dim"],
) -> Float[Tensor, "batch *time slots dim"]:
    """Mixed slots of pictures [B K D] or clips [B T K D]: result b has slot i of sample b + i."""
    batch, mixed = len(slots), slots.clone()
    for i in range(min(batch, slots.shape[-2])):
        mixed[..., i, :] = slots[..., i, :].roll(-i, dims=0)
    return mixed
