"""What a worker asks of its machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from filterzoo.crawl.processes.machine import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory(all_of_it=True)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

np.ones(40_000_000, np.uint8)
before = faults()
for _ in range(3):
    np.ones(40_000_000, np.uint8)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_a_process_that_keeps_what_it_frees_is_given_no_pages_again():
    given, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True).stdout)
        for how in ("give", "keep")
    )
    assert kept < 100 < given
