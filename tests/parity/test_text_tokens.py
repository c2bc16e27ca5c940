"""The tokens of texts against transformers' CLIPTokenizer, with a small list of merges, and of known words against
MMSegmentation's, which holds CLIP's list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from parity.huggingface import transformers
from parity.references import require_mmseg
from vitrail.datasets.label_sets import label_set, list_label_sets
from vitrail.segmentors.prompts import PROMPTS
from vitrail.segmentors.text_tokens import KnownWords, TextTokens

pytestmark = pytest.mark.parity

MERGES = (
    *("a n", "i n", "e r", "o r", "in g</w>", "l e</w>", "w a", "wa l", "l l</w>", "r o", "ro a", "roa d</w>", "p h"),
    *("t h", "o o", "an d</w>", "e r</w>", "t er</w>", "wa ter</w>", "t o</w>", "ph o", "pho to</w>"),
)
ODD = (
    *("", "It's  we'll rock'n'roll 12½ m²", "naïve Straße 道路 — x_y; a/b!!", "O'Dear's 'S'T", "cafe\u0301"),
    "the " * 90,
)


def test_every_text_has_the_tokens_of_transformers(tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("\n".join(("#version: 0.2", *MERGES, "")))
    ours = TextTokens(tmp_path)
    words = [*ours._numbers, "<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    theirs = transformers().CLIPTokenizer.from_pretrained(tmp_path, model_max_length=77)
    texts = [*ODD, *(f"a photo with a {name}" for each in list_label_sets() for name in label_set(each).classes)]
    found = theirs(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    assert torch.equal(ours(texts, 77), found["input_ids"] * found["attention_mask"])


def test_known_words_have_the_tokens_of_mmsegmentation() -> None:
    require_mmseg()
    from mmseg.utils import get_predefined_templates, tokenizer

    names = sorted({name for each in list_label_sets() for name in label_set(each).classes})
    for kind, prompts in PROMPTS.items():
        assert list(prompts) == get_predefined_templates(kind)
        texts = [prompt.format(name) for prompt in prompts for name in names]
        assert torch.equal(KnownWords()(texts, 77), tokenizer.tokenize(texts).long())
