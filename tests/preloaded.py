"""A process that has imported what `filterzoo` imports, and forks itself for each command that the tests run.

Most of a command's time in a test is imports: about two seconds for the program, two more for the fork server of its
workers. Here each test process imports once. `tests/program.py` starts this process and communicates with it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import random
import socket
import sys
import threading
from multiprocessing import forkserver, resource_tracker, spawn
from pkgutil import walk_packages
from typing import Any

import filterzoo.commands
import filterzoo_analysis
import filterzoo_publish
from filterzoo import plugins
from filterzoo.crawl.processes import fork_server
from filterzoo.start import main

OTHERS = (
    *("pyarrow.acero", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet"),
    *("jinja2", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "matplotlib.figure"),
)
PACKAGES = (filterzoo.commands, filterzoo_publish, filterzoo_analysis)
"""All modules of these packages are imported, except READ_VARIABLES."""
READ_VARIABLES = ("filterzoo_analysis.overview", "filterzoo_publish.targets.hub")
"""huggingface_hub reads environment variables on import; those of a command may differ."""


def preload() -> None:
    """Import what `filterzoo` imports, plugins included, and start the fork server of the workers."""
    plugins.load(plugins.references())
    names = [module.name for package in PACKAGES for module in walk_packages(package.__path__, f"{package.__name__}.")]
    for name in (*OTHERS, *names):
        if not name.endswith("__main__") and name not in READ_VARIABLES:
            importlib.import_module(name)
    workers = [name for name in sys.modules if name.startswith(("filterzoo_plugins.", "filterzoo."))]
    forkserver.set_forkserver_preload([*fork_server.PRELOADED, *workers])
    forkserver.ensure_running()
    gc.collect()
    gc.freeze()


def serve(commands: socket.socket) -> None:
    """Fork for each command. Only the child returns, ready to run the command."""
    while True:
        message, files, _, _ = socket.recv_fds(commands, 1 << 20, 2)
        if not message:
            os._exit(0)
        forkserver.ensure_running()  # a test may have killed it
        if not (child := os.fork()):
            become(json.loads(message), files)
            commands.close()
            return
        for file in files:
            os.close(file)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        commands.send(json.dumps(code).encode())


def become(command: dict, files: list[int]) -> None:
    """Set the working directory, arguments, environment and output of a command."""
    for own, file in zip((1, 2), files, strict=True):
        os.dup2(file, own)
        os.close(file)
    os.chdir(command["cwd"])
    take_variables(command["environment"])
    sys.argv = command["argv"]
    random.seed()
    del sys.modules["__main__"].__file__  # or each worker imports this file again
    # Both were started by the parent, which is alive as long as this process is; each is called by both names.
    helpers: Any = ((forkserver, forkserver._forkserver), (resource_tracker, resource_tracker._resource_tracker))
    for module, helper in helpers:
        module.ensure_running = helper.ensure_running = lambda: None
    assert fork_server.start(None), "workers would be new processes"


def take_variables(wanted: dict[str, str]) -> None:
    """Set a command's variables, also in its workers, which are forked from a process with other variables."""
    changed = {name: wanted.get(name) for name in {*wanted, *os.environ} if wanted.get(name) != os.environ.get(name)}
    if not changed:
        return
    variables = Variables(changed)
    variables.take()
    prepare = spawn.get_preparation_data
    spawn.get_preparation_data = lambda name: {**prepare(name), "variables": variables}


class Variables:
    """Environment variables, None for those to remove. A process that unpickles the object sets them."""

    TAKE = "import os; [os.environ.pop(n, None) if v is None else os.environ.update({n: v}) for n, v in %r.items()]"

    def __init__(self, changed: dict[str, str | None]) -> None:
        self._code = self.TAKE % changed

    def take(self) -> None:
        exec(self._code)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (self._code,)  # a built-in function, so that unpickling needs no import


def run() -> None:
    """Run the command and exit as the interpreter does, but tear down no module: that would copy shared memory."""
    try:
        main()
        code: object = 0
    except SystemExit as ended:
        code = ended.code
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does first
    atexit._run_exitfuncs()
    sys.stdout.flush()
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    preload()
    serve(socket.socket(fileno=int(sys.argv[1])))
    run()
