"""Memory of the host that is kept for the next step."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8  # of glibc's malloc.h
MMAP_THRESHOLD = 1 << 30
CHOSEN_BY_USER = (
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, for the next batch, as PyTorch does on CUDA.

    glibc, the C library of most Linux systems, returns large buffers to the system as soon as they are freed, and the
    system clears each page of 4 KiB when it is used again. A model on the CPU frees and allocates its feature maps in
    every step, and spends up to a third of its time on that. With this setting, the process keeps the memory of its
    largest step until it ends. It is a setting of the whole process, and the `vitrail` command makes it for itself.
    Processes that are forked have it, those that are spawned do not.

    Returns
    -------
    bool
        Whether it was set. False with another C library (macOS, Windows, musl), and where the environment has settings
        for glibc's malloc, such as MALLOC_TRIM_THRESHOLD_: those stay in force.
    """
    if not _has_glibc() or _chosen_by_user():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Buffers from the heap: an older glibc refuses so large a threshold, and then the heap serves all of them.
    from_heap = mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD) or mallopt(M_MMAP_MAX, 0)
    # -1 never returns the end of the heap. One arena, since the others return memory whatever the thresholds are.
    return bool(from_heap and mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_ARENA_MAX, 1))


def _chosen_by_user() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc." in tunables or any(name in os.environ for name in CHOSEN_BY_USER)


def _has_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):
        return False
