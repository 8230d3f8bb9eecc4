"""Saving, loading and publishing a model: one folder, strict both ways.

A checkpoint is ``config.json`` (format version, class name, the typed configuration),
``model.safetensors`` and ``README.md``. Loading accepts exactly the weights that the
configuration asks for: a missing, surplus, misshapen or truncated one is an error. The
ready-made mixin of huggingface_hub accepts missing weights silently and loses nested
configurations, hence this one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    # Of the HTTP client of the installed huggingface_hub, which changed between its versions.
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]: no other name serves all of them
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from slot_core.config import StrictConfig, merge
from slot_core.described import check_described, check_unshared
from slot_core.errors import CheckpointError, printable
from slot_core.json_files import read_json
from slot_core.memory_budget import MemoryBudget
from slot_core.model_card import ModelCard

# The type checker of the tests cannot resolve typing.Self outside a decorated class.
Model = TypeVar("Model", bound="HubModel")

FORMAT_VERSION = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


class HubModel(nn.Module):
    """A module that is built from a typed configuration and travels with it.

    A subclass names its ``config_class``, builds itself in ``from_config`` and keeps the
    configuration as ``config``. For the card of its checkpoints it can say what it does
    (``purpose``, a sentence or two) and how ``model`` is used (``usage``, a line of Python).
    """

    config_class: ClassVar[type[StrictConfig]]
    purpose: ClassVar[str] = ""
    usage: ClassVar[str] = ""
    config: StrictConfig

    @classmethod
    def from_config(cls: type[Model], config: Any) -> Model:
        """The model that ``config``, a ``config_class``, describes, freshly initialised."""
        raise TypeError(f"{cls.__name__} must define from_config")

    def save_pretrained(self, folder: str | Path, *, card: ModelCard | None = None) -> None:
        """Write the checkpoint into ``folder``, which is created or whose files are replaced.

        Everything is written beside its place first and only then renamed, so a crash or a full
        disk leaves the previous checkpoint as it was. ``config.json`` is renamed last: a new
        folder that has one is complete.

        Raises:
            CheckpointError: if the configuration describes another model, which is what would be
                loaded, two weights are the same memory, or a file cannot be written.
        """
        folder = Path(folder)
        check_described(self, lambda: type(self).from_config(self.config))
        check_unshared(self.state_dict())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as temporary:
                self._write(Path(temporary), card or ModelCard())
                for name in (WEIGHTS, CARD, CONFIG):
                    Path(temporary, name).replace(folder / name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"cannot save the model to {folder}: {_reason(error)}") from error

    def _write(self, folder: Path, card: ModelCard) -> None:
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        config = self.config.model_dump(mode="json")
        described = {
            "format_version": FORMAT_VERSION,
            "model_class": type(self).__name__,
            "config": config,
        }
        (folder / CONFIG).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        num_parameters = sum(parameter.numel() for parameter in self.parameters())
        text = card.render(
            type(self), config, num_parameters, purpose=self.purpose, usage=self.usage
        )
        (folder / CARD).write_text(text, encoding="utf-8")
        # safetensors makes files that only their owner can read; the others follow the umask.
        (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)
        for name in (WEIGHTS, CONFIG, CARD):
            with (folder / name).open("rb") as file:
                os.fsync(file.fileno())

    @classmethod
    def from_pretrained(
        cls: type[Model],
        repo_or_folder: str | Path,
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Model:
        """Load a checkpoint from a folder or from a repository on the Hub, in eval mode.

        Args:
            repo_or_folder: a folder, or a repository id such as ``"org/name"``.
            revision: branch, tag or commit on the Hub.
            device: where to put the model.
            dtype: to convert the weights to; None keeps theirs.
            changes: to its configuration, nested as dictionaries, which the weights must fit as
                they are: ``{"num_slots": 11}`` where first slots are not learned one by one,
                ``{"encoder": {"corrector": {"num_iterations": 5}}}``.

        Raises:
            CheckpointError: if it cannot be found or read, holds another class, or its weights
                are not exactly those of its configuration.
            ConfigError: if ``config.json`` or ``changes`` have an unknown, missing or unusable
                key.
        """
        folder = locate_checkpoint(repo_or_folder, revision)
        description = read_description(folder)
        if description["model_class"] != cls.__name__:
            found = printable(description["model_class"])
            raise CheckpointError(f"{folder / CONFIG}: holds a {found}, expected {cls.__name__}")
        told = f" with {printable(str(dict(changes)), 200)}" if changes else ""
        stated = merge(description["config"], changes or {})
        config = cls.config_class.parse(stated, source=f"{folder / CONFIG}{told}")
        weights = read_weights(folder / WEIGHTS)
        size = sum(value.nbytes for value in weights.values())
        with MemoryBudget(size, f"{folder / CONFIG}{told}"):
            model = cls.from_config(config)
        check_weights(model, weights, source=f"{folder / WEIGHTS}{told}")
        _take_over(model, weights)
        return model.to(device=device, dtype=dtype).eval()

    def push_to_hub(
        self,
        repo_id: str,
        *,
        card: ModelCard | None = None,
        private: bool = False,
        token: str | None = None,
        commit_message: str = "Upload model",
    ) -> str:
        """Upload the checkpoint to the Hub; the repository is made if there is none.

        Returns:
            The address of the commit.

        Raises:
            CheckpointError: if the Hub refuses or cannot be reached.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, card=card)
            return push_folder(
                folder, repo_id, private=private, token=token, commit_message=commit_message
            )


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    commit_message: str = "Upload model",
    card: str | None = None,
) -> str:
    """Upload a saved checkpoint as it is, with the card that lies in it.

    Args:
        folder: that ``save_pretrained`` wrote.
        repo_id: the repository, which is made if there is none.
        private: whether a new one is.
        token: None for the one that this machine is logged in with.
        commit_message: of the commit.
        card: the text of another one, to be uploaded in its place.

    Returns:
        The address of the commit.

    Raises:
        CheckpointError: if the Hub refuses or cannot be reached.
    """
    api = HfApi(token=token)
    files: dict[str, Path | bytes] = {
        name: Path(folder, name) for name in (CONFIG, WEIGHTS, CARD) if Path(folder, name).is_file()
    }
    if card is not None:
        files[CARD] = card.encode()
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        commit = api.create_commit(
            repo_id=repo_id,
            operations=[CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message=commit_message,
        )
    # A failed upload of the weights is a RuntimeError in huggingface_hub.
    except (HTTPError, HFValidationError, OSError, RuntimeError) as error:
        unknown = getattr(getattr(error, "response", None), "status_code", None) == 401
        hint = "; hf auth login, or the variable HF_TOKEN, says who you are" if unknown else ""
        raise CheckpointError(f"cannot push to {repo_id}: {_reason(error)}{hint}") from error
    except ValueError as error:
        if CARD not in str(error):
            raise
        # That of a card which the Hub does not take has several lines.
        raise CheckpointError(
            f"cannot push to {repo_id}: {' '.join(str(error).split())}"
        ) from error
    return commit.commit_url


def locate_checkpoint(
    repo_or_folder: str | Path,
    revision: str | None = None,
    *,
    files: Sequence[str] = (CONFIG, WEIGHTS, CARD),
) -> Path:
    """The local folder of a checkpoint, downloaded from the Hub if it is not a folder already.

    Args:
        repo_or_folder: a folder, or a repository id such as ``"org/name"``.
        revision: branch, tag or commit on the Hub.
        files: which of the repository's to download, as far as it has them.

    Raises:
        CheckpointError: if it is neither a folder nor a repository that can be reached, or a
            folder is asked for in a revision.
    """
    folder = Path(repo_or_folder)
    if folder.is_dir():
        check_no_revision(folder, revision)
        return folder
    if folder.exists():
        raise CheckpointError(
            f"{repo_or_folder}: is a file; expected a checkpoint's folder or a repository"
        )
    try:
        return Path(
            snapshot_download(str(repo_or_folder), revision=revision, allow_patterns=list(files))
        )
    except HFValidationError:
        raise CheckpointError(f"{repo_or_folder}: there is no such folder") from None
    except RevisionNotFoundError:
        raise CheckpointError(f"{repo_or_folder}: has no revision '{revision}'") from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            f"{repo_or_folder}: there is no such folder, and no such repository on the Hub that "
            "you may read"
        ) from None
    except (HTTPError, OSError) as error:
        raise CheckpointError(
            f"{repo_or_folder}: there is no such folder, and the Hub gave no such repository "
            f"({_reason(error)})"
        ) from None


def check_no_revision(folder: str | Path, revision: str | None) -> None:
    """Refuse a revision of a folder on this machine, which is as it is.

    Raises:
        CheckpointError: if there is one.
    """
    if revision is not None:
        raise CheckpointError(
            f"{folder}: is a folder on this machine, which has no revision '{revision}'; leave "
            "the revision out, or name a repository of the Hub"
        )


def read_description(folder: Path) -> dict[str, Any]:
    """``config.json`` of a checkpoint: format_version, model_class and config.

    Raises:
        CheckpointError: if the file is missing, is not such JSON, or is of a newer format.
    """
    path = folder / CONFIG
    try:
        description = read_json(path)
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: is no checkpoint, {CONFIG} is missing") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: is not readable JSON ({error})") from None
    expected = {"format_version": int, "model_class": str, "config": dict}
    if not isinstance(description, dict):
        raise CheckpointError(f"{path}: expected a JSON object with {', '.join(expected)}")
    for key, kind in expected.items():
        if not isinstance(description.get(key), kind):
            raise CheckpointError(f"{path}: key '{key}' is missing or not of type {kind.__name__}")
    for key in description.keys() - expected.keys():
        raise CheckpointError(
            f"{path}: unknown key '{printable(key)}'; allowed: {', '.join(expected)}"
        )
    if description["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format_version is {description['format_version']}, this slot-core reads "
            f"{FORMAT_VERSION}; install the version that wrote it"
        )
    return description


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a safetensors file that must hold exactly the model's weights, in the file's dtypes.

    Raises:
        CheckpointError: if it is missing or damaged, or a name or shape differs.
    """
    weights = read_weights(path)
    check_weights(model, weights, source=str(path))
    _take_over(model, weights)


def _take_over(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    kinds = {value.dtype for value in weights.values() if value.is_floating_point()}
    if len(kinds) == 1 and kinds != {torch.get_default_dtype()}:
        model.to(dtype=kinds.pop())  # with the buffers that are not in the file
    for name, own in model.state_dict(keep_vars=True).items():
        own.data = own.data.to(weights[name].dtype)
    model.load_state_dict(weights, strict=True)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file by name.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: the weights file is missing") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is damaged or truncated ({error})") from None


def check_weights(model: nn.Module, weights: dict[str, torch.Tensor], *, source: str) -> None:
    """Raise CheckpointError unless ``weights`` are the model's own in name, shape and kind."""
    own = model.state_dict()
    for problem, names in (
        ("lacks", sorted(own.keys() - weights.keys())),
        ("has the unknown", sorted(weights.keys() - own.keys())),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            first = ", ".join(printable(name, 100) for name in names[:3])
            raise CheckpointError(f"{source}: {problem} weights {first}{more}")
    for name, value in weights.items():
        if value.shape != own[name].shape:
            raise CheckpointError(
                f"{source}: {name} has the shape {list(value.shape)}, "
                f"the configuration asks for {list(own[name].shape)}"
            )
        if value.dtype.is_floating_point != own[name].dtype.is_floating_point:
            raise CheckpointError(
                f"{source}: {name} is of {value.dtype}, the configuration asks for "
                f"{own[name].dtype}"
            )


def _reason(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
