"""Putting a model on the Hugging Face hub, from where `load("hf/ORG/NAME")` takes it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from vitrail.checkpoints.hub import HUB, WEIGHTS
from vitrail.checkpoints.hub_card import hub_card
from vitrail.checkpoints.loading import load
from vitrail.checkpoints.native import save_model
from vitrail.errors import CheckpointError
from vitrail.files.environment import env_switch
from vitrail.recipes.model_file import drop_machine_settings
from vitrail.segmentors import ModelCard, Segmentor

_README = "README.md"


def push_model(
    model: Segmentor | str | Path,
    repository: str,
    *,
    private: bool = False,
    license: str | None = None,
    overwrite: bool = False,
    trust_imports: bool = False,
) -> str:
    """Put a model and its model card into a repository on the Hugging Face hub, in one commit; return its address.

    Paths of this machine, such as `data.root`, are left out.

    The repository is made where it does not exist. The address of the hub and the token are those of huggingface_hub:
    `HF_ENDPOINT`, and `HF_TOKEN` or `hf auth login`.

    Parameters
    ----------
    model : Segmentor, str or path
        A model whose card holds the recipe, or what `load` takes.
    repository : str
        "ORG/NAME"; "hf/ORG/NAME" is the same.
    private : bool
        Make a new repository private.
    license : str, optional
        The licence of the weights, such as "cc-by-4.0", where the model's card has none or another one.
    overwrite : bool
        Replace the weights and the README.md that the repository has; its history keeps them.
    trust_imports : bool
        As `load` takes it.

    Raises
    ------
    CheckpointError
        As `load` does, for a model whose card does not say how it is built, for a repository that has a model or a
        README.md already, and when the hub refuses or cannot be reached.

    Examples
    --------
    >>> push_model("runs/pspnet/best.safetensors", "me/pspnet-street")
    """
    repository = _repository(repository)
    if env_switch("VITRAIL_OFFLINE"):
        raise CheckpointError("VITRAIL_OFFLINE=1 forbids using the network: unset it to put models on the hub")
    if not isinstance(model, Segmentor):
        model = load(model, trust_imports=trust_imports)
    before = model.card
    model.card = None if before is None else _public_card(before, license)
    try:
        return _push(model, repository, private=private, overwrite=overwrite)
    finally:
        model.card = before


def _public_card(card: ModelCard, license: str | None) -> ModelCard:
    """Return a card without the paths of this machine, with another licence where one is given."""
    recipe = drop_machine_settings(card.recipe)
    return replace(card, recipe=recipe, license=card.license if license is None else license)


def _repository(name: str) -> str:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    repository = name.removeprefix(HUB)
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise CheckpointError(f"{name!r} is no name for a model on the hub: {error}") from error
    if repository.count("/") != 1:
        raise CheckpointError(f"{name!r} is no name for a model on the hub: it should be ORG/NAME")
    return repository


def _push(model: Segmentor, repository: str, *, private: bool, overwrite: bool) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    # the bases of the hub's own error are those of the HTTP client that is installed with it
    clients = tuple(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception))
    refusals: tuple[type[Exception], ...] = (*clients, OSError, ValueError)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / WEIGHTS[0]
        save_model(model, weights)
        assert model.card is not None  # save_model has refused a model without one
        readme = hub_card(model.card, repository).encode()
        try:
            taken = [name for name in (weights.name, _README) if not overwrite and api.file_exists(repository, name)]
            if taken:
                raise CheckpointError(
                    f"{repository} has a {taken[0]} already: --overwrite (overwrite=True) replaces it, its history "
                    "keeps it; or choose another name"
                )
            created = api.create_repo(repository, private=private, exist_ok=True)
            api.create_commit(
                repository,
                [CommitOperationAdd(weights.name, weights), CommitOperationAdd(_README, readme)],
                commit_message=f"Add {model.card.name or 'the model'}",
            )
        except refusals as error:
            raise CheckpointError(_refusal(repository, error)) from error
    return str(created)


def _refusal(repository: str, error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return (
            f"the hub lets you not write to {repository}: run `hf auth login`, or set HF_TOKEN to a token that "
            f"may write there ({error})"
        )
    return f"{repository} cannot be put on the hub: {error}"
