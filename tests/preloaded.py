"""A process that has imported what `filterzoo` imports, and forks itself for each command that the tests run.

Most of a command's time in a test is imports: about two seconds for the program, two more for the process that its
workers fork from. Here both are paid once for each test process. `tests/program.py` starts it and talks to it.
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
from multiprocessing import forkserver, resource_tracker
from pkgutil import walk_packages

import filterzoo.commands
import filterzoo_publish
from filterzoo import plugins
from filterzoo.crawl import fork_server
from filterzoo.start import main

OTHERS = ("huggingface_hub", "pyarrow.parquet", "pyarrow.dataset", "pyarrow.compute", "filterzoo_analysis.commands")
PACKAGES = (filterzoo.commands, filterzoo_publish)
"""All their modules are imported."""


def preload() -> None:
    """Import as `filterzoo` does, plugins included, and start the process that workers are forked from."""
    plugins.load(plugins.references())
    names = [module.name for package in PACKAGES for module in walk_packages(package.__path__, f"{package.__name__}.")]
    for name in (*OTHERS, *names):
        if not name.endswith("__main__"):
            importlib.import_module(name)
    workers = [name for name in sys.modules if name.startswith(("filterzoo_plugins.", "filterzoo."))]
    forkserver.set_forkserver_preload([*fork_server.PRELOADED, *workers])
    forkserver.ensure_running()
    gc.collect()
    gc.freeze()


def serve(commands: socket.socket) -> None:
    """Fork for each command; the fork returns, ready to run it, and this process never does."""
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
    """Take a command's folder, arguments and output."""
    for own, file in zip((1, 2), files, strict=True):
        os.dup2(file, own)
        os.close(file)
    os.chdir(command["cwd"])
    sys.argv = command["argv"]
    random.seed()
    del sys.modules["__main__"].__file__  # or each worker imports this file again
    # Both were started by the parent, which is alive as long as this process is.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]  # no helper processes
    resource_tracker._resource_tracker.ensure_running = lambda: None  # type: ignore[method-assign]  # no helper processes


def run() -> None:
    """Run the command and end as the interpreter does, except that no module is taken apart: it copies shared memory."""
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
