"""Samples of a prepared folder one after the other, without having all of it: from the Hugging Face
Hub, from a store, or from a disk, as `datasets` streams its Parquet files.

A sample is the same as the one that `load_dataset_by_name` gives for its id; only the order is that
of the files, since nothing can be looked up. To train in the order of `StepBatches`, have the
folder on a disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset

from slot_data import catalog
from slot_data.manifest import MANIFEST, Manifest, hub_split, manifest_from
from slot_data.options import check_options
from slot_data.prepared import Reading, framed, reading_of, split_of
from slot_data.presets import preset_of
from slot_data.sample import DataError, Sample
from slot_data.stored_rows import require_datasets, sample_of_row

if TYPE_CHECKING:
    import datasets


class PreparedStream(IterableDataset[Sample]):
    """The samples of one split, file by file.

    root: a prepared folder, or an address of one that `fsspec` knows: hf://datasets/ORG/NAME is a
        repository on the Hub.
    preset, options: as of `load_dataset_by_name`, but `root`.
    rank, world_size: of several processes, each gets another part. Loader workers share that of
        their process, file by file.

    Raises DataError if the folder or a file in it cannot be read, or does not fit the options.
    """

    def __init__(
        self,
        root: str,
        *,
        split: str,
        preset: str | None = None,
        rank: int = 0,
        world_size: int = 1,
        **options: Any,
    ) -> None:
        require_datasets()
        from datasets import load_dataset
        from datasets.distributed import split_dataset_by_node

        if not 0 <= rank < world_size:
            raise DataError(f"rank is {rank}, not in [0, {world_size})")
        self.manifest = _manifest(root)
        name = self.manifest.dataset
        loader = catalog.card(name).loader
        if preset is not None:
            options = {**preset_of(name, preset).options_of(split), **options}
        check_options(name, loader, {**options, "root": root})
        self.reading: Reading = reading_of(self.manifest, loader, root, split, options)
        shards = split_of(self.manifest, root, split).shards
        files = [f"{root}/{shard.file}" for shard in shards if shard.rows]
        part = hub_split(split)
        self._root = root
        with self._told_of_files():
            rows = load_dataset("parquet", data_files={part: files}, split=part, streaming=True)
        self._rows: datasets.IterableDataset = split_dataset_by_node(
            rows.decode(False), rank=rank, world_size=world_size
        )

    def __iter__(self) -> Iterator[Sample]:
        for row in self._read():
            length = len(row["video"])
            for number in range(self.reading.count(f"the video of {row['id']!r}", length)):
                frames = self.reading.frames(number, length)
                encoding = self.manifest.encoding
                sample = sample_of_row(row, frames, encoding, self.reading.left)
                yield framed(self.reading.framing, sample)

    def _read(self) -> Iterator[dict[str, Any]]:
        rows = iter(self._rows)
        while True:
            with self._told_of_files():
                row = next(rows, None)
            if row is None:
                return
            yield row

    @contextmanager
    def _told_of_files(self) -> Iterator[None]:
        """Say of errors below which folder they are of; those of pyarrow are ValueErrors."""
        try:
            yield
        except (OSError, ValueError, EOFError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise DataError(f"{self._root}: a Parquet file cannot be read: {reason}") from error


def _manifest(root: str) -> Manifest:
    import fsspec

    path = f"{root}/{MANIFEST}"
    try:
        system, place = fsspec.url_to_fs(path)
        content = system.cat_file(place)
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return manifest_from(content, path)
