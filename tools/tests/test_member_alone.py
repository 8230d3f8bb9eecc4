"""Each member is tested alone: in an environment of what it declares and nothing else.

In the workspace's own environment an undeclared import passes, because a sibling brought the
package along. Here it fails.

With the lowest versions that its pyproject.toml allows, a member's whole test suite runs alone.
With the locked versions the suite runs in the workspace, on the same code of the same packages;
what the environment alone adds is which packages there are. So here every module and every test
file is imported, and no test is run. An import inside a function, which that does not reach, is
met by the run with the lowest versions, where no more is installed than here, and in the source
by test_declared_imports.py.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from environments import ROOT, Environment, uv
from members import read_members

MEMBERS = list(read_members(ROOT))

pytestmark = pytest.mark.slow


def locked(workspace: Path, name: str) -> str:
    """The member, its tests' needs and all they require, at the versions of uv.lock."""
    return uv(workspace, "export", "--quiet", "--locked", "--no-hashes", "--package", name)


def lowest(workspace: Path, name: str) -> str:
    """The same at the lowest versions allowed for whatever the member names itself."""
    pyproject = f"packages/{name}/pyproject.toml"
    pinned = uv(
        workspace, "pip", "compile", "--quiet", "--resolution", "lowest-direct",
        "--python-version", "3.11", "--no-header", "--no-annotate",
        "--group", f"{pyproject}:dev", pyproject,
    )  # fmt: skip
    return f"{pinned}\n-e ./packages/{name}\n"


# First the tests: pytest's hook for shapes wants to be there before the package.
IMPORT_EVERYTHING = """
import importlib, pkgutil, sys, pytest

folder, name = sys.argv[1:]
collected = pytest.main(["-qx", "--tb=short", "--collect-only", folder])
package = importlib.import_module(name)
for module in pkgutil.walk_packages(package.__path__, f"{name}."):
    try:
        importlib.import_module(module.name)
    except Exception as error:  # a module of an extra names it
        if f"pip install '{name.replace('_', '-')}[" not in str(error):
            raise
    print(module.name)
sys.exit(collected)
"""


def import_everything(
    environment: Environment, workspace: Path, name: str
) -> subprocess.CompletedProcess[str]:
    """All modules of a member and of its tests, in one process."""
    package = name.replace("-", "_")
    return environment.run(workspace, "-c", IMPORT_EVERYTHING, f"packages/{name}", package)


@contextmanager
def planted_import(workspace: Path, name: str, module: str) -> Iterator[None]:
    """The copy's package imports `module` first thing, until the block ends."""
    source = workspace / "packages" / name / "src" / name.replace("-", "_") / "__init__.py"
    text = source.read_text()
    source.write_text(f"{text}\nimport {module}\n")
    try:
        yield
    finally:
        source.write_text(text)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_imports_with_what_it_declares(
    environment: Environment, workspace_copy: Path, name: str
):
    environment.sync(workspace_copy, locked(workspace_copy, name))
    done = import_everything(environment, workspace_copy, name)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    source = workspace_copy / "packages" / name / "src"
    files = sorted(source.rglob("*.py"))
    modules = [".".join(file.relative_to(source).with_suffix("").parts) for file in files]
    imported = done.stdout.splitlines()
    assert modules
    assert not {m.removesuffix(".__init__") for m in modules} - {*imported, name.replace("-", "_")}


@pytest.mark.parametrize(
    ("name", "module"), [("slot-core", "accelerate"), ("slot-data", "slot_core")]
)
def test_an_undeclared_import_fails(
    environment: Environment, workspace_copy: Path, name: str, module: str
):
    environment.sync(workspace_copy, locked(workspace_copy, name))
    with planted_import(workspace_copy, name, module):
        done = import_everything(environment, workspace_copy, name)
    assert done.returncode != 0
    assert f"No module named '{module}'" in done.stdout + done.stderr


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the oldest Python's lowest versions")
@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_passes_with_the_lowest_versions(
    environment: Environment, workspace_copy: Path, name: str
):
    environment.sync(workspace_copy, lowest(workspace_copy, name))
    done = environment.run(workspace_copy, "-m", "pytest", "-q", "--tb=short", f"packages/{name}")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
