"""The battery through `filterzoo inspect --json` as a user runs it, and through the jail with its costs measured."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.program import PROGRAM
from tests.untrusted_files.battery import CANARY, Case, cases
from tests.untrusted_files.reading import layers, readers

from filterzoo.crawl.worker.opening import opened
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.jail import Jail
from filterzoo.jail.limits import JailLimits

pytestmark = pytest.mark.slow

GIB = 1 << 30
FAMILIES = {
    "torch zip", "torch legacy", "TorchScript", "safetensors", "shards", "ONNX", "HDF5", "Keras 2", "Keras 3",
    "npy", "npz", "TFLite", "OpenVINO", "TensorFlow", "Caffe", "Darknet", "MatConvNet", "Core ML",
    "MXNet", "Flax", "zip", "tar", "no model",
}  # fmt: skip
MEASURE = "import resource, subprocess, sys; r = subprocess.run(sys.argv[1:]).returncode; \
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(r)"
PLACES = {
    "torch zip: storage_shorter_than_declared": "data/0",
    "torch zip: view_past_the_end": "storage 0",
    "torch zip: pickle_with_an_unknown_opcode": "byte",
    "safetensors: hole": "(at b)",
    "safetensors: shape of other bytes": "(at w)",
    "ONNX: raw_data too short": "'w'",
    "ONNX: a length past the end": "byte",
    "HDF5: an external link": "(at conv)",
    "HDF5: 180 GB of nothing": "conv/kernel",
    "npz: objects": "w.npy",
    "TFLite: data too short": "'w'",
    "MXNet: two arrays of one name": "(at w)",
    "Flax: a side of -3": "Conv_0/kernel",
    "MXNet: a type of -1": "byte",
    "zip: a name outside": "../../evil.pt",
    "tar: cut": "byte",
    "tar: a symbolic link": "(at a)",
}
"""What the detail of a refusal has to name: the tensor, the record or the offset."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("battery")


@pytest.fixture(scope="module")
def battery(folder) -> dict[Path, Case]:
    (folder / "scratch").mkdir()
    made = cases(folder / "scratch")
    return {case.write(folder / f"{number:03}"): case for number, case in enumerate(made)}


@pytest.fixture(scope="module")
def ran(battery, folder) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """What the program said of all files at once, and the folder as it was before."""
    before = snapshot(folder)
    command = [sys.executable, "-c", MEASURE, str(PROGRAM), "inspect", "--json", *map(str, battery)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=500)
    return done, before


def snapshot(folder: Path) -> dict[str, Any]:
    """Everything below: kinds, sizes and times of the last change."""
    return {
        str(path): (found.st_mode, found.st_size, found.st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        for found in [path.lstat()]
    }


def test_it_is_large_and_has_good_files_of_everything(battery):
    assert len(battery) >= 200
    assert len({case.id for case in battery.values()}) == len(battery)
    counts = Counter(case.family for case in battery.values())
    assert set(counts) == FAMILIES
    assert min(counts.values()) >= 8
    good = Counter(case.family for case in battery.values() if case.verdict == "accept")
    assert all(good[family] for family in FAMILIES - {"no model"})
    assert len({case.verdict for case in battery.values()} & set(Reason)) >= 6


def test_every_file_is_judged_as_labelled(battery, ran):
    done, _ = ran
    assert done.returncode == 2
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in said] == [str(path) for path in battery]
    wrong = [
        (case.id, case.verdict, verdict, line.get("error"))
        for case, line in zip(battery.values(), said, strict=True)
        if not agrees(case, verdict := line["error"]["reason"] if "error" in line else "accept")
    ]
    assert wrong == []


def agrees(case: Case, verdict: str) -> bool:
    match case.verdict:
        case "safe":
            return True
        case "refuse":
            return verdict != "accept" and verdict not in {Reason.CRASHED, Reason.PLUGIN_ERROR}
        case expected:
            return verdict == expected


def test_a_refusal_is_one_line_that_says_where(battery, ran):
    said = {case.id: json.loads(line) for case, line in zip(battery.values(), ran[0].stdout.splitlines(), strict=True)}
    details = {name: line["error"]["detail"] for name, line in said.items() if "error" in line}
    assert all(detail and detail.isprintable() and len(detail) <= 1000 for detail in details.values())
    assert [(name, details[name]) for name, place in PLACES.items() if place not in details[name]] == []
    with_a_place = [name for name, detail in details.items() if "(at " in detail]
    assert len(with_a_place) > len(details) * 0.7


def test_nothing_is_written_and_nothing_runs(ran, folder):
    assert snapshot(folder) == ran[1]
    assert not list(folder.rglob(CANARY))


def test_no_process_takes_a_gigabyte(ran):
    kilobytes = int(ran[0].stderr.splitlines()[-1])
    assert kilobytes * 1024 < GIB
    assert ran[0].stderr.splitlines()[:-1] == []


@pytest.mark.parametrize("stride", [pytest.param(5, id="one in five"), pytest.param(1, marks=pytest.mark.torture)])
def test_no_file_costs_more_than_its_limits(stride, battery, tmp_path):
    """Each file alone, with the CPU time and the memory of the child that read it."""
    costs = []
    chosen = list(battery.items())[::stride]
    # A child that is ended is followed by another one, which may take its time to start.
    longest = JailLimits().patience * JailLimits().cpu_seconds + JailLimits().start_seconds
    with Jail(readers()) as jail:
        for path, case in chosen:
            child = psutil.Process(jail.process_id)
            before, started = sum(child.cpu_times()[:2]), time.monotonic()
            with (
                contextlib.suppress(Refused),
                LocalFile(path) as whole,
                opened(whole, path.name, jail, tmp_path) as (file, table),
            ):
                layers(file, table)
            if child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
                assert peak_memory(child.pid) < GIB, case.id
                costs.append((sum(child.cpu_times()[:2]) - before, case.id))
            assert time.monotonic() - started < longest, case.id
    assert len(costs) > len(chosen) * 0.8
    assert max(costs) < (JailLimits().cpu_seconds,)
    assert list(tmp_path.iterdir()) == []


def peak_memory(process_id: int) -> int:
    """Bytes (Linux)."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024
