"""The job behind ``compose``: samples to slots, slots mixed, pictures painted, features taken.

Only features leave a block, so the distance between the two sets is computed once, of all samples
in order, and does not depend on the number of processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from slot_eval.features import Extractor, load_extractor
from slot_eval.functional.composition import compose_slots
from slot_eval.functional.frechet import frechet_distance
from slot_eval.jobs import Block, Job, OpenJob, Sample, of_one_shape
from slot_eval.model_jobs import model_errors
from slot_eval.predicted_videos import at_size


@dataclass(frozen=True)
class ComposeJob(Job):
    """Mix the slots of the samples of a block; keep features of the results and of the samples.

    The last sample of a block borrows from the first: which scenes meet depends on the batch size.
    """

    features: str = "inception"

    needs: ClassVar[tuple[str, ...]] = ("encode", "sample")

    def batch(self, opened: OpenJob, samples: list[Sample]) -> Block:
        """Composed and true features of each sample, [2 D]."""
        extract = extractor(self.features, self.device)
        video = opened.video(samples)
        composed = self.composed(opened, samples)
        pairs = torch.stack([extract(as_extracted(one)) for one in (composed, video)], dim=1)
        return Block([sample["id"] for sample in samples], [], list(pairs))

    def composed(self, opened: OpenJob, samples: list[Sample]) -> Tensor:
        """New scenes, in [0, 1] at the samples' size."""
        video = opened.video(samples)
        with model_errors("compose", samples):
            slots = opened.model.encode(video, **opened.conditioning(samples)).slots
            return at_size(opened.model.sample(compose_slots(slots)), video)

    def pictures(self, opened: OpenJob) -> Iterator[Tensor]:
        """The first frames of the composed samples of the first blocks, at most ``limit``."""
        shown = 0
        for start in opened.starts:
            torch.manual_seed((self.seed * 1_000_003 + start) % 2**63)
            stop = min(start + self.batch_size, len(opened))
            for batch in of_one_shape([opened.sample(index) for index in range(start, stop)]):
                for video in self.composed(opened, batch):
                    if shown == self.limit:
                        return
                    shown += 1
                    yield video[0].cpu()


@lru_cache(maxsize=1)
def extractor(name: str, device: str) -> Extractor:
    """The extractor of a process, loaded once."""
    return load_extractor(name, device)


def as_extracted(video: Tensor) -> Tensor:
    """Clips of one frame as pictures [B 3 H W]; longer ones as they are."""
    return video[:, 0] if video.shape[1] == 1 else video


def distance_of(blocks: Sequence[Block]) -> tuple[float, int]:
    """The Fréchet distance of composed from true features, and how many samples there were."""
    pairs = [pair for block in blocks for pair in block.kept]
    if not pairs:
        return float("nan"), 0
    composed, true = torch.stack(pairs).unbind(1)
    return frechet_distance(composed, true), len(pairs)
