"""Prepared folders as dataset repositories of the Hugging Face Hub: pushed whole, and fetched split
by split into the Hub's own cache, where the next process finds them.

An address is `hf://datasets/ORG/NAME`, or `hf://datasets/ORG/NAME@REVISION` for a branch, a tag or
a commit. HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to huggingface_hub.
"""

from __future__ import annotations

from pathlib import Path

from slot_data.manifest import MANIFEST, Manifest, is_prepared, read_manifest
from slot_data.sample import DataError
from slot_data.stored_rows import require_datasets

SCHEME = "hf://"
DATASETS = f"{SCHEME}datasets/"
CARD = "README.md"


def prepared_folder(root: str | Path | None, split: str | None = None) -> Path | None:
    """The prepared folder that `root` is, or that it is the address of; None where it is neither.

    split: of which the files are wanted; None for what the folder says of itself alone.

    Raises DataError if an address cannot be read or holds no such split.
    """
    if root is None:
        return None
    if not is_address(root):
        folder = Path(root).expanduser()
        return folder if is_prepared(folder) else None
    described = _fetched(str(root), [MANIFEST, CARD])
    manifest = read_manifest(described)
    if split is None or split not in manifest.splits:  # an error where it is asked for
        return described
    return _fetched(str(root), _files_of(manifest, [split]), described.name)


def whole_folder(root: str | Path) -> Path | None:
    """As `prepared_folder`, with the files of all splits."""
    folder = prepared_folder(root)
    if folder is None or not is_address(root):
        return folder
    manifest = read_manifest(folder)
    return _fetched(str(root), _files_of(manifest, list(manifest.splits)), folder.name)


def is_address(root: str | Path) -> bool:
    return str(root).startswith(SCHEME)


def push(folder: Path, repo_id: str, public: bool = False) -> str:
    """Makes the folder a dataset repository, or the next commit of one; returns its address in the
    browser. What is not the prepared folder's own is left here, and what was uploaded before an
    interruption is not uploaded again.

    Raises DataError if the folder is not whole, or the Hub refuses or cannot be reached.
    """
    require_datasets()
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]: of the client that it is built on
    )

    manifest = read_manifest(folder)
    files = _files_of(manifest, list(manifest.splits))
    for name in files:
        if not (folder / name).is_file():
            raise DataError(f"{folder} lacks {name}")
    message = f"{manifest.dataset}, prepared: {manifest.hash}"
    try:
        hub = HfApi()
        hub.create_repo(repo_id, repo_type="dataset", private=not public, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=files,
            commit_message=message,
        )
    except (HTTPError, HFValidationError, OSError, RuntimeError) as error:
        raise DataError(f"cannot push {folder} to {repo_id}: {_reason(error)}") from error
    return commit.commit_url


def _files_of(manifest: Manifest, splits: list[str]) -> list[str]:
    found = [MANIFEST, CARD]
    for split in splits:
        found += manifest.splits[split].checksums
    return found


def _fetched(address: str, files: list[str], commit: str | None = None) -> Path:
    """The folder in the Hub's cache that holds these files; it has the commit's name."""
    require_datasets()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]: of the client that it is built on
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, _, revision = address.removeprefix(DATASETS).partition("@")
    if not address.startswith(DATASETS) or name.count("/") != 1:
        raise DataError(f"root {address} is no address; expected {DATASETS}ORG/NAME")
    try:
        place = snapshot_download(
            name, repo_type="dataset", revision=commit or revision or None, allow_patterns=files
        )
    except HFValidationError as error:
        raise DataError(f"root {address} is no address: {_reason(error)}") from error
    except RevisionNotFoundError as error:
        raise DataError(f"root {address}: there is no such revision") from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"root {address}: there is no such repository on the Hub that you may read"
        ) from error
    except (HTTPError, OSError) as error:
        raise DataError(f"root {address} cannot be read: {_reason(error)}") from error
    if not is_prepared(Path(place)):
        raise DataError(f"root {address} holds no {MANIFEST}: slot-data prepare has not written it")
    return Path(place)


def _reason(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
