"""crawl + publish, against scripts that a user might write, and against a lower bound.

Four rows on the same synthetic zoo: FilterZoo; `_by_hand`, which keeps filters and a few measures; `_by_libraries`,
which makes most of a release; `_limit`, which only hashes the files and encodes their numbers. The results of each are
checked. Prints the fastest round, the peak memory of all processes, and the ratios.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
from benchmarks._measuring import Run, run
from benchmarks._zoo import Zoo, write_zoo

import filterzoo
from filterzoo_publish.verify.checks import verify

FILTERS = 12_000_000
MANIFEST = """
name: synthetic
sources:
  - source: local
    paths: ["zoo/*"]
    license: apache-2.0
"""


@dataclass(frozen=True, slots=True)
class _Rival:
    """A script to compare with. module: its name in `benchmarks`. suffix: of its output. check: verifies the output."""

    name: str
    module: str
    suffix: str
    check: Callable[[Path, Path, Zoo], None]


def main() -> None:
    """Write the zoo, run all rows `--repeat` times in turn, check them, and print the fastest run of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filters", type=int, default=FILTERS)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="filterzoo-bench-"))
    try:
        zoo = write_zoo(folder / "zoo", arguments.filters)
        (folder / "manifest.yaml").write_text(MANIFEST)
        crawls, publishes = [], []
        others: dict[str, list[Run]] = {rival.name: [] for rival in RIVALS}
        for number in range(arguments.repeat):
            crawl, publish = _filterzoo(folder, number, zoo)
            crawls.append(crawl)
            publishes.append(publish)
            for rival in RIVALS:
                others[rival.name].append(_other(folder, number, zoo, rival))
        _report(zoo, crawls, publishes, others)
    finally:
        shutil.rmtree(folder)


def _filterzoo(folder: Path, number: int, zoo: Zoo) -> tuple[Run, Run]:
    program = str(Path(sys.executable).with_name("filterzoo"))
    work, target = folder / f"work-{number}", folder / f"dataset-{number}"
    crawl = run([program, "crawl", str(folder / "manifest.yaml"), "--workdir", str(work)])
    publish = run([program, "publish", str(target), "--workdir", str(work)])
    if number == 0:
        problems = verify(str(target))
        assert not problems, problems[0]
    assert len(filterzoo.layers(str(target))) == zoo.layers
    _check_filters([filterzoo.load(str(target))], zoo)
    shutil.rmtree(work)
    shutil.rmtree(target)
    return crawl, publish


def _other(folder: Path, number: int, zoo: Zoo, rival: _Rival) -> Run:
    out = folder / f"{rival.module}-{number}{rival.suffix}"
    taken = run([sys.executable, "-m", f"benchmarks.{rival.module}", str(folder / "zoo"), str(out)])
    rival.check(folder / "zoo", out, zoo)
    for made in folder.glob(f"{rival.module}-{number}*"):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    return taken


def _check_by_hand(_zoo: Path, out: Path, zoo: Zoo) -> None:
    assert len(out.with_suffix(".csv").read_text().splitlines()) == zoo.layers + 1
    with h5py.File(out) as file:
        _check_filters([file["filters"][...]], zoo)


def _check_by_libraries(_zoo: Path, out: Path, zoo: Zoo) -> None:
    assert pq.read_metadata(out / "layers.parquet").num_rows == zoo.layers
    with pq.ParquetFile(out / "filters.parquet") as file:
        _check_filters((numbers for numbers in _numbers(file)), zoo)


def _check_limit(folder: Path, out: Path, _zoo: Zoo) -> None:
    assert len(out.with_suffix(".txt").read_text().splitlines()) == len(list(folder.iterdir()))
    with pq.ParquetFile(out) as file:
        decoded = sum(len(numbers) for numbers in _numbers(file))
    assert decoded == sum(path.stat().st_size // 4 for path in folder.iterdir())


def _numbers(file: pq.ParquetFile) -> Iterable[np.ndarray]:
    for group in range(file.num_row_groups):
        yield from (chunk.flatten().to_numpy() for chunk in file.read_row_group(group, ["weights"])["weights"].chunks)


def _check_filters(parts: Iterable[np.ndarray], zoo: Zoo) -> None:
    """Check the number of filters and the sum of all weights, which do not depend on the order."""
    count, total = 0, 0.0
    for part in parts:
        count += part.size
        total += float(part.sum(dtype=np.float64))
    assert count == 9 * zoo.filters, (count, zoo)
    assert abs(total - zoo.total) < 1e-3, (total, zoo)


RIVALS = (
    _Rival("by hand: filters, a few measures", "_by_hand", ".h5", _check_by_hand),
    _Rival("the same from libraries", "_by_libraries", "", _check_by_libraries),
    _Rival("the limit: sha256 and Parquet", "_limit", ".parquet", _check_limit),
)


def _report(zoo: Zoo, crawls: list[Run], publishes: list[Run], others: dict[str, list[Run]]) -> None:
    both = [
        Run(a.seconds + b.seconds, max(a.peak_bytes, b.peak_bytes), a.cpu_seconds + b.cpu_seconds)
        for a, b in zip(crawls, publishes, strict=True)
    ]
    print(f"zoo: {zoo.files} files, {zoo.size / 1e6:.0f} MB, {zoo.filters / 1e6:.1f} M filters")
    rows = {"filterzoo crawl + publish": both, "  crawl": crawls, "  publish": publishes, **others}
    for name, runs in rows.items():
        fastest = min(taken.seconds for taken in runs)
        cpu = min(taken.cpu_seconds for taken in runs)
        peak = max(taken.peak_bytes for taken in runs) / 1e6
        rate = zoo.filters / fastest / 1e6
        print(f"{name:34} {fastest:7.1f} s {rate:6.2f} M filters/s {cpu:7.1f} s of CPU {peak:8.0f} MB peak")
    for name, runs in others.items():
        ratios = sorted(own.seconds / other.seconds for own, other in zip(both, runs, strict=True))
        text = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"filterzoo takes of the time of {name}: {text} (by round)")


if __name__ == "__main__":
    main()
