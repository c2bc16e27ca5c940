"""OneFormer: its task token, and the texts that its queries are compared with."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from helpers.small import CLASSES, small

from vitrail.errors import ModelError
from vitrail.segmentors.oneformer import TextQueries
from vitrail.segmentors.text_tokens import TextTokens

MERGES = ("a n", "an d</w>", "p h", "o t", "ph ot", "phot o</w>", "s e", "se m", "m a", "r o")
SIZE = 2 * 256 + len(MERGES) + 2
TEXTS = {"contrastive_weight": 0.5, "num_contexts": 4, "text_layers": 1, "vocabulary_size": SIZE}


@pytest.fixture
def merges(tmp_path: Path) -> Path:
    path = tmp_path / "merges.txt"
    path.write_text("\n".join(("#version: 0.2", *MERGES, "")))
    return path


def test_tokens_are_merged_in_the_order_of_the_list(merges: Path) -> None:
    tokens = TextTokens(merges)
    start, end, first = SIZE - 2, SIZE - 1, 512
    letter = {letter: ord(letter) - ord("!") for letter in "'abcdefghijklmnopqrstuvwxyz"}
    assert tokens.size == SIZE
    rows = tokens(["  Sand\nPHOTO ", "roman's", "x1²"], 10).tolist()
    # s, and</w>, photo</w>
    assert rows[0] == [start, letter["s"], first + 1, first + 5, end, 0, 0, 0, 0, 0]
    # ro, ma, n</w>: "a n" is first in the list, but this n ends a word; then 's
    assert rows[1] == [start, first + 9, first + 8, 256 + letter["n"], letter["'"], 256 + letter["s"], end, 0, 0, 0]
    assert rows[2][:4] == [start, 256 + letter["x"], 256 + ord("1") - ord("!"), 94 + 12 + 0xC2 - 0xAE]
    assert tokens(["photo " * 20], 6).tolist() == [[start, *[first + 5] * 4, end]]
    packed = merges.with_name("list.gz")
    packed.write_bytes(gzip.compress(merges.read_bytes()))
    windows = merges.with_name("windows.txt")
    windows.write_bytes(merges.read_bytes().replace(b"\n", b"\r\n"))
    for path in (packed, windows, merges.parent):
        assert torch.equal(TextTokens(path)(["sand"], 8), tokens(["sand"], 8))
    assert tokens(["\ud800"], 8).count_nonzero() == 5  # no letter, but a name of a class may have it


def test_the_vocabulary_has_to_be_one(merges: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read the vocabulary .*nowhere"):
        TextTokens("nowhere")
    with pytest.raises(ModelError, match=r"cannot read the vocabulary n+:"):
        TextTokens("n" * 5000)
    merges.write_text("#version: 0.2\nĠ t\nĠ a\nh e\n")
    with pytest.raises(ModelError, match=r"merges.txt is the list of another tokenizer"):
        TextTokens(merges)
    for content in (b"", b"no version\na n", b"#version\nthree parts here", b"\x1f\x8b broken", b"\xff\xfe"):
        merges.write_bytes(content)
        with pytest.raises(ModelError, match=r"merges.txt"):
            TextTokens(merges)


def test_texts_are_the_classes_of_each_image_in_order_then_the_filler_then_contexts() -> None:
    queries = TextQueries(8, 7, 2, num_layers=1, vocabulary_size=20, causal=True)
    sentences = torch.tensor([[18, index, 19] + [0] * 74 for index in range(5)])
    present = torch.tensor([[False, True, False, True], [True] * 4, [False] * 4])
    with torch.no_grad():
        found = queries(sentences, present)
        encoded = queries.project(queries.encoder(sentences))
    for row, expected in zip(found, ([1, 3, 4, 4, 4], [0, 1, 2, 3, 4], [4] * 5), strict=True):
        torch.testing.assert_close(row[:5], encoded[expected])
        assert torch.equal(row[5:], queries.contexts.weight)


def test_queries_are_compared_with_texts_in_training_alone(merges: Path) -> None:
    model = small("oneformer", vocabulary=str(merges), **TEXTS).train()
    images, targets = torch.randn(2, 3, 64, 64), torch.randint(0, 4, (2, 64, 64))
    targets[1] += 3
    with pytest.raises(ModelError, match="call name_classes before"):
        model(images, targets)
    model.head.name_classes([f"class {index}" for index in range(CLASSES)])
    losses = model(images, targets)
    assert losses["contrastive"] > 0
    losses["contrastive"].backward()
    for part in (model.head.texts, model.head.contrast, model.head.task_mlp, model.backbone):
        assert all(p.grad is not None for p in part.parameters())
    plain = small("oneformer").eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if k in plain.state_dict()})
    with torch.no_grad():
        torch.testing.assert_close(plain(images), model.eval()(images))


def test_what_texts_need_is_said(merges: Path) -> None:
    names = [f"class {index}" for index in range(CLASSES)]
    small("oneformer").head.name_classes(names)  # needs nothing
    with pytest.raises(ModelError, match=r"set model\.options\.vocabulary .* or contrastive_weight to 0"):
        small("oneformer", **TEXTS).head.name_classes(names)
    with pytest.raises(ModelError, match=rf"makes {SIZE} tokens, and the text encoder has 600"):
        small("oneformer", **{**TEXTS, "vocabulary_size": 600}, vocabulary=str(merges)).head.name_classes(names)
    with pytest.raises(ModelError, match=r"num_contexts less than num_queries, 20, not 0\.5 and 20"):
        small("oneformer", **{**TEXTS, "num_contexts": 20})
    with pytest.raises(ModelError, match="contrastive_weight is at least 0"):
        small("oneformer", contrastive_weight=-1.0)
    with pytest.raises(ModelError, match="vocabulary is for texts, and contrastive_weight is 0"):
        small("oneformer", vocabulary=str(merges))
