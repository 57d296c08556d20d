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


def in_own_mounts(zoo: Path, script: str) -> None:
    """Run a script that may mount file systems in folders of the zoo; skips where none may be mounted."""
    probe = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(zoo / "zoo")]
    if os.name != "posix" or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    crawl(zoo, "unshare", "--user", "--map-root-user", "--mount", "sh", "-uc", script)


def ended(zoo: Path, name: str) -> subprocess.CompletedProcess[str]:
    """A command of the script that wrote NAME.code and NAME.err."""
    return subprocess.CompletedProcess(
        name, int((zoo / f"{name}.code").read_text()), "", (zoo / f"{name}.err").read_text()
    )


def test_a_full_file_system(zoo: Path, expected: dict[str, str]) -> None:
    """On a tmpfs of its own, that is enlarged after the crawl has met its end."""
    command = " ".join(crawl_into("full"))
    (zoo / "full").mkdir()
    script = f"""
        mount -t tmpfs -o size=700k tmpfs full
        {command} 2> first.err; echo $? > first.code
        mount -o remount,size=100m full
        {command} 2> second.err; echo $? > second.code
        {PROGRAM} publish ./out-full --workdir full
    """
    in_own_mounts(zoo, script)
    first = ended(zoo, "first")
    assert_stopped(first)
    assert "bytes are free, and the next checkpoint wants" in first.stderr
    assert ended(zoo, "second").returncode in {0, 1}  # 1: bad files of the zoo were left to tell
    assert hashes(zoo / "out-full") == expected


def test_64_mb_that_fill_in_the_middle_of_a_network(tmp_path: Path) -> None:
    """Small ones are kept; the large one, and a release with it, want a larger file system.

    The release is refused before its first file where there is less than the least that it can take.
    """
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    write_good(tmp_path / "zoo")
    large = {"conv.weight": np.random.default_rng(0).standard_normal((2048, 1280, 3, 3), np.float32)}
    save_file(large, tmp_path / "zoo" / "last.safetensors")
    for name in ("work", "target"):
        (tmp_path / name).mkdir()
    command = " ".join(crawl_into("work"))
    publish = f"{PROGRAM} publish ./target/out --workdir work"
    script = f"""
        mount -t tmpfs -o size=64m tmpfs work
        {command} 2> first.err; echo $? > first.code
        find work/scratch -type f > left
        mount -o remount,size=200m work
        {command} 2> second.err; echo $? > second.code
        mount -t tmpfs -o size=20m tmpfs target
        {publish} 2> refused.err; echo $? > refused.code
        mount -o remount,size=64m target
        {publish} 2> filled.err; echo $? > filled.code
        ls -A target > there
        mount -o remount,size=200m target
        {publish} 2> published.err; echo $? > published.code
        cp -r target/out out-full
    """
    in_own_mounts(tmp_path, script)
    first, refused, filled = (ended(tmp_path, name) for name in ("first", "refused", "filled"))
    assert_stopped(first)
    assert "done" in first.stderr
    assert "No space left on device" in first.stderr
    assert (tmp_path / "left").read_text() == ""
    assert ended(tmp_path, "second").returncode == 0, ended(tmp_path, "second").stderr
    assert (refused.returncode, filled.returncode) == (2, 2)
    assert "bytes at least, and" in refused.stderr.splitlines()[-1]
    assert "No space left on device; nothing was published" in filled.stderr.splitlines()[-1]
    assert (tmp_path / "there").read_text() == ""
    assert ended(tmp_path, "published").returncode == 0
    assert hashes(tmp_path / "out-full") == published(tmp_path, work="calm")


def test_read_only_file_systems(zoo: Path, expected: dict[str, str]) -> None:
    """Each command that writes ends with one line that names the place; what is there stays."""
    (zoo / "read-only").mkdir()
    out = "read-only/out"
    commands = {
        "crawl": " ".join(crawl_into("read-only/new")),
        "crawl again": " ".join(crawl_into("read-only/calm")),
        "publish": f"{PROGRAM} publish ./read-only/new --workdir calm",
        "takedown": f"{PROGRAM} takedown ./{out} --model local/zoo/a.pth --yes --workdir calm",
        "export": f"{PROGRAM} export ./{out} read-only/x.h5 --format cnn-filter-db",
        "report": f"{PROGRAM} report ./{out} -o read-only/report",
        "doctor": f"{PROGRAM} doctor --repair --workdir read-only/calm",
    }
    ran = "".join(f"{command} 2> '{name}.err'; echo $? > '{name}.code'\n" for name, command in commands.items())
    script = f"""
        mount -t tmpfs tmpfs read-only
        cp -r calm read-only/calm; cp -r out-calm {out}
        mount -o remount,ro read-only
        {ran}
        cp -r {out} out-read-only
    """
    in_own_mounts(zoo, script)
    for name in commands:
        found = ended(zoo, name)
        assert found.returncode == 2, (name, found.stderr)
        (line,) = found.stderr.splitlines()
        assert line.startswith("filterzoo: "), (name, line)
        assert "Read-only file system" in line, (name, line)
        assert "unexpected" not in line, (name, line)
    assert hashes(zoo / "out-read-only") == expected
