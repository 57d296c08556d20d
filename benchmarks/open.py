"""Reading one tensor, and all tensors, of a file: `filterzoo.open` against torch.load(mmap=True) and safe_open.

Each runs in a process of its own; times include the start and imports. Results are checked. Only FilterZoo verifies
checksums and parses in a confined process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from benchmarks._measuring import Run, median, run
from safetensors.torch import save_file

ONE = "layer200.weight"
FILTERZOO = """
import sys, filterzoo
with filterzoo.open(sys.argv[1]) as file:
    names = list(file) if sys.argv[2] == "all" else [sys.argv[2]]
    for name in names:
        total = float(file[name].reshape(-1)[0])
print(total)
"""
TORCH = """
import sys, torch
state = torch.load(sys.argv[1], mmap=True, weights_only=True)
names = list(state) if sys.argv[2] == "all" else [sys.argv[2]]
for name in names:
    total = float(state[name].numpy().copy().reshape(-1)[0])
print(total)
"""
SAFE_OPEN = """
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], framework="np") as file:
    names = list(file.keys()) if sys.argv[2] == "all" else [sys.argv[2]]
    for name in names:
        total = float(file.get_tensor(name).reshape(-1)[0])
print(total)
"""
WARM = """
import sys, time, filterzoo
with filterzoo.Reader() as reader:
    reader.open(sys.argv[1]).close()
    start = time.perf_counter()
    for _ in range(20):
        with reader.open(sys.argv[1]) as file:
            file[sys.argv[2]]
    print((time.perf_counter() - start) / 20)
"""


def main() -> None:
    """Write the files, then time every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=400, help="layers of 256 x 256 matrices and a bias each")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    state = {f"layer{n}.weight": torch.randn(256, 256) for n in range(options.layers)}
    state |= {f"layer{n}.bias": torch.randn(256) for n in range(options.layers)}
    with tempfile.TemporaryDirectory() as folder:
        pth, safe = Path(folder) / "m.pth", Path(folder) / "m.safetensors"
        torch.save(state, pth)
        save_file(state, safe)
        for path, name, other in ((pth, "torch.load(mmap, weights_only)", TORCH), (safe, "safe_open", SAFE_OPEN)):
            print(f"{path.name}, {path.stat().st_size / 1e6:.0f} MB, {len(state)} tensors")
            for wanted in (ONE, "all"):
                for label, code in (("filterzoo.open", FILTERZOO), (name, other)):
                    print(f"  {wanted:16} {label:32} {shown(timed(code, path, wanted, options.runs))}")
            print(f"  {ONE:16} {'filterzoo.Reader, warm':32} {warm(path) * 1e3:.1f} ms a file")
        check(pth, state)
        check(safe, state)


def timed(code: str, path: Path, wanted: str, runs: int) -> Run:
    """The median run."""
    return median([run([sys.executable, "-c", code, str(path), wanted]) for _ in range(runs)])


def warm(path: Path) -> float:
    """Seconds per file in a process whose jail is running already."""
    import subprocess

    done = subprocess.run([sys.executable, "-c", WARM, str(path), ONE], capture_output=True, text=True, check=True)
    return float(done.stdout)


def shown(result: Run) -> str:
    """Seconds and megabytes."""
    return f"{result.seconds:6.2f} s {result.peak_bytes / 1e6:6.0f} MB"


def check(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Check the tensors that FilterZoo reads."""
    import filterzoo

    with filterzoo.open(path) as file:
        assert all(np.array_equal(file[name], value.numpy()) for name, value in state.items())


if __name__ == "__main__":
    main()
