"""Methods are registered heads: what they declare is what they do, and their arguments are documented on them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence

import pytest
import torch
from helpers.small import CLASSES, small, small_settings
from torch import Tensor

from vitrail import Auxiliary, create_model, list_segmentors
from vitrail.errors import ModelError
from vitrail.layers import resize
from vitrail.recipes import model_config_from_dict, model_file
from vitrail.segmentors import SEGMENTORS, Head, build_model, register_segmentor
from vitrail.segmentors.icnet import ICNetEncoder, ICNetHead

methods = pytest.mark.parametrize("name", list_segmentors())


@methods
def test_a_prediction_is_what_the_head_declares(name: str) -> None:
    model = small(name).eval()
    images = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        features = model.backbone(images)
        prediction = model.head.predict(features, (65, 97))
        decoded = model.head(features)
    assert prediction.shape == (2, CLASSES, 65, 97)
    if model.head.output == "probabilities":
        torch.testing.assert_close(prediction.sum(dim=1), torch.ones(2, 65, 97))
    if model.head.output in ("probabilities", "scores"):
        assert prediction.min() >= 0
    else:
        assert model.head.output == "logits"
        # K-Net's kernels are all alike before training, and so is the sign of what they give
        assert prediction.min() < 0 or name == "knet"
    if model.head.resizes_late:
        expected = resize(decoded, (65, 97), align_corners=model.head.align_corners)
        torch.testing.assert_close(prediction, expected, rtol=0, atol=0)


@methods
def test_every_option_is_documented_once_with_the_paper(name: str) -> None:
    method = SEGMENTORS[name]
    assert issubclass(method.head, Head)
    assert re.search(r"\b(19|20)\d\d\b", method.summary), method.summary
    assert method.summary.endswith(".")
    # a class that extends another method's head documents what it adds
    texts = [each.__doc__ or "" for each in method.head.__mro__ if each.__module__.startswith("vitrail.segmentors.")]
    texts.append(method.head.wrap_backbone.__doc__ or "")
    texts += [ICNetEncoder.__doc__ or ""] if name == "icnet" else []  # whose arguments they are
    documented = {
        option
        for text in texts
        for section in [inspect.cleandoc(text).partition("Parameters\n")[2]]
        for names in re.findall(r"^(\w[\w, ]*?)(?: : .*)?$", section, re.MULTILINE)
        for option in names.split(", ")
    }
    assert set(method.options) <= documented


def test_no_path_of_a_method_is_taken_from_a_model_file() -> None:
    paths = {option for name in list_segmentors() for option in SEGMENTORS[name].head.file_options}
    assert paths == set(model_file._PATHS_OF_METHODS)


@methods
def test_what_a_head_declares_of_its_options_are_options(name: str) -> None:
    head = SEGMENTORS[name].head
    assert {*head.file_options, *head.training_options} <= SEGMENTORS[name].options.keys()


@methods
def test_the_module_that_defines_the_head_is_the_origin(name: str) -> None:
    assert SEGMENTORS.origin(name) == "vitrail"
    assert SEGMENTORS._modules[name] == SEGMENTORS[name].head.__module__


def test_a_head_of_another_package_is_known_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SEGMENTORS, "_entries", dict(SEGMENTORS._entries))
    monkeypatch.setattr(SEGMENTORS, "_modules", dict(SEGMENTORS._modules))
    head = type("Mine", (Head,), {"__module__": "my_package.heads", "__doc__": "My head (2024)."})
    assert register_segmentor("mine", auxiliary=Auxiliary())(head) is head
    assert SEGMENTORS.origin("mine") == "my_package"
    assert SEGMENTORS["mine"].summary == "My head (2024)."


def test_options_of_a_wrapped_backbone_are_options_of_the_method() -> None:
    encoder = small("icnet", light_channels=24).backbone
    assert isinstance(encoder, ICNetEncoder)
    assert encoder.branch_full[0].conv.out_channels == 24
    for wrong, message in (
        ({"light_channel": 24}, r"no argument 'light_channel'.*Did you mean 'light_channels'.*early_weight"),
        ({"branch_channels": (16, 32)}, r"branch_channels must be tuple\[int, int, int\]"),
        ({"early_weight": "much"}, "early_weight must be float"),
    ):
        with pytest.raises(ModelError, match=message):
            small("icnet", **wrong)
    assert set(SEGMENTORS["icnet"].options) > {"branch_channels", "light_channels", "early_weight", "align_corners"}


def test_both_halves_of_icnet_align_corners() -> None:
    model = small("icnet", align_corners=True)
    assert isinstance(model.head, ICNetHead)
    assert model.head.align_corners
    assert model.backbone.align_corners


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fcn", {"index": 4}, "index: there is no feature map 4; the backbone has 4 maps"),
        ("encnet", {"lateral": True}, "lateral: there is no feature map -3; the backbone has one map, 0, or -1 to -1"),
        ("ocrnet", {}, "there is no feature map -2; the backbone has one map"),
        ("ce2p", {}, "there is no feature map -2; the backbone has one map"),
    ],
)
def test_maps_that_the_backbone_lacks_are_named(name: str, options: dict[str, object], message: str) -> None:
    one_map = {} if name == "fcn" else {"out_indices": (3,)}
    with pytest.raises(ModelError, match=message):
        create_model(name, "test_resnet", 5, backbone_options=one_map, auxiliary=Auxiliary(weight=0), **options)


def test_options_of_a_recipe_cannot_be_arguments_of_create_model() -> None:
    for name in ("pretrained", "criterion", "backbone"):
        config = model_config_from_dict({**small_settings("fcn"), "options": {name: None}})
        with pytest.raises(ModelError, match=f"takes no argument '{name}'"):
            build_model(config, 5)


def test_a_head_with_its_own_predict_says_whether_it_may_be_resized_late() -> None:
    def predict(self: Head, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        return torch.zeros(len(features[0]), self.num_classes, *size)

    with pytest.raises(ModelError, match=r"Silent overrides predict .* add `resizes_late = False`"):
        type("Silent", (Head,), {"predict": predict})
    mixin = type("Mixin", (), {"predict": predict})
    with pytest.raises(ModelError, match="Mixed overrides predict"):
        type("Mixed", (mixin, Head), {})
    declared = type("Declared", (Head,), {"predict": predict, "resizes_late": False})
    assert not type("Child", (declared,), {"predict": predict}).resizes_late
