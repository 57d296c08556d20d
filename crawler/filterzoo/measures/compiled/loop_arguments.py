"""The arguments of the measuring loops and their block sizes, for the code that defines, compiles or calls them."""

from typing import Final

from filterzoo.measures.dct import DCT_BINS

BLOCK: Final = 256
"""Filters or numbers processed at a time."""
LANES: Final = 32
VECTOR: Final = 8
"""float64 numbers in the widest vector of a CPU, and in a line of its caches."""
SIZE: Final = 9
PAIRS: Final = 45
"""Numbers of a 3x3 filter, and pairs of numbers."""
COLUMNS: Final = DCT_BINS + 1
"""Bins that are counted. A coefficient of exactly +3 is counted in the last one, and is added to the one before."""

LOOPS: Final = {
    "largest_bits": "*u i *u",
    "sums_of_3x3": "*f i d *f *f *d *d *h *d *d *d *d *d *d *d *d *i",
    "sums_of_any": "*f i i d *d *d *d *d",
    "central_powers": "*f i d *d *d *d",
    "cosines_of_small_groups": "*f i i i *d *d",
    "weighted_sum": "*f *d i *d i *d *d",
    "nearest_fit": "*d i *d *i",
    "eigenvalues_of": "*d i i *d *d *i",
}
"""Each loop and its arguments: i and d are an int64 and a float64; * marks a pointer to float32 (f), float64 (d), int64
(i), int32 (h) or uint32 (u)."""
