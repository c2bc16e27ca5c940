"""Models on the Hugging Face hub, and in folders of the same layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vitrail.checkpoints.native import BEST
from vitrail.errors import CheckpointError
from vitrail.files.environment import env_switch

if TYPE_CHECKING:
    from collections.abc import Callable

HUB = "hf/"
SMP_HUB = "smp-hub/"  # the organisation of segmentation_models_pytorch there, whose models also go without HUB
# Files of weights in the order in which they are looked for.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_DESCRIPTIONS = ("config.json", "preprocessor_config.json")
_SPLIT = tuple(f"{name}.index.json" for name in WEIGHTS)


def weights_in(folder: Path) -> Path:
    """Return the file of weights in a folder as `save_pretrained` writes it, or the best model in one of a training.

    Raises
    ------
    CheckpointError
        When there is none, or the weights are split over several files.
    """
    found = next((folder / name for name in (*WEIGHTS, BEST) if (folder / name).is_file()), None)
    if found is not None:
        return found
    if any((folder / name).is_file() for name in _SPLIT):
        raise CheckpointError(
            f"the weights in {folder} are split over several files: save them as one with "
            "model.save_pretrained(…, max_shard_size='100GB')"
        )
    raise CheckpointError(
        f"{folder} is a folder without {BEST} of a training, and without {' or '.join(WEIGHTS)} of "
        "transformers; give a model file in it, such as last.safetensors"
    )


def fetch_from_hub(name: str) -> Path:
    """Return the local copy of a model's weights, with its config.json and preprocessor_config.json beside it.

    The cache, the token and the address are those of huggingface_hub: `HF_HOME`, `HF_TOKEN` (or `hf auth login`) and
    `HF_ENDPOINT`. With `VITRAIL_OFFLINE=1` or `HF_HUB_OFFLINE=1` only the cache is read.

    Parameters
    ----------
    name : str
        "hf/ORG/NAME", or "hf/ORG/NAME@REVISION" for a branch, a tag or a commit; "smp-hub/NAME" for "hf/smp-hub/NAME",
        and "smp-hub/ORG/NAME" for "hf/ORG/NAME".

    Raises
    ------
    CheckpointError
        For a name of another form, a model that does not exist or is not public, and a hub that cannot be reached.
    """
    repository, _, revision = _repository(name).partition("@")
    if len(repository.split("/")) != 2 or not all(repository.split("/")) or name.endswith("@"):
        raise CheckpointError(f"{name!r} is no model on the hub: it should be hf/ORG/NAME or hf/ORG/NAME@REVISION")
    fetch = _fetcher(name, repository, revision or None)
    for description in _DESCRIPTIONS:
        fetch(description)
    found = next((path for weights in WEIGHTS if (path := fetch(weights)) is not None), None)
    if found is None:
        raise CheckpointError(f"{name} has neither {' nor '.join(WEIGHTS)}: vitrail reads weights in one file")
    return found


def _repository(name: str) -> str:
    """Return what a name asks for, without the prefix that says that it is on the hub."""
    if not name.startswith(SMP_HUB):
        return name.removeprefix(HUB)
    rest = name.removeprefix(SMP_HUB)
    return rest if "/" in rest else name


def _fetcher(name: str, repository: str, revision: str | None) -> Callable[[str], Path | None]:
    """Return a function that fetches a file of a repository, or returns None when it has no such file."""
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    offline = env_switch("VITRAIL_OFFLINE")

    def fetch(file: str) -> Path | None:
        try:
            return Path(hf_hub_download(repository, file, revision=revision, local_files_only=offline))
        except GatedRepoError as error:
            raise CheckpointError(
                f"{name} is for those who accepted its terms: accept them on the page of the model, then run "
                "`hf auth login` or set HF_TOKEN"
            ) from error
        except RepositoryNotFoundError as error:
            raise CheckpointError(
                f"the hub has no model {repository!r} that you may read; for a private one run `hf auth login` or set "
                "HF_TOKEN"
            ) from error
        except RevisionNotFoundError as error:
            raise CheckpointError(f"{repository} has no revision {revision!r}") from error
        except LocalEntryNotFoundError as error:
            if try_to_load_from_cache(repository, file, revision=revision) is _CACHED_NO_EXIST:
                return None
            raise CheckpointError(
                f"{file} of {name} is not in the cache, and the hub cannot be asked for it ({error})"
            ) from error
        except EntryNotFoundError:
            return None
        except HFValidationError as error:
            raise CheckpointError(f"{name!r} is no model on the hub: {error}") from error
        except (HfHubHTTPError, OSError) as error:
            raise CheckpointError(f"{name} cannot be fetched: {error}") from error

    return fetch
