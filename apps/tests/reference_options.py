"""Which option of ours each key of SlotDiffusion's recipes is: the table that a test reads.

A key is mapped, has one value in all recipes that nothing of ours states, or is left out; each of
the last two for a reason. Values are converted where the two sides say the same in other words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import PurePath
from typing import Any

from slot_core.backbones.vit import VARIANTS
from slot_data import catalog
from slot_data.presets import preset_of
from support.options import load_options
from support.reference_names import own_recipe

Recipe = Mapping[str, Any]  # theirs, by dotted key

# Samples to train on, where the card of the dataset does not state them: "about 9.75k" videos of
# MOVi-D; of Physion those that its lists name for training, without the 798 for validation; and the
# videos of Physion of which it is given slots, or answers.
SIZES = {"coco": 117_266, "voc": 10_582, "movi_d": 9_750, "physion": 15_200}
SLOTS = {"LDMSlotFormer": 15_200, "PhysionReadout": 7_601}
# Their schedule ends at 1/100 of the rate, or at 0 for what learns from a tokenizer.
END_AT_ZERO = ("SADiffusion", "SAViDiffusion", "SLATE", "STEVE")


def own_options(name: str) -> dict[str, Any]:
    """What decides a run of ours, defaults and presets resolved, for one of their recipes.

    Beside the options there is what follows from them and theirs states: the width of features
    and of the decoder, and the size of latents.
    """
    options = load_options(own_recipe(name))
    model = options.model.model_dump()
    data = options.data.dataset_options(training=True)
    preset = data.pop("preset", None)
    published = preset_of(options.data.name, preset).options_of("train") if preset else {}
    loading = {"name": options.data.name, "num_workers": options.data.num_workers}
    own = {
        "model": model,
        "data": {**published, **data, **loading},
        **options.model_dump(include={"train", "optimizer", "validation"}),
    }
    decoder = model.get("decoder") or {}
    own["feature_dim"] = model.get("encoder", {}).get("projection_dim") or model.get("slot_dim")
    own["decoder_dim"] = decoder.get("model_dim") or model.get("slot_dim")
    if decoder.get("type") == "diffusion":
        factor = 2 ** (len(decoder["tokenizer"]["channels"]) - 1)
        sides = model["preprocessing"]["image_size"]
        own["latent_size"] = tuple(side // factor for side in sides)
    return own


def option(own: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; a number is a place in a sequence."""
    value: Any = own
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else value[part]
    return value


def flat(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A recipe of theirs by dotted key. Of the parts that it names twice, once alone and once
    inside the decoder, both are read as the decoder's."""
    found: dict[str, Any] = {}
    for key, value in recipe.items():
        twice = not prefix and key in ("unet_dict", "vae_dict")
        key = f"dec_dict.{key}" if twice else f"{prefix}{key}"
        inner = flat(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
        for name, one in inner.items():
            if found.setdefault(name, one) != one:
                raise ValueError(f"'{name}' is {found[name]!r} and {one!r} in one recipe")
    return found


# --- conversions: (their value, their recipe) -> ours ---------------------------------------------


def per_level(value: list[int], recipe: Recipe, width: str) -> tuple[int, ...]:
    """Multiples of a width."""
    return tuple(recipe[width] * factor for factor in value)


def dataset(value: str, recipe: Recipe) -> str:
    if value in ("movi", "steve_movi"):
        return f"movi_{recipe['movi_level'].lower()}"
    return {
        "physion_training": "physion",
        "physion_slots_training": "slots",
        "physion_slots_label_readout": "slots",
    }.get(value, value)


def steps_of_an_epoch(recipe: Recipe) -> int:
    """Whole batches of clips, one from every possible first frame."""
    name = dataset(recipe["dataset"], recipe)
    videos = SLOTS.get(recipe["model"], SIZES.get(name))
    if name in ("movi_solid", "movi_tex"):  # not published: taken for as many as MOVi-E has
        videos = catalog.card("movi_e").splits["train"]
    videos = videos or catalog.card(name).splits["train"]
    assert videos is not None
    clips = 1
    if "video_len" in recipe and recipe["model"] != "PhysionReadout":
        reach = (recipe["n_sample_frames"] - 1) * recipe["frame_offset"]
        clips = recipe["video_len"] - reach
    return videos * clips // batch_size(recipe["train_batch_size"], recipe)


def batch_size(value: int, recipe: Recipe) -> int:
    """Theirs counts one of the GPUs."""
    return value * recipe["gpus"]


def steps(epochs: int, recipe: Recipe) -> int:
    return epochs * steps_of_an_epoch(recipe)


def tokenizer(path: str, recipe: Recipe) -> Any:
    """That of the first stage's recipe; where its file is left open, of the dataset's dVAE."""
    name = PurePath(path).stem if path else f"dvae/{dataset(recipe['dataset'], recipe)}"
    return load_options(own_recipe(name)).model.tokenizer.model_dump()


def decoder(path: str, recipe: Recipe) -> Any:
    return load_options(own_recipe(PurePath(path).stem)).model.decoder.model_dump()


def vit(value: str, recipe: Recipe) -> dict[str, Any]:
    layers = {"num_layers": 12, "mlp_ratio": 4}
    return {"type": "vit", **layers, **VARIANTS[value], "frozen": True, "final_norm": True}


# --- their keys -----------------------------------------------------------------------------------

Conversion = Callable[[Any, Recipe], Any]
NET, LATENTS = "model.decoder.denoiser", "model.decoder.tokenizer"
VQ = "dec_dict.vae_dict.enc_dec_dict"

MAPPED: dict[str, str | tuple[str, Conversion]] = {
    "model": ("optimizer.final_fraction", lambda v, _: 0 if v in END_AT_ZERO else 0.01),
    "resolution": ("model.preprocessing.image_size", lambda v, _: tuple(v)),
    "norm_mean": ("model.preprocessing.mean", lambda v, _: (v,) * 3),
    "norm_std": ("model.preprocessing.std", lambda v, _: (v,) * 3),
    "slot_size": "model.slot_dim",
    "num_slots": "model.num_slots",
    "slot_dict.num_slots": "model.num_slots",
    "slot_dict.slot_size": "model.slot_dim",
    "slot_dict.slot_mlp_size": "model.encoder.corrector.hidden_dim",
    "slot_dict.num_iterations": "model.encoder.corrector.num_iterations",
    # the encoder
    "enc_dict.enc_out_channels": "feature_dim",
    "enc_dict.resnet": ("model.encoder.backbone.depth", lambda v, _: {"resnet18": 18}[v]),
    "enc_dict.use_layer4": ("model.encoder.backbone.num_stages", lambda v, _: 4 if v else 3),
    "enc_dict.enc_channels": ("model.encoder.backbone.channels", lambda v, _: tuple(v[1:])),
    "enc_dict.enc_ks": "model.encoder.backbone.kernel_size",
    "enc_dict.dino": ("model.encoder.backbone", vit),
    "enc_dict.patch_size": "model.encoder.backbone.patch_size",
    "enc_dict.small_size": ("model.encoder.backbone.hidden_dim", lambda v, _: 384 if v else 768),
    "enc_dict.resolution": ("model.preprocessing.image_size", lambda v, _: tuple(v)),
    "pred_dict.pred_type": "model.encoder.predictor.type",
    "pred_dict.pred_num_layers": "model.encoder.predictor.num_layers",
    "pred_dict.pred_num_heads": "model.encoder.predictor.num_heads",
    "pred_dict.pred_ffn_dim": "model.encoder.predictor.hidden_dim",
    "pred_dict.pred_norm_first": "model.encoder.predictor.norm_first",
    "pred_dict.pred_rnn": (
        "model.encoder.predictor.recurrent_dim",
        lambda v, r: r["slot_dict.slot_mlp_size"] if v else None,
    ),
    # the mixture decoder, the transformer and the dVAE
    "dec_dict.dec_channels": ("model.decoder.channels", lambda v, _: tuple(v[1:])),
    "dec_dict.dec_ks": "model.decoder.kernel_size",
    "dec_dict.dec_resolution": ("model.decoder.broadcast_size", lambda v, _: tuple(v)),
    "dec_dict.dec_d_model": "decoder_dim",
    "dec_dict.dec_num_heads": "model.decoder.num_heads",
    "dec_dict.dec_num_layers": "model.decoder.num_layers",
    "dvae_dict.vocab_size": "model.decoder.tokenizer.vocab_size",
    "dvae_dict.dvae_ckp_path": ("model.decoder.tokenizer", tokenizer),
    "vocab_size": "model.tokenizer.vocab_size",
    "init_tau": "model.tokenizer.start_temperature",
    "final_tau": "model.tokenizer.end_temperature",
    "tau_decay_pct": "model.tokenizer.anneal_fraction",
    # the diffusion decoder and the VQ-VAE
    "dec_dict.resolution": ("latent_size", lambda v, _: tuple(v)),
    "dec_dict.use_ema": ("train.ema_decay", lambda v, _: 0.9999 if v else None),
    "dec_dict.dec_ckp_path": ("model.decoder", decoder),
    "dec_dict.diffusion_dict.linear_start": "model.decoder.noise.beta_start",
    "dec_dict.diffusion_dict.linear_end": "model.decoder.noise.beta_end",
    "dec_dict.diffusion_dict.timesteps": "model.decoder.noise.num_steps",
    "dec_dict.diffusion_dict.pred_target": (
        "model.decoder.target",
        lambda v, _: {"eps": "epsilon"}[v],
    ),
    "dec_dict.diffusion_dict.z_scale_factor": "model.decoder.latent_scale",
    "dec_dict.unet_dict.attention_resolutions": (  # by how much the map is smaller there
        f"{NET}.attention_levels",
        lambda v, _: tuple(sorted(factor.bit_length() - 1 for factor in v)),
    ),
    "dec_dict.unet_dict.channel_mult": (
        f"{NET}.channels",
        partial(per_level, width="dec_dict.unet_dict.model_channels"),
    ),
    "dec_dict.unet_dict.model_channels": f"{NET}.channels.0",
    "dec_dict.unet_dict.context_dim": "model.slot_dim",
    "dec_dict.unet_dict.dropout": f"{NET}.dropout",
    "dec_dict.unet_dict.in_channels": f"{LATENTS}.latent_channels",
    "dec_dict.unet_dict.out_channels": f"{LATENTS}.latent_channels",
    "dec_dict.unet_dict.num_head_channels": f"{NET}.head_dim",
    "dec_dict.unet_dict.num_res_blocks": f"{NET}.layers_per_block",
    f"{VQ}.ch": f"{LATENTS}.channels.0",
    f"{VQ}.ch_mult": (f"{LATENTS}.channels", partial(per_level, width=f"{VQ}.ch")),
    f"{VQ}.num_res_blocks": f"{LATENTS}.layers_per_block",
    f"{VQ}.resolution": ("model.preprocessing.image_size", lambda v, _: (v, v)),
    f"{VQ}.z_channels": f"{LATENTS}.latent_channels",
    "dec_dict.vae_dict.vae_type": (f"{LATENTS}.type", lambda v, _: v.lower()),
    "dec_dict.vae_dict.vq_dict.embed_dim": f"{LATENTS}.latent_channels",
    "dec_dict.vae_dict.vq_dict.n_embed": f"{LATENTS}.vocab_size",
    "dec_dict.vae_dict.vq_dict.percept_loss_w": f"{LATENTS}.perceptual_weight",
    "dec_dict.vae_dict.vqvae_ckp_path": (LATENTS, tokenizer),
    "enc_dec_dict.ch": "model.tokenizer.channels.0",
    "enc_dec_dict.ch_mult": (
        "model.tokenizer.channels",
        partial(per_level, width="enc_dec_dict.ch"),
    ),
    "enc_dec_dict.num_res_blocks": "model.tokenizer.layers_per_block",
    "enc_dec_dict.resolution": ("model.preprocessing.image_size", lambda v, _: (v, v)),
    "enc_dec_dict.z_channels": "model.tokenizer.latent_channels",
    "vq_dict.embed_dim": "model.tokenizer.latent_channels",
    "vq_dict.n_embed": "model.tokenizer.vocab_size",
    "vq_dict.percept_loss_w": (
        "model.tokenizer.reconstruction",
        lambda v, _: "l1" if v else "mse",
    ),
    "percept_loss_w": "model.tokenizer.perceptual_weight",
    # SlotFormer and the readout
    "rollout_dict.num_slots": "model.num_slots",
    "rollout_dict.slot_size": "model.slot_dim",
    "rollout_dict.history_len": "model.dynamics.burn_in",
    "rollout_dict.d_model": "model.dynamics.model_dim",
    "rollout_dict.ffn_dim": "model.dynamics.hidden_dim",
    "rollout_dict.num_heads": "model.dynamics.num_heads",
    "rollout_dict.num_layers": "model.dynamics.num_layers",
    "rollout_dict.norm_first": "model.dynamics.norm_first",
    "rollout_dict.t_pe": ("model.dynamics.time_encoding", lambda v, _: {"sin": "sine"}[v]),
    "rollout_dict.slots_pe": ("model.dynamics.slot_encoding", lambda v, _: v or None),
    "loss_dict.rollout_len": ("data.num_frames", lambda v, r: v + r["rollout_dict.history_len"]),
    "slot_recon_loss_w": "model.slot_loss_weight",
    "readout_dict.num_slots": "model.num_slots",
    "readout_dict.slot_size": "model.slot_dim",
    "readout_dict.feats_dim": "model.readout.hidden_dim",
    "readout_dict.agg_func": "model.readout.aggregation",
    # samples and training
    "dataset": ("data.name", dataset),
    "movi_level": ("data.name", lambda v, _: f"movi_{v.lower()}"),
    "n_sample_frames": "data.num_frames",
    "frame_offset": "data.stride",
    "input_frames": "data.num_frames",
    "num_workers": "data.num_workers",
    "lr": "optimizer.learning_rate",
    "dec_lr": "optimizer.decoder_learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "warmup_steps_pct": "optimizer.warmup_fraction",
    "clip_grad": ("optimizer.clip_norm", lambda v, _: v if v > 0 else None),
    "grad_accum_steps": "train.accumulation",
    "train_batch_size": ("train.batch_size", batch_size),
    "max_epochs": ("train.num_steps", steps),
    "eval_interval": ("validation.every", steps),
}

# What a key says of one of their models alone.
MAPPED_FOR: dict[tuple[str, str], str | tuple[str, Conversion]] = {
    ("LDMSlotFormer", "input_frames"): "model.dynamics.burn_in",
    ("LDMSlotFormer", "frame_offset"): "model.stride",
    ("LDMSlotFormer", "loss_dict.use_denoise_loss"): (
        "model.image_loss_weight",
        lambda v, _: 1 if v else 0,
    ),
    ("SLATE", "loss_dict.use_img_recon_loss"): (
        "model.decoder.reconstruction_weight",
        lambda v, _: 1 if v else 0,
    ),
    ("STEVE", "loss_dict.use_img_recon_loss"): (
        "model.decoder.reconstruction_weight",
        lambda v, _: 1 if v else 0,
    ),
    ("PhysionReadout", "video_len"): "data.num_frames",
}

# Values that all recipes share: we have nothing else.
CONSTANT: dict[str, tuple[Any, str]] = {
    "optimizer": ("Adam", "ours is Adam"),
    "enc_dict.enc_norm": ("", "our plain convolutions have no norm"),
    "enc_dict.replace_stride_with_dilation": ([False] * 3, "our ResNet has no dilation"),
    "pred_dict.pred_sg_every": (None, "gradients go through all frames"),
    "dec_dict.dec_norm": ("", "our decoder has no norm"),
    "dec_dict.conditioning_key": ("crossattn", "slots are read by cross-attention"),
    "dec_dict.cond_stage_key": ("slots", "slots are the condition"),
    "dec_dict.diffusion_dict.beta_schedule": ("linear", "of the square roots, as ours"),
    "dec_dict.unet_dict.conv_resample": (True, "convolutions change the size"),
    "dec_dict.unet_dict.dims": (2, "pictures have two"),
    "dec_dict.unet_dict.n_embed": (None, "it predicts no codes"),
    "dec_dict.unet_dict.resblock_updown": (False, "convolutions change the size"),
    "dec_dict.unet_dict.transformer_depth": (1, "one block at each place"),
    "dvae_dict.down_factor": (4, "our dVAE has 4x4 pixels to a token"),
    "img_ch": (3, "colours"),
    "latent_ch": (3, "that of the VQ-VAE, which is compared"),
    "max_obj": (-1, "scenes of any number of objects"),
    "tasks": (["all"], "all scenarios of Physion"),
    **{
        f"{prefix}{key}": (value, reason)
        for prefix in ("", "dec_dict.vae_dict.")
        for key, value, reason in (
            ("enc_dec_dict.attn_resolutions", [], "attention in the middle alone"),
            ("enc_dec_dict.dropout", 0.0, "our VQ-VAE has none"),
            ("enc_dec_dict.in_channels", 3, "colours"),
            ("enc_dec_dict.out_ch", 3, "colours"),
        )
    },
    **dict.fromkeys(
        ("denoise_loss_w", "img_recon_loss_w", "token_recon_loss_w", "vqa_loss_w"),
        (1.0, "the loss of its model, or its parts, weigh 1"),
    ),
    "recon_loss_w": (1.0, "the parts of a tokenizer's loss weigh 1"),
    "quant_loss_w": (1.0, "the parts of a tokenizer's loss weigh 1"),
}
CONSTANT_FOR: dict[tuple[str, str], tuple[Any, str]] = {
    ("SA", "loss_dict.use_img_recon_loss"): (True, "its only loss"),
    ("SAVi", "loss_dict.use_img_recon_loss"): (True, "its only loss"),
    ("LDMSlotFormer", "loss_dict.use_img_recon_loss"): (False, "its decoder paints no picture"),
    ("SADiffusion", "loss_dict.use_denoise_loss"): (True, "its only loss"),
    ("SAViDiffusion", "loss_dict.use_denoise_loss"): (True, "its only loss"),
}

# What no option of ours is.
LEFT_OUT = {
    **dict.fromkeys(("data_root", "slots_root"), "where files lie is told when a run starts"),
    **dict.fromkeys(("ckp_monitor", "ckp_monitor_type"), "empty: no best checkpoint is chosen"),
    **dict.fromkeys(
        ("copy_ckp_end", "save_epoch_end", "save_interval", "print_iter", "project", "n_samples"),
        "of logs, pictures and checkpoints, which change no result",
    ),
    "san_check_val_step": "a trial of validation before training",
    "ddp_unused_params": "of data-parallel training; all of our parameters are used",
    "gpus": "it is in train.batch_size",
    "val_batch_size": "how many samples are scored at once changes no score",
    "load_anno": "which files are read beside pictures; no loss sees labels",
    "load_mask": "which files are read beside pictures; no loss sees labels",
    "video_len": "it is in train.num_steps",
    "use_dpm": "whether validation draws with the fast sampler",
    "dec_dict.diffusion_dict.cosine_s": "of a schedule that no recipe has",
    "dec_dict.diffusion_dict.log_every_t": "of its pictures of intermediate steps",
    "dec_dict.diffusion_dict.logvar_init": "read by nothing",
    "dec_dict.unet_dict.use_checkpoint": "memory for time; the results are the same",
}
LEFT_OUT_FOR = {
    ("LDMSlotFormer", "slot_dict.slot_mlp_size"): "of the model that found the slots",
    ("LDMSlotFormer", "slot_dict.num_iterations"): "of the model that found the slots",
    ("PhysionReadout", "n_sample_frames"): "of clips, but it answers about whole videos",
    ("PhysionReadout", "frame_offset"): "of clips, but it answers about whole videos",
    ("PhysionReadout", "resolution"): "it sees slots",
}
# The numbers of steps that rest on a number of videos which is not published.
ROUNDED = {("movi_solid", "movi_tex"): ("max_epochs", "eval_interval")}


def is_rounded(key: str, recipe: Recipe) -> bool:
    """Whether ours is a round number near the value."""
    name = dataset(recipe["dataset"], recipe)
    return any(name in names and key in keys for names, keys in ROUNDED.items())
