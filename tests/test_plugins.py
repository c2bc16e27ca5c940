"""Packages from outside: how they join, how a broken one is reported, and what a model file may not do."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.plugin_package import python_path, write_package
from PIL import Image

import vitrail
from vitrail import cli, plugins
from vitrail.checkpoints.loading import load
from vitrail.checkpoints.native import save_model
from vitrail.errors import ModelError, PluginError, VitrailError
from vitrail.losses import LOSSES
from vitrail.recipes import load_recipe
from vitrail.segmentors import ModelCard, create_model

LOSS = '''
import torch
from vitrail.losses import register_loss

@register_loss("{name}")
class Loss(torch.nn.Module):
    """Return the mean of the logits."""

    def forward(self, logits, targets):
        return logits.mean()
'''


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])
    assert result.exception is None, result.output + repr(result.exception)
    return result.stdout


def test_an_installed_plugin_is_found_by_name_and_listed_with_its_distribution(tmp_path: Path) -> None:
    write_package(tmp_path, "shy", LOSS.format(name="shy"))
    with python_path(tmp_path):
        assert vitrail.losses.create_criterion([("shy", 2.0, {})])(torch.ones(1, 2, 3, 3), torch.zeros(1, 3, 3)) == 2
        assert LOSSES.origin("shy") == "shy"
        assert run("list", "loss", "shy").split("  ") == ["shy", "shy-dist 1.2", "Return the mean of the logits.\n"]
        assert re.search(rf"^loss +{len(LOSSES)} names$", run("list"), re.MULTILINE)
    assert "shy" not in LOSSES


def test_a_broken_plugin_is_named_and_the_advice_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, "broken", LOSS.format(name="half") + "\nimport no_such_module\n")
    with python_path(tmp_path):
        for _ in range(2):  # the second look-up must not complain about names that are taken
            with pytest.raises(
                PluginError, match=r"plugin 'broken' of the package 'broken-dist' .* 'no_such_module'"
            ) as error:
                LOSSES["dice"]
            assert "pip uninstall broken-dist" in str(error.value)
            assert "VITRAIL_PLUGINS=0" in str(error.value)
    monkeypatch.setenv("VITRAIL_PLUGINS", "0")
    with python_path(tmp_path):
        assert "dice" in LOSSES
        assert "half" not in LOSSES
    monkeypatch.setenv("VITRAIL_PLUGINS", "never")
    with python_path(tmp_path), pytest.raises(VitrailError, match="VITRAIL_PLUGINS is 'never': set it to 1 or 0"):
        LOSSES["dice"]


@pytest.mark.parametrize(
    ("name", "owners"),
    [
        ("dice", ("one (one-dist 1.2)", f"vitrail.losses.dice (vitrail {vitrail.__version__})")),
        ("twice", ("one (one-dist 1.2)", "two (two-dist 1.2)")),
    ],
)
def test_a_name_that_is_taken_is_reported_with_both_owners(name: str, owners: tuple[str, str], tmp_path: Path) -> None:
    write_package(tmp_path, "one", LOSS.format(name=name))
    write_package(tmp_path, "two", LOSS.format(name=name))
    with python_path(tmp_path), pytest.raises(PluginError) as error:
        len(LOSSES)
    assert f"loss '{name}' is registered twice" in str(error.value)
    assert all(owner in str(error.value) for owner in owners)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return a model file whose criterion is the loss of a package `shy` in the folder `elsewhere`."""
    write_package(tmp_path / "elsewhere", "shy", LOSS.format(name="shy"), entry_point=False)
    path = tmp_path / "model.safetensors"
    with python_path(tmp_path / "elsewhere"):
        plugins.import_plugins(["shy"], "test")
        save_model(_model([{"name": "shy"}]), path)
        assert load(path).criterion is not None
    return path


def _model(losses: list[dict[str, object]], **recipe: object) -> vitrail.Segmentor:
    model = create_model("fastscnn", num_classes=2)
    model.card = ModelCard(
        classes=("a", "b"),
        palette=((0, 0, 0), (255, 255, 255)),
        recipe={"name": "x", "model": {"segmentor": "fastscnn", "losses": losses}, **recipe},
    )
    return model


def test_a_file_says_which_module_it_needs_and_each_way_to_allow_it_works(saved: Path, tmp_path: Path) -> None:
    with python_path(tmp_path / "elsewhere"):
        with pytest.raises(
            PluginError, match=r"model.safetensors needs the module 'shy', .*unknown loss 'shy'"
        ) as error:
            load(saved)
        assert "shy" not in sys.modules
        assert "Install the package" in str(error.value)
        assert "--trust-imports" in str(error.value)
        assert "trust_imports=True" in str(error.value)
        with pytest.raises(PluginError, match="needs the module 'shy'"):
            run_main("convert", saved, tmp_path / "copy.safetensors")
        assert "parameters" in run("convert", saved, tmp_path / "copy.safetensors", "--trust-imports")
    with python_path(tmp_path / "elsewhere"):
        assert load(saved, trust_imports=True).card.imports == ("shy",)
    with python_path(), pytest.raises(PluginError, match="'shy' cannot be imported"):
        load(saved, trust_imports=True)
    write_package(tmp_path / "installed", "shy", LOSS.format(name="shy"))
    with python_path(tmp_path / "installed"):
        assert load(saved).card.imports == ("shy",)


def run_main(*arguments: str | Path) -> None:
    cli.cli([str(argument) for argument in arguments], standalone_mode=False)


def test_a_model_of_built_in_parts_needs_nothing(tmp_path: Path) -> None:
    save_model(_model([{"name": "dice"}]), tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").card.imports == ()


def test_imports_of_the_recipe_are_kept_and_cover_what_they_register(tmp_path: Path) -> None:
    write_package(tmp_path, "shy", LOSS.format(name="shy"), entry_point=False)
    write_package(tmp_path, "start", "import shy", entry_point=False)
    with python_path(tmp_path):
        plugins.import_plugins(["start"], "test")
        save_model(_model([{"name": "shy"}], imports=["start", "shy"]), tmp_path / "m.safetensors")
        assert load(tmp_path / "m.safetensors").card.imports == ("start", "shy")


@pytest.mark.parametrize("losses", [[{"name": "dice"}], [{"name": "no_such_loss"}]])
def test_a_hostile_file_imports_nothing(losses: list[dict[str, object]], tmp_path: Path) -> None:
    write_package(tmp_path, "bomb", f"open({str(tmp_path / 'trace')!r}, 'w')", entry_point=False)
    path = tmp_path / "hostile.safetensors"
    model = _model(losses)
    recipe = {**model.card.recipe, "imports": ["bomb", "os", "bomb.inner", "vitrail.__main__", "this"]}
    with python_path(tmp_path):
        save_as_is(model, recipe, path)
        before = set(sys.modules)
        if losses[0]["name"] == "dice":
            load(path)
        else:
            with pytest.raises(PluginError, match="'bomb'"):
                load(path)
        assert {"bomb", "this", "vitrail.__main__"}.isdisjoint(set(sys.modules) - before)
    assert not (tmp_path / "trace").exists()


def test_a_model_without_its_plugin_predicts_and_says_what_its_dataset_needs(tmp_path: Path) -> None:
    """Prediction needs no name from the plugin, and evaluation its dataset; neither imports anything."""
    write_package(tmp_path, "bomb", f"open({str(tmp_path / 'trace')!r}, 'w')", entry_point=False)
    path = tmp_path / "hostile.safetensors"
    model = _model([{"name": "dice"}])
    recipe = load_recipe("fastscnn_scenes").model_dump(mode="json")
    data = {**recipe["data"], "dataset": "somebody_elses"}
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with python_path(tmp_path):
        save_as_is(model, {**recipe, "model": model.card.recipe["model"], "data": data, "imports": ["bomb"]}, path)
        with pytest.raises(PluginError, match=r"needs the module 'bomb'.*unknown dataset 'somebody_elses'"):
            run_main("evaluate", path, "--device", "cpu")
        assert "1 image" in run("predict", path, tmp_path / "a.png", "-o", tmp_path / "out", "--device", "cpu")
        assert "bomb" not in sys.modules
    assert not (tmp_path / "trace").exists()


def save_as_is(model: vitrail.Segmentor, recipe: dict[str, object], path: Path) -> None:
    """Save a model with a recipe that would not be saved otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vitrail.checkpoints.native.required_imports", lambda recipe: tuple(recipe["imports"]))
        model.card = ModelCard(model.card.classes, model.card.palette, recipe=recipe)
        save_model(model, path)


def test_an_unknown_name_without_imports_stays_an_unknown_name(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = _model([{"name": "dicee"}])
    save_as_is(model, {**model.card.recipe, "imports": []}, path)
    with pytest.raises(ModelError, match=r"unknown loss 'dicee'.*'dice'"):
        load(path)
