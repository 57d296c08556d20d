"""The connection to a Ray cluster: the files sent with the job, the cluster's resources, and a clean end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filterzoo.crawl.executor import ExecutorOptions
from filterzoo.errors import StartError, describe
from filterzoo_plugins.executors.ray.shared import ClusterState

if TYPE_CHECKING:
    from filterzoo.crawl.task import WorkerSetup

AUTO, LOCAL = "auto", "local"
_PATIENCE = 10
"""Seconds for a connection to the given address."""
_FRAME_HEAD, _SETTINGS_FRAME = 9, 4
_CLIENT_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, _SETTINGS_FRAME, 0, 0, 0, 0, 0])
"""The connection preface of an HTTP/2 client; the server responds with a SETTINGS frame (RFC 9113, section 3.4)."""
_JOB = Path("filterzoo_job")
"""Folder of manifests and plugin files, in the working folder of every task. Not a name that Python could import."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": "2",  # without it, a checkpoint that is too large is retried endlessly
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",  # with `ray job submit --working-dir` the crawl's own files are added
}


def imported() -> ModuleType:
    """The module `ray`; StartError if it is not installed."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray  # noqa: PLC0415  # takes a second, and is installed only for those who want it
    except ImportError as error:
        raise StartError(f"--executor ray: pip install 'filterzoo[ray]' first ({error})") from error
    return ray


@contextlib.contextmanager
def connected(ray: Any, options: ExecutorOptions) -> Iterator[Any]:
    """Connect, send the job's files, and start the actor with the shared state; returns its handle.

    No secrets are sent: the nodes have their own environment. StartError if there is no cluster.
    """
    address = options.address or AUTO
    check_reachable(address)
    with tempfile.TemporaryDirectory(prefix="filterzoo-job-") as folder:
        _gather(options, Path(folder))
        arguments: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {"address": address}
        if address == LOCAL and options.workers is not None:
            arguments["num_cpus"] = options.workers
        with _own_signals():
            try:
                ray.init(
                    runtime_env={"working_dir": folder},
                    log_to_driver=False,
                    logging_level="ERROR",
                    **arguments,
                )
            except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
                raise StartError(
                    f"--ray-address {address}: no cluster to use: {' '.join(describe(error).split())[:300]}; "
                    "start one by `ray start --head`, or name another"
                ) from error
    try:
        actor = ray.remote(ClusterState).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
        yield actor.remote()
    finally:
        ray.shutdown()


def check_reachable(address: str) -> None:
    """StartError if no gRPC server listens at `HOST:PORT` or `ray://HOST:PORT`: Ray would wait for minutes.

    Ray itself checks whether the server is Ray's. With RAY_USE_TLS only the connection is checked, because the server
    sends nothing before the handshake.
    """
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        if place.hostname is None or place.port is None:
            return
        with socket.create_connection((place.hostname, place.port), timeout=_PATIENCE) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in {"1", "true"}:
                return
            connection.sendall(_CLIENT_PREFACE)
            answer = connection.recv(_FRAME_HEAD, socket.MSG_WAITALL)
        if len(answer) < _FRAME_HEAD or answer[3] != _SETTINGS_FRAME:
            raise ConnectionError("what listens there is no Ray, since it speaks no gRPC")  # reported below
    except (OSError, ValueError) as error:
        raise StartError(
            f"--ray-address {ascii(address)[1:-1][:200]}: no cluster to use: {describe(error)[:300]}; "
            "start one by `ray start --head`, or name another"
        ) from error


def _gather(options: ExecutorOptions, folder: Path) -> None:
    """Copy local files into the folder that is sent with the job."""
    files = [*map(str, options.manifests), *(one.file for one in options.plugins if one.file)]
    for place, file in enumerate(files):
        path = folder / _sent_path(file, place)
        path.parent.mkdir(parents=True)
        try:
            shutil.copyfile(file, path)
        except OSError as error:
            raise StartError(f"{file}: cannot be read: {error.strerror}") from error


def travelled(setup: WorkerSetup) -> WorkerSetup:
    """The setup with the paths of manifests and plugin files in the working folder of a task."""
    manifests = tuple(_sent_path(str(path), place) for place, path in enumerate(setup.manifests))
    place, plugins = len(manifests), []
    for one in setup.plugins:
        plugins.append(replace(one, file=str(_sent_path(one.file, place))) if one.file else one)
        place += bool(one.file)
    folders = tuple(path.resolve().parent for path in setup.manifests)
    return replace(setup, manifests=manifests, plugins=tuple(plugins), folders=folders)


def _sent_path(file: str, place: int) -> Path:
    return _JOB / str(place) / Path(file).name


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our SIGTERM handler, which ends a crawl cleanly; Ray replaces it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def cores(ray: Any) -> int:
    """Current number of CPU cores of the cluster."""
    return int(ray.cluster_resources().get("CPU", 0))


def gpus(ray: Any) -> float:
    """GPUs of the cluster."""
    return float(ray.cluster_resources().get("GPU", 0))


def largest_memory(ray: Any) -> int:
    """Bytes of memory of the node with the most; 0 without nodes."""
    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return int(max((resources.get("memory", 0) for resources in alive), default=0))
