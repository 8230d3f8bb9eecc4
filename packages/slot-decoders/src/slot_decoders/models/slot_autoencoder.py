"""Every system of the house: ``slots = encoder(video)``, then ``loss = decoder(slots, video)``.

The papers are presets of this one class. ``forward`` is the training step, so that the hooks of
DDP and FSDP see it; everything else is a named method of the unwrapped model, without gradients
and in eval mode. A video of any length goes through ``stream`` in chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slot_core import (
    DecoderOutput,
    EncoderState,
    Generators,
    HubModel,
    InputError,
    LossOutput,
    SlotEncoder,
    SlotOutput,
    StrictConfig,
)
from slot_core.conditioned_slots import ConditioningKind
from slot_core.protocols import MaskSource
from slot_core.recomputing import enable_gradient_checkpointing
from slot_core.slot_initializers import Conditioning
from slot_core.slot_input import check_slots
from slot_core.video_input import check_colours, check_free_of_charge
from slot_decoders.latent_diffusion import DiffusionDecoder, Kept
from slot_decoders.models.configs import SlotAutoencoderConfig
from slot_decoders.models.preprocessing import Preprocessing, resize
from slot_decoders.models.without_gradients import without_gradients

NO_MASKS = "this model's decoder makes no masks; use source='encoder'"
Video = Float[Tensor, "batch time 3 height width"]


@dataclass(frozen=True)
class Chunk:
    """What a model finds in a stretch of a video.

    Attributes:
        slots: of every frame.
        masks: soft, at the video's own size, summing to 1 over the slots.
        reconstruction: in [0, 1] at the video's own size; None unless asked for.
    """

    slots: Float[Tensor, "batch time slots dim"]
    masks: Float[Tensor, "batch time slots height width"]
    reconstruction: Video | None = None


class SlotAutoencoder(HubModel):
    """An encoder and a decoder that learn objects by reconstruction.

    Every method takes a video, float in [0, 1], and for a conditioned model the boxes, points or
    masks of the objects in its first frame (see slot_core.ConditionedSlots). Those without
    gradients also take the ``state`` of the frames before, which ``encode`` returns; then
    the video goes on and takes no conditioning.

    Args:
        encoder: video to slots, its own preprocessing in front.
        decoder: slots and target to a loss; see slot_core.protocols.Decoder.
        preprocessing: of the video that the decoder is to paint.
        config: that describes these parts.
    """

    config_class: ClassVar[type[StrictConfig]] = SlotAutoencoderConfig
    purpose: ClassVar[str] = (
        "Finds objects without labels: it encodes a picture or video (float, [batch time 3 height "
        "width], in [0, 1]) into slots, one for each object."
    )
    usage: ClassVar[str] = "masks = model.segment(video)  # [batch time slots height width]"
    config: SlotAutoencoderConfig

    def __init__(
        self,
        encoder: SlotEncoder,
        decoder: Any,
        preprocessing: Preprocessing,
        config: SlotAutoencoderConfig,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.preprocessing = preprocessing
        self.config = config

    @classmethod
    def from_config(cls, config: SlotAutoencoderConfig) -> SlotAutoencoder:
        """The freshly initialised model that ``config`` describes."""
        from slot_decoders.models.build import build_decoder, build_encoder, build_preprocessing

        preprocessing = build_preprocessing(config.preprocessing)
        return cls(build_encoder(config), build_decoder(config), preprocessing, config)

    @property
    def num_slots(self) -> int:
        """How many objects, background included, the model can tell apart."""
        return self.config.num_slots

    @property
    def default_mask_source(self) -> MaskSource:
        """Whose masks ``segment`` gives unless told otherwise.

        The configuration's ``mask_source``, or those that the decoder's papers score.
        """
        return self.config.mask_source or self.decoder.default_mask_source

    @property
    def paints(self) -> bool:
        """Whether there are reconstructions; a decoder of features makes none."""
        return getattr(self.decoder, "paints", True)

    @property
    def wants_maps(self) -> bool:
        """Whether the decoder decodes towards what the encoder's backbone makes of the video."""
        return getattr(self.decoder, "wants_maps", False)

    @property
    def conditioned_on(self) -> ConditioningKind | None:
        """What ``conditioning`` holds of the first frame's objects; None where there is none."""
        return getattr(self.config.encoder.initializer, "on", None)

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the parts that do the work (see slot_core.compiling), for all methods.

        ``options`` are those of ``torch.compile``.
        """
        self.encoder.compile(*args, **options)
        self.decoder.compile(*args, **options)

    def enable_gradient_checkpointing(self) -> None:
        """Train in less memory and more time: recompute what is kept; see slot_core.recomputing.

        Raises:
            ConfigError: if the decoder does not say how.
        """
        self.encoder.enable_gradient_checkpointing()
        enable_gradient_checkpointing(self.decoder)

    def forward(
        self,
        video: Video,
        conditioning: Conditioning | None = None,
        *,
        generator: Generators | None = None,
        progress: float = 1.0,
        known: Mapping[str, Tensor] | None = None,
    ) -> LossOutput:
        """The training step: the losses of reconstructing ``video``, float in [0, 1].

        Args:
            video: float in [0, 1].
            conditioning: of a conditioned model, on the first frame.
            generator: draws what is random, in the first slots and in the decoder's loss; one for
                each sample makes its noise independent of the rest of the batch.
            progress: the share of the training that is done, 0 to 1. Nothing here depends on it;
                all models are called alike, and those that anneal something need it.
            known: what ``look_ahead`` made of the same video.

        Raises:
            InputError: if the video is none, or is on the CPU and has colours far outside [0, 1];
                ``known`` holds what no frozen part makes; or the decoder wants the maps of a
                backbone that is not frozen.
        """
        check_free_of_charge(video)
        known = known or {}
        if strange := known.keys() - self.frozen_parts.keys():
            raise InputError(
                f"what is known holds {', '.join(sorted(strange))}; the frozen parts of this model "
                f"make {', '.join(self.frozen_parts) or 'nothing'}"
            )
        maps = known.get("maps")
        if self.wants_maps:
            maps = target = self._maps(video) if maps is None else maps
        else:
            target = self.preprocessing(video)
        encoded = self.encoder(video, generator=generator, conditioning=conditioning, maps=maps)
        codes = {"codes": known["codes"]} if "codes" in known else {}
        losses = self.decoder(encoded.slots, target, generator=generator, **codes)
        return replace(losses, slots=encoded.slots.detach(), attention=encoded.attention)

    def _maps(self, video: Video) -> Float[Tensor, "batch time channels map_height map_width"]:
        """What the backbone makes of a video, of which it must not learn to make less."""
        if any(weight.requires_grad for weight in self.encoder.backbone.parameters()):
            raise InputError(
                f"the {type(self.decoder).__name__} decodes what the backbone makes, and the "
                "backbone learns: it would make what is easily decoded; expected a frozen one"
            )
        return self.encoder.maps(video)

    @property
    def frozen_parts(self) -> dict[str, nn.Module]:
        """What never trains, by the name of what it makes: ``codes`` and ``maps``.

        What it makes of a picture is the same in every epoch, unless the module says by
        ``deterministic`` that it draws.
        """
        parts = {
            "codes": getattr(self.decoder, "tokenizer", None),
            "maps": self.encoder.backbone if getattr(self.encoder.backbone, "frozen", 0) else None,
        }
        return {name: part for name, part in parts.items() if part is not None}

    @without_gradients
    def look_ahead(self, video: Video) -> dict[str, Tensor]:
        """What the frozen parts make of a video, [batch time ...] each, for ``forward``."""
        made: dict[str, Tensor] = {}
        for name in self.frozen_parts:
            if name == "maps":
                made[name] = self.encoder.maps(video)
            else:
                frames = self.preprocessing(video).flatten(0, 1)
                made[name] = self.decoder.tokenizer.encode(frames).unflatten(0, video.shape[:2])
        return made

    @without_gradients
    def encode(
        self,
        video: Video,
        conditioning: Conditioning | None = None,
        *,
        state: EncoderState | None = None,
        generator: torch.Generator | None = None,
    ) -> SlotOutput:
        """Slots and attention of every frame, and the state from which the next frames go on."""
        check_colours(video)
        return self.encoder(video, state, generator, conditioning)

    @without_gradients
    def segment(
        self,
        video: Video,
        conditioning: Conditioning | None = None,
        *,
        source: MaskSource | None = None,
        state: EncoderState | None = None,
        generator: Generators | None = None,
    ) -> Float[Tensor, "batch time slots height width"]:
        """Soft masks at the video's own size, summing to 1 over the slots.

        Args:
            video: float in [0, 1].
            conditioning: of a conditioned model, on the first frame.
            source: "encoder" for the attention of the last iteration, "decoder" for the
                decoder's masks; None for the model's default.
            state: of the frames before.
            generator: draws the first slots, where they are random; one for each sample makes
                its masks independent of the rest of the batch.

        Raises:
            InputError: if the decoder makes no masks, or ``source`` is another word.
        """
        source = self._checked(source)
        encoded, given = self._found(video, conditioning, state, generator)
        decoded = self.decoder.decode(encoded.slots, **given) if source == "decoder" else None
        return _masks(source, encoded, decoded, _size(video))

    @without_gradients
    def reconstruct(
        self,
        video: Video,
        conditioning: Conditioning | None = None,
        *,
        state: EncoderState | None = None,
        generator: torch.Generator | None = None,
    ) -> Video:
        """The video as the slots remember it, in [0, 1] at the video's own size.

        Raises:
            InputError: if the decoder makes no pictures.
        """
        self._check_paints()
        encoded, given = self._found(video, conditioning, state, generator)
        decoded = self.decoder.decode(encoded.slots, generator, **given)
        return self._picture(decoded, _size(video))

    @without_gradients
    def sample(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        *,
        generator: Generators | None = None,
        scheduler: Any = None,
        num_steps: int | None = None,
        noise: Tensor | None = None,
        kept: tuple[Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "batch time 3 model_height model_width"]:
        """The video that slots describe, in [0, 1] at the model's own size.

        The slots may be any: edited, of several pictures, or predicted. All frames of a video
        are made from one map of noise, where the decoder makes them from noise.

        Args:
            slots: of a batch of videos.
            generator: draws whatever is random; one for each sample makes its frames independent
                of the rest of the batch.
            scheduler: of a diffusion decoder: "dpm_solver", "ddim", "ddpm", the name of a class
                in diffusers, or one of its schedulers; None for the first.
            num_steps: of the scheduler; None for its usual number.
            noise: to begin with, of the decoder's ``draw_noise``.
            kept: a video in [0, 1] [batch time 3 height width] and which of its pixels stay, bool
                [batch time height width]; a diffusion decoder paints the rest to go with them.

        Raises:
            InputError: if the decoder makes no pictures, the slots have another shape, there is no
                such scheduler or number of steps, the decoder does not diffuse and is given one, or
                what is kept does not go with the slots.
        """
        self._check_paints()
        check_slots(slots, self.config.slot_dim)
        options: dict[str, Any] = {
            "scheduler": scheduler,
            "num_steps": num_steps,
            "noise": noise,
            "kept": kept,
        }
        if isinstance(self.decoder, DiffusionDecoder):
            if kept is not None:
                options["kept"] = self._kept(slots, *kept)
            decoded = self.decoder.sample(slots, generator=generator, **options)
        elif given := [name for name, value in options.items() if value is not None]:
            raise InputError(f"{given[0]} is for a diffusion decoder, which this model has not")
        else:
            decoded = self.decoder.decode(slots, generator)
        return self._painted(decoded)

    def _kept(self, slots: Tensor, video: Video, places: Tensor) -> Kept:
        """A pixel of the model's size stays if all that it is made of stays."""
        check_colours(video)
        expected = (*slots.shape[:2], *video.shape[-2:])
        if video.shape[:2] != slots.shape[:2] or places.shape != expected:
            raise InputError(
                f"what is kept has the shape {list(video.shape)} and places of "
                f"{list(places.shape)}, but the slots are of {slots.shape[0]} videos of "
                f"{slots.shape[1]} frames; expected as many, and a place for every pixel"
            )
        size = self.preprocessing.image_size
        share = resize(places[:, :, None].float(), size)[:, :, 0]
        return Kept(self.preprocessing(video), share > 1 - 1e-3)

    def stream(
        self,
        chunks: Iterable[Float[Tensor, "batch _ 3 height width"]],
        conditioning: Conditioning | None = None,
        *,
        source: MaskSource | None = None,
        reconstruct: bool = False,
        generator: torch.Generator | None = None,
    ) -> Iterator[Chunk]:
        """What the model finds in a video of any length, in the memory that one chunk needs.

        A chunk is found when it is asked for. All together equal what ``encode`` and ``segment``
        give for the whole video (and ``reconstruct``, unless its decoder draws at random).

        Args:
            chunks: of one video (or a batch of them) in order, each of one frame or more.
            conditioning: of a conditioned model, on the first frame of the first chunk.
            source: as in ``segment``.
            reconstruct: also reconstruct the chunks.
            generator: draws the first slots, where they are random.

        Raises:
            InputError: as ``segment`` does, or ``reconstruct`` where that is asked for.
        """
        source, state = self._checked(source), None
        if reconstruct:
            self._check_paints()
        for video in chunks:
            found, state = self._look(video, conditioning, source, reconstruct, state, generator)
            conditioning = None
            yield found

    @without_gradients
    def _look(
        self,
        video: Video,
        conditioning: Conditioning | None,
        source: MaskSource,
        reconstruct: bool,
        state: EncoderState | None,
        generator: torch.Generator | None,
    ) -> tuple[Chunk, EncoderState]:
        """Encode one chunk once, decode it at most once."""
        encoded, given = self._found(video, conditioning, state, generator)
        decoded = None
        if reconstruct or source == "decoder":
            decoded = self.decoder.decode(encoded.slots, generator, **given)
        masks = _masks(source, encoded, decoded, _size(video))
        painted = self._picture(decoded, _size(video)) if reconstruct and decoded else None
        return Chunk(encoded.slots, masks, painted), encoded.state

    def _found(
        self,
        video: Video,
        conditioning: Conditioning | None,
        state: EncoderState | None,
        generator: Generators | None,
    ) -> tuple[SlotOutput, dict[str, Tensor]]:
        """What the encoder finds in a video, and what decoding is given beside its slots."""
        check_colours(video)
        if not self.wants_maps:
            return self.encoder(video, state, generator, conditioning), {}
        maps = self.encoder.maps(video)
        return self.encoder(video, state, generator, conditioning, maps), {"maps": maps}

    def _checked(self, source: MaskSource | None) -> MaskSource:
        source = source or self.default_mask_source
        if source not in get_args(MaskSource):
            raise InputError(f"the mask source is '{source}'; expected 'encoder' or 'decoder'")
        if source == "decoder" and not getattr(self.decoder, "makes_masks", True):
            raise InputError(NO_MASKS)
        return source

    def _picture(self, decoded: DecoderOutput, size: tuple[int, int]) -> Video:
        resized = resize(self._painted(decoded), size)
        return resized.clamp(0, 1)  # resizing rounds: white can come out as 1 + 5e-7

    def _painted(self, decoded: DecoderOutput) -> Video:
        """What was decoded, in [0, 1] at the model's own size."""
        self._check_paints(decoded.reconstruction.shape[2] == 3)
        return self.preprocessing.undo(decoded.reconstruction)

    def _check_paints(self, colours: bool = True) -> None:
        """Refuse to paint where the decoder says that it does not, or has not made colours."""
        if not self.paints or not colours:
            raise InputError(
                f"the {type(self.decoder).__name__} makes features of each place, which are no "
                "colours; it has masks, but no pictures"
            )


def _masks(
    source: MaskSource, encoded: SlotOutput, decoded: DecoderOutput | None, size: tuple[int, int]
) -> Float[Tensor, "batch time slots height width"]:
    if source == "encoder":
        masks = encoded.attention.unflatten(-1, encoded.feature_size)
    else:
        masks = decoded.masks if decoded else None
    if masks is None:
        raise InputError(NO_MASKS)
    # In single precision at least, or places between two others would be tied; a corrector may be
    # anybody's. No antialiasing, as in every published evaluation; it matters only when shrinking.
    masks = masks.to(torch.promote_types(masks.dtype, torch.float32))
    return resize(masks, size, antialias=False)


def _size(video: Video) -> tuple[int, int]:
    return video.shape[-2], video.shape[-1]
