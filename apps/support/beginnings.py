"""What a new run begins with instead of random weights: those of other checkpoints.

These are options of a run, not of its model: the run's checkpoints hold all their weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slot_core import ConfigError, HubModel
from slot_core.backbones import ViT
from slot_core.backbones.pretrained import load_pretrained
from slot_decoders import TokenFeatures
from slot_decoders.models import SlotDynamicsModel, start_decoder, start_from, start_tokenizer
from support.options import StartOptions


def begin(model: HubModel, options: StartOptions) -> None:
    """Load into ``model`` what ``options`` name; nothing unless told.

    Raises:
        ConfigError: if ``fresh`` is given without ``weights``, the backbone is no ViT, or nothing
            tells the weights of a part that training would leave as they are: a tokenizer, a
            decoder of predicted slots, or a frozen backbone; or if a ``decoder`` or a ``tokenizer``
            is given to a model that takes none.
        CheckpointError: if weights cannot be found or read, or are those of another network.
        InputError: if the model has no part of a name in ``fresh``, or no tokenizer.
    """
    if options.fresh and options.weights is None:
        raise ConfigError("start.fresh names parts that begin anew, but start.weights is not set")
    if options.weights is not None:
        start_from(model, options.weights, options.fresh)
    if isinstance(model, SlotDynamicsModel):
        _begin_decoder(model, options)
    else:
        _begin_tokenizer(model, options)
    _begin_backbone(model, options)


def freeze(model: HubModel, parts: Sequence[str], start: StartOptions) -> None:
    """Let ``parts`` of ``model``, such as encoder, keep the weights that they begin with.

    Raises:
        ConfigError: if the model has no such part, it would keep random weights, or nothing is left
            to train.
    """
    for name in parts:
        try:
            part = model.get_submodule(name)
        except AttributeError:
            known = ", ".join(name for name, _ in model.named_children())
            raise ConfigError(
                f"train.frozen: the model has no part '{name}'; it has {known}, and parts of these"
            ) from None
        if start.weights is None or any(_overlap(name, fresh) for fresh in start.fresh):
            raise ConfigError(
                f"train.frozen: '{name}' would keep random weights; set start.weights to a model "
                "that has it, and leave it out of start.fresh"
            )
        part.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"train.frozen={', '.join(parts)} leaves nothing to train")


def _overlap(one: str, other: str) -> bool:
    """Whether one part is, or lies in, the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _begin_tokenizer(model: Any, options: StartOptions) -> None:
    if options.decoder is not None:
        raise ConfigError(
            f"start.decoder is of a model that predicts slots; this {type(model).__name__} takes "
            "the weights of its decoder from start.weights"
        )
    if options.tokenizer is not None:
        start_tokenizer(model, options.tokenizer)
    elif options.weights is None and _part(model, "decoder", "tokenizer") is not None:
        raise ConfigError(
            "the decoder's tokenizer would keep its random weights; train one first and set "
            "start.tokenizer to its run, folder or repository"
        )


def _begin_decoder(model: SlotDynamicsModel, options: StartOptions) -> None:
    if options.tokenizer is not None:
        raise ConfigError(
            "start.tokenizer: a model that predicts slots takes its decoder whole, with the "
            "tokenizer, from start.decoder"
        )
    if options.decoder is not None:
        start_decoder(model, options.decoder)
    elif options.weights is None and model.decoder is not None:
        raise ConfigError(
            "the decoder would keep its random weights; set start.decoder to the run, folder or "
            "repository of the model that found the slots"
        )


def _begin_backbone(model: Any, options: StartOptions) -> None:
    backbone = _part(model, "encoder", "backbone")
    if options.backbone is not None:
        if not isinstance(backbone, ViT):
            raise ConfigError(
                f"start.backbone: {type(backbone).__name__} is no backbone with published weights, "
                f"expected model.encoder.backbone.type=vit"
            )
        load_pretrained(backbone, options.backbone)
    elif isinstance(backbone, TokenFeatures) and options.weights is None:
        if options.tokenizer is None or not model.config.looks_at_its_tokens:
            raise ConfigError(
                "the frozen tokenizer of model.encoder.backbone would keep its random weights; set "
                "start.weights to a model that has one, such as a converted checkpoint of SLATE, "
                "or let it be that of the decoder, with start.tokenizer"
            )
    elif isinstance(backbone, ViT) and backbone.frozen and options.weights is None:
        raise ConfigError(
            "the frozen backbone would keep its random weights; set start.backbone to a folder or "
            "repository of pre-trained ones, such as facebook/dino-vits8"
        )


def _part(model: Any, *names: str) -> Any:
    """A part of the model by its path; None where there is none."""
    for name in names:
        model = getattr(model, name, None)
    return model
