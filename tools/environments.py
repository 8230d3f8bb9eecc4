"""For the tests of the tools: an environment outside the workspace, and a copy of it to change."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]

# The outer run's environment and reference data are no business of an inner run.
OUTER_ONLY = (
    "PYTEST_ADDOPTS",
    "PYTHONPATH",
    "SLOT_REFERENCE_DATA",
    "UV_PROJECT_ENVIRONMENT",
    "VIRTUAL_ENV",
)


class Environment:
    """An environment that holds exactly what it was last told to; torch stays when it can.

    Linking torch into a new environment takes seconds and removing it takes more, so one
    environment is passed from member to member: `sync` only adds and removes the difference.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.clear()

    def clear(self) -> None:
        """Start again with nothing installed."""
        uv(self.folder, "venv", "--quiet", "--clear", "--python", sys.executable, "venv")

    def sync(self, workspace: Path, requirements: str) -> None:
        """Make the environment hold these pinned requirements and nothing else."""
        file = workspace / "environment-requirements.txt"
        file.write_text(requirements)
        uv(workspace, "pip", "sync", "--quiet", "--python", str(self.python), str(file))
        self._take_bytecode()

    def install(self, *arguments: str) -> None:
        uv(self.folder, "pip", "install", "--quiet", "--python", str(self.python), *arguments)
        self._take_bytecode()

    def _take_bytecode(self) -> None:
        here = Path(sysconfig.get_path("purelib"))
        take_bytecode(here, self.folder / "venv" / here.relative_to(sys.prefix))

    def run(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python ARGUMENTS` in `folder`; the caller looks at the exit code."""
        command = [str(self.python), *arguments]
        return subprocess.run(
            command, cwd=folder, env=inner_environment(), capture_output=True, text=True
        )


def take_bytecode(theirs: Path, own: Path) -> None:
    """Link what is compiled in one folder of packages into another, of files that both link.

    uv links files from its cache, so those of one version are the same wherever it is installed;
    compiling torch and what it imports would else take longer than the tests of some members.
    """
    for cache in theirs.rglob("__pycache__"):
        place = own / cache.parent.relative_to(theirs)
        for compiled in cache.iterdir() if place.is_dir() else ():
            source = f"{compiled.name.partition('.')[0]}.py"
            taken = place / "__pycache__" / compiled.name
            if _is_same(cache.parent / source, place / source) and not taken.exists():
                taken.parent.mkdir(exist_ok=True)
                taken.hardlink_to(compiled)


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def uv(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["uv", *arguments], cwd=folder, env=inner_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, f"uv {' '.join(arguments)}\n{done.stderr}"
    return done.stdout


def inner_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in OUTER_ONLY}


def locked_versions(workspace: Path) -> str:
    """Everything that uv.lock pins, without our own packages: constraints for an install."""
    return uv(workspace, "export", "--quiet", "--locked", "--no-hashes", "--no-emit-workspace")


def copy_workspace(to: Path) -> None:
    """Copy what git tracks or would track: the files as they are now, none that are ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def commit_everything(root: Path) -> None:
    """Make the folder a repository of its own with one commit."""
    for command in (
        ["git", "init", "--quiet", "--initial-branch=main"],
        ["git", "config", "user.name", "Tester"],
        ["git", "config", "user.email", "tester@example.org"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "-m", "start"],
    ):
        subprocess.run(command, cwd=root, check=True)
