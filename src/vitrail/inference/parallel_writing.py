"""Results that threads write while the model goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

from typing_extensions import Self

from vitrail.inference.prediction import Prediction

MAX_PIXELS = 32_000_000

Record = TypeVar("Record")


class ParallelWriting(Generic[Record]):
    """A block in which threads write predictions, and records of them come in the order of the predictions.

    Parameters
    ----------
    write : callable
        Writes a prediction and returns its record; called from several threads.
    finish : callable
        Called with the record of each prediction that is written, in their order and from the thread of the block.
    threads : int
        Number of threads; 0 writes each prediction when it is added. Twice as many predictions wait at most, and no
        more than have 32 million pixels together, unless one alone has.

    Raises
    ------
    Exception
        By `add`, or at the end of the block: what `write` or `finish` raised, when all predictions before are
        finished; those after are not.
    """

    def __init__(self, write: Callable[[Prediction], Record], finish: Callable[[Record], None], threads: int) -> None:
        self._write, self._finish = write, finish
        self._most = 2 * threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="vitrail write") if threads else None
        self._pending: deque[tuple[int, Future[Record]]] = deque()
        self._pixels = 0

    def add(self, prediction: Prediction) -> None:
        """Have a prediction written."""
        if self._pool is None:
            self._finish(self._write(prediction))
            return
        pixels = prediction.mask.size
        while self._pending and (len(self._pending) >= self._most or self._pixels + pixels > MAX_PIXELS):
            self._finish_first()
        self._pending.append((pixels, self._pool.submit(self._write, prediction)))
        self._pixels += pixels
        while self._pending and self._pending[0][1].done():
            self._finish_first()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            while self._pending:
                self._finish_first()
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def _finish_first(self) -> None:
        pixels, future = self._pending.popleft()
        self._pixels -= pixels
        try:
            self._finish(future.result())
        except BaseException:
            self._pending.clear()  # nothing is finished after a failure
            raise
