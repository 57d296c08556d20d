"""Imported by the process whose forks are the workers: what they need is imported, loaded and compiled here, once."""

from __future__ import annotations

import contextlib
import gc
import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver receives it and ends this process and its forks

import filterzoo.crawl.worker  # noqa: E402, F401  # for the workers
from filterzoo.arrow import leave_pandas_out  # noqa: E402
from filterzoo.measures.kernels import prepare  # noqa: E402

with contextlib.suppress(Exception):  # what fails here fails again in a worker, which says of which checkpoint
    prepare()
leave_pandas_out()
gc.freeze()  # no worker has to look again at what stays for ever, nor to copy its memory for that
