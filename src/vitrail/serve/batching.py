"""Dynamic batching: pictures of equal size that wait together go through the model together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from torch import Tensor

from vitrail.errors import ServiceError
from vitrail.inference import Frame, Prediction, Predictor

OnBatch = Callable[[int, float], None]


@dataclass(eq=False)
class _Waiting:
    """A picture, uint8 [C, H, W], whose turn has not come."""

    image: Tensor
    predictor: Predictor
    future: Future[Prediction] = field(default_factory=Future)

    def fits(self, other: _Waiting) -> bool:
        return self.image.shape == other.image.shape and self.predictor is other.predictor


class Batcher:
    """A thread that runs a model on the pictures that wait for it.

    It never waits for more pictures: while one batch is computed the next one gathers, so that batches are as large as
    the load makes them and a lone picture is computed at once. The oldest picture decides the size; those of the same
    size go with it.

    Parameters
    ----------
    name : str
        Name of the thread.
    max_batch : int
        Largest number of pictures in a batch.
    on_batch : callable
        Called after each batch with the number of its pictures and the seconds it took.
    on_waiting : callable
        Called with the number of pictures whose turn has not come, when it has changed.
    """

    def __init__(self, name: str, max_batch: int, on_batch: OnBatch, on_waiting: Callable[[int], None]) -> None:
        self.max_batch = max_batch
        self._on_batch = on_batch
        self._on_waiting = on_waiting
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"vitrail {name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether pictures are taken."""
        return self._thread.is_alive() and not self._closing

    def submit(self, image: Tensor, predictor: Predictor) -> Future[Prediction]:
        """Let a picture, uint8 [C, H, W], wait for its turn; a future that is cancelled before it is left out.

        Raises
        ------
        ServiceError
            After `close`.
        """
        waiting = _Waiting(image, predictor)
        with self._changed:
            if self._closing:
                raise ServiceError("the service is stopping")
            self._queue.append(waiting)
            self._on_waiting(len(self._queue))
            self._changed.notify()
        return waiting.future

    def close(self) -> None:
        """Take no more pictures, finish those that wait, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            active = [waiting for waiting in batch if waiting.future.set_running_or_notify_cancel()]
            if not active:
                continue
            start = time.perf_counter()
            _compute(active)
            self._on_batch(len(active), time.perf_counter() - start)

    def _next_batch(self) -> list[_Waiting]:
        """Return the pictures to compute next; an empty list when there are none and none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if not self._queue:
                return []
            first = self._queue[0]
            batch = [waiting for waiting in self._queue if waiting.fits(first)][: self.max_batch]
            taken = set(map(id, batch))
            self._queue = deque(waiting for waiting in self._queue if id(waiting) not in taken)
            self._on_waiting(len(self._queue))
            return batch


def _compute(batch: list[_Waiting]) -> None:
    """Compute a batch; an error of the batch is the answer to each of its pictures."""
    try:
        predictions = list(batch[0].predictor([Frame.of_image(waiting.image) for waiting in batch]))
    except BaseException as error:  # the thread has to live on, and who waits has to know
        for waiting in batch:
            waiting.future.set_exception(error)
        return
    for waiting, prediction in zip(batch, predictions, strict=True):
        waiting.future.set_result(prediction)
