"""Slots as sets that can be changed: taken out, put in, exchanged, mixed between scenes.

A scene is described by its slots, in any order, so an edit is one of lists: which slot of which
scene describes which scene afterwards. Slots are named as they were found, ``b.png:5`` for slot 5
of b.png, whatever other edits do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from scipy.cluster.vq import kmeans2
from torch import Tensor

from slot_core import InputError

Slots = Float[Tensor, "time slots dim"]
FoundSlots = Float[Tensor, "_ _ dim"]


@dataclass(frozen=True)
class SlotName:
    """One slot of one scene, as it was found."""

    scene: str
    number: int


@dataclass
class SlotEdits:
    """Which slots describe each scene; at first, its own.

    Args:
        num_slots: how many slots each scene was found with, by the scene's name.
    """

    num_slots: Mapping[str, int]
    sets: dict[str, list[SlotName]] = field(init=False)

    def __post_init__(self) -> None:
        self.sets = {
            scene: [SlotName(scene, number) for number in range(count)]
            for scene, count in self.num_slots.items()
        }

    def remove(self, text: str) -> None:
        """Take a slot out: ``a.png:3``, or ``3`` out of every scene."""
        for slot in self.find(text):
            self._take(slot)

    def swap(self, first: str, second: str) -> None:
        """Exchange two slots."""
        one, other = self._only(first), self._only(second)
        places = [(one, self._place(one)), (other, self._place(other))]
        (_, here), (_, there) = places
        self.sets[one.scene][here], self.sets[other.scene][there] = other, one

    def insert(self, slot: str, scene: str) -> None:
        """Put a slot into a scene beside the others."""
        self.sets[self._scene(scene)].append(self._only(slot))

    def move(self, slot: str, scene: str) -> None:
        """Take a slot out of its scene and put it into another."""
        self.insert(slot, scene)
        self._take(self._only(slot))

    def find(self, text: str) -> list[SlotName]:
        """The slots that ``a.png:3``, or ``3`` for one of each scene, names.

        Raises:
            InputError: if there is no such scene or slot.
        """
        scene, colon, number = text.rpartition(":")
        if not number.isdecimal() or (colon and not scene):
            raise InputError(f"'{text}' names no slot; expected a number, or PICTURE:NUMBER")
        scenes = [self._scene(scene)] if colon else list(self.sets)
        slots = [SlotName(scene, int(number)) for scene in scenes]
        for slot in slots:
            count = self.num_slots[slot.scene]
            if slot.number >= count:
                raise InputError(
                    f"'{text}' names slot {slot.number} of {slot.scene}, which has the slots 0 to "
                    f"{count - 1}"
                )
        return slots

    def slots_of(self, scene: str, found: Mapping[str, FoundSlots]) -> Slots:
        """The slots that describe a scene now, for every frame.

        Raises:
            InputError: if no slot is left, or a slot comes from a scene with other frames.
        """
        members = self.sets[scene]
        if not members:
            raise InputError(f"no slot of {scene} is left; a picture needs one")
        num_frames = len(found[scene])
        for slot in members:
            if len(found[slot.scene]) not in (1, num_frames):
                raise InputError(
                    f"{slot.scene} has {len(found[slot.scene])} frames and {scene} {num_frames}; "
                    f"slots go between videos of one length, or from a picture"
                )
        chosen = [found[slot.scene][:, slot.number].expand(num_frames, -1) for slot in members]
        return torch.stack(chosen, dim=1)

    def _only(self, text: str) -> SlotName:
        slots = self.find(text)
        if len(slots) != 1:
            raise InputError(f"'{text}' names a slot of every picture; expected PICTURE:NUMBER")
        return slots[0]

    def _scene(self, name: str) -> str:
        if name not in self.sets:
            raise InputError(f"there is no picture '{name}'; there are {', '.join(self.sets)}")
        return name

    def _place(self, slot: SlotName) -> int:
        if slot not in self.sets[slot.scene]:
            raise InputError(f"{slot.scene}:{slot.number} is not there any more")
        return self.sets[slot.scene].index(slot)

    def _take(self, slot: SlotName) -> None:
        del self.sets[slot.scene][self._place(slot)]


def shifted(slots: Float[Tensor, "batch time slots dim"]) -> Float[Tensor, "batch time slots dim"]:
    """New scenes from a batch: scene b takes its slot i from scene b + i, around the end.

    As in SlotDiffusion's code, where a slot whose number is that of the scenes or more stays.
    """
    mixed = slots.clone()
    for number in range(min(len(slots), slots.shape[2])):
        mixed[:, :, number] = slots[:, :, number].roll(-number, 0)
    return mixed


def find_concepts(slots: Float[Tensor, "count dim"], num_concepts: int, seed: int) -> np.ndarray:
    """Which concept each slot is one of: the clusters of k-means.

    SLATE (Singh et al. 2021, arXiv 2110.11405, section 4.2) and SlotDiffusion (Wu et al. 2023,
    section 4.3) make their libraries of visual concepts so.

    Raises:
        InputError: if there are fewer slots than concepts.
    """
    if not 1 <= num_concepts <= len(slots):
        raise InputError(
            f"{num_concepts} concepts cannot be found among {len(slots)} slots; give more "
            f"pictures, or fewer concepts"
        )
    points = slots.cpu().double().numpy()
    _, concepts = kmeans2(points, num_concepts, minit="++", rng=seed)
    return concepts


def compose(
    slots: Float[Tensor, "count dim"], concepts: np.ndarray, num_scenes: int, seed: int
) -> Float[Tensor, "scenes 1 concepts dim"]:
    """Scenes of one slot of each concept, drawn at random; empty concepts are passed over."""
    random = np.random.default_rng(seed)
    shelves = [np.flatnonzero(concepts == concept) for concept in np.unique(concepts)]
    drawn = np.stack([random.choice(shelf, num_scenes) for shelf in shelves], axis=1)
    return slots[torch.from_numpy(drawn).to(slots.device)][:, None]
