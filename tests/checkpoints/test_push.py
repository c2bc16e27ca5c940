"""Models put on the Hugging Face hub come back the same, with a card that says what they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from helpers.hub import Hub, running_hub

import vitrail
from vitrail.checkpoints import push_model, save_model
from vitrail.checkpoints.hub_card import hub_card
from vitrail.cli import cli
from vitrail.errors import CheckpointError
from vitrail.segmentors import ModelCard, Segmentor, create_model

RECIPE = {"name": "roads", "model": {"segmentor": "fastscnn"}, "data": {"dataset": "camvid"}}


@pytest.fixture(scope="module")
def model() -> Segmentor:
    torch.manual_seed(0)
    card = ModelCard(
        classes=("road", "sky|<b>", "tree\nor bush"),
        palette=((128, 64, 128), (0, 0, 255), (0, 255, 0)),
        recipe=RECIPE,
        name="roads",
        license="Apache-2.0",
        metrics={"miou": 0.8568},
    )
    return create_model("fastscnn", None, 3, card=card).eval()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "hub").mkdir()
    with running_hub(tmp_path / "hub", tmp_path / "cache", monkeypatch):
        yield tmp_path / "hub"


def test_what_is_pushed_is_loaded_by_its_name(hub: Path, model: Segmentor, tmp_path: Path) -> None:
    save_model(model, tmp_path / "best.safetensors")
    done = CliRunner().invoke(cli, ["push", str(tmp_path / "best.safetensors"), "me/roads", "--private"])
    assert done.exception is None, done.output + repr(done.exception)
    assert done.output.endswith("/me/roads: load it as hf/me/roads\n")
    assert (hub / "me/roads/visibility.txt").read_text() == "private"
    loaded, images = vitrail.load("hf/me/roads"), torch.randn(1, 3, 64, 64)
    assert loaded.card == model.card
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model(images))


def test_the_card_has_metadata_that_the_hub_reads_and_says_what_the_model_is(model: Segmentor) -> None:
    assert model.card is not None
    text = hub_card(model.card, "me/roads")
    _, metadata, body = text.split("---\n", 2)
    said = yaml.safe_load(metadata)
    assert {key: said[key] for key in ("license", "library_name", "pipeline_tag")} == {
        "license": "apache-2.0",
        "library_name": "vitrail",
        "pipeline_tag": "image-segmentation",
    }
    (result,) = said["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "miou", "value": 0.8568, "name": "mIoU"}]
    assert result["dataset"]["name"] == "camvid"
    assert 'vitrail.load("hf/me/roads")' in body and "| mIoU | 85.68 % |" in body
    assert r"| 1 | sky\|&lt;b&gt; | #0000ff |" in body and "| 2 | tree or bush | #00ff00 |" in body
    assert yaml.safe_load(body.split("```yaml\n")[1].split("```")[0]) == RECIPE


def test_figures_have_their_names_and_those_of_nothing_are_left_out(model: Segmentor) -> None:
    assert model.card is not None
    metrics = {"miou": 0.5, "macc": 0.25, "aacc": 0.125, "mdice": float("nan")}
    text = hub_card(replace(model.card, metrics=metrics), "me/roads")
    results = yaml.safe_load(text.split("---\n", 2)[1])["model-index"][0]["results"]
    named = {metric["type"]: metric["name"] for result in results for metric in result["metrics"]}
    assert named == {"miou": "mIoU", "macc": "mean accuracy", "aacc": "pixel accuracy"}
    assert "| mean accuracy | 25.00 % |" in text and "| pixel accuracy | 12.50 % |" in text and "nan" not in text


def test_paths_of_the_machine_are_not_published(hub: Path, model: Segmentor) -> None:
    assert model.card is not None
    card = model.card
    data = {**RECIPE["data"], "root": "/home/me/secret", "cache": "/tmp/secret"}  # type: ignore[dict-item]
    model.card = replace(card, recipe={**RECIPE, "data": data, "train": {"start_from": "/home/me/secret.pth"}})
    try:
        push_model(model, "me/private")
        assert model.card.recipe["data"]["root"] == "/home/me/secret"
    finally:
        model.card = card
    assert "secret" not in (hub / "me/private/README.md").read_text()
    assert vitrail.load("hf/me/private").card == replace(card, recipe={**RECIPE, "train": {}})


def test_a_licence_that_the_hub_does_not_know_is_named(model: Segmentor) -> None:
    assert model.card is not None
    other = yaml.safe_load(hub_card(replace(model.card, license="Our Licence (2)"), "me/x").split("---\n")[1])
    assert (other["license"], other["license_name"]) == ("other", "our-licence-2")
    none = yaml.safe_load(hub_card(replace(model.card, license="", metrics={}), "me/x").split("---\n")[1])
    assert "license" not in none and "model-index" not in none


def test_a_model_that_is_there_is_replaced_with_overwrite_only(hub: Path, model: Segmentor) -> None:
    push_model(model, "hf/me/roads")
    before = (hub / "me/roads/README.md").read_text()
    with pytest.raises(CheckpointError, match=r"has a model\.safetensors already: --overwrite"):
        push_model(model, "me/roads", license="cc-by-4.0")
    assert (hub / "me/roads/README.md").read_text() == before
    push_model(model, "me/roads", license="cc-by-4.0", overwrite=True)
    assert "license: cc-by-4.0" in (hub / "me/roads/README.md").read_text()
    assert model.card is not None and model.card.license == "Apache-2.0"


def test_what_cannot_be_pushed_is_said_before_anything_is_sent(
    hub: Path, model: Segmentor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("roads", "me/roads/more", "me/ro ads"):
        with pytest.raises(CheckpointError, match="no name for a model on the hub"):
            push_model(model, name)
    with pytest.raises(CheckpointError, match="does not say how it is built"):
        push_model(create_model("fastscnn", None, 3), "me/roads")
    monkeypatch.setenv("VITRAIL_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="unset it to put models on the hub"):
        push_model(model, "me/roads")
    assert Hub.asked == []


def test_a_refusal_of_the_hub_says_what_to_do(hub: Path, model: Segmentor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="may write there"):
        push_model(model, "others/roads")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(CheckpointError, match="run `hf auth login`"):
        push_model(model, "me/roads")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    push_model(model, "me/roads")


def test_a_hub_that_cannot_be_reached_is_said_to_be_so(model: Segmentor, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, hf_api

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    monkeypatch.setattr(hf_api.api, "endpoint", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match="cannot be put on the hub"):
        push_model(model, "me/roads")
