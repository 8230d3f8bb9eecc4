"""The first stage of token and latent models: a tokenizer that learns to paint what it sees.

A tokenizer works on normalised frames; here it gets videos in [0, 1] like every other model, and a
checkpoint of its own. The second stage takes it over, frozen, into a decoder (``start_tokenizer``
in load.py), and its checkpoint then holds both.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from slot_core import Generators, HubModel, LossOutput, StrictConfig
from slot_core.recomputing import enable_gradient_checkpointing
from slot_core.slot_initializers import Conditioning
from slot_core.video_input import check_colours, check_free_of_charge
from slot_decoders.models.configs import TokenizerModelConfig
from slot_decoders.models.preprocessing import Preprocessing, resize
from slot_decoders.models.slot_autoencoder import Video
from slot_decoders.models.without_gradients import without_gradients


class TokenizerModel(HubModel):
    """A tokenizer and the preprocessing of what it is shown.

    Args:
        tokenizer: see slot_core.protocols.Tokenizer.
        preprocessing: of the videos.
        config: that describes both.
    """

    config_class: ClassVar[type[StrictConfig]] = TokenizerModelConfig
    purpose: ClassVar[str] = (
        "Turns a picture or video (float, [batch time 3 height width], in [0, 1]) into few codes, "
        "and back: the first stage of a model that finds objects."
    )
    usage: ClassVar[str] = "again = model.reconstruct(video)  # as the codes remember it"
    config: TokenizerModelConfig

    def __init__(
        self, tokenizer: Any, preprocessing: Preprocessing, config: TokenizerModelConfig
    ) -> None:
        super().__init__()
        self.tokenizer: nn.Module = tokenizer
        self.preprocessing = preprocessing
        self.config = config

    @classmethod
    def from_config(cls, config: TokenizerModelConfig) -> TokenizerModel:
        """The freshly initialised model that ``config`` describes."""
        from slot_decoders.models.build import build_preprocessing, build_tokenizer

        return cls(
            build_tokenizer(config.tokenizer), build_preprocessing(config.preprocessing), config
        )

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the tokenizer's networks; ``options`` are those of ``torch.compile``."""
        self.tokenizer.compile(*args, **options)

    def enable_gradient_checkpointing(self) -> None:
        """Train in less memory and more time: recompute what is kept; see slot_core.recomputing.

        Raises:
            ConfigError: if the tokenizer does not say how.
        """
        enable_gradient_checkpointing(self.tokenizer)

    def forward(
        self,
        video: Video,
        conditioning: Conditioning | None = None,
        *,
        generator: Generators | None = None,
        progress: float = 1.0,
    ) -> LossOutput:
        """The training step: the losses of painting each frame of ``video`` again.

        Args:
            video: float in [0, 1].
            conditioning: none; all models are called alike.
            generator: draws the noise of the codes, where there is any.
            progress: share of the training that is done, 0 to 1, for what anneals with it.

        Raises:
            InputError: if the video is none, or is on the CPU and has colours far outside [0, 1].
        """
        check_free_of_charge(video)
        frames = self.preprocessing(video).flatten(0, 1)
        return self.tokenizer(frames, progress=progress, generator=generator)

    @without_gradients
    def reconstruct(self, video: Video) -> Video:
        """The video as its codes remember it, in [0, 1] at the video's own size."""
        check_colours(video)
        frames = self.preprocessing(video)
        painted: Any = self.tokenizer
        again = painted.reconstruct(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        size = video.shape[-2], video.shape[-1]
        return resize(self.preprocessing.undo(again), size).clamp(0, 1)
