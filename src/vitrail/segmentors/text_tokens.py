"""CLIP's tokens of texts: byte pair encoding with a list of merges, a file of the user's, or of known words."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import itertools
import re
import unicodedata
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vitrail.errors import ModelError
from vitrail.files.json_text import parse_json
from vitrail.files.regular import read_regular

_FILE = "merges.txt"  # in the folder of a tokenizer of transformers
_LIMIT = 1 << 25  # bytes of the list
_MERGES = 48_894  # of CLIP's vocabulary; OpenAI's file goes on with merges that it does not use
_END_OF_WORD = "</w>"
# Of a text in which other letters are "L", numbers "N", and all but these, spaces and apostrophes ".".
_WORDS = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[a-zL]+|N|[^\sa-zLN]+")


WORDS_FILE = Path(__file__).with_name("clip_words.json")  # `tools/build_clip_words.py` makes it


class Tokenizer(ABC):
    """Turns texts into tokens as CLIP does, word by word.

    Attributes
    ----------
    size : int
        Number of tokens that there are; the last two are the start and the end of a text.
    """

    size: int

    @abstractmethod
    def of_word(self, word: str) -> Sequence[int]:
        """Return the tokens of one of the `words` of a text."""

    def __call__(self, texts: Sequence[str], length: int) -> Tensor:
        """Return int64 [N, length]: start, tokens and end of each text, and zeros; the end is the largest token.

        Longer texts are cut off.
        """
        rows = torch.zeros(len(texts), length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            tokens = itertools.chain.from_iterable(map(self.of_word, words(text)))
            row_tokens = [self.size - 2, *itertools.islice(tokens, length - 2), self.size - 1]
            row[: len(row_tokens)] = torch.tensor(row_tokens)
        return rows


class KnownWords(Tokenizer):
    """Knows the tokens of the words that occur in prompts and in the class names of the datasets that vitrail has.

    Raises
    ------
    ModelError
        When a text has another word.
    """

    def __init__(self) -> None:
        self.size, self._tokens = _known_words()

    def of_word(self, word: str) -> Sequence[int]:
        """See `Tokenizer`."""
        if word not in self._tokens:
            raise ModelError(
                f"the tokens of {word!r} are not among those that come with vitrail, which knows the words of its "
                "datasets' classes: give the path of merges.txt of a CLIP tokenizer, such as that of "
                "openai/clip-vit-base-patch32 on the Hugging Face hub (vocabulary=…, --vocabulary on the command line, "
                "model.options.vocabulary in a recipe)"
            )
        return self._tokens[word]


def create_tokenizer(vocabulary: str | Path | None) -> Tokenizer:
    """Return the tokenizer with the list of merges at this path, or the one of known words for None."""
    return KnownWords() if vocabulary is None else TextTokens(vocabulary)


class TextTokens(Tokenizer):
    """Turns texts into tokens as CLIP does, with its list of merges.

    The vocabulary is the 256 bytes, the same at the end of a word, what each merge makes, and the start and the end of
    a text.

    Parameters
    ----------
    path : str or path
        The list of merges: `merges.txt` of a CLIP tokenizer on the Hugging Face hub, a folder that holds it, or
        `bpe_simple_vocab_16e6.txt.gz` of CLIP and of OneFormer.

    Raises
    ------
    ModelError
        When there is no such file, or it is none.
    """

    def __init__(self, path: str | Path) -> None:
        merges = _read_merges(Path(path))
        self._letters = _letters_of_bytes()
        letters = self._letters.values()
        parts = [
            *letters,
            *(letter + _END_OF_WORD for letter in letters),
            *(first + second for first, second in merges),
        ]
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._numbers = {word: number for number, word in enumerate(parts)}
        self.size = len(parts) + 2

    def of_word(self, word: str) -> Sequence[int]:
        """See `Tokenizer`."""
        letters = [self._letters[byte] for byte in word.encode(errors="surrogatepass")]
        letters[-1] += _END_OF_WORD
        return [self._numbers[part] for part in self._merged(letters)]

    def _merged(self, parts: list[str]) -> list[str]:
        """Return the parts of a word after every merge, each time of the pair that is first in the list."""
        last = len(self._ranks)
        while len(parts) > 1:
            pair = min(itertools.pairwise(parts), key=lambda pair: self._ranks.get(pair, last))
            if pair not in self._ranks:
                break
            merged: list[str] = []
            index = 0
            while index < len(parts):
                found = (parts[index], parts[index + 1] if index + 1 < len(parts) else None) == pair
                merged.append("".join(pair) if found else parts[index])
                index += 2 if found else 1
            parts = merged
        return parts


def words(text: str) -> Iterator[str]:
    """Yield what CLIP splits a text into, in lower case: runs of letters, single numerals, runs of signs, and endings
    such as 's."""
    text = " ".join(unicodedata.normalize("NFC", text).lower().split())
    kinds = "".join(_kind(letter) for letter in text)
    return (text[found.start() : found.end()] for found in _WORDS.finditer(kinds))


def _kind(letter: str) -> str:
    if letter in " '" or "a" <= letter <= "z":
        return letter
    return {"L": "L", "N": "N"}.get(unicodedata.category(letter)[0], ".")


@functools.cache
def _known_words() -> tuple[int, Mapping[str, Sequence[int]]]:
    content = parse_json(WORDS_FILE.read_text(encoding="utf-8"), str(WORDS_FILE), ModelError)
    return content["size"], content["words"]


def _letters_of_bytes() -> dict[int, str]:
    """Return a printable letter for each byte, in the order of the vocabulary: printable bytes come first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}


def _read_merges(path: Path) -> list[tuple[str, str]]:
    with contextlib.suppress(OSError):  # a name that is too long, which `read_regular` says
        path = path / _FILE if path.is_dir() else path
    content = read_regular(path, ModelError, what="the vocabulary ", limit=_LIMIT)
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(_LIMIT)
        lines = content.decode().replace("\r\n", "\n").rstrip("\n").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the vocabulary {path}: {error}") from error
    pairs = [tuple(line.split(" ")) for line in lines[1 : _MERGES + 1]]
    if not lines or "#version" not in lines[0] or any(len(pair) != 2 for pair in pairs):
        raise ModelError(
            f"{path} is no list of CLIP's merges: it should begin with #version and have two parts on every line, as "
            f"{_FILE} of a CLIP tokenizer"
        )
    merges = [(pair[0], pair[1]) for pair in pairs]
    # Other tokenizers, such as GPT-2's, have lists that look the same, and as many merges.
    if merges and not any(second.endswith(_END_OF_WORD) for _, second in merges):
        raise ModelError(
            f"{path} is the list of another tokenizer: no merge ends a word with {_END_OF_WORD}, as CLIP's do"
        )
    return merges
