"""The recipe key `imports:` and who may use it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vitrail.errors import PluginError, RecipeError
from vitrail.losses import LOSSES
from vitrail.recipes import load_recipe, model_file_recipe, recipe_from_dict

PLUGIN = """
from torch import nn
from vitrail.losses import register_loss

@register_loss("{name}")
class Loss(nn.Module):
    def __init__(self, *, slope: float = 1.0) -> None:
        super().__init__()
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module on Python's path, not imported yet, that registers a loss of the same name."""
    name = f"plugin_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(PLUGIN.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    LOSSES._entries.pop(name, None)
    sys.modules.pop(name, None)


def test_a_recipe_imports_the_modules_whose_names_it_uses(plugin: str, tmp_path: Path) -> None:
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text(f"base: fcn_resnet18os8_camvid\nimports: [{plugin}]")
    losses = f"[{{name: {plugin}, options: {{slope: 2.0}}}}]"
    mine.write_text(f"base: base.yaml\nimports: [json]\nmodel:\n  losses: {losses}")
    recipe = load_recipe(mine)
    assert recipe.imports == (plugin, "json"), "a base needs its imports, whatever builds on it"
    assert plugin in LOSSES
    with pytest.raises(RecipeError, match=r"yaml:4: model.losses.0.options.slope: .* must be float, not 'steep'"):
        mine.write_text(mine.read_text().replace("2.0", "steep"))
        load_recipe(mine)


def test_a_module_that_is_not_there_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: fcn_resnet18os8_camvid\nimports: [not_a_module_of_anyone]")
    with pytest.raises(PluginError, match=r"mine\.yaml:2: imports: 'not_a_module_of_anyone' cannot be imported"):
        load_recipe(path)


def test_a_model_file_imports_nothing_unless_it_is_trusted(plugin: str) -> None:
    data = load_recipe("fcn_resnet18os8_camvid").model_dump(mode="json")
    data["imports"] = [plugin]
    data["model"]["losses"] = [{"name": plugin}]
    for load in (lambda: model_file_recipe(data, "the file m"), lambda: recipe_from_dict(data)):
        with pytest.raises(PluginError, match=rf"'{plugin}'.*--trust-imports.*trust_imports=True"):
            load()
    assert plugin not in sys.modules
    assert model_file_recipe(data, "the file m", trust_imports=True).imports == (plugin,)
    assert plugin in sys.modules


def test_an_override_may_import_what_the_model_file_may_not(plugin: str) -> None:
    data = load_recipe("fcn_resnet18os8_camvid").model_dump(mode="json")
    overrides = [f"imports=[{plugin}]", f"model.losses=[{{name: {plugin}}}]"]
    assert model_file_recipe(data, "the file m", overrides).model.losses[0].name == plugin


@pytest.mark.parametrize("imports", ["os", [1], [None], {"a": 1}])
def test_imports_is_a_list_of_names(imports: object) -> None:
    data = load_recipe("fcn_resnet18os8_camvid").model_dump(mode="json")
    with pytest.raises(RecipeError, match=r"imports(\.0)?: should be"):
        recipe_from_dict({**data, "imports": imports}, trust_imports=True)
