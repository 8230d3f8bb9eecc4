"""What a new run begins with instead of random weights: another checkpoint's, or a backbone's.

These are options of a run, not of its model: the run's checkpoints hold all their weights.
"""

from __future__ import annotations

from slot_core import ConfigError
from slot_core.backbones import ViT
from slot_core.backbones.pretrained import load_pretrained
from slot_decoders.models import SlotAutoencoder, start_from
from support.options import StartOptions


def begin(model: SlotAutoencoder, options: StartOptions) -> None:
    """Load into ``model`` what ``options`` name; nothing unless told.

    Raises:
        ConfigError: if ``fresh`` is given without ``weights``, the backbone is no ViT, or it is
            a frozen one and nothing tells its weights.
        CheckpointError: if weights cannot be found or read, or are those of another network.
        InputError: if the model has no part of a name in ``fresh``.
    """
    if options.fresh and options.weights is None:
        raise ConfigError("start.fresh names parts that begin anew, but start.weights is not set")
    if options.weights is not None:
        start_from(model, options.weights, options.fresh)
    backbone = model.encoder.backbone
    if options.backbone is not None:
        if not isinstance(backbone, ViT):
            raise ConfigError(
                f"start.backbone: {type(backbone).__name__} is no backbone with published weights, "
                f"expected model.encoder.backbone.type=vit"
            )
        load_pretrained(backbone, options.backbone)
    elif isinstance(backbone, ViT) and backbone.frozen and options.weights is None:
        raise ConfigError(
            "the frozen backbone would keep its random weights; set start.backbone to a folder or "
            "repository of pre-trained ones, such as facebook/dino-vits8"
        )
