"""The names that SlotDiffusion's recipes, and the weights it released, bear; and ours.

    savi_ldm_movid_params-res128    slot_diffusion/movi_d

Theirs are the model's, the dataset's and the picture's size; the size follows from the others.
"""

from __future__ import annotations

from pathlib import PurePath

MODELS = {
    "sa": "slot_attention",
    "savi": "savi",
    "slate": "slate",
    "steve": "steve",
    "sa_ldm": "slot_diffusion",
    "sa_ldm_dino": "slot_diffusion",
    "savi_ldm": "slot_diffusion",
    "dvae": "dvae",
    "vqvae": "vqvae",
    "ldmslotformer": "slot_former",
    "readout": "relation_readout",
}
DATASETS = {
    "celeba": "celeba",
    "clevrtex": "clevrtex",
    "coco": "coco",
    "voc": "voc",
    "movid": "movi_d",
    "movie": "movi_e",
    "movisolid": "movi_solid",
    "movitex": "movi_tex",
    "physion": "physion",
}


def own_recipe(name: str) -> str:
    """Our recipe for one of theirs, by its name or its file; any other name as it is."""
    stem, params, _ = PurePath(name).name.partition("_params")
    model, _, dataset = stem.rpartition("_")
    if not params or model not in MODELS or dataset not in DATASETS:
        return name
    return f"{MODELS[model]}/{DATASETS[dataset]}"
