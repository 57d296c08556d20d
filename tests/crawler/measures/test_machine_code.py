"""The measuring loops as machine code that is kept: damaged code is not run, and Numba is loaded only to compile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from filterzoo.measures.compiled import kernels, machine_code
from filterzoo.measures.compiled.loop_arguments import LOOPS

_MEASURES = """
import sys
import numpy as np
from filterzoo.measures.measure import measure_weights
print(measure_weights(np.ones((4, 4, 3, 3), np.float32)).l1_norm, *({"numba", "scipy", "torch"} & set(sys.modules)))
"""


def test_measuring_loads_no_compiler() -> None:
    kernels.prepare()
    ran = subprocess.run([sys.executable, "-c", _MEASURES], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["144.0"]
    assert ran.stderr == ""


def test_what_was_kept_is_taken_and_what_is_damaged_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = next(found for folder in machine_code._folders() if (found := machine_code._read(folder / _key())))
    compiled = []

    def compile_loops() -> machine_code.Objects:
        compiled.append(1)
        return good

    monkeypatch.setattr(machine_code, "_folders", lambda: [tmp_path / "not" / "there", tmp_path])
    monkeypatch.setattr("filterzoo.measures.compiled.loops.compiled", compile_loops)
    (tmp_path / "not").write_text("a file, where a folder would have to be made")
    for times in (1, 1):  # the second finds what the first kept
        loops = machine_code.load(LOOPS)
        assert len(compiled) == times
    assert capsys.readouterr().err.count("compiling") == 1
    kept = tmp_path / _key()
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    result, bits = np.zeros(1, np.uint32), np.array([3, 0x80000009, 5], np.uint32)
    loops = machine_code.load(LOOPS)
    loops["largest_bits"](bits.ctypes.data, 3, result.ctypes.data)
    assert (len(compiled), result[0]) == (2, 9)
    kept.write_bytes(content[: len(content) // 2])
    machine_code.load(LOOPS)
    assert len(compiled) == 3


@pytest.mark.parametrize("array", [np.ones((4, 9)), np.ones((9, 4), np.float32).T], ids=["float64", "columns"])
def test_other_numbers_are_refused(array: np.ndarray) -> None:
    """A loop is given an address: what is there must be what it takes."""
    with pytest.raises(ValueError, match="takes float32 in C order"):
        kernels.sums_of_3x3(array, 1.0)
    with pytest.raises(ValueError, match="wanted"):
        kernels.sums_of_3x3(np.ones((4, 8), np.float32), 1.0)


def _key() -> str:
    kernels.prepare()
    return machine_code._key()
