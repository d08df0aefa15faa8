"""Keeping the memory that large buffers come from.

glibc takes a block of 128 KiB or more from the kernel by itself and gives it back when it is freed, and gives the end of its heap back
whenever more than that lies free there. Frames of output come and go hundreds of times a second: each byte of them would be a
fresh page, at a third of all that passing it on costs. The bounds move up when a larger block is freed, to its size and to twice of it
(mallopt(3), M_MMAP_THRESHOLD), so one that is never touched, and so costs nothing, sets them. Elsewhere this does nothing.
"""

from __future__ import annotations

__all__ = ["keep"]


def keep(size: int) -> None:
    """From now on blocks of fewer than `size` bytes come from the heap, and twice as much of that may lie free. At most 32 MiB."""
    bytearray(size)  # pages of zeros, of which none is there before it is written to; freed at once
