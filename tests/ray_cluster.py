"""A Ray cluster of several nodes on this machine, in a separate process, whose nodes can be killed.

Run as a program, it starts the nodes and reads commands from its standard input, one word per line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NODE: dict[str, Any] = {
    "num_cpus": 1,
    "object_store_memory": 100_000_000,
    "memory": 2_000_000_000,
    "include_dashboard": False,
}


@dataclass
class RayCluster:
    """`nodes` nodes of one core each. folder: for Ray's files and logs."""

    nodes: int
    folder: Path
    environment: Mapping[str, str]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.nodes), str(self.folder)],
            env={
                **os.environ,
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_memory_monitor_refresh_ms": "0",
                **self.environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._answer()["address"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate("stop\n", timeout=120)

    def kill_a_node(self) -> None:
        """Kill all processes of the node that was added last, at once."""
        self._tell("kill")

    def add_a_node(self) -> None:
        self._tell("add")

    def _tell(self, word: str) -> Any:
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        assert line, "the cluster did not start"
        return json.loads(line)


def main(nodes: int, folder: str) -> None:
    os.environ["RAY_TMPDIR"] = folder  # Cluster writes into the default folder, which a new machine lacks
    from ray.cluster_utils import Cluster

    said, sys.stdout = sys.stdout, sys.stderr
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    others = [cluster.add_node(**NODE) for _ in range(nodes - 1)]
    print(json.dumps({"address": cluster.address}), file=said, flush=True)
    for line in sys.stdin:
        word = line.strip()
        if word == "kill":
            cluster.remove_node(others.pop(), allow_graceful=False)
        elif word == "add":
            others.append(cluster.add_node(**NODE))
        else:
            break
        print(json.dumps({}), file=said, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
