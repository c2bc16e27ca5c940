"""YAML: values as in YAML 1.2, lines for messages, and limits on what a hostile text can do."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from vitrail.errors import DatasetError, RecipeError
from vitrail.files import yaml_file
from vitrail.files.yaml_file import dump_yaml, parse_yaml, parse_yaml_value, read_yaml

LOADERS = [yaml.SafeLoader] + ([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__, autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with libyaml's parser and with PyYAML's."""
    monkeypatch.setattr(yaml_file, "_EVENT_LOADER", request.param)


def parse(text: str) -> Any:
    return parse_yaml(text, "here", RecipeError).data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-3", -3),
        ("+7", 7),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.INF", -math.inf),
        ("007", 7),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0o17", 15),
        ("0xfF", 255),
        ("0o8", "0o8"),
        ("no", "no"),
        ("On", "On"),
        ("TRUE", True),
        ("~", None),
        ("", None),
        ("2020-01-01", "2020-01-01"),
        ("'12'", "12"),
        ("! 12", "12"),
        ("!!str 12", "12"),
        ("!!float 12", 12.0),
        ("!!seq [1, {a: b}]", [1, {"a": "b"}]),
        ("٣", "٣"),
        ("{1: a, b: c}", {1: "a", "b": "c"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ],
)
def test_values(text: str, value: Any) -> None:
    found = parse(text)
    assert found == value
    assert type(found) is type(value)


def test_lines() -> None:
    document = parse_yaml("a: 1\nb:\n  c: [1,\n    2]\n  d:\n  - x: 1\n  - y: 2\n", "here", RecipeError)
    lines = {("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "c", 1): 4, ("b", "d", 1, "y"): 7, ("b", "none"): 2, ("z",): 1}
    assert {path: document.line(path) for path in lines} == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"^here:3: the key 'a' stands twice"),
        ("a:\n  - [", r"^here:[23]: not valid YAML: "),
        ("\ta: 1", r"^here:1: not valid YAML: "),
        ("a: 1\nb: \x00", r"^here:2: not valid YAML: "),
        ("a: 1\nb: \ud800", r"^here:2: not valid YAML: "),
        ("a: 1\n---\nb: 2", r"^here:2: a second document"),
        ("{[a]: 1}", r"^here:1: a key should be one plain value"),
        ("? {a: b}\n: 1", r"^here:1: a key should be one plain value"),
        ("a:\n  <<: {b: 1}", r"^here:2: merge keys"),
        ("&a [*a]", r"^here:1: the alias \*a stands inside"),
        ("m: &m {a: *m}", r"^here:1: the alias \*m stands inside"),
        ("a: *b", r"^here:1: the alias \*b stands for nothing|not valid YAML"),
        ("!!python/object/apply:os.system [id]", r"^here:1: the tag '.*os.system' is not one of YAML's core schema"),
        ("a: !mine 1", r"^here:1: the tag '!mine' is not one"),
        ("a: !!set {b, c}", r"^here:1: the tag '.*set' is not one"),
        ("a: !!timestamp abc", r"^here:1: the tag '.*timestamp' is not one"),
        ("a: !!int abc", r"^here:1: 'abc' is no int"),
        ("a: !!bool maybe", r"^here:1: 'maybe' is no bool"),
        ("a: " + "9" * 5000, r"^here:1: a number of more than 100 digits"),
        ("- " * 200_000, r"nested more than 32 deep|nesting depth"),
        ("[" * 200_000, r"nested more than 32 deep|nesting depth"),
        ("{a: " * 5_000, r"nested more than 32 deep|nesting depth"),
        ("".join(f"- &b{i} [[[[[[[[[[[[*b{i - 1}]]]]]]]]]]]]\n" if i else "- &b0 [1]\n" for i in range(9)), "32 deep"),
        ("[" + "1," * 60_000 + "]", r"^here:1: more than 50,000 values"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(text)


def test_aliases_of_aliases_cannot_fill_the_memory() -> None:
    text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    text += "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    start = time.perf_counter()
    with pytest.raises(RecipeError, match=r"^here:\d: more than 50,000 values, counting what aliases stand for"):
        parse(text)
    assert time.perf_counter() - start < 1


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("\ufeffa: Straße", encoding="utf-8")
    assert read_yaml(path, DatasetError).data == {"a": "Straße"}
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(DatasetError, match=r"cannot read .*a\.yaml"):
        read_yaml(path, DatasetError)
    path.write_bytes(b"#" * 4_000_001)
    with pytest.raises(DatasetError, match=r"a\.yaml: it is too large, 4,000,001 bytes"):
        read_yaml(path, DatasetError)
    with pytest.raises(DatasetError, match="cannot read"):
        read_yaml(tmp_path, DatasetError)


def test_the_value_of_an_option_has_no_line() -> None:
    with pytest.raises(RecipeError, match=r"^--set a=\[: not valid YAML"):
        parse_yaml_value("[", "--set a=[", RecipeError)
    assert parse_yaml_value("[1, b]", "--set", RecipeError) == [1, "b"]


def test_words_that_other_readers_take_for_true_or_false() -> None:
    document = parse_yaml("a: [no, On, 'yes', \"off\", nothing, !!str no]\noff: 1\n", "here", RecipeError)
    assert document.ambiguous == {"no", "On", "off"}
    assert yaml.safe_load(dump_yaml(["no", "On", "nothing"])) == ["no", "On", "nothing"]


@pytest.mark.parametrize(
    "value",
    ["no", "1e3", "~", "", "12", ".5", ".inf", "true", "- a", "a: b", "#", "<<", "é\n", "a\x85b", "\u2028", 1e-7, 3.0],
)
def test_what_is_written_is_read_back(value: Any) -> None:
    data = {"a": value, "b": [value, {"c": value}], "d": [], "e": {}, "f": (1, 2)}
    assert parse(dump_yaml(data)) == {**data, "f": [1, 2]}
