"""A lower bound: `python -m benchmarks._limit ZOO OUT.parquet` only hashes the files and encodes their numbers.

SHA-256, and Parquet with the encoding of a release: byte stream split, zstd at level 1. In a single thread.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BLOCK = 9 << 15


def main() -> None:
    """Write the files' bytes as numbers into OUT.parquet, and their hashes into OUT.txt."""
    zoo, out = Path(sys.argv[1]), Path(sys.argv[2])
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False))
    schema = pa.schema([("weights", kind)])
    hashes = []
    with pq.ParquetWriter(
        out,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        use_byte_stream_split=["weights.list.element"],
        data_page_size=4 << 20,
    ) as writer:
        for path in sorted(zoo.iterdir()):
            content = path.read_bytes()
            hashes.append(hashlib.sha256(content).hexdigest())
            numbers = np.frombuffer(content, np.float32, len(content) // 4)
            for first in range(0, len(numbers), 16 * BLOCK):
                group = numbers[first : first + 16 * BLOCK]
                offsets = np.append(np.arange(0, len(group), BLOCK), len(group)).astype(np.int32)
                blocks = pa.ListArray.from_arrays(pa.array(offsets), pa.array(group), type=kind)
                writer.write_table(pa.table([blocks], schema=schema))
    out.with_suffix(".txt").write_text("\n".join(hashes))


if __name__ == "__main__":
    main()
