"""Write the tokens of the words that open-vocabulary methods need: `python tools/build_clip_words.py MERGES`.

MERGES is the list of merges of a CLIP tokenizer, as `vitrail.segmentors.text_tokens.TextTokens` takes it. CLIP's
encoding goes word by word, so that the words of the prompts and of the names of all datasets' classes are enough for
every sentence of these.
"""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Iterator

from vitrail.datasets.label_sets import label_set, list_label_sets
from vitrail.segmentors.prompts import PROMPTS
from vitrail.segmentors.text_tokens import WORDS_FILE, TextTokens, words


def texts() -> Iterator[str]:
    """Yield every text whose words are written."""
    for prompts in PROMPTS.values():
        yield from (prompt.replace("{}", " ") for prompt in prompts)
        # a name that ends with a sign makes one word with the sign that follows in the sentence
        yield from (prompt.format(name) for prompt in prompts for name in _names() if not name[-1].isalnum())
    for name in _names():
        yield from (name, name.replace("_", " "), name.replace("-", " "))
    yield from ("class", *string.digits, *string.ascii_lowercase)


def _names() -> Iterator[str]:
    for dataset in list_label_sets():
        yield from label_set(dataset).classes


def main(merges: str) -> None:
    """Write the file, one word a line."""
    tokenizer = TextTokens(merges)
    found = sorted({word for text in texts() for word in words(text)})
    lines = ",\n".join(f"{json.dumps(word)}: {json.dumps(list(tokenizer.of_word(word)))}" for word in found)
    WORDS_FILE.write_text(f'{{"size": {tokenizer.size}, "words": {{\n{lines}\n}}}}\n', encoding="utf-8")
    print(f"{len(found)} words")


if __name__ == "__main__":
    main(sys.argv[1])
