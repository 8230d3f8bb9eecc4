"""The published weights of an autoencoder, from diffusers' layout into a decoder's tokenizer.

diffusers reads the files, as it knows the names that older ones give to their weights. What it
would pass over is an error here: a network of other sizes, and a weight that is missing or left
over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slot_core import CheckpointError, ConfigError
from slot_core.hub import check_no_revision
from slot_decoders.diffusers_extra import import_diffusers
from slot_decoders.models.configs import PreprocessingConfig
from slot_decoders.tokenizers import AutoencoderKL, AutoencoderTiny

# Of diffusers' configuration: what changes nothing that the network computes. The last is where
# AutoencoderTiny repeats the widths of its decoder.
IDLE = {"sample_size", "force_upcast", "latent_magnitude", "latent_shift", "block_out_channels"}
SUBFOLDER = "vae"  # of a whole pipeline's folder or repository


def load_autoencoder(
    tokenizer: AutoencoderKL | AutoencoderTiny,
    preprocessing: PreprocessingConfig,
    repo_or_folder: str | Path,
    *,
    revision: str | None = None,
) -> None:
    """Load pre-trained weights into ``tokenizer``, in its own dtype and place.

    Args:
        tokenizer: built with the network's own sizes.
        preprocessing: of the pictures that it is to be given.
        repo_or_folder: as ``save_pretrained`` of diffusers writes it, such as
            ``"stabilityai/sd-vae-ft-mse"`` or ``"madebyollin/taesd"``; or that of a pipeline,
            whose part ``vae`` is taken.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: if it cannot be found or read, is of another class, or is a folder and
            asked for in a revision.
        ConfigError: if pictures do not come in [-1, 1], or the network is of other sizes; the
            sentence names the first key that differs.
    """
    for key, value in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if any(part != 0.5 for part in value):
            raise ConfigError(
                f"{repo_or_folder}: takes pixels in [-1, 1], but preprocessing.{key} is {value}, "
                f"expected 0.5 of each colour"
            )
    kind = getattr(import_diffusers("a pre-trained autoencoder"), tokenizer.kind)
    place = _place(kind, repo_or_folder, revision)
    described = _described(kind, repo_or_folder, place)
    _check_sizes(tokenizer, described, repo_or_folder)
    _require_one_file(repo_or_folder)
    with _told_by_errors_alone():
        try:
            network, told = kind.from_pretrained(
                repo_or_folder, **place, low_cpu_mem_usage=False, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{repo_or_folder}: the weights cannot be read ({_line(error)})"
            ) from None
    for what in ("missing", "unexpected"):
        if told[f"{what}_keys"]:
            name = sorted(told[f"{what}_keys"])[0]
            raise CheckpointError(f"{repo_or_folder}: the weight '{name}' is {what}")
    tokenizer.network.load_state_dict(network.state_dict(), strict=True)


def _place(kind: Any, repo_or_folder: str | Path, revision: str | None) -> dict[str, Any]:
    """Where in it the autoencoder lies: at its root, or in a pipeline's subfolder."""
    if Path(repo_or_folder).is_dir():
        check_no_revision(repo_or_folder, revision)
        inside = Path(repo_or_folder, SUBFOLDER, "config.json").is_file()
        return {"subfolder": SUBFOLDER} if inside else {}
    place: dict[str, Any] = {} if revision is None else {"revision": revision}
    try:
        kind.load_config(repo_or_folder, **place)
    except OSError:
        return place | {"subfolder": SUBFOLDER}
    return place


def _described(kind: Any, repo_or_folder: str | Path, place: dict[str, Any]) -> Mapping[str, Any]:
    try:
        described = kind.load_config(repo_or_folder, **place)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{repo_or_folder}: holds no autoencoder in the layout of diffusers ({_line(error)})"
        ) from None
    found = described.get("_class_name")
    if found != kind.__name__:
        raise CheckpointError(
            f"{repo_or_folder}: config.json describes a {found or 'model of no class'}, expected "
            f"an {kind.__name__} as diffusers writes it"
        )
    return described


def _check_sizes(tokenizer: Any, described: Mapping[str, Any], source: str | Path) -> None:
    """Raise ConfigError unless a network so described computes what ``tokenizer`` does."""
    ours: Mapping[str, Any] = tokenizer.network.config
    usual = type(tokenizer.network)().config  # of what config.json does not state
    names = {theirs: name for name, theirs in tokenizer.words.items()}
    for key in sorted(ours.keys() - (IDLE - names.keys()), key=lambda key: (key not in names, key)):
        if key.startswith("_"):
            continue
        found, wanted = (_plain(value) for value in (described.get(key, usual[key]), ours[key]))
        if found != wanted:
            called = f"decoder.tokenizer.{names[key]}" if key in names else key
            raise ConfigError(
                f"{source}: is another tokenizer; its {called} is {found!r}, the model's is "
                f"{wanted!r}"
            )


def _require_one_file(repo_or_folder: str | Path) -> None:
    """Raise CheckpointError for an index of weights in several files, which may lie anywhere; such
    a network is small."""
    for folder in (Path(repo_or_folder), Path(repo_or_folder, SUBFOLDER)):
        for index in folder.glob("*.index.json"):
            raise CheckpointError(f"{index}: names several files of weights, expected one file")


def _plain(value: Any) -> Any:
    """One way of writing what configurations write in several."""
    if isinstance(value, list | tuple):
        return tuple(value)
    return 0.0 if value is None else value


@contextmanager
def _told_by_errors_alone() -> Iterator[None]:
    """diffusers also warns of what is raised here."""
    logger = logging.getLogger("diffusers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
