"""Processes that work on one job: joining them, sharing results, wrapping models; no-ops when there is only one."""

from vitrail.runtime.distributed.collectives import broadcast_buffers, gather_objects, on_main, sum_across
from vitrail.runtime.distributed.group import barrier, is_main, local_rank, main_first, process_group, rank, world_size
from vitrail.runtime.distributed.strategy import synchronise_norms, wrap_ddp

__all__ = [
    "barrier",
    "broadcast_buffers",
    "gather_objects",
    "is_main",
    "local_rank",
    "main_first",
    "on_main",
    "process_group",
    "rank",
    "sum_across",
    "synchronise_norms",
    "world_size",
    "wrap_ddp",
]
