"""The built packages as a user meets them: installed from files, outside the workspace."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from environments import ROOT, Environment, commit_everything, locked_versions, uv
from members import read_members

MEMBERS = read_members(ROOT)

pytestmark = pytest.mark.slow


def release(workspace: Path, *arguments: str) -> None:
    script = workspace / "tools" / "release.py"
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def write_changelog(workspace: Path, version: str) -> None:
    path = workspace / "packages/slot-core/CHANGELOG.md"
    path.write_text(path.read_text() + f"\n## {version}\n\nOne more.\n")
    command = ["git", "commit", "--quiet", "--all", "-m", f"Write the changelog of {version}"]
    subprocess.run(command, cwd=workspace, check=True)


def test_two_releases_into_a_local_index_and_an_install(
    workspace_copy: Path, environment: Environment, tmp_path: Path
):
    commit_everything(workspace_copy)
    index = str(tmp_path / "index")
    first = MEMBERS["slot-core"].version
    second = f"{first.major}.{first.minor}.{first.micro + 1}"
    release(workspace_copy, "slot-core", "--index", index)
    write_changelog(workspace_copy, second)
    release(workspace_copy, "slot-core", "--bump", "patch", "--index", index)

    constraints = tmp_path / "constraints.txt"
    constraints.write_text(locked_versions(workspace_copy))
    for version in (str(first), second):
        requirement = f"slot-core=={version}"
        environment.install("--constraints", str(constraints), "--find-links", index, requirement)
        program = "import importlib.metadata as m, slot_core; print(m.version('slot-core'))"
        done = environment.run(tmp_path, "-c", program)
        assert done.stdout.strip() == version, done.stderr


def test_the_four_wheels_install_together_and_import_alone(
    workspace_copy: Path, environment: Environment, tmp_path: Path
):
    wheels = tmp_path / "wheels"
    uv(workspace_copy, "build", "--quiet", "--all-packages", "--wheel", "--out-dir", str(wheels))
    files = sorted(str(file) for file in wheels.glob("*.whl"))
    assert len(files) == len(MEMBERS) == 4
    for file in files:
        names = ZipFile(file).namelist()
        assert any(name.endswith("/py.typed") for name in names)
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)

    environment.clear()
    (tmp_path / "constraints.txt").write_text(locked_versions(workspace_copy))
    environment.install("--constraints", str(tmp_path / "constraints.txt"), *files)
    for module in (name.replace("-", "_") for name in MEMBERS):
        done = environment.run(tmp_path, "-c", f"import {module}; print({module}.__file__)")
        assert done.returncode == 0, done.stderr
        assert "site-packages" in done.stdout
