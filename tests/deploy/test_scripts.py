"""The scripts of deploy/, run as a schedule runs them: without an environment, twice, and while another works."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.deploy.tools import ROOT, lines_of, tool
from tests.end_to_end.test_crawl import hashes
from tests.program import PROGRAM, filterzoo
from tests.servers import WebServer
from tests.zoo import MANIFEST, write_bad, write_good

from filterzoo.store.workfolder import WorkFolder

pytestmark = pytest.mark.slow

DEPLOY = ROOT / "deploy"
CRAWL = DEPLOY / "cron" / "filterzoo-crawl.sh"
JOB = DEPLOY / "jobs" / "filterzoo-job.sh"
NOTIFY = DEPLOY / "cron" / "filterzoo-notify.sh"
SCRIPTS = sorted(DEPLOY.rglob("*.sh"))
CRON = ["env", "-i", "SHELL=/bin/sh", "PATH=/usr/bin:/bin", "LOGNAME=nobody", "HOME=/nonexistent"]
"""The environment that cron gives (crontab(5))."""


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    write_good(tmp_path / "zoo")
    shutil.move(tmp_path / "zoo" / "d.onnx", tmp_path / "zoo" / "d-é ü.onnx")
    (tmp_path / "zoo.yaml").write_text(MANIFEST)
    (tmp_path / "settings").write_text(
        f"FILTERZOO={PROGRAM}\n"
        f"FILTERZOO_WORKDIR='{tmp_path}/work folder'\n"
        f"FILTERZOO_CACHE={tmp_path}/cache\nHF_HOME={tmp_path}/hf\n"
        f"FILTERZOO_TARGET=./published\n"
        f"FILTERZOO_METRICS={tmp_path}/filterzoo.prom\n"
    )
    return tmp_path


def run(folder: Path, *command: Any, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False, timeout=300, **settings
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_sound_bash(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script.read_text()
    checked = run(ROOT, "bash", "-n", script)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck(script: Path) -> None:
    checked = run(ROOT, tool("shellcheck"), script)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_without_arguments_a_script_says_how_it_is_used(script: Path) -> None:
    ran = run(ROOT, *CRON, script)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"usage: {script.name} ")


def test_the_crontab_runs_the_script_with_its_arguments() -> None:
    *variables, job = lines_of(DEPLOY / "cron" / "crontab")
    assert all("=" in line for line in variables)
    minute, hour, day, month, weekday, command = job.split(maxsplit=5)
    assert 0 <= int(minute) < 60
    assert 0 <= int(hour) < 24
    assert (day, month, weekday) == ("*", "*", "1")
    script, settings, manifest = command.split()
    assert script == f"/opt/filterzoo/{CRAWL.relative_to(ROOT)}"
    assert settings.startswith("/etc/")
    assert manifest.endswith(".yaml")
    assert "%" not in job, "cron takes it for the end of the line"


def test_crawl_and_publish_under_the_environment_of_cron(zoo: Path) -> None:
    command = (*CRON, CRAWL, "settings", "zoo.yaml")
    first = run(zoo, *command)
    assert first.returncode == 0, first.stderr
    assert filterzoo("verify", "./published", cwd=zoo).code == 0
    assert 'filterzoo_checkpoints{state="done"} 5.0' in (zoo / "filterzoo.prom").read_text()
    before = hashes(zoo / "published")
    second = run(zoo, *command)
    assert second.returncode == 0, second.stderr
    assert "0 new, 5 already there" in second.stdout
    assert "nothing new" in second.stdout
    assert hashes(zoo / "published") == before


def test_failed_checkpoints_are_reported_and_the_others_published(zoo: Path) -> None:
    write_bad(zoo / "zoo")
    ran = run(zoo, *CRON, CRAWL, "settings", "zoo.yaml")
    assert ran.returncode == 1
    assert filterzoo("verify", "./published", cwd=zoo).code == 0


TWO = """
name: two
sources:
  - {source: local, paths: ["zoo/*"], license: apache-2.0}
  - {source: urls, files: [{url: "http://127.0.0.1:9/net.pt"}], facts: nothing.csv}
"""


class Hooks(HTTPServer):
    """A webhook that keeps the bodies it is sent."""

    told: ClassVar[list[dict[str, str]]] = []


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        Hooks.told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hooks]:
    server = Hooks(("127.0.0.1", 0), Hook)
    server.told.clear()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_zoo_that_could_not_be_listed_is_reported(zoo: Path, hook: Hooks) -> None:
    (zoo / "zoo.yaml").write_text(TWO)
    url = f"http://127.0.0.1:{hook.server_port}/secret"
    with (zoo / "settings").open("a") as settings:
        settings.write(f"FILTERZOO_NOTIFY_URL={url}\nFILTERZOO_NOTIFY='cat > {zoo}/told'\n")
    ran = run(zoo, *CRON, CRAWL, "settings", "zoo.yaml")
    assert ran.returncode == 1, ran.stderr
    assert filterzoo("verify", "./published", cwd=zoo).code == 0  # the other zoo is published
    (sent,) = hook.told
    for text in (sent["text"], (zoo / "told").read_text()):
        assert "exit code 1" in text
        assert "not listed: urls; it never was" in text
        assert "it cannot start: " in text
    assert 'filterzoo_source_up{source="urls"} 0.0' in (zoo / "filterzoo.prom").read_text()
    assert 'filterzoo_source_up{source="local"} 1.0' in (zoo / "filterzoo.prom").read_text()


def test_no_report_is_sent_of_a_successful_run_or_under_systemd(zoo: Path) -> None:
    with (zoo / "settings").open("a") as settings:
        settings.write(f"FILTERZOO_NOTIFY='cat > {zoo}/told'\n")
    assert run(zoo, *CRON, CRAWL, "settings", "zoo.yaml").returncode == 0
    assert run(zoo, *CRON, "FILTERZOO_NOTIFIED=elsewhere", CRAWL, "settings", "nothing.yaml").returncode == 2
    assert not (zoo / "told").exists()
    assert run(zoo, *CRON, CRAWL, "settings", "nothing.yaml").returncode == 2
    assert "exit code 2" in (zoo / "told").read_text()


def test_a_run_that_finds_another_ends_at_once(zoo: Path) -> None:
    work = zoo / "work folder"
    work.mkdir()
    with (work / "schedule.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = run(zoo, *CRON, CRAWL, "settings", "zoo.yaml")
        assert (ran.returncode, ran.stdout) == (3, "")
        assert len(ran.stderr.splitlines()) == 1
    with WorkFolder(work):
        ran = run(zoo, *CRON, CRAWL, "settings", "zoo.yaml")
        assert ran.returncode == 3
        assert "another crawl is working here" in ran.stderr
    assert not (zoo / "published").exists()


@pytest.mark.parametrize("name", ["FILTERZOO", "FILTERZOO_WORKDIR", "FILTERZOO_TARGET"])
def test_a_setting_that_is_missing_is_named(name: str, zoo: Path) -> None:
    kept = [line for line in (zoo / "settings").read_text().splitlines() if not line.startswith(f"{name}=")]
    (zoo / "settings").write_text("\n".join(kept) + "\n")
    ran = run(zoo, *CRON, CRAWL, "settings", "zoo.yaml")
    assert ran.returncode != 0
    assert f"{name}: is not set in {zoo / 'settings'}" in ran.stderr


def test_what_cannot_start_is_not_published(zoo: Path) -> None:
    ran = run(zoo, *CRON, CRAWL, "settings", "nothing.yaml")
    assert ran.returncode == 2
    assert not (zoo / "published").exists()


def test_the_example_of_settings_names_every_setting_of_the_script(tmp_path: Path) -> None:
    example = DEPLOY / "settings.example"
    code = f"set -eu; . {example}; echo $HF_TOKEN_PATH; CREDENTIALS_DIRECTORY=/run/x; . {example}; echo $HF_TOKEN_PATH"
    ran = run(tmp_path, *CRON, "sh", "-c", code)
    assert ran.stdout.split() == ["/etc/filterzoo/hf-token", "/run/x/hf-token"]
    for name in ("FILTERZOO", "FILTERZOO_WORKDIR", "FILTERZOO_TARGET", "FILTERZOO_METRICS"):
        assert f"{name}=" in example.read_text()
        assert f"${name}" in CRAWL.read_text() or f"${{{name}" in CRAWL.read_text()


def job(zoo: Path, *, state: str = "state") -> subprocess.CompletedProcess[str]:
    return run(zoo, JOB, state, "./published", "zoo.yaml", env=job_environment(zoo))


def job_environment(zoo: Path) -> dict[str, str]:
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    (zoo / "tmp").mkdir(exist_ok=True)
    return {"PATH": path, "HOME": str(zoo), "HF_TOKEN": "hf_secret", "TMPDIR": str(zoo / "tmp")}


def test_a_job_goes_on_from_the_state_of_the_last(zoo: Path) -> None:
    moved = zoo / "e.ckpt"
    (zoo / "zoo" / "e.ckpt").rename(moved)
    first = job(zoo)
    assert first.returncode == 0, first.stderr
    assert "4 new, 0 already there" in first.stdout
    moved.rename(zoo / "zoo" / "e.ckpt")
    second = job(zoo)
    assert second.returncode == 0, second.stderr
    assert "1 new, 4 already there" in second.stdout
    assert "nothing new" in job(zoo).stdout
    assert list((zoo / "tmp").iterdir()) == [], "the machine's own disk is left as it was"
    assert filterzoo("verify", "./published", cwd=zoo).code == 0
    assert sorted(path.name for path in (zoo / "state").iterdir()) == ["fragments", "journal.sqlite"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_is_stopped_keeps_what_it_has(zoo: Path, number: int) -> None:
    """Killed with all that it started, as where a machine is taken away; or asked to end, as at its time limit."""
    released = threading.Event()
    with WebServer() as server:
        urls = [server.add(f"/{name}", (zoo / "zoo" / name).read_bytes()) for name in ("a.pth", "e.ckpt")]
        urls.append(server.add("/slow.pt", (zoo / "zoo" / "b-legacy.pt").read_bytes(), lambda _: released.wait(60)))
        files = "".join(f"  - {{url: '{url}', license: mit}}\n" for url in urls)
        (zoo / "zoo.yaml").write_text(f"name: zoo\nsources:\n- source: urls\n  files:\n{files}")
        environment = job_environment(zoo) | {"FILTERZOO_SYNC": "1"}
        command = [str(JOB), "state", "./published", "zoo.yaml"]
        ran = subprocess.Popen(command, cwd=zoo, env=environment, start_new_session=True)
        try:
            wait_for(lambda: kept(zoo) == 2)
        finally:
            (os.killpg if number == signal.SIGKILL else os.kill)(ran.pid, number)
            code = ran.wait(60)
        assert code == (-number if number == signal.SIGKILL else 128 + number)
        released.set()
        assert kept(zoo) == 2
        again = job(zoo)
    assert again.returncode == 0, again.stderr
    assert "1 new, 2 already there" in again.stdout
    assert filterzoo("verify", "./published", cwd=zoo).code == 0


def kept(zoo: Path) -> int:
    """How many checkpoints the state has."""
    journal = zoo / "state" / "journal.sqlite"
    if not journal.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro&immutable=1", uri=True)) as database:
        try:
            return database.execute("SELECT count(*) FROM done").fetchone()[0]
        except sqlite3.DatabaseError:
            return 0  # it is being copied


def wait_for(holds: Callable[[], bool]) -> None:
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.2)
    raise AssertionError("it never came to that")


def test_a_job_mends_a_state_that_was_cut_short(zoo: Path) -> None:
    assert job(zoo).returncode == 0
    fragment = next(path for path in sorted((zoo / "state" / "fragments").rglob("*.arrow")))
    whole = fragment.read_bytes()
    fragment.write_bytes(whole[: len(whole) // 2])
    second = job(zoo)
    assert second.returncode == 0, second.stderr
    assert "mended: fragment: " in second.stdout
    assert "nothing new" in second.stdout
    assert fragment.read_bytes() == whole


def test_the_crawl_of_a_job_is_not_given_the_token(zoo: Path) -> None:
    program = zoo / "bin" / "filterzoo"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$1 ${HF_TOKEN:-none}" >> told\n')
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:/usr/bin:/bin", "HF_TOKEN": "hf_secret"}
    assert run(zoo, JOB, "state", "user/name", "zoo.yaml", env=environment).returncode == 0
    assert (zoo / "told").read_text().split() == ["crawl", "none", "publish", "hf_secret"]
