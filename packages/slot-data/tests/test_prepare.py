"""Preparing: what a killed run leaves, broken files, archives, and the command line."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import zipfile

import numpy as np
import pytest
from PIL import Image
from scenes import assert_all_same, prepared, write_scene

from slot_data import DataError, cli, load_dataset_by_name
from slot_data.manifest import read_manifest
from slot_data.prepare import Plan, Preparation

COUNT = 6
SMALL = 20_000  # bytes: a shard holds two or three of these scenes


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    for number in range(COUNT):
        write_scene(root, number, objects=1 + number)
    return root


@pytest.fixture
def scenes(written, tmp_path):
    """Links to the files of a dataset, each of which a test may replace."""
    for path in sorted(written.rglob("*.png")):
        place = tmp_path / "raw" / path.relative_to(written)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, place)
    return tmp_path / "raw"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the program; returns its exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["slot-data", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return call


def picture(root, number):
    return root / f"clevrtex_full/0/CLEVRTEX_full_{number:06d}.png"


def replaced(path, content):
    path.unlink()
    path.write_bytes(content)


def plan(root, out, **more):
    return Plan("clevrtex", root, out, ("test",), shard_bytes=SMALL, **more)


def made(out):
    return sorted(path.name for path in (out / "data").iterdir())


def test_what_was_finished_before_a_kill_is_kept(scenes, tmp_path):
    whole = prepared("clevrtex", scenes, tmp_path / "whole", ("test",), shard_bytes=SMALL)
    out = tmp_path / "out"
    steps = Preparation(plan(scenes, out)).run()
    for _ in range(COUNT - 1):
        next(steps)
    finished = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert 1 <= len(finished) < len(whole.splits["test"].shards)
    (out / "data/test-00001.parquet.part").write_bytes(b"half of one")

    again = Preparation(plan(scenes, out))
    assert 0 < again.num_done < COUNT
    assert again.num_done + sum(1 for _ in again.run()) == COUNT
    manifest = again.finish()
    assert manifest == whole
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert made(out) == made(tmp_path / "whole")
    assert not (out / ".prepare").exists()


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_finished(written, tmp_path):
    arguments = ["prepare", "clevrtex", "--source", written, "--split", "test", "--workers", "2"]
    program = [sys.executable, str(tmp_path / "program.py"), *map(str, arguments)]
    (tmp_path / "program.py").write_text(
        "import time\n"
        "from slot_data import cli, prepare, shards\n"
        "write = shards.write_whole\n"
        "def slowly(path, content):\n"
        "    write(path, content)\n"
        "    time.sleep(0.3)\n"
        "shards.write_whole = slowly\n"
        "plan = cli.Plan\n"
        f"cli.Plan = lambda **k: plan(**{{**k, 'shard_bytes': {SMALL}}})\n"
        "if __name__ == '__main__':  # workers may read this file, too\n"
        "    cli.main()\n"
    )
    out = tmp_path / "out"
    killed = subprocess.Popen([*program, "--out", str(out)], start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(out.glob(".prepare/test-*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("data/*.parquet")}
    assert finished
    assert not (out / "prepared.json").exists()
    for place in (out, tmp_path / "whole"):
        subprocess.run([*program, "--out", str(place)], check=True, capture_output=True)
    assert read_manifest(out) == read_manifest(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def test_the_number_of_processes_changes_nothing(scenes, tmp_path):
    one = prepared("clevrtex", scenes, tmp_path / "1", ("test",), shard_bytes=SMALL)
    two = prepared("clevrtex", scenes, tmp_path / "2", ("test",), shard_bytes=SMALL, workers=2)
    assert one == two
    bytes_of = [(tmp_path / n / "data/test-00000.parquet").read_bytes() for n in "12"]
    assert bytes_of[0] == bytes_of[1]


def test_another_preparation_is_not_mixed_with_this_one(scenes, tmp_path):
    out = tmp_path / "out"
    next(Preparation(plan(scenes, out)).run())
    with pytest.raises(DataError, match="holds the beginning of another preparation"):
        Preparation(plan(scenes, out, options={"image_size": 64}))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="full is there and not empty"):
        Preparation(plan(scenes, tmp_path / "full"))


@pytest.mark.parametrize("fault", ["truncated", "missing mask", "colour mask"])
def test_what_is_broken_is_named_or_left_out_and_listed(scenes, tmp_path, run, fault):
    path, mask = picture(scenes, 3), picture(scenes, 3).with_name("CLEVRTEX_full_000003_flat.png")
    name = path.name if fault == "truncated" else mask.name
    if fault == "truncated":
        replaced(path, path.read_bytes()[:4000])
    elif fault == "colour mask":
        replaced(mask, path.read_bytes())
    else:
        mask.unlink()
    arguments = ("prepare", "clevrtex", "--source", scenes, "--split", "test", "--workers", 0)
    code, _, errors = run(*arguments, "--out", tmp_path / "strict")
    assert code == 2
    assert errors.splitlines()[-1].startswith("error: ")
    assert name in errors.splitlines()[-1]
    code, text, _ = run(*arguments, "--out", tmp_path / "out", "--skip-broken")
    assert code == 0
    assert "test: 5 pictures" in text
    assert "left out: 1" in text
    assert name in text
    assert name in (tmp_path / "out/README.md").read_text()
    again = load_dataset_by_name("clevrtex", split="test", root=tmp_path / "out")
    assert [sample["id"][-1] for sample in again] == list("01245")


def test_nine_of_ten_files(tmp_path, run):
    """CelebA has a list: one picture less is noticed before anything is written."""
    folder = tmp_path / "raw/celeba/img_align_celeba"
    folder.mkdir(parents=True)
    lines = ""
    for number in range(1, 11):
        Image.new("RGB", (178, 218), (number, 0, 0)).save(folder / f"{number:06d}.jpg")
        lines += f"{number:06d}.jpg 2\r\n"
    (tmp_path / "raw/celeba/list_eval_partition.txt").write_bytes(lines.encode())
    (folder / "000004.jpg").unlink()
    arguments = ("prepare", "celeba", "--source", tmp_path / "raw", "--split", "test")
    code, _, errors = run(*arguments, "--workers", 0, "--out", tmp_path / "strict")
    assert code == 2
    assert "1 of the 10 pictures of split 'test' are missing" in errors
    assert not (tmp_path / "strict").exists()
    code, text, _ = run(*arguments, "--workers", 0, "--out", tmp_path / "out", "--skip-broken")
    assert code == 0
    assert "test: 9 pictures" in text
    assert "000004.jpg" in text


def test_a_link_out_of_the_folder_is_not_followed(scenes, tmp_path, run):
    path = picture(scenes, 2)
    path.rename(tmp_path / "elsewhere.png")
    path.symlink_to(tmp_path / "elsewhere.png")
    arguments = ("prepare", "clevrtex", "--source", scenes, "--split", "test", "--workers", 0)
    code, _, errors = run(*arguments, "--out", tmp_path / "out")
    assert code == 2
    assert f"{path} is a link to {tmp_path / 'elsewhere.png'}, outside of {scenes}" in errors
    code, *_ = run(*arguments, "--out", tmp_path / "out", "--follow-links")
    assert code == 0


def pack(root, path):
    """The dataset as an archive."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(root.rglob("*.png")):
                archive.write(file, file.relative_to(root))
        return
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for file in sorted(root.rglob("*.png")):
            archive.add(file, f"clevrtex/{file.relative_to(root)}")


@pytest.mark.parametrize("kind", ["a.zip", "b.tar", "c.tar.gz"])
def test_archives_as_they_are_downloaded(scenes, tmp_path, run, kind):
    whole = prepared("clevrtex", scenes, tmp_path / "whole", ("test",))
    folder = tmp_path / "downloads für alle"
    folder.mkdir()
    pack(scenes, folder / kind)
    source = folder / kind if kind == "a.zip" else folder
    out = tmp_path / "out"
    arguments = ("prepare", "clevrtex", "--source", source, "--split", "test", "--out", out)
    code, text, _ = run(*arguments, "--workers", 0)
    assert code == 0
    assert text.startswith("clevrtex, licence: ")
    assert "pictures: test 6; about" in text
    assert f"hash: {whole.hash}" in text
    assert not (out / ".prepare").exists()
    code, text, _ = run(*arguments, "--workers", 0)
    assert code == 0
    assert "all of it is there already" in text
    assert f"hash: {whole.hash}" in text


def test_archives_in_parts_and_a_loose_file(tmp_path, run):
    """CelebA: pictures in an archive, the list beside it; a damaged archive is named, and what was
    unpacked before is not unpacked again."""
    for half in range(2):
        with zipfile.ZipFile(tmp_path / f"part{half}.zip", "w") as archive:
            for number in range(half * 2, half * 2 + 2):
                file = io.BytesIO()
                Image.new("RGB", (178, 218), (number, 0, 0)).save(file, "jpeg")
                archive.writestr(f"img_align_celeba/{number:06d}.jpg", file.getvalue())
    lines = "".join(f"{number:06d}.jpg 2\r\n" for number in range(4))
    (tmp_path / "list_eval_partition.txt").write_text(lines)
    second = tmp_path / "part1.zip"
    content = second.read_bytes()
    second.write_bytes(content[:300] + b"xxxx" + content[304:])
    arguments = ("prepare", "celeba", "--source", tmp_path, "--split", "test", "--workers", 0)
    code, _, errors = run(*arguments, "--out", tmp_path / "out")
    assert code == 2
    assert f"archive {second} cannot be unpacked" in errors
    second.write_bytes(content)
    first = tmp_path / "out/.prepare/source/img_align_celeba/000000.jpg"
    first.write_bytes((first.with_name("000001.jpg")).read_bytes())  # it would be put right again
    code, text, errors = run(*arguments, "--out", tmp_path / "out")
    assert code == 0, errors
    assert "test: 4 pictures" in text
    faces = load_dataset_by_name("celeba", split="test", root=tmp_path / "out")
    assert np.array_equal(faces[0]["video"], faces[1]["video"])


def bad_zip(path, name, link=False):
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo(name)
        if link:
            member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")


def bad_tar(path, name, link=None):
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, link
        archive.addfile(member, io.BytesIO())


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        (
            "a.zip",
            lambda p: bad_zip(p, "../x.png"),
            "member '../x.png' of archive .*a.zip would le",
        ),
        ("a.zip", lambda p: bad_zip(p, "/x.png"), "member '/x.png' of archive .* would lead outs"),
        ("a.zip", lambda p: bad_zip(p, "a\\..\\..\\x"), "member .* would lead outside"),
        ("a.zip", lambda p: bad_zip(p, "x.png", True), "member 'x.png' .* links are not unpacked"),
        (
            "a.tar",
            lambda p: bad_tar(p, "../x.png"),
            "member '../x.png' of archive .*a.tar would le",
        ),
        (
            "a.tar",
            lambda p: bad_tar(p, "x", "../../y"),
            "member 'x' of archive .* links are not unpacked",
        ),
        ("a.tar", lambda p: bad_tar(p, "x", "/etc/passwd"), "member 'x' .* neither a file nor a"),
        ("a.tgz", lambda p: p.write_bytes(b"\n<!DOCTYPE html><html>Quota exceeded"), "a web page"),
        ("a.zip", lambda p: p.write_bytes(b"PK nothing"), "a.zip is no archive; expected .zip, "),
        ("a.zip", lambda p: None, "--source .*a.zip: there is no such file or folder"),
    ],
)
def test_a_bad_archive_is_one_sentence(tmp_path, run, name, make, sentence):
    source = tmp_path / "in" / name
    source.parent.mkdir()
    make(source)
    out = tmp_path / "in" / "out"
    code, _, errors = run("prepare", "clevrtex", "--source", source, "--out", out)
    assert code == 2
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert re.search(sentence, line)
    assert not list(tmp_path.rglob("x*"))


def test_verify_info_and_show_know_prepared_folders(scenes, tmp_path, run):
    manifest = prepared("clevrtex", scenes, tmp_path / "out", ("test",), cache=True,
                        options={"image_size": 32})  # fmt: skip
    code, text, _ = run("verify", tmp_path / "out")
    assert code == 0
    assert text.endswith(f"hash: {manifest.hash}\n4 files fit their checksums\n")
    for part in (("--split", "bogus"), ("--option", "image_size=7")):
        code, text, errors = run("verify", tmp_path / "out", *part)
        assert (code, text) == (2, "")
        assert errors == (
            f"error: {tmp_path / 'out'} is a prepared folder, which is verified whole; expected "
            "neither --split nor --option\n"
        )
    code, text, _ = run("info", tmp_path / "out")
    assert code == 0
    assert "suggested slots: 7" in text
    code, text, _ = run("show", tmp_path / "out", "--split", "test", "--out", tmp_path / "a.png")
    assert code == 0
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    raw = load_dataset_by_name("clevrtex", split="test", root=scenes, image_size=32)
    assert np.array_equal(sheet[2:34, 2:34], raw[0]["video"][0].permute(1, 2, 0).numpy())
    shard = tmp_path / "out/data/test-00000.parquet"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(bytes(content))
    code, _, errors = run("verify", tmp_path / "out")
    assert code == 2
    assert f"{shard} is damaged: it does not fit its checksum" in errors
    shard.unlink()
    code, _, errors = run("verify", tmp_path / "out")
    assert code == 2
    assert "lacks data/test-00000.parquet" in errors


def test_a_cache_can_be_added_later(scenes, tmp_path, run):
    arguments = ("prepare", "clevrtex", "--source", scenes, "--split", "test", "--workers", 0)
    arguments += ("--out", tmp_path / "out", "--option", "image_size=32")
    assert run(*arguments)[0] == 0
    assert not (tmp_path / "out/cache").exists()
    before = read_manifest(tmp_path / "out").hash
    assert run(*arguments, "--cache")[0] == 0
    assert (tmp_path / "out/cache/test-video.npy").exists()
    assert read_manifest(tmp_path / "out").hash == before
    raw = load_dataset_by_name("clevrtex", split="test", root=scenes, image_size=32)
    again = load_dataset_by_name("clevrtex", split="test", root=tmp_path / "out")
    assert_all_same(raw, again)
    code, _, errors = run(*arguments, "--masks", "webp")
    assert code == 2
    assert "was prepared in another way" in errors


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (["image_size=32", "fit=stretch"], ["image_size=32"]),
        (["image_size=32"], ["image_size=32", "fit=stretch"]),
        (["image_size=32"], []),
        (["preset=slotdiffusion", "image_size=32"], ["preset=slotdiffusion"]),
    ],
)
def test_another_framing_is_not_taken_for_the_one_that_is_there(scenes, tmp_path, run, first, then):
    def prepare(options):
        arguments = ["prepare", "clevrtex", "--source", scenes, "--split", "test", "--workers", 0]
        arguments += ["--out", tmp_path / "out"]
        return run(*arguments, *(word for option in options for word in ("--option", option)))

    assert prepare(first)[0] == 0
    assert "all of it is there already" in prepare(first)[1]
    code, _, errors = prepare(then)
    assert code == 2
    assert errors == (
        f"error: {tmp_path / 'out'} was prepared in another way; name another folder by --out\n"
    )


def test_pictures_are_not_taken_for_videos_that_are_there(tmp_path, run):
    for name in ("0.png", "1.png", "2.png"):
        (tmp_path / "own/images/a").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "own/images/a" / name)

    def prepare(frames):
        arguments = ("--source", tmp_path / "own", "--out", tmp_path / "out", "--split", "all")
        return run("prepare", "folder", *arguments, "--option", f"num_frames={frames}")

    assert "all: 1 videos, 3 frames" in prepare(2)[1]
    assert "all of it is there already" in prepare(3)[1]
    code, _, errors = prepare(1)
    assert code == 2
    assert "was prepared in another way" in errors


def test_another_source_is_not_taken_for_the_one_that_is_there(scenes, tmp_path, run):
    other = tmp_path / "other"
    write_scene(other, 0)
    pack(scenes, tmp_path / "a.zip")
    pack(scenes, tmp_path / "b.zip")

    def prepare(source, out):
        where = ("--source", source, "--out", out, "--split", "test", "--workers", 0)
        return run("prepare", "clevrtex", *where)

    for one, another in ((scenes, other), (tmp_path / "a.zip", tmp_path / "b.zip")):
        out = tmp_path / f"of {one.name}"
        assert prepare(one, out)[0] == 0
        assert f"all of it is there already; {one} was not read again\n" in prepare(one, out)[1]
        code, _, errors = prepare(another, out)
        assert code == 2
        assert errors == (
            f"error: {out} was prepared from another source than {another}; name that one by "
            "--source, or another folder by --out\n"
        )
        manifest = out / "prepared.json"
        assert str(tmp_path) not in manifest.read_text()
    said = json.loads(manifest.read_text())
    del said["source"]  # as it was before folders stated it
    manifest.write_text(json.dumps(said))
    code, text, _ = prepare(another, out)
    assert code == 0
    assert f"all of it is there already; {another} was not read again\n" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mnist", "--source", "."], "dataset 'mnist' is not one of"),
        (["clevrtex", "--source", "."], "split 'train': root . of clevrtex holds no folder"),
        (["clevrtex", "--source", ".", "--option", "root=x"], "option root is given by --source"),
        (["clevrtex", "--source", ".", "--option", "x=1"], "has no option 'x'"),
        (["clevrtex", "--source", ".", "--split", "val"], "split 'val' of clevrtex"),
    ],
)
def test_bad_input_is_one_sentence(run, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run("prepare", *arguments, "--out", "out")
    assert code == 2
    assert errors.startswith("error: ")
    assert sentence in errors
    assert not list(tmp_path.iterdir())
