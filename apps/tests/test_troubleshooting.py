"""Every option, key, command and file that the page of troubles names exists."""

from __future__ import annotations

import json
import re
import shlex
import typing
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from families import inputs, prepared
from runs import APPS, events

import edit
import predict
import seeds
import slot_data.cli
import slot_eval.cli
import train
from slot_core import ConfigError, InputError, StrictConfig, sample_generators
from slot_data import catalog
from slot_data.options import allowed_options
from slot_decoders.models import SlotAutoencoder
from slot_decoders.models.configs import ModelConfig
from slot_eval import protocols
from support.command_line import run
from support.options import RECIPES, DataOptions, RunOptions, load_options

ROOT = APPS.parent
PAGE = APPS / "troubleshooting.md"
TEXT = PAGE.read_text(encoding="utf-8")
PARTS = "model|data|start|train|optimizer|validation|checkpoint|log"
OPTION = re.compile(rf"({PARTS})(\.\w+)+(=.*)?")
# Of these, an option with a value must be one to some.
EXAMPLES = ("slot_attention/shapes", "savi/shapes", "dvae/shapes", "slot_diffusion/shapes")


def spans(text: str) -> list[str]:
    """What stands between backticks, outside blocks of code."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(text: str) -> list[str]:
    """Command lines in blocks of code and in the prose."""
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [*lines, *(span for span in spans(text) if span.startswith("uv run "))]


# ---------------------------------------------------------------------- options


def is_option(key: str) -> bool:
    """Whether a run has an option of this name, whichever model and dataset it is of."""
    first, *rest = key.split(".")
    if first == "model":
        return has_field(list(typing.get_args(ModelConfig)), rest)
    if first == "data" and rest[0] not in DataOptions.model_fields:
        loaders = [catalog.card(name).loader for name in catalog.names()]
        options = {"preset"}.union(*(allowed_options(loader) for loader in loaders))
        return len(rest) == 1 and rest[0] in options
    return has_field([RunOptions], [first, *rest])


def has_field(configs: list[type[StrictConfig]], path: list[str]) -> bool:
    kinds = [c.model_fields[path[0]].annotation for c in configs if path[0] in c.model_fields]
    if not kinds or len(path) == 1:
        return bool(kinds)
    return has_field([part for kind in kinds for part in configs_in(kind)], path[1:])


def configs_in(kind: Any) -> Iterator[type[StrictConfig]]:
    """The configurations that a type is made of."""
    if isinstance(kind, type) and issubclass(kind, StrictConfig):
        yield kind
    for part in typing.get_args(kind):
        yield from configs_in(part)


def can_be_set(change: str) -> bool:
    """Whether ``key=value`` is an option of some recipe."""
    for recipe in EXAMPLES:
        try:
            load_options(recipe, [change])
        except (ConfigError, InputError):
            continue
        return True
    return False


def wrong_option(span: str) -> str | None:
    key, equals, _ = span.partition("=")
    if not is_option(key):
        return f"there is no option {key}"
    return f"{span} cannot be set" if equals and not can_be_set(span) else None


# ---------------------------------------------------------------------- commands

SCRIPTS = {
    "apps/train.py": train.main,
    "apps/predict.py": predict.main,
    "apps/edit.py": edit.main,
    "tools/seeds.py": seeds.main,
}
TOOLS = {"slot-eval": slot_eval.cli.app, "slot-data": slot_data.cli.app}


def flags_of(words: list[str]) -> set[str]:
    """The options of the command that ``words`` call."""
    tool = next((word for word in words if word in TOOLS), None)
    if tool is not None:
        group: Any = typer.main.get_command(TOOLS[tool])
        return flags(group.commands[words[words.index(tool) + 1]])
    script = next(word for word in words if word.endswith(".py"))
    if script in SCRIPTS:
        app = typer.Typer()
        app.command()(SCRIPTS[script])
        return flags(typer.main.get_command(app))
    return set(re.findall(r"--[\w-]+", (ROOT / script).read_text(encoding="utf-8")))


def flags(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def wrong_command(line: str) -> str | None:
    words = shlex.split(line)
    try:
        known = flags_of(words)
    except (KeyError, OSError, StopIteration):
        return f"there is no command {line}"
    unknown = [word for word in words if word.startswith("--") and word not in known]
    recipes = [w for w in words if re.fullmatch(r"[a-z_]+/[a-z_]+", w) and not is_recipe(w)]
    return f"{line}: there is no {(unknown + recipes)[0]}" if unknown + recipes else None


def is_recipe(name: str) -> bool:
    return (RECIPES / f"{name}.yaml").is_file()


# ---------------------------------------------------------------------- what a run leaves


class Leavings(typing.NamedTuple):
    """Names in a run's log and results, and the files of its folder."""

    names: set[str]
    files: set[str]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Leavings:
    """Of one tiny run on videos, and of one step of each tokenizer."""
    out = tmp_path_factory.mktemp("runs") / "run"
    changes = {
        "model.num_slots": 3,
        "model.preprocessing.image_size": [16, 16],
        "model.encoder.preprocessing": None,
        "model.decoder.channels": [8],
        "model.decoder.broadcast_size": [8, 8],
        "data.image_size": 32,
        "data.num_samples": 8,
        "data.num_frames": 2,
        "data.evaluation.num_frames": 3,
        "train.num_steps": 1,
        "train.batch_size": 2,
        "train.num_threads": 1,
        "validation.num_samples": 2,
        "validation.num_pictures": 1,
    }
    words = [w for key, value in changes.items() for w in ("--set", f"{key}={json.dumps(value)}")]
    with pytest.raises(SystemExit) as ended:
        run(train.main, ["savi/shapes", "--out", str(out), *words])
    assert not ended.value.code
    kinds = re.findall(r'log\.write\("(\w+)"', (APPS / "train.py").read_text(encoding="utf-8"))
    found = {*kinds, *json.loads((out / "test" / "result.json").read_text())}
    for kind in ("train", "validation", "test"):
        found.update(*events(out, kind))
    for family in ("dvae", "vqvae"):
        own = sample_generators(0, 0, [str(row) for row in range(4)])
        found.update(prepared(family)(*inputs(family), generator=own, progress=0.0).parts)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*")}
    return Leavings(found | {"samples_per_second"}, files | {"faults"})


def is_known(span: str, left: Leavings) -> bool:
    """Whether a word or path of the page is one of a run, of a dataset, a protocol or a file."""
    if "/" in span or "." in span:
        path = span.rstrip("/")
        return is_recipe(path) or path in left.files or (ROOT / path).is_file()
    if span.startswith("--"):
        called = [[name] for name in SCRIPTS] + [["slot-eval", "run"], ["slot-data", "prepare"]]
        return any(span in flags_of(words) for words in called)
    names = {*left.names, *catalog.names(), *protocols.names(), "no"}
    return span in names or callable(getattr(SlotAutoencoder, span, None))


def is_said(sentence: str) -> bool:
    """Whether the apps say a sentence, whatever its numbers are."""
    pieces = [piece for piece in re.split(r"[\d.]+", sentence) if len(piece) > 4]
    paths = [*APPS.glob("*.py"), *(APPS / "support").glob("*.py")]
    sources = "".join(path.read_text(encoding="utf-8") for path in paths)
    sources = re.sub(r'"\s*\n\s*f?"', "", sources)  # strings that are written in parts
    return bool(pieces) and all(piece in sources for piece in pieces)


def wrong(text: str, left: Leavings) -> list[str]:
    """What of a page does not exist."""
    found = [wrong_command(line) for line in commands(text)]
    for span in spans(text):
        if span.startswith("uv run "):
            continue
        if span.startswith("--set "):
            words = shlex.split(span)
            found += [wrong_option(word) for word in words if word != "--set"]
        elif span.startswith("slot-eval "):
            found.append(wrong_command(span))
        elif OPTION.fullmatch(span):
            found.append(wrong_option(span))
        elif " " in span:
            found.append(None if is_said(span) else f"nothing says '{span}'")
        elif not is_known(span, left):
            found.append(f"there is no {span}")
    return [one for one in found if one]


def test_what_the_page_names_exists(left: Leavings):
    assert len(spans(TEXT)) > 100
    assert len(commands(TEXT)) >= 5
    assert wrong(TEXT, left) == []


@pytest.mark.parametrize(
    "text",
    [
        "`model.encoder.inertias`",
        "`train.num_thread=1`",
        "`train.mixed_precision=fp8`",
        "`data.presets=slotdiffusion`",
        "`--set model.encoder.initializer.type=cluster`",
        "`slots_used`",
        "`apps/nothing.py`",
        "`slot_attention/shapez`",
        "`--remover`",
        "`uv run slot-eval explained spot`",
        "`uv run slot-eval explain --all spot`",
        "```bash\nuv run python tools/seeds.py slot_attention/nothing\n```",
        "`the loss was infinite, something is learned`",
    ],
)
def test_a_name_of_nothing_is_found(text: str, left: Leavings):
    assert len(wrong(text, left)) == 1
