"""No file that somebody hands over runs code: checkpoints are safetensors, or pickles of tensors
alone, arrays are never unpickled, and YAML makes plain values. Each call that could do more stands
here, with the reason why it may."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("apps", "packages", "tools")
    for path in (ROOT / folder).rglob("*.py")
    if "tests" not in path.relative_to(ROOT).parts and ".venv" not in path.parts
)
# What may be called only so: name -> what it must be given.
GUARDED = {
    "torch.load": ("weights_only", "True"),
    "np.load": ("allow_pickle", "False"),
    "np.lib.format.read_array": ("allow_pickle", "False"),
    "yaml.load": ("", "PlainYaml"),
    "yaml.load_all": ("", "PlainYaml"),
}
MODULES = {"pickle", "cPickle", "shelve", "marshal", "joblib", "dill", "cloudpickle"}
WORDS = {"eval", "exec", "__import__", "trust_remote_code", "Unpickler"}
EXCUSED = {
    "packages/slot-data/src/slot_data/packed_list.py: pickle": "its own process pickled it",
    "packages/slot-core/src/slot_core/pickled_weights.py: pickle": "names the error of torch.load",
    "packages/slot-eval/src/slot_eval/features.py: torch.jit.load": (
        "a program by purpose, given by name as the network of a distance; its help says so"
    ),
    "packages/slot-eval/src/slot_eval/features.py: torch.export.load": "the same",
}


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or an attribute; else what is known of its end."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


def found_in(tree: ast.AST) -> Iterator[str]:
    """The names of what could run code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [module] if module else [alias.name for alias in node.names]
            yield from (name for name in names if name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.Name) and node.id in WORDS:
            yield node.id
        elif isinstance(node, ast.keyword) and node.arg in WORDS:
            yield str(node.arg)
        elif isinstance(node, ast.Call):
            name = dotted(node.func).replace("numpy.", "np.")
            if name in GUARDED:
                key, value = GUARDED[name]
                given = {str(word.arg): ast.unparse(word.value) for word in node.keywords}
                ends = [ast.unparse(argument) for argument in node.args[-1:]]
                if value not in ([given.get(key)] if key else ends):
                    yield name
            elif name in ("torch.jit.load", "torch.export.load", "torch.hub.load", "yaml.full_load",
                          "yaml.unsafe_load"):  # fmt: skip
                yield name


def test_no_source_could_run_what_a_file_says():
    assert len(SOURCES) > 150
    found = {
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path in SOURCES
        for name in found_in(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == EXCUSED.keys()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("torch.load(path)", "torch.load"),
        ("torch.load(path, weights_only=False)", "torch.load"),
        ("numpy.load(path)", "np.load"),
        ("np.load(path, allow_pickle=True)", "np.load"),
        ("yaml.load(text, yaml.Loader)", "yaml.load"),
        ("yaml.unsafe_load(text)", "yaml.unsafe_load"),
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("eval(text)", "eval"),
        ("load_dataset(name, trust_remote_code=True)", "trust_remote_code"),
        ("torch.hub.load(name)", "torch.hub.load"),
    ],
)
def test_each_of_them_would_be_seen(source: str, name: str):
    assert list(found_in(ast.parse(source))) == [name]


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "yaml.load(text, PlainYaml)",
        "model.eval()",
        "re.compile('a')",
    ],
)
def test_what_cannot_is_not(source: str):
    assert not list(found_in(ast.parse(source)))
