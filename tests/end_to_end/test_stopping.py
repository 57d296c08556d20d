"""Ctrl-C, SIGTERM and a reader that goes away, while a worker is busy with a layer for a minute."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file
from tests.program import PROGRAM, filterzoo

SLOW = """
import time
from filterzoo import hookimpl
from filterzoo_plugins.sources.own_files.local import LocalSource as Local


class Slow(Local):
    name = "slow"

    def architectures(self, checkpoint):
        if "b." in checkpoint.id:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                sum(range(1000))
        return []


class Listing(Local):
    name = "listing"

    def discover(self):
        time.sleep(60)
        yield from ()


@hookimpl
def filterzoo_sources():
    return [Slow, Listing]
"""


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "tmp").mkdir()
    for name in "ab":
        weights = np.full((64, 4, 3, 3), ord(name), "<f4")
        save_file({"w.weight": weights}, tmp_path / "zoo" / f"{name}.safetensors")
    (tmp_path / "slow.py").write_text(SLOW)
    for source in ("slow", "listing"):
        sources = [{"source": source, "paths": ["zoo/*"], "license": "mit"}]
        (tmp_path / f"{source}.yaml").write_text(json.dumps({"name": "zoo", "sources": sources}))
    return tmp_path


@contextlib.contextmanager
def crawling(zoo: Path, source: str = "slow", output: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    command = [str(PROGRAM), "crawl", f"{source}.yaml", "--plugin", "slow.py", "--workers", "2", "--workdir", "w"]
    running = subprocess.Popen(
        command,
        cwd=zoo,
        env={**os.environ, "TMPDIR": str(zoo / "tmp")},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        if running.stdout is not None:
            running.stdout.close()


def wait_for(line: str, running: subprocess.Popen[str]) -> None:
    assert running.stdout is not None
    while said := running.stdout.readline():
        if line in said:
            return
    raise AssertionError(f"it never said {line}")


def left(session: int) -> list[str]:
    """Processes of a session that are still there, after they had a moment to go."""
    end = time.monotonic() + 10
    while True:
        alive = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(" ".join(process.cmdline())[-100:])
        if not alive or time.monotonic() > end:
            return alive
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_stops_a_busy_crawl_with_one_line_and_leaves_nothing(zoo: Path, number: int, code: int):
    with crawling(zoo) as running:
        wait_for("done     slow/zoo/a", running)
        time.sleep(0.5)
        begin = time.monotonic()
        os.killpg(running.pid, number)
        said, _ = running.communicate(timeout=30)
        assert time.monotonic() - begin < 5
        assert running.returncode == code
        assert said == "filterzoo: interrupted; 1 new checkpoint kept in w; run the same command again to continue\n"
        assert left(running.pid) == []
    assert not (zoo / "w" / "scratch").exists()
    assert list((zoo / "tmp").iterdir()) == []
    assert filterzoo("doctor", "--workdir", "w", cwd=zoo).code == 0


@pytest.mark.slow
def test_discovery_stops_as_well(zoo: Path):
    with crawling(zoo, "listing") as running:
        while not (zoo / "w" / "journal.sqlite").exists():
            time.sleep(0.05)
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=30)
    assert (running.returncode, said.count("\n"), "Traceback" in said) == (130, 1, False)


def test_a_signal_while_the_program_loads_is_one_line(zoo: Path):
    with crawling(zoo) as running:
        time.sleep(0.4)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=30)
    assert running.returncode in {130, -signal.SIGINT}
    assert "Traceback" not in said or running.returncode == -signal.SIGINT


def test_a_signal_while_the_process_of_forks_starts_is_not_its():
    """It belongs to the process group that Ctrl-C reaches, and would show a traceback until it ignores it."""
    script = (
        "import os, signal; from multiprocessing import forkserver; from filterzoo.crawl.processes import fork_server\n"
        "server = fork_server.context()\n"
        "os.kill(forkserver._forkserver._forkserver_pid, signal.SIGINT)\n"
        "first = server.Process(target=print, args=('a fork',)); first.start(); first.join()"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "a fork\n", "")


@pytest.mark.slow
def test_two_signals_end_it_at_once(zoo: Path):
    with crawling(zoo) as running:
        wait_for("done     slow/zoo/a", running)
        for _ in range(3):
            running.send_signal(signal.SIGINT)
            time.sleep(0.05)
        said, _ = running.communicate(timeout=5)
        assert running.returncode == 130
        assert "Traceback" not in said
        assert left(running.pid) == []


@pytest.mark.slow
def test_what_a_kill_leaves_is_gone_after_the_next_run(zoo: Path):
    with crawling(zoo) as running:
        wait_for("done     slow/zoo/a", running)
        os.kill(running.pid, signal.SIGKILL)
        assert left(running.pid) == []
    assert list((zoo / "tmp").iterdir()) == []
    sockets = set((zoo / "w" / "sockets").iterdir())
    assert sockets
    (zoo / "zoo" / "b.safetensors").unlink()
    assert filterzoo("crawl", "slow.yaml", "--plugin", "slow.py", "--workdir", "w", cwd=zoo).code == 0
    assert not sockets & set((zoo / "w" / "sockets").iterdir())
    assert not list((zoo / "w" / "scratch").glob("*"))


@pytest.mark.slow
def test_a_reader_that_goes_away_does_not_stop_the_crawl(zoo: Path):
    (zoo / "zoo" / "b.safetensors").rename(zoo / "zoo" / "c.safetensors")
    (zoo / "zoo" / "bad.safetensors").write_bytes(b"")
    reading, writing = os.pipe()
    with crawling(zoo, output=writing) as running:
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        running.wait(60)
    assert running.returncode == 1
    status = filterzoo("status", "--json", "--workdir", "w", cwd=zoo).document
    assert (status["checkpoints"]["done"], status["checkpoints"]["failed"]) == (2, 1)
