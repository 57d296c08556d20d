"""crawl + publish against what a user would write today, on one synthetic zoo, in one run.

The zoo: torch, safetensors and ONNX files with 5 million random 3x3 filters in layers of many sizes, written here. The
other side: torch.load, safetensors and onnx loaders, torchconvquality for the measures, pandas and h5py for the result.
It keeps fewer measures and none of the sufficient statistics. Prints medians, ratios and peak memory.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
from benchmarks._measuring import Run, median, run

FILTERS = 5_000_000
MANIFEST = """
name: synthetic
sources:
  - source: local
    paths: ["zoo/*"]
    license: apache-2.0
"""


def write_zoo(folder: Path, filters: int) -> None:
    """Files of about 600,000 filters each, in the three formats by turns."""
    import onnx
    import torch
    from onnx import TensorProto, helper, numpy_helper
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    shapes = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (512, 256), (512, 512)]
    written = number = 0
    while written < filters:
        layers = {
            f"layer{i}.conv.weight": (generator.standard_normal((o, c, 3, 3)) / np.sqrt(9 * c)).astype(np.float32)
            for i, (o, c) in enumerate(shapes)
        }
        written += sum(w.shape[0] * w.shape[1] for w in layers.values())
        if number % 3 == 0:
            torch.save({name: torch.from_numpy(w) for name, w in layers.items()}, folder / f"{number:03}.pth")
        elif number % 3 == 1:
            save_file(layers, folder / f"{number:03}.safetensors")
        else:
            nodes, previous = [], "input"
            for name in layers:
                nodes.append(helper.make_node("Conv", [previous, name], [f"{name}.out"]))
                previous = f"{name}.out"
            graph = helper.make_graph(
                nodes,
                "g",
                [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])],
                [helper.make_tensor_value_info(previous, TensorProto.FLOAT, None)],
                [numpy_helper.from_array(w, name) for name, w in layers.items()],
            )
            onnx.save(helper.make_model(graph), folder / f"{number:03}.onnx")
        number += 1


BY_HAND = """
import sys
from pathlib import Path
import h5py, numpy as np, onnx, pandas as pd, torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torchconvquality import measure_conv_weight_quality

def weights(path):
    if path.suffix == ".onnx":
        for tensor in onnx.load(path).graph.initializer:
            yield tensor.name, torch.from_numpy(numpy_helper.to_array(tensor).copy())
    else:
        yield from (load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)).items()

rows, parts = [], []
for path in sorted(Path(sys.argv[1]).iterdir()):
    for name, weight in weights(path):
        if weight.ndim == 4 and weight.shape[2:] == (3, 3):
            row = {"model": path.name, "layer": name} | measure_conv_weight_quality(weight)
            rows.append(row)
            parts.append(weight.numpy().reshape(-1, 3, 3))
with h5py.File(sys.argv[2], "w") as file:
    file.create_dataset("filters", data=np.vstack(parts))
pd.DataFrame(rows).to_csv(sys.argv[2] + ".csv")
"""


def main() -> None:
    """Write the zoo, run both sides `--repeat` times in turns, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filters", type=int, default=FILTERS)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="filterzoo-bench-"))
    try:
        write_zoo(folder / "zoo", arguments.filters)
        (folder / "manifest.yaml").write_text(MANIFEST)
        (folder / "by_hand.py").write_text(textwrap.dedent(BY_HAND))
        ours, crawls, theirs = [], [], []
        for number in range(arguments.repeat):
            crawl, publish = _filterzoo(folder, number)
            crawls.append(crawl)
            ours.append(Run(crawl.seconds + publish.seconds, max(crawl.peak_bytes, publish.peak_bytes)))
            out = folder / f"by-hand-{number}.h5"
            theirs.append(run([sys.executable, str(folder / "by_hand.py"), str(folder / "zoo"), str(out)]))
        _report(folder, median(ours), median(crawls), median(theirs))
    finally:
        shutil.rmtree(folder)


def _filterzoo(folder: Path, number: int) -> tuple[Run, Run]:
    program = str(Path(sys.executable).with_name("filterzoo"))
    work, target = str(folder / f"work-{number}"), str(folder / f"dataset-{number}")
    crawl = run([program, "crawl", str(folder / "manifest.yaml"), "--workdir", work])
    publish = run([program, "publish", target, "--workdir", work])
    return crawl, publish


def _report(folder: Path, ours: Run, crawl: Run, theirs: Run) -> None:
    zoo = sum(path.stat().st_size for path in (folder / "zoo").iterdir())
    filters = zoo / 36
    print(f"zoo: {len(list((folder / 'zoo').iterdir()))} files, {zoo / 1e6:.0f} MB, {filters / 1e6:.1f} M filters")
    for name, result in (("filterzoo crawl + publish", ours), ("  of which crawl", crawl), ("by hand", theirs)):
        rate = filters / result.seconds / 1e6
        print(f"{name:28} {result.seconds:7.1f} s {rate:6.2f} M filters/s {result.peak_bytes / 1e6:8.0f} MB peak")
    time, memory = theirs.seconds / ours.seconds, theirs.peak_bytes / ours.peak_bytes
    print(f"by hand / filterzoo: time x {time:.2f}, memory x {memory:.2f}")


if __name__ == "__main__":
    main()
