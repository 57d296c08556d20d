"""Imported by the fork server: everything that workers need is imported, loaded and compiled here, once."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal

gc.disable()  # imports create no garbage, and collecting takes a tenth of their time
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a worker uses one thread; others would busy-wait
signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver receives it and ends this process and its forks
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # it was blocked until now

from filterzoo.crawl.processes.machine import keep_freed_memory  # noqa: E402
from filterzoo.licensing.licences import Licence  # noqa: E402
from filterzoo.measures.compiled.kernels import prepare  # noqa: E402
from filterzoo.store.arrow import leave_pandas_out, take_memory_of_malloc  # noqa: E402

# A failure here happens again in a worker, which reports it with its checkpoint.
for module in (
    "filterzoo.crawl.processes.local_executor",
    "filterzoo.crawl.worker.worker",
    "filterzoo.measures.spectral",
):
    with contextlib.suppress(Exception):
        importlib.import_module(module)
with contextlib.suppress(Exception):
    importlib.import_module("threadpoolctl")
with contextlib.suppress(Exception):
    prepare()
Licence.parse("apache-2.0")
leave_pandas_out()
keep_freed_memory()
take_memory_of_malloc()
gc.enable()
gc.freeze()  # the garbage collector of workers skips these objects, and so does not copy their pages
