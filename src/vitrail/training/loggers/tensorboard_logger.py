"""TensorBoard: curves and sample predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torchvision.transforms.v2.functional import pil_to_tensor

from vitrail.training.loggers.logger import Logger, Picture, RunInfo, missing_library, register_logger
from vitrail.training.records import Record, scalars

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


@register_logger("tensorboard")
class TensorBoardLogger(Logger):
    """Writes event files into `tensorboard/` in the output folder; a resumed run purges steps beyond its checkpoint.

    Raises
    ------
    TrainingError
        When TensorBoard is not installed.
    """

    wants_pictures: ClassVar[bool] = True

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise missing_library("tensorboard", "TensorBoard", error) from error
        self._make_writer = SummaryWriter
        self._writer: SummaryWriter | None = None

    def start(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Open an event file."""
        start = run.record["iteration"]
        self._writer = self._make_writer(str(run.folder / "tensorboard"), purge_step=start + 1 if start else None)

    def train(self, record: Record) -> None:
        """Add the figures of a record to the curves."""
        if self._writer is None:
            raise RuntimeError("start() has not been called")
        for name, value in scalars(record):
            self._writer.add_scalar(name, value, record["iteration"])

    def evaluation(self, record: Record) -> None:
        """Add the figures of a record to the curves."""
        self.train(record)

    def pictures(self, iteration: int, pictures: Sequence[Picture]) -> None:
        """Add predictions."""
        if self._writer is None:
            raise RuntimeError("start() has not been called")
        for picture in pictures:
            self._writer.add_image(f"prediction/{picture.name}", pil_to_tensor(picture.image), iteration)
        self._writer.flush()

    def finish(self, error: BaseException | None) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
