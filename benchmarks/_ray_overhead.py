"""`python -m benchmarks._ray_overhead ADDRESS TASKS FOLDER`: the overhead of a task of the Ray executor.

Tasks are submitted as the executor submits them, with its job, resources and actor, two for each core. A task without a
checkpoint finds the worker of its process and ends. Prints the seconds from the first submission to the last result,
measured once each core has its worker.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from filterzoo import ExecutorOptions
from filterzoo.crawl.task import WorkerSetup
from filterzoo.plugins import references
from filterzoo_plugins.executors.ray import cluster
from filterzoo_plugins.executors.ray.batches import BASE, LAYER_BYTES
from filterzoo_plugins.executors.ray.node import Job, take


def main() -> None:
    address, tasks, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    manifest = folder / "zoo.yaml"
    plugins = tuple(references())
    setup = WorkerSetup(
        manifests=(manifest,),
        plugins=plugins,
        fragments_url=str(folder / "overhead"),
        scratch=folder / "scratch",
        cache=folder / "cache",
        device="cpu",
    )
    ray = cluster.imported()
    with cluster.connected(ray, ExecutorOptions(address=address, manifests=(manifest,), plugins=plugins)) as state:
        job = Job(cluster.travelled(setup))
        remote = ray.remote(take).options(num_cpus=1, memory=BASE, max_retries=3, retry_exceptions=False)
        cores = cluster.cores(ray)

        def seconds(count: int) -> float:
            pending: list[Any] = []
            start = time.perf_counter()
            for number in range(count):
                if len(pending) >= 2 * cores:
                    ready, pending = ray.wait(pending)
                    assert all(not report.fatal for report in ray.get(ready))
                pending.append(remote.remote(job, [], LAYER_BYTES, state, number))
            assert all(not report.fatal for report in ray.get(pending))
            return time.perf_counter() - start

        seconds(20 * cores)
        print(seconds(tasks), flush=True)


if __name__ == "__main__":
    main()
