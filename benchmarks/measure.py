"""Filters measured per second on one core, and peak memory, against NumPy and torchconvquality.

`python benchmarks/measure.py` measures on the CPU, and on the GPU if torch finds one. Each way runs in a process of its
own, on the same synthetic layers, so that its peak memory can be measured. torchconvquality computes less than the
others: sparsity, entropy and orthogonality, but no moments, histograms and norms.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]

LAYERS = {
    "ResNet-like, with orthogonality": [(64, 64)] * 6 + [(128, 128)] * 7 + [(256, 256)] * 11 + [(512, 512)] * 5,
    "depthwise, multiplier 1 (no orthogonality)": [(960, 1)] * 20 + [(1_000_000, 1)],
    "one wide layer": [(2048, 1024)],
}
WAYS = ("filterzoo cpu", "filterzoo cuda", "numpy", "torchconvquality")


def layers(workload: str) -> list[Weights]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((*shape, 3, 3), dtype=np.float32) * np.float32(0.05) for shape in LAYERS[workload]]


def filterzoo_way(device: str) -> Callable[[Weights], object]:
    from filterzoo.measures import measure
    from filterzoo.measures.on_torch import measure as torch_measure

    def measured(weights: Weights) -> object:
        groups = weights.shape[0] if weights.shape[1] == 1 else 1
        if device == "cpu":
            return measure.measure_weights(weights, groups)
        return torch_measure.measure_weights(weights, groups, device=device)

    return measured


def numpy_way(weights: Weights) -> object:
    """All measures of FilterZoo, on whole arrays in float64."""
    filters = weights.reshape(-1, 9)
    peaks = np.abs(filters).max(axis=1, keepdims=True)
    scaled = (filters / np.where(peaks == 0, 1, peaks)).astype(np.float64)
    raw = filters.astype(np.float64)
    cosines = np.cos(np.pi * (2 * np.arange(3) + 1) * np.arange(3)[:, None] / 6)
    cosines /= np.linalg.norm(cosines, axis=1, keepdims=True)
    coefficients = scaled @ np.kron(cosines, cosines).T
    results = [np.abs(raw).sum(), (raw**2).sum(), (peaks < peaks.max() / 100).mean()]
    results += [np.histogram(column, bins=70, range=(-3, 3))[0] for column in coefficients.T]
    for values in (raw, scaled):
        covariance = np.cov(values, rowvar=False)
        results += [values.mean(axis=0), covariance, np.linalg.eigvalsh(covariance)]
    if weights.shape[1] > 1:
        rows = weights.reshape(len(weights), -1)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        results.append(np.abs(rows @ rows.T).sum())
    return results


def torchconvquality_way() -> Callable[[Weights], object]:
    """Only sparsity, entropy and orthogonality: no moments, no histogram, no norms."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchconvquality as quality

    def measure(weights: Weights) -> object:
        tensor = torch.from_numpy(weights)
        # For a million rows its orthogonality would need a matrix of 4 TB, so depthwise layers are skipped.
        parts = [quality.sparsity(tensor), quality.variance_entropy(tensor)]
        return parts if weights.shape[1] == 1 else [*parts, quality.orthogonality(tensor)]

    return measure


def run(way: str, workload: str) -> dict[str, float]:
    """Seconds of the fastest of three runs, and peak memory minus that of the layers and libraries."""
    import torch

    torch.set_num_threads(1)
    measure = {
        "filterzoo cpu": lambda: filterzoo_way("cpu"),
        "filterzoo cuda": lambda: filterzoo_way("cuda"),
        "numpy": lambda: numpy_way,
        "torchconvquality": torchconvquality_way,
    }[way]()
    zoo = layers(workload)
    measure(zoo[0][:2])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        for weights in zoo:
            measure(weights)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": min(seconds), "megabytes": peak / 1024, "filters": sum(w.size // 9 for w in zoo)}


def compare(workload: str, ways: list[str], rounds: int = 3) -> None:
    """Run the ways in turn, so that a busy moment of the machine does not affect only one of them."""
    best: dict[str, dict[str, float]] = {}
    for way in ways * rounds:
        command = [sys.executable, __file__, "--run", way, workload]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        output = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **threads})
        result = json.loads(output.stdout)
        best[way] = min(best.get(way, result), result, key=lambda each: each["seconds"])
    print(f"\n{workload}")
    print(f"{'':20}{'filters/s':>14}{'time / ours':>14}{'extra memory':>14}")
    ours = best[ways[0]]["seconds"]
    for way, result in best.items():
        rate = result["filters"] / result["seconds"]
        print(f"{way:20}{rate:>14,.0f}{result['seconds'] / ours:>14.2f}{result['megabytes']:>11,.0f} MB", flush=True)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", nargs=2, metavar=("WAY", "WORKLOAD"), help=argparse.SUPPRESS)
    chosen = parser.parse_args().run
    if chosen:
        print(json.dumps(run(*chosen)))
        return
    ways = [way for way in WAYS if way != "filterzoo cuda" or torch.cuda.is_available()]
    for workload in LAYERS:
        compare(workload, ways)


if __name__ == "__main__":
    main()
