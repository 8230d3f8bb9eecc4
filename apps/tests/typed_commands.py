"""Command lines run as they are typed, each in a process of its own, for test_readme.py.

    python typed_commands.py FOLDER FILE

FILE holds a JSON list of commands, each a list of words that begins with ``python SCRIPT`` or with
the name of an installed command; FOLDER is where they run. The processes are forked from this one,
which has imported what takes seconds; all of them run the script itself, with its own ``__main__``.
After the first that fails nothing is run, and its exit code is this program's.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import sys
import sysconfig
import traceback
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import matplotlib.figure  # noqa: F401  (as all below: for the processes that are forked)
import torch._dynamo  # noqa: F401  (the same)

import predict  # noqa: F401  (the same)
import slot_eval.cli  # noqa: F401  (the same)
import train  # noqa: F401  (the same)


def exit_code(folder: str, words: list[str]) -> int:
    """Of a command, in a process of its own."""
    if process := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    gc.freeze()  # nothing of what is shared with the other process becomes garbage here
    code = 1
    try:
        os.chdir(folder)
        run_script(words)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_script(words: list[str]) -> None:
    """What the interpreter does with a command."""
    name, *arguments = words
    if name == "python":
        script, *arguments = arguments
    else:
        script = str(Path(sysconfig.get_path("scripts"), name))
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


def main() -> None:
    """Run the commands of the file in order."""
    folder, file = sys.argv[1:]
    for words in json.loads(Path(file).read_text(encoding="utf-8")):
        print("$", *words, flush=True)
        if code := exit_code(folder, words):
            sys.exit(code)


if __name__ == "__main__":
    main()
