"""A crawl that finds nothing new: time and peak memory if all checkpoints are in the journal.

The zoo is a plugin that lists 2,000 and 20,000 checkpoints without a network, so that only FilterZoo is timed: start,
discovery, licences, the journal. The journal is written as a crawl would have written it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks._measuring import median, run

from filterzoo.crawl.discovery import discover, open_sources
from filterzoo.crawl.task import Task
from filterzoo.network.door import Door
from filterzoo.outcome import Done
from filterzoo.plugins import load, references
from filterzoo.store.workfolder import WorkFolder

PLUGIN = """
from filterzoo import Artifact, Checkpoint, Source, hookimpl

class Listed(Source):
    name = "listed"

    def discover(self):
        for number in range({checkpoints}):
            file = Artifact(url=f"https://zoo.example.org/{{number}}.safetensors", size=100_000_000)
            yield Checkpoint(id=f"networks/net{{number}}", revision="1", licence="apache-2.0", artifacts=(file,))

@hookimpl
def filterzoo_sources():
    return [Listed]
"""


def main() -> None:
    """Crawl each listing `--repeat` times and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    program = str(Path(sys.executable).with_name("filterzoo"))
    for checkpoints in arguments.checkpoints:
        folder = Path(tempfile.mkdtemp(prefix="filterzoo-bench-"))
        try:
            settle(folder, checkpoints)
            command = [program, "crawl", str(folder / "zoo.yaml"), "--plugin", str(folder / "zoo.py")]
            command += ["--workdir", str(folder / "work")]
            result = median([run(command) for _ in range(arguments.repeat)])
        finally:
            shutil.rmtree(folder)
        print(f"{checkpoints:7,} checkpoints: {result.seconds:5.1f} s {result.peak_bytes / 1e6:6.0f} MB peak")


def settle(folder: Path, checkpoints: int) -> None:
    """Write the zoo, and the journal of a finished crawl of it."""
    (folder / "zoo.py").write_text(PLUGIN.format(checkpoints=checkpoints))
    (folder / "zoo.yaml").write_text("name: listed\nsources:\n  - source: listed\n")
    with Door(folder / "cache") as door, WorkFolder(folder / "work").journal() as journal:
        sources = open_sources([folder / "zoo.yaml"], load(references([folder / "zoo.py"])), door)
        for task in discover(sources):
            assert isinstance(task, Task)
            journal.record_done(_done(task), task.settings.key)


def _done(task: Task) -> Done:
    return Done(
        checkpoint=task.checkpoint,
        format="safetensors",
        framework="torch",
        section="",
        sha256="0" * 64,
        size=100_000_000,
        integrity="sha256",
        licence="apache-2.0",
        licence_class="permissive",
        licence_from="zoo",
        n_tensors=320,
        n_layers=53,
        filters_by_kernel={"1x1": 1_000_000, "3x3": 1_200_000, "7x7": 192},
        layers_fragment="0" * 64,
        filters_fragment="1" * 64,
        publish_weights=True,
    )


if __name__ == "__main__":
    main()
