"""Loading a recipe checks every name and option in it, and says in which line a wrong one stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vitrail.errors import RecipeError
from vitrail.recipes import list_recipes, load_recipe, model_file_recipe, override_recipe, recipe_from_dict
from vitrail.recipes.names import NAMED_ENTRIES
from vitrail.registry import KINDS

BASE = "pspnet_resnet50os8_ade20k"

MISTAKES = """\
base: pspnet_resnet50os8_ade20k
model:
  segmentor: pspnett
  backbone: resnet5O
  losses:
    - {name: focall}
    - name: dice
      options: {squard: true}
data:
  dataset: ade2k
optimizer: {name: adamww}
schedule: {name: polly}
"""


def test_every_wrong_name_is_reported_with_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MISTAKES)
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    found = [re.fullmatch(r"\S+mine\.yaml:(\d+): ([\w.]+): (.+)", line) for line in str(error.value).splitlines()]
    said = {(match[2], int(match[1])): match[3] for match in found if match}
    expected = {
        ("model.segmentor", 3): "'pspnet'",
        ("model.backbone", 4): "'resnet50'",
        ("model.losses.0.name", 6): "'focal'",
        ("model.losses.1.options.squard", 8): "'squared'",
        ("data.dataset", 10): "'ade20k'",
        ("optimizer.name", 11): "'adamw'",
        ("schedule.name", 12): "'poly'",
    }
    assert said.keys() == expected.keys()
    for key, suggestion in expected.items():
        assert f"Did you mean {suggestion}?" in said[key]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.options.channels=many", r"model.options.channels: .*pspnet.* channels must be int, not 'many'"),
        (
            "model.options.chanels=3",
            r"model.options.chanels: .* takes no argument 'chanels'. Did you mean 'channels'\?",
        ),
        ("model.losses=[{name: focall}]", r"model.losses.0.name: unknown loss 'focall'. Did you mean 'focal'\?"),
        ("model.losses.0.options.class_weights=3", r"model.losses.0.options.class_weights: .* must be "),
        ("model.backbone=resnet5O", r"model.backbone: unknown backbone 'resnet5O'. Did you mean 'resnet50'\?"),
        ("model.backbone=tnt_s_patch16_224", r"model.backbone: .* one image size only"),
        ("model.backbone_options.drop_path=0.1", r"model.backbone_options.drop_path: .* 'drop_path_rate'\?"),
        ("model.options.num_classes=2", r"model.options.num_classes: .* beside options: set model.num_classes instead"),
        ("model.backbone_options.in_channels=3", r".* beside backbone_options: set model.in_channels instead"),
        ("data.options.nonsense=1", r"data.options.nonsense: dataset 'ade20k' takes no argument 'nonsense'"),
        ("data.train_split=trian", r"data.train_split: dataset 'ade20k' has no split 'trian'. Did you mean 'train'\?"),
        ("optimizer.name=sdg", r"optimizer.name: unknown optimizer 'sdg'. Did you mean 'sgd'\?"),
        ("optimizer.options.momentun=0.8", r"optimizer.options.momentun: .* Did you mean 'momentum'\?"),
        ("data.augment.extra=[Gaussianblur]", r"data.augment.extra.0.name: .* Did you mean 'GaussianBlur'\?"),
        ("data.augment.extra=[{name: GaussianBlur, options: {sigmas: 1}}]", r"data.augment.extra.0.options.sigmas: .*"),
        ("train.loggers.0=wandbb", r"train.loggers.0.name: unknown logger 'wandbb'. Did you mean 'wandb'\?"),
        ("train.loggers.0.options.nonsense=1", r"train.loggers.0.options.nonsense: logger 'text' takes no argument"),
        ("train.strategy=dpp", r"train.strategy.name: unknown strategy 'dpp'. Did you mean 'ddp'\?"),
        ("train.strategy.options.nonsense=1", r"train.strategy.options.nonsense: strategy 'auto' takes no argument"),
        ("schedule.options.power=0.8", r"schedule.options.power: schedule 'poly' takes no argument 'power'"),
    ],
)
def test_a_wrong_name_or_option_is_an_error_when_the_recipe_is_loaded(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(f"override '{override}': ") + message):
        load_recipe(BASE, [override])
    with pytest.raises(RecipeError, match=message):
        override_recipe(load_recipe(BASE), [override])


AUXILIARY = """\
base: fastscnn_scenes
model:
  segmentor: {segmentor}
  auxiliary:
    {key}
"""


@pytest.mark.parametrize(
    "segmentor, key, message",
    [
        ("upernet", "channels: [64, 32]", r"auxiliary.channels has 2 numbers for 1 maps"),
        ("segformer", "channels: [64]", r"'segformer' has no auxiliary heads of its own: also give model.auxiliary.w"),
    ],
)
def test_auxiliary_heads_that_cannot_be_are_an_error_with_its_line(
    tmp_path: Path, segmentor: str, key: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(AUXILIARY.format(segmentor=segmentor, key=key))
    with pytest.raises(RecipeError, match=rf"mine\.yaml:[45]: model\.auxiliary: .*{message}"):
        load_recipe(path)


def test_the_advice_about_auxiliary_heads_works(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(AUXILIARY.format(segmentor="segformer", key="weight: 0.4"))
    assert load_recipe(path).model.auxiliary.weight == 0.4


def test_options_of_the_backbone_that_the_method_has_by_itself() -> None:
    with pytest.raises(RecipeError, match=r"model.backbone_options.dropped: backbone 'bisenetv2' takes no argument"):
        load_recipe(BASE, ["model.segmentor=bisenetv2", "model.backbone=null", "model.backbone_options.dropped=1"])


def test_a_model_file_may_name_what_is_not_here_but_an_override_may_not() -> None:
    data = load_recipe(BASE, ["train.batch_size=4"]).model_dump(mode="json")
    data["data"]["dataset"] = "somebody_elses"
    assert model_file_recipe(data, "a model").data.dataset == "somebody_elses"
    assert model_file_recipe(data, "a model", ["data.dataset=voc"]).data.dataset == "voc"
    with pytest.raises(RecipeError, match=r"override .*: data.dataset: unknown dataset 'somebody_else'"):
        model_file_recipe(data, "a model", ["data.dataset=somebody_else"])
    with pytest.raises(RecipeError, match=r"data.dataset: unknown dataset 'somebody_elses'"):
        recipe_from_dict(data)


def test_loading_a_shipped_recipe_imports_nothing_heavy() -> None:
    code = (
        "import sys; from vitrail.recipes import load_recipe\n"
        f"load_recipe({BASE!r}, ['train.batch_size=4', 'data.root=here', 'model.pretrained=false'])\n"
        "print([name for name in ('torch', 'timm', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", list_recipes())
def test_the_names_in_every_shipped_recipe_exist(name: str) -> None:
    """What `load_recipe` leaves to this test."""
    recipe = load_recipe(name)
    assert recipe_from_dict(recipe.model_dump(mode="json")) == recipe


def test_the_table_names_kinds_that_exist() -> None:
    assert {named.kind for named in NAMED_ENTRIES} <= KINDS.keys()
