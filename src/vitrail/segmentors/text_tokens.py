"""CLIP's tokens of texts: byte pair encoding with a list of merges, which is a file of the user's."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vitrail.errors import ModelError
from vitrail.files.regular import read_regular

_FILE = "merges.txt"  # in the folder of a tokenizer of transformers
_LIMIT = 1 << 25  # bytes of the list
_MERGES = 48_894  # of CLIP's vocabulary; OpenAI's file goes on with merges that it does not use
_END_OF_WORD = "</w>"
# Of a text in which other letters are "L", numbers "N", and all but these, spaces and apostrophes ".".
_WORDS = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[a-zL]+|N|[^\sa-zLN]+")


class TextTokens:
    """Turns texts into tokens as CLIP does.

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
        words = [
            *letters,
            *(letter + _END_OF_WORD for letter in letters),
            *(first + second for first, second in merges),
        ]
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._numbers = {word: number for number, word in enumerate(words)}
        self._start = len(words)
        self.size = len(words) + 2

    def __call__(self, texts: Sequence[str], length: int) -> Tensor:
        """Return int64 [N, length]: start, tokens and end of each text, and zeros; the end is the largest token.

        Longer texts are cut off.
        """
        rows = torch.zeros(len(texts), length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            tokens = [self._start, *itertools.islice(self._tokens(text), length - 2), self._start + 1]
            row[: len(tokens)] = torch.tensor(tokens)
        return rows

    def _tokens(self, text: str) -> Iterator[int]:
        for word in _words(" ".join(unicodedata.normalize("NFC", text).lower().split())):
            letters = [self._letters[byte] for byte in word.encode(errors="surrogatepass")]
            letters[-1] += _END_OF_WORD
            yield from (self._numbers[part] for part in self._merged(letters))

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


def _words(text: str) -> Iterator[str]:
    """Yield runs of letters, single numerals, runs of signs, and endings such as 's."""
    kinds = "".join(_kind(letter) for letter in text)
    return (text[found.start() : found.end()] for found in _WORDS.finditer(kinds))


def _kind(letter: str) -> str:
    if letter in " '" or "a" <= letter <= "z":
        return letter
    return {"L": "L", "N": "N"}.get(unicodedata.category(letter)[0], ".")


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
