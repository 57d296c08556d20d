"""A disk that fills in the middle of a crawl: one line, exit code 2, and the same command goes on to the same bytes."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.end_to_end.test_crawl import hashes, published
from tests.program import PROGRAM
from tests.zoo import MANIFEST, write_bad, write_good

pytestmark = pytest.mark.slow


def crawl_into(work: str) -> list[str]:
    return [str(PROGRAM), "crawl", "manifest.yaml", "--workdir", work, "--workers", "2"]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each test has a work folder of its own beside it."""
    folder = tmp_path_factory.mktemp("full-disk")
    (folder / "manifest.yaml").write_text(MANIFEST)
    write_good(folder / "zoo")
    write_bad(folder / "zoo")
    large = {"conv.weight": np.random.default_rng(0).standard_normal((256, 128, 3, 3)).astype(np.float32)}
    save_file(large, folder / "zoo" / "last.safetensors")
    return folder


@pytest.fixture(scope="module")
def expected(zoo: Path) -> dict[str, str]:
    """What a crawl publishes that met no full disk."""
    return published(zoo, work="calm")


def crawl(zoo: Path, *command: str, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=zoo, capture_output=True, text=True, timeout=300, check=False, preexec_fn=before)


def assert_stopped(ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.returncode == 2, (ran.stdout, ran.stderr)
    assert "Traceback" not in ran.stderr
    (line,) = re.findall(r"^filterzoo: .*$", ran.stderr, re.MULTILINE)
    assert ran.stderr.endswith(line + "\n")
    assert any(told in line for told in ("free space", "allow larger files", "journal"))


@pytest.mark.parametrize(("largest", "told"), [(4_000, "journal"), (30_000, "journal"), (500_000, "store")])
def test_files_that_may_not_grow(zoo: Path, expected: dict[str, str], largest: int, told: str) -> None:
    """The journal's file reaches the limit first, or the fragments of the largest network do, after others are done."""
    work = f"no-more-than-{largest}"
    ran = crawl(zoo, *crawl_into(work), before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)))
    assert_stopped(ran)
    assert told in ran.stderr.splitlines()[-1]
    if told == "store":
        assert "done" in ran.stderr
    assert published(zoo, work=work) == expected


def test_a_full_file_system(zoo: Path, expected: dict[str, str]) -> None:
    """On a tmpfs of its own, that is enlarged after the crawl has met its end."""
    probe = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(zoo / "zoo")]
    if os.name != "posix" or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    command = " ".join(crawl_into("full"))
    script = f"""
        set -u
        mount -t tmpfs -o size=700k tmpfs full
        {command} 2> first.err; echo $? > first.code
        mount -o remount,size=100m full
        {command} 2> second.err; echo $? > second.code
        {PROGRAM} publish ./out-full --workdir full
    """
    (zoo / "full").mkdir()
    crawl(zoo, "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script)
    first = subprocess.CompletedProcess(
        command, int((zoo / "first.code").read_text()), "", (zoo / "first.err").read_text()
    )
    assert_stopped(first)
    assert "bytes are free, and the next checkpoint wants" in first.stderr
    assert (zoo / "second.code").read_text() in {"0\n", "1\n"}  # 1: bad files of the zoo were left to tell
    assert hashes(zoo / "out-full") == expected
