"""The protocols of published codebases."""

from slot_eval.protocols.segmentation import Protocol

SLOTDIFFUSION = Protocol(
    id="slotdiffusion",
    description=(
        "SlotDiffusion (Wu et al., 2023), its released evaluation code: clips as one point set, "
        "Hungarian mIoU with background, mBO without, an empty foreground has FG-ARI 1"
    ),
    empty_ari="one",
    empty_iou="nan",
    absent_ids="zero",
    epsilon=1e-8,
    mbo_background=False,
    overlap="new_segment",
    upsampling="bilinear",
)
