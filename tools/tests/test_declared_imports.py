"""Every import in a member's source is of the standard library or of something it declares.

The isolated runs (test_member_alone.py) meet only the imports that the tests reach, and share
pytest's own requirements; reading the source meets all of them, those inside functions too.
"""

import ast
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from members import Member, read_members

ROOT = Path(__file__).parents[2]
MEMBERS = read_members(ROOT)

# Distributions whose import name is not their own name.
IMPORT_NAMES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}


def undeclared_imports(member: Member, source: Path) -> list[str]:
    """`file:line module` of each import that the member's pyproject.toml does not announce."""
    declared = [canonicalize_name(requirement.name) for requirement in member.requirements]
    allowed = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in declared}
    allowed |= {member.name.replace("-", "_"), *sys.stdlib_module_names}
    return [
        f"{path.name}:{line} {module}"
        for path in sorted(source.rglob("*.py"))
        for line, module in imported_modules(path)
        if module not in allowed
    ]


def imported_modules(path: Path) -> list[tuple[int, str]]:
    """(line, top-level module) of each absolute import in the file, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.partition(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append((node.lineno, node.module.partition(".")[0]))
    return found


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_imports_only_what_it_declares(name: str):
    assert undeclared_imports(MEMBERS[name], MEMBERS[name].folder / "src") == []


def test_an_import_inside_a_function_is_seen(tmp_path: Path):
    source = "import os\nfrom . import near\n\ndef f():\n    from accelerate.utils import x\n"
    (tmp_path / "late.py").write_text(source)
    assert undeclared_imports(MEMBERS["slot-core"], tmp_path) == ["late.py:5 accelerate"]
