"""Distributed training and evaluation: the process group, collective operations, strategies."""

from vitrail.layers.processes import mean_over_processes, sum_over_processes, world_size
from vitrail.runtime.distributed.collectives import broadcast_buffers, gather_objects, on_main
from vitrail.runtime.distributed.ddp import DataParallel
from vitrail.runtime.distributed.fsdp2 import fully_sharded
from vitrail.runtime.distributed.group import (
    barrier,
    is_main,
    local_rank,
    main_first,
    process_group,
    rank,
    side_group,
)
from vitrail.runtime.distributed.strategy import (
    STRATEGIES,
    SingleDevice,
    Strategy,
    create_strategy,
    list_strategies,
    register_strategy,
)

__all__ = [
    "STRATEGIES",
    "DataParallel",
    "SingleDevice",
    "Strategy",
    "barrier",
    "broadcast_buffers",
    "create_strategy",
    "fully_sharded",
    "gather_objects",
    "is_main",
    "list_strategies",
    "local_rank",
    "main_first",
    "mean_over_processes",
    "on_main",
    "process_group",
    "rank",
    "register_strategy",
    "side_group",
    "sum_over_processes",
    "world_size",
]
