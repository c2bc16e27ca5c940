"""Takes the items of an iterable in a thread of its own, some items ahead of who uses them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """Yield the items of an iterable, which a thread takes up to `depth` items ahead.

    An error of the iterable is raised where its item would come. Closing the iterator ends the thread.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="vitrail read ahead") as pool:
        ahead = deque(pool.submit(next, iterator, None) for _ in range(depth))
        try:
            while (item := ahead.popleft().result()) is not None:
                ahead.append(pool.submit(next, iterator, None))
                yield item
        finally:
            for future in ahead:
                future.cancel()
