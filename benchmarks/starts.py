"""The time of commands that have little to do: start-up, and the smallest tasks.

Each is run `--repeat` times after a run that fills the caches. The fastest run counts and is compared with its goal.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from benchmarks._measuring import Run, run
from safetensors.numpy import save_file

MANIFEST = """
name: one
sources:
  - source: local
    paths: ["*.safetensors"]
    license: apache-2.0
"""


def main() -> None:
    """Print the fastest run of each command, and its goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    program = str(Path(sys.executable).with_name("filterzoo"))
    with tempfile.TemporaryDirectory(prefix="filterzoo-bench-") as name:
        folder = Path(name)
        (folder / "one.yaml").write_text(MANIFEST)
        weights = np.random.default_rng(0).standard_normal((16, 3, 3, 3)).astype(np.float32)
        file, manifest = folder / "a.safetensors", str(folder / "one.yaml")
        save_file({"conv.weight": weights}, file)
        work, target = folder / "work", folder / "dataset"
        known = ["--workdir", str(work)]

        def again(*words: str) -> Run:
            return fastest([run([program, *words]) for _ in range(repeat + 1)])

        def again_from_nothing(kept: Path, *words: str) -> Run:
            runs = []
            for _ in range(repeat + 1):
                shutil.rmtree(kept, ignore_errors=True)
                runs.append(run([program, *words]))
            return fastest(runs)

        show("--help", again("--help"), 0.35)
        show("plugins --help", again("plugins", "--help"), 0.35)
        show("inspect, a small file", again("inspect", str(file)), 0.6)
        show("crawl, one small file", again_from_nothing(work, "crawl", manifest, *known, "-q"), 1.2)
        show("status", again("status", *known), 0.35)
        show("publish, one small file", again_from_nothing(target, "publish", str(target), *known, "--json"), None)
        show("publish, nothing new", again("publish", str(target), *known, "--json"), 0.8)
        show("crawl, nothing new", again("crawl", manifest, *known, "-q"), None)


def fastest(runs: list[Run]) -> Run:
    """The fastest run, without the first."""
    return min(runs[1:], key=lambda taken: taken.seconds)


def show(what: str, taken: Run, goal: float | None) -> None:
    """Print a line."""
    wanted = "" if goal is None else f"   goal {goal:.2f} s: {'met' if taken.seconds <= goal else 'not met'}"
    print(f"{what:24} {taken.seconds:5.2f} s {taken.peak_bytes / 1e6:5.0f} MB peak{wanted}")


if __name__ == "__main__":
    main()
