"""Data sets whose content no release writes: every reader says so in one line, soon and in little memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from tests.program import PROGRAM
from tests.publish import hostile_data
from tests.publish.folders import publish_models
from tests.publish.work import write_work, zoo

import filterzoo
from filterzoo.dataset.published import open_folder
from filterzoo.dataset.untrusted import reading
from filterzoo.errors import FilterZooError
from filterzoo_publish.cnn_filter_db import table, writing
from filterzoo_publish.merge import merging
from filterzoo_publish.release import publish, publish_work, target_for
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind
from filterzoo_publish.verify.checks import verify

MEMORY = 128 << 20
"""Of Arrow's pool, for what is refused by its footer or its texts."""
WHOLE = {"verify": 600_000, "takedown": 950_000}
"""KiB of a process that reads the widest row groups that are read, by its command."""
SECONDS = 10
POOLS: list[pa.MemoryPool] = []
"""One for each reader, since the peak of a pool stays; kept, since what was read may outlive its reader."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    publish_models(folder / "first", folder / "out", zoo()[:2])
    write_work(folder / "second", zoo()[:4])
    return folder


@pytest.fixture
def target(sound, tmp_path) -> Path:
    return shutil.copytree(sound / "out", tmp_path / "target")


def readers(sound: Path, target: Path) -> dict[str, Callable[[], object]]:
    """What reads a data set; `verify` raises here where it finds problems."""

    def check() -> None:
        if problems := verify(str(target)):
            assert all(len(problem.detail) < 2_000 for problem in problems)
            raise FilterZooError("problems")

    def export() -> None:
        files = open_folder(target)
        with reading(str(target)):
            planned = table.export_table(files)
        writing.write(files, planned, target.parent / "out.h5")

    def merge() -> None:
        publish_work(merging.open_datasets([str(target)]), target_for(str(target.parent / "merged")))

    return {
        "verify": check,
        "load": lambda: filterzoo.load(str(target)),
        "stats": lambda: filterzoo.stats(str(target)),
        "publish": lambda: publish(sound / "second", target_for(str(target))),
        "takedown": lambda: take_down(target_for(str(target)), [(TakedownKind.MODEL, "pypi/a-net")]),
        "export": export,
        "from": merge,
    }


QUICK = (
    hostile_data.endless_counts,
    hostile_data.short_statistics,
    hostile_data.lying_pages,
    hostile_data.lying_pages_of_weights,
    hostile_data.long_texts,
    hostile_data.long_names,
    hostile_data.long_layer_ids,
)
ATTACKS = [
    pytest.param(attack, marks=() if attack in QUICK else pytest.mark.slow, id=attack.__name__)
    for attack in (*hostile_data.LIGHT, *hostile_data.HEAVY)
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_content_is_one_line_for_every_reader(sound, target, attack):
    """A reader that does not look at what was changed may go on; nobody ends in another way, and verify finds it."""
    attack(target)
    whole = pa.default_memory_pool()
    refused, said = set(), []
    for name, read in readers(sound, shutil.copytree(target, target.parent / "copy")).items():
        pool, start = pa.proxy_memory_pool(whole), time.process_time()
        POOLS.append(pool)
        pa.set_memory_pool(pool)
        try:
            read()
        except FilterZooError as error:
            refused.add(name)
            said.append(str(error))
        finally:
            pa.set_memory_pool(whole)
        assert pool.max_memory() < MEMORY, name
        assert time.process_time() - start < SECONDS, name
    assert "verify" in refused
    assert not any("\n" in text for text in said)


@pytest.mark.slow
@pytest.mark.parametrize("command", [("verify",), ("takedown", "--yes", "--model", "pypi/a-net")])
def test_the_widest_row_groups_cost_a_process_less_than_a_gigabyte(target: Path, command: tuple[str, ...]):
    hostile_data.widest_row_groups(target)
    name, *options = command
    # A process starts with the peak of the one that starts it.
    script = "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    script += "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    script += "print(code, used.ru_maxrss, used.ru_utime + used.ru_stime, file=sys.stderr)"
    argv = [sys.executable, "-c", script, PROGRAM, name, target, *options]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True)  # type: ignore[arg-type]  # of a type that the test knows
    code, peak, seconds = map(float, ran.stderr.split())
    assert ("cannot be read" not in ran.stdout, code) == (True, 1 if name == "verify" else 0)
    assert peak < WHOLE[name]
    assert seconds < SECONDS
