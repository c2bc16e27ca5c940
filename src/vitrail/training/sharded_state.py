"""The state of a run whose tensors are in shards: what goes into them, and a save that ends beside the training."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

SHARDS = "shards"  # the folder, in that of the run, with one folder for each state


def take_tensors(content: dict[str, Any]) -> dict[str, Tensor]:
    """Take the tensors of model, average and optimizer out of the state of a run, and return them by unique names."""
    tensors: dict[str, Tensor] = {}

    def rest(values: Mapping[Any, Any], where: str) -> dict[Any, Any]:
        tensors.update({f"{where}/{key}": value for key, value in values.items() if isinstance(value, Tensor)})
        return {key: value for key, value in values.items() if not isinstance(value, Tensor)}

    for part in ("model", "average"):
        if part in content:
            content[part] = rest(content[part], part)
    optimizer = content["optimizer"]
    states = {index: rest(values, f"optimizer/{index}") for index, values in optimizer["state"].items()}
    content["optimizer"] = {**optimizer, "state": states}
    return tensors


def put_tensors(content: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Put back what `take_tensors` returned.

    Raises
    ------
    LookupError, ValueError
        For names that it does not give.
    """
    for name, tensor in tensors.items():
        part, _, key = name.partition("/")
        values = content[part]
        if part == "optimizer":
            index, _, key = key.partition("/")
            values = values["state"].setdefault(int(index), {})
        values[key] = tensor


def layouts(model: nn.Module, average: nn.Module | None, optimizer: Optimizer) -> Callable[[str], Tensor | None]:
    """Return a function from a name of `take_tensors` to a tensor of this run that is laid out in the same way.

    For the optimizer's state that is the parameter which it belongs to.
    """
    own: dict[str, Tensor] = {}
    for part, module in (("model", model), ("average", average)):
        if module is not None:
            own.update({f"{part}/{name}": value for name, value in module.state_dict().items()})
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    own.update({f"optimizer/{index}": parameter for index, parameter in enumerate(parameters)})

    def layout_of(name: str) -> Tensor | None:
        return own.get(name.rpartition("/")[0] if name.startswith("optimizer/") else name)

    return layout_of


class PendingSave:
    """A save whose shards are being written; what follows is done when all processes have written theirs.

    Parameters
    ----------
    folder : Path
        That of the shards; removed when the save fails.
    written : Future
        Of this process's shards.
    then : callable, optional
        What follows, in another thread; given in rank 0 alone.
    """

    def __init__(self, folder: Path, written: Future[Any], then: Callable[[], None] | None) -> None:
        self._folder = folder
        self._written = written
        self._then = then
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="save")
        self._done = executor.submit(self._finish)
        executor.shutdown(wait=False)

    def _finish(self) -> None:
        try:
            self._written.result()
            if self._then is not None:
                self._then()
        except BaseException:
            if self._then is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def error(self) -> BaseException | None:
        """Wait for the end of the save, and return what went wrong."""
        return self._done.exception()


def remove_shards(folder: Path, keep: set[str | None]) -> None:
    """Remove the shards of all states of the run in `folder` but those to keep."""
    for old in (folder / SHARDS).iterdir() if (folder / SHARDS).is_dir() else ():
        if old.name not in keep:
            shutil.rmtree(old, ignore_errors=True)
