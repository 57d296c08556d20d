"""The line from a manifest to the work folder, as a user runs it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.program import PROGRAM, filterzoo
from tests.zoo import MANIFEST, convolutions, write_bad, write_good

from filterzoo.errors import Stage
from filterzoo.store.workfolder import WorkFolder


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    return tmp_path


def test_every_layer_arrives_as_it_was(zoo: Path) -> None:
    states = write_good(zoo / "zoo")
    ran = filterzoo("crawl", "manifest.yaml", "--json", cwd=zoo)
    assert ran.code == 0, ran.err
    assert ran.document["checkpoints"] == {"done": 5, "skipped": 0, "failed": 0}
    work = WorkFolder(zoo / "filterzoo-work")
    store = work.store()
    with work.existing_journal() as journal:
        found = {done.checkpoint.id: done for done in journal.done()}
    assert {Path(name).name for name in found} == set(states)
    for name, done in found.items():
        expected = convolutions(states[Path(name).name])
        rows = store.layers(done.layers_fragment).to_pylist()
        assert [row["name"] for row in rows] == list(expected)
        assert [tuple(row["shape"]) for row in rows] == [weight.shape for weight in expected.values()]
        assert {row["name"] for row in rows if row["kind"] == "depthwise"} == {"block.dw.weight"}
        assert done.filters_by_kernel == {"1x1": 512, "3x3": 16 * 3 + 16 + 32 * 32, "5x5": 256}
        kept: dict[str, list[np.ndarray]] = {}
        for batch in store.filters(done.filters_fragment):
            for block in batch.to_pylist():
                kept.setdefault(block["layer_id"], []).append(np.array(block["weights"], np.float32))
        for row in rows:
            if row["kernel"] == "3x3":
                assert np.concatenate(kept[row["layer_id"]]).tobytes() == expected[row["name"]].tobytes()
        assert set(kept) == {row["layer_id"] for row in rows if row["kernel"] == "3x3"}


def test_bad_files_are_reported_and_the_rest_is_done(zoo: Path) -> None:
    write_good(zoo / "zoo")
    reasons = write_bad(zoo / "zoo")
    ran = filterzoo("crawl", "manifest.yaml", "--json", cwd=zoo)
    assert ran.code == 1
    assert ran.document["checkpoints"] == {"done": 5, "skipped": 0, "failed": len(reasons)}
    status = filterzoo("status", "--json", cwd=zoo).document
    failures = ran.document["run"]["failures"]
    assert status.pop("ledger") == sorted(failures, key=lambda entry: entry["id"])
    assert {**status, "run": ran.document["run"]} == {**ran.document, "ledger_left_out": 0}
    with WorkFolder(zoo / "filterzoo-work").existing_journal() as journal:
        told = {Path(entry.id or "").name: str(entry.reason) for entry in journal.ledger()}
    assert told == reasons


def test_the_same_command_again_does_only_what_is_missing(zoo: Path) -> None:
    write_good(zoo / "zoo")
    moved = zoo / "elsewhere"
    (zoo / "zoo" / "d.onnx").rename(moved)
    assert "4 new, 0 already there" in filterzoo("crawl", "manifest.yaml", cwd=zoo).out
    moved.rename(zoo / "zoo" / "d.onnx")
    assert "1 new, 4 already there" in filterzoo("crawl", "manifest.yaml", cwd=zoo).out
    assert "0 new, 5 already there" in filterzoo("crawl", "manifest.yaml", cwd=zoo).out


def test_a_dry_run_fetches_nothing(zoo: Path) -> None:
    write_good(zoo / "zoo")
    ran = filterzoo("crawl", "manifest.yaml", "--dry-run", "--json", cwd=zoo)
    assert ran.code == 0
    plan = ran.document["sources"]["local"]
    assert plan["checkpoints"] == 5
    assert plan["bytes"] == sum(path.stat().st_size for path in (zoo / "zoo").iterdir())
    assert not (zoo / "filterzoo-work").exists()


@pytest.mark.slow
def test_the_table_of_a_dry_run_says_where_sizes_and_licences_are_unknown(zoo: Path) -> None:
    write_good(zoo / "zoo")
    size = sum(path.stat().st_size for path in (zoo / "zoo").iterdir())
    (zoo / "plan.yaml").write_text("""
name: plan
sources:
  - {source: local, paths: ["zoo/*"]}
  - {source: timm, include: [resnet18.a1_in1k, resnet50.fb_swsl_ig1b_ft_in1k, resnet34.tv_in1k], pin: false}
licenses: {allow: [apache-2.0]}
""")
    ran = filterzoo("crawl", "plan.yaml", "--dry-run", cwd=zoo)
    assert (ran.code, ran.err) == (0, "")
    *lines, room = (" ".join(line.split()) for line in ran.out.splitlines())
    assert room.startswith(f"to keep: about {size:,} bytes, if all is convolutions in float32; ")
    assert lines == [
        "source checkpoints bytes licences left out",
        f"local 5 {size:,} unknown 5",
        "timm 1 unknown apache-2.0 1 licence 2",
        f"to fetch: {size:,} bytes, 2 requests; at least, since the sizes of 1 are unknown, which --sizes asks for",
    ]


@pytest.mark.slow
def test_limit_and_only(zoo: Path) -> None:
    write_good(zoo / "zoo")
    assert filterzoo("crawl", "manifest.yaml", "--limit", 2, "--json", cwd=zoo).document["checkpoints"]["done"] == 2
    ran = filterzoo("crawl", "manifest.yaml", "--only", "pypi", "--json", cwd=zoo)
    assert ran.document["checkpoints"]["done"] == 2


def test_two_crawls_at_once_in_one_folder(zoo: Path) -> None:
    write_good(zoo / "zoo")
    with WorkFolder(zoo / "filterzoo-work"):
        ran = filterzoo("crawl", "manifest.yaml", cwd=zoo)
    assert ran.code == 3
    assert len(ran.err.splitlines()) == 1
    assert "another crawl is working here" in ran.err


BAD_START = {
    "missing manifest": (["crawl", "nothing.yaml"], "nothing.yaml"),
    "a directory": (["crawl", "zoo"], "zoo"),
    "no work folder": (["status", "--workdir", "nowhere"], "nowhere"),
    "a plugin that is not there": (["crawl", "manifest.yaml", "--plugin", "none.py"], "none.py"),
}


@pytest.mark.parametrize("case", BAD_START)
def test_what_cannot_start_says_so_in_a_line(zoo: Path, case: str) -> None:
    (zoo / "zoo").mkdir()
    arguments, named = BAD_START[case]
    ran = filterzoo(*arguments, cwd=zoo)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert named in ran.err


def published(
    zoo: Path, *, work: str, manifest: str = "manifest.yaml", workers: int = 2, fresh: bool = False
) -> dict[str, str]:
    """Crawl to the end and publish; the hash of every published file. A fresh process has hashes of its own."""
    filterzoo("crawl", manifest, "--workdir", work, "--workers", workers, cwd=zoo, fresh=fresh)
    ran = filterzoo("publish", f"./out-{work}", "--workdir", work, cwd=zoo, fresh=fresh)
    assert ran.code == 0, ran.err
    return hashes(zoo / f"out-{work}")


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_workers_order_and_interruptions_change_no_byte(zoo: Path) -> None:
    """One and four workers, the files in reverse order, and a crawl killed ten times: the same published bytes."""
    write_good(zoo / "zoo")
    write_bad(zoo / "zoo")
    expected = published(zoo, work="calm", workers=1)
    assert published(zoo, work="four", workers=4, fresh=True) == expected
    names = sorted((path.name for path in (zoo / "zoo").iterdir()), reverse=True)
    paths = ", ".join(f'"zoo/{name}"' for name in names)
    (zoo / "reverse.yaml").write_text(MANIFEST.replace('"zoo/*"', paths))
    assert published(zoo, work="reverse", manifest="reverse.yaml") == expected
    lasted = killed_crawls(zoo, "killed", times=10)
    assert lasted > 0, "every crawl ended before it was killed"
    assert published(zoo, work="killed") == expected


SLEEPER = '''
import pathlib, time
from filterzoo import Artifact, Checkpoint, Source, hookimpl

class Sleeper(Source):
    """A zoo whose files never come."""

    name = "sleeper"

    def discover(self):
        yield Checkpoint(id="model", revision="v1", licence="mit", artifacts=(Artifact(url="here", name="m.pt"),))

    def open(self, artifact):
        pathlib.Path("reached").touch()
        time.sleep(600)

@hookimpl
def filterzoo_sources():
    return [Sleeper]
'''


@pytest.mark.slow
def test_no_worker_outlives_a_crawl_that_is_killed_alone(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "manifest.yaml").write_text("name: sleepy\nsources:\n  - source: sleeper\n")
    command = [str(PROGRAM), "crawl", "manifest.yaml", "--plugin", "sleeper.py"]
    crawl = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        assert wait_for((tmp_path / "reached").exists)
        processes = psutil.Process(crawl.pid).children(recursive=True)
        assert processes
    finally:
        crawl.kill()
        crawl.wait()
    try:
        assert wait_for(lambda: not any(map(is_alive, processes)))
    finally:
        for process in filter(is_alive, processes):
            process.kill()


@pytest.mark.slow
def test_a_long_path_of_the_temporary_folder_does_not_matter(zoo: Path) -> None:
    """A socket in it would have a longer name than sockets may have."""
    write_good(zoo / "zoo")
    (temporary := zoo / ("t" * 120)).mkdir()
    ran = filterzoo("crawl", "manifest.yaml", "--json", cwd=zoo, env={"TMPDIR": str(temporary)})
    assert ran.code == 0, ran.err
    assert ran.document["checkpoints"] == {"done": 5, "skipped": 0, "failed": 0}


DEADLY = '''
import os, pathlib, signal, time
from filterzoo import Artifact, Checkpoint, Source, hookimpl
from filterzoo.files import LocalFile

class Deadly(Source):
    """A zoo that kills the process that starts workers, with `a` three times, and with `c` its worker."""

    name = "deadly"

    def discover(self):
        for name in "abcdef":
            file = Artifact(url=name, name="m.pt")
            yield Checkpoint(id=name, revision="v1", licence="mit", artifacts=(file,))

    def open(self, artifact):
        times = len(list(pathlib.Path().glob("killed-*")))
        if artifact.url == "a" and times < 3:
            pathlib.Path(f"killed-{times}").touch()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(10)
        if artifact.url == "c":
            os.kill(os.getpid(), signal.SIGKILL)
        return LocalFile("a.pth")

@hookimpl
def filterzoo_sources():
    return [Deadly]
'''


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are started by the crawl itself")
def test_a_checkpoint_that_kills_its_worker_affects_no_other(tmp_path: Path) -> None:
    write_good(tmp_path)
    (tmp_path / "deadly.py").write_text(DEADLY)
    (tmp_path / "manifest.yaml").write_text("name: deadly\nsources:\n  - source: deadly\n")
    command = ["crawl", "manifest.yaml", "--plugin", "deadly.py", "--workers", "2"]
    ran = filterzoo(*command, cwd=tmp_path, fresh=True)
    assert ran.code == 1, ran.err
    assert len(list(tmp_path.glob("killed-*"))) == 3
    with WorkFolder(tmp_path / "filterzoo-work").existing_journal() as journal:
        assert sorted(done.checkpoint.id for done in journal.done()) == ["a", "b", "d", "e", "f"]
        assert [(entry.id, entry.stage) for entry in journal.ledger()] == [("c", Stage.FETCH)]
    assert re.search(r"failed +deadly/c: .*the worker process died of it, alone", ran.out + ran.err)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return holds


def is_alive(process: psutil.Process) -> bool:
    """A zombie has ended; only nobody asked how."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def killed_crawls(zoo: Path, work: str, times: int) -> int:
    """Start a crawl and kill its whole process group, at later and later moments; how many were still running."""
    still_running = 0
    for number in range(times):
        command = [str(PROGRAM), "crawl", "manifest.yaml", "--workdir", work, "--workers", "2"]
        crawl = subprocess.Popen(
            command, cwd=zoo, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, process_group=0
        )
        time.sleep(0.3 + number * 0.6)
        still_running += crawl.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(crawl.pid, signal.SIGKILL)
        crawl.wait()
    return still_running
