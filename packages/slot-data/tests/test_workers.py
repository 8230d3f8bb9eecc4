"""Several processes with several loader workers each: every sample once, and no worker grows while
it reads."""

import json
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image
from scenes import prepared, write_scene

pytestmark = pytest.mark.slow

READS = """
import json, sys
from torch.utils.data import DataLoader
from slot_data import AugmentedDataset, StepBatches, load_dataset_by_name

root, rank, workers = sys.argv[1], int(sys.argv[2]), 4
dataset = load_dataset_by_name("clevrtex", split="test", root=root)
batches = StepBatches(
    num_samples=len(dataset), batch_size=4, seed=3, rank=rank, world_size=2, start_step=0,
    num_steps=len(dataset) // 4,
)
augmented = AugmentedDataset(dataset, [], seed=3)
seen = [[sample["id"] for sample in batch] for batch in
        DataLoader(augmented, batch_sampler=batches, num_workers=workers, collate_fn=list)]
assert "datasets" not in sys.modules  # it needs seconds to import, and copies what it opens
print(json.dumps(seen))
"""

GROWS = """
import json, os, sys
from torch.utils.data import DataLoader, Dataset
from slot_data import load_dataset_by_name


def private():  # bytes that this process has written, or copied by writing to shared pages
    rollup = open("/proc/self/smaps_rollup").read()
    return int(rollup.partition("Private_Dirty:")[2].split()[0]) * 1024


class Watched(Dataset):
    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        size = self.dataset[index]["video"].numel()
        return os.getpid(), private() if index % 40 < 2 else 0, size  # it takes milliseconds


options = json.loads(sys.argv[1])
dataset = load_dataset_by_name(**options)
found = {}
loader = DataLoader(
    Watched(dataset),
    batch_size=None,
    num_workers=2,
    multiprocessing_context="fork",  # where pages are shared until somebody writes to them
)
for process, memory, size in loader:
    found.setdefault(process, []).extend([memory] * (memory > 0))
growth = [max(later[len(later) // 2 :]) - max(later[: len(later) // 4]) for later in found.values()]
print(json.dumps([len(dataset), growth]))
"""


def output_of(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, check=True
    )
    return json.loads(done.stdout)


def test_two_processes_and_four_workers_see_each_sample_once(tmp_path):
    numbers = range(24)
    for number in numbers:
        write_scene(tmp_path / "raw", number)
    for name, cache in (("made", False), ("cached", True)):
        prepared("clevrtex", tmp_path / "raw", tmp_path / name, ("test",), cache=cache,
                 options={"image_size": 32})  # fmt: skip
    orders = []
    for name in ("raw", "made", "cached"):
        seen = [output_of(READS, tmp_path / name, rank) for rank in range(2)]
        flat = [list(chain.from_iterable(batches)) for batches in seen]
        assert set(flat[0]).isdisjoint(flat[1])
        assert sorted(flat[0] + flat[1]) == [f"CLEVRTEX_full_{n:06d}" for n in numbers]
        orders.append(seen)
    assert orders[0] == orders[1] == orders[2]


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells the memory there"
)
def test_no_worker_grows_over_an_epoch(tmp_path):
    """4,000 pictures, 200 MB of pixels; lists of that many paths would cost each worker megabytes,
    as reading them copies the pages that they lie on."""
    folder = tmp_path / "raw/clevrtex_full/0"
    folder.mkdir(parents=True)
    picture, mask = tmp_path / "a.png", tmp_path / "b.png"
    Image.new("RGB", (128, 128), "red").save(picture)
    Image.new("L", (128, 128), 1).save(mask)
    for number in range(4000):
        os.link(picture, folder / f"CLEVRTEX_full_{number:06d}.png")
        os.link(mask, folder / f"CLEVRTEX_full_{number:06d}_flat.png")
    size = {"centre_crop": None, "image_size": 128}
    prepared("clevrtex", tmp_path / "raw", tmp_path / "made", ("test",), options=size, cache=True)
    prepared("clevrtex", tmp_path / "raw", tmp_path / "parquet", ("test",), options=size)
    for name in ("raw", "parquet", "made"):
        options = {"name": "clevrtex", "split": "test", "root": str(tmp_path / name), **size}
        assert_flat(options, 4000)
    os.renames(folder, tmp_path / "own/images/0")
    assert_flat({"name": "folder", "split": "all", "root": str(tmp_path / "own")}, 8000)


def assert_flat(options, count):
    length, growth = output_of(GROWS, json.dumps(options))
    assert length == count
    assert len(growth) == 2
    assert max(growth) < 2_000_000, (options, growth)
