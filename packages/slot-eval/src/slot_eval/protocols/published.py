"""The protocols of published codebases, by reading and running their code.

``slotdiffusion`` gives that code's values on the labels it is given; its data loaders also renumber
each picture's labels to 0, 1, ... after resizing, which is the data's business. Where a code has a
fault, the protocol says what it means to compute:

* DINOSAUR's and SPOT's code (OCLF) gives 0 instead of nothing for mIoU and mBO of a whole data set
  in which no sample has an object; a single such sample is left out there too.
* VideoSAUR's and SlotContrast's code cannot leave out overlaps and the background at once. It
  counts FG-ARI of a sample without foreground 1 where its truth encodes the background, as their
  MOVi configurations do, and leaves the sample out where not, as on YouTube-VIS.
* SAVi's code computes in float32: perfect large pictures score 0.999999 there.
* Means of the SlotDiffusion code are over batches, and depend on their size; here over samples.
"""

from dataclasses import replace

from slot_eval.protocols.segmentation import DataSet, Protocol

MOVI_LEVELS = "abcde"

SLOTDIFFUSION = Protocol(
    id="slotdiffusion",
    description=(
        "SlotDiffusion (Wu et al., 2023), its released evaluation code: clips as one point set, "
        "Hungarian mIoU with background, mBO without, an empty foreground has FG-ARI 1"
    ),
    reported=("fg_ari", "miou", "mbo", "mbo_class"),
    masks="model",
    frames="all",
    sample="clip",
    chunk_frames=None,
    empty_ari="one",
    empty_iou="nan",
    absent_ids="zero",
    epsilon=1e-8,
    mbo_background=False,
    overlap="new_segment",
    void="new_segment",
    crowd="drop",
    upsampling="bilinear",
    averaging="samples",
    data=(
        DataSet("clevrtex", "test", 128, "slotdiffusion"),
        *(DataSet(f"movi_{kind}", "test", 128, "slotdiffusion") for kind in ("d", "e")),
        *(DataSet(f"movi_{kind}", "test", 128, "slotdiffusion") for kind in ("solid", "tex")),
        DataSet("voc", "validation", 224, "slotdiffusion"),
        DataSet("coco", "validation", 224, "slotdiffusion"),
    ),
)

# The switches of metrics that these codes agree on.
_PRESENT_LABELS = replace(
    SLOTDIFFUSION,
    masks="decoder",
    absent_ids="skip",
    epsilon=0.0,
    overlap="ignore",
    void="ignore",
)

SAVI_CODE = replace(
    _PRESENT_LABELS,
    id="savi-code",
    description=(
        "SAVi (Kipf et al., 2022), its released code: FG-ARI of whole clips, all frames; that code "
        "has no IoU, so mIoU and mBO are those of the functions' defaults"
    ),
    reported=("fg_ari",),
    data=tuple(DataSet(f"movi_{level}", "validation", 64, "savi") for level in MOVI_LEVELS),
)

SAVI_PAPER = replace(
    SAVI_CODE,
    id="savi-paper",
    description=(
        "SAVi (Kipf et al., 2022), as in the paper: without the first frame, of which the model is "
        "told; mIoU and mBO are those of the functions' defaults"
    ),
    frames="after_first",
)

DINOSAUR = replace(
    _PRESENT_LABELS,
    id="dinosaur",
    description=(
        "DINOSAUR (Seitzer et al., 2023), its released code (OCLF): pixels where objects overlap "
        "or nobody decided are left out, clips are one point set, mBO without background"
    ),
    reported=("fg_ari", "mbo", "mbo_class"),
    data=(
        DataSet("voc", "validation", 320, "dinosaur"),
        DataSet("coco", "validation", 320, "dinosaur"),
        DataSet("movi_c", "validation", 128, None),
        DataSet("movi_e", "validation", 128, None),
    ),
)

SPOT = replace(
    DINOSAUR,
    id="spot",
    description=(
        "SPOT (Kakogeorgiou et al., 2024), its released eval_spot.py: the metrics of DINOSAUR, "
        "every frame of a clip a picture, crowds are objects, void is background"
    ),
    reported=("mbo", "mbo_class", "fg_miou", "fg_ari"),
    sample="frame",
    void="background",
    crowd="object",
    data=(
        DataSet("voc", "validation", 320, None),
        DataSet("coco", "validation", 320, None),
        DataSet("movi_c", "validation", 128, None),
        DataSet("movi_e", "validation", 128, None),
    ),
)

VIDEOSAUR = replace(
    _PRESENT_LABELS,
    id="videosaur",
    description=(
        "VideoSAUR (Zadaianchuk et al., 2023), its released code on MOVi: clips as one point set, "
        "mBO without background; frame_* are its image metrics, where each clip counts the same"
    ),
    reported=("fg_ari", "mbo", "frame_fg_ari", "frame_mbo"),
    data=(
        DataSet("movi_c", "validation", None, None),
        DataSet("movi_e", "validation", None, None),
    ),
)

VIDEOSAUR_YTVIS = replace(
    VIDEOSAUR,
    id="videosaur-ytvis",
    description=(
        "VideoSAUR (Zadaianchuk et al., 2023) on YouTube-VIS: as videosaur, clips cut into chunks "
        "of 6 frames, which scores far higher than whole ones; without an object there is no FG-ARI"
    ),
    chunk_frames=6,
    empty_ari="nan",
    data=(DataSet("youtube_vis", "validation", None, None),),
)

SLOTCONTRAST = replace(
    VIDEOSAUR,
    id="slotcontrast",
    description=(
        "SlotContrast (Manasyan et al., 2025), its released code, whose metrics are those of "
        "VideoSAUR to the bit: whole clips as one point set"
    ),
)

SLOTCONTRAST_YTVIS = replace(
    VIDEOSAUR_YTVIS,
    id="slotcontrast-ytvis",
    description=(
        "SlotContrast (Manasyan et al., 2025) on YouTube-VIS: as slotcontrast, whole clips too; "
        "without an object there is no FG-ARI"
    ),
    chunk_frames=None,
)

PUBLISHED = (
    SLOTDIFFUSION,
    SAVI_CODE,
    SAVI_PAPER,
    DINOSAUR,
    SPOT,
    VIDEOSAUR,
    VIDEOSAUR_YTVIS,
    SLOTCONTRAST,
    SLOTCONTRAST_YTVIS,
)
