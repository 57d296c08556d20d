"""Resource limits of the jail: the same for all files; tests set lower ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class JailLimits:
    """Limits of one child, or of one file in it."""

    memory_bytes: int = 1 << 30
    """Address space of a child, all libraries included (RLIMIT_AS)."""
    cpu_seconds: int = 8
    """CPU time for one file ..."""
    cpu_seconds_per_gib: int = 1
    """... plus this for each GiB of its size: a larger model has a longer table."""
    patience: int = 4
    """Wall-clock limit, as a multiple of the CPU limit; time during which the parent reads for the child does not
    count.
    """
    read_bytes: int = 64 << 20
    """Most bytes a child may request at once."""
    questions: int = 50_000
    """Most requests for bytes of one file."""
    announced: int = 1_000_000
    """Most byte ranges of one file that a child may announce."""
    sides: int = 4_096
    """Most side files of one file that a child may open."""
    start_seconds: int = 60
    """Seconds within which a child must load the format plugins."""
    files_per_child: int = 500
    """A child is replaced after this many files."""
    unpack_ratio: int = 100
    """Largest ratio of a member's unpacked to its packed size ..."""
    unpack_bytes: int = 64 << 20
    """... if it unpacks to more bytes than this."""
    unpack_seconds_per_gib: int = 240
    """CPU time for unpacking each packed GiB, in addition to that for any file."""

    def unpack_limit(self, packed: int) -> int:
        """Most bytes that `packed` bytes may unpack to."""
        return max(self.unpack_bytes, self.unpack_ratio * packed)

    def unpack_seconds_for(self, packed: int) -> int:
        """CPU time for unpacking `packed` bytes."""
        return self.cpu_seconds + (self.unpack_seconds_per_gib * packed >> 30)

    def cpu_seconds_for(self, size: int) -> int:
        """CPU time for a file of `size` bytes."""
        return self.cpu_seconds + (self.cpu_seconds_per_gib * size >> 30)
