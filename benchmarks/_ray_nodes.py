"""`python -m benchmarks._ray_nodes NODES FOLDER`: runs a Ray cluster of one-core nodes until stdin is closed."""

from __future__ import annotations

import os
import sys
from typing import Any

NODE: dict[str, Any] = {
    "num_cpus": 1,
    "object_store_memory": 100_000_000,
    "memory": 2_000_000_000,
    "include_dashboard": False,
}


def main() -> None:
    nodes, os.environ["RAY_TMPDIR"] = int(sys.argv[1]), sys.argv[2]
    # Imported with its folder set: Cluster writes into the default one, which a machine that never ran Ray lacks.
    from ray.cluster_utils import Cluster

    output, sys.stdout = sys.stdout, sys.stderr
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    for _ in range(nodes - 1):
        cluster.add_node(**NODE)
    print(cluster.address, file=output, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
