"""`filterzoo evaluate` against the bare forward pass of the same network on the same images, loaded before.

`evaluate` is timed from the end of its first batch to the end of its last batch. So the time includes loading images,
classifying them without an attack and writing logits, but not the start, opening the checkpoint and building the
network. Logits are compared before anything is timed. Both compute in a single thread; `evaluate` loads images in
further threads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torchvision

from filterzoo import plugins
from filterzoo.network.files.cache import default_folder
from filterzoo_evaluation.evaluate import Evaluated, EvaluationRequest, evaluate
from filterzoo_evaluation.images.opening import open_images

BATCH = 50


def network() -> torch.nn.Module:
    """ResNet-18 with ten classes, which `evaluate` builds as benchmarks.evaluate:network."""
    return torchvision.models.resnet18(num_classes=10)


def main() -> None:
    """Write a checkpoint and images, then time both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side", type=int, default=96, help="pixels")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made, images = prepared(folder, options.images + BATCH, options.side)
        check(folder, made, images)
        passes, forwards = [], []
        for number in range(options.runs):
            passes.append(timed_pass(folder, len(images), folder / str(number)))
            forwards.append(timed(lambda: forward(made, images[BATCH:])))
    for label, found in (("pass of evaluate", passes), ("bare forward", forwards)):
        wall, cpu = (statistics.median(each) for each in zip(*found, strict=True))
        print(f"{label:18} {options.images / wall:7.1f} images/s, {cpu:6.2f} s of CPU")
    print(
        f"pass / forward: {shares(passes, forwards, 0):.3f} of the time, {shares(passes, forwards, 1):.3f} of the CPU"
    )


def shares(passes: list[tuple[float, float]], forwards: list[tuple[float, float]], which: int) -> float:
    """Median over runs of the ratio of the two numbers at index `which`."""
    return statistics.median(ours[which] / other[which] for ours, other in zip(passes, forwards, strict=True))


def prepared(folder: Path, count: int, side: int) -> tuple[torch.nn.Module, torch.Tensor]:
    """The network whose weights are written, and the images as its input."""
    torch.manual_seed(0)
    made = network().eval()
    torch.save(made.state_dict(), folder / "net.pt")
    (folder / "zoo.yaml").write_text("name: z\nsources:\n  - {source: local, paths: ['*.pt'], license: mit}\n")
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images, labels=np.arange(count) % 10)
    # The memory layout is that of `evaluate`: with channels last, torch's time differs by a quarter.
    return made, torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / 255)


def timed_pass(folder: Path, count: int, output: Path) -> tuple[float, float]:
    """Seconds, and CPU seconds of this process, of all batches but the first."""
    ends: list[tuple[float, float]] = []
    run(folder, count, output, lambda _: ends.append((time.perf_counter(), time.process_time())))
    return ends[-1][0] - ends[0][0], ends[-1][1] - ends[0][1]


def run(folder: Path, count: int, output: Path, on_images: Callable[[int], None] = lambda _: None) -> Path:
    """Evaluate the first `count` images; returns the path of the logits."""
    wanted = EvaluationRequest(
        manifests=(folder / "zoo.yaml",),
        images=open_images(str(folder / "images.npz")).first(count),
        output=output,
        scratch=folder / "scratch",
        cache=default_folder(),
        network="benchmarks.evaluate:network",
        batch=BATCH,
        workers=2,
    )
    (found,) = evaluate(wanted, plugins.load(plugins.references(())), on_images)
    assert isinstance(found, Evaluated), found
    return found.place


def forward(made: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits of all images, batch by batch."""
    with torch.no_grad():
        return torch.cat([made(batch) for batch in images.split(BATCH)])


def check(folder: Path, made: torch.nn.Module, images: torch.Tensor) -> None:
    """Check that both give the same logits."""
    found = pq.read_table(run(folder, BATCH, folder / "checked"))["logits"].to_pylist()
    np.testing.assert_allclose(found, forward(made, images[:BATCH]).numpy(), atol=1e-4)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
