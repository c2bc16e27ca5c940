"""Vectors of the names of classes, made by CLIP's text encoder (Radford et al., ICML 2021, arXiv:2103.00020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones.weights import read_state_dict
from vitrail.errors import ModelError
from vitrail.layers.text_encoder import TextEncoder
from vitrail.segmentors.text_tokens import Tokenizer, create_tokenizer

_LENGTH = 77  # the most tokens of a text
_TEXTS_AT_ONCE = 256
# OpenAI's names of the modules in a layer of the text encoder, by ours.
_LAYER = {"norm1": "ln_1", "attn.out_proj": "attn.out_proj", "norm2": "ln_2", "fc1": "mlp.c_fc", "fc2": "mlp.c_proj"}


class ClassTexts(nn.Module):
    """CLIP's text encoder, which makes a vector of the name of each class.

    Parameters
    ----------
    channels, vocabulary_size, num_layers
        See `TextEncoder`.
    out_channels : int
        D, the channels of the vectors.
    """

    def __init__(self, channels: int, out_channels: int, *, vocabulary_size: int, num_layers: int) -> None:
        super().__init__()
        self.encoder = TextEncoder(channels, vocabulary_size, _LENGTH, num_layers, causal=True)
        self.project = nn.Linear(channels, out_channels, bias=False)
        nn.init.normal_(self.project.weight, std=channels**-0.5)

    @torch.no_grad()
    def forward(self, names: Sequence[str], prompts: Sequence[str], tokenizer: Tokenizer) -> Tensor:
        """Return [K, D]: for each name the normalised mean of the normalised vectors of all prompts."""
        texts = tokenizer([prompt.format(name) for prompt in prompts for name in names], _LENGTH)
        lengths = texts.argmax(dim=1) + 1  # no token sees those behind it, and the one at the end of a text counts
        weight = self.project.weight
        vectors = weight.new_empty(len(texts), len(weight))
        for part in lengths.argsort(stable=True).split(_TEXTS_AT_ONCE):
            rows = texts[part, : int(lengths[part].max())].to(weight.device)
            vectors[part.to(weight.device)] = F.normalize(self.project(self.encoder(rows)), dim=-1)
        return F.normalize(vectors.unflatten(0, (len(prompts), len(names))).mean(dim=0), dim=-1)


def vectors_of_names(
    state: Mapping[str, Tensor], names: Sequence[str], prompts: Sequence[str], vocabulary: str | Path | None
) -> Tensor:
    """Return the vectors [K, D] of names by the text encoder in a state of `ClassTexts`; see there.

    Raises
    ------
    ModelError
        For a state without a text encoder or with another one, and for names with words of unknown tokens.
    """
    if not state:
        raise ModelError("this model has no text encoder, so that its classes remain as they are")
    try:
        tokens, project = state["encoder.tokens.weight"], state["project.weight"]
        layers = len({name.split(".")[2] for name in state if name.startswith("encoder.layers.")})
        with torch.device("meta"):
            texts = ClassTexts(tokens.shape[1], project.shape[0], vocabulary_size=tokens.shape[0], num_layers=layers)
        texts.load_state_dict({name: value.float() for name, value in state.items()}, strict=True, assign=True)
    except (KeyError, IndexError, RuntimeError) as error:
        raise ModelError(f"its text encoder is not one of CLIP ({type(error).__name__}: {error})") from error
    vectors: Tensor = texts(names, prompts, fitting_tokenizer(vocabulary, tokens.shape[0]))
    return vectors


def read_clip(path: str, num_layers: int) -> dict[str, Tensor]:
    """Return the text encoder, the projection of images and the logit scale of a CLIP file under SAN's names.

    Parameters
    ----------
    path : str
        A file with OpenAI's names.
    num_layers : int
        Layers of the text encoder.

    Raises
    ------
    ModelError
        When the file lacks one of the tensors.
    """
    state = read_state_dict(path)
    try:
        given = {
            "project.weight": state["visual.proj"].t(),
            "logit_scale": state["logit_scale"].reshape(1),
            "texts.encoder.tokens.weight": state["token_embedding.weight"],
            "texts.encoder.positions": state["positional_embedding"],
            "texts.encoder.norm.weight": state["ln_final.weight"],
            "texts.encoder.norm.bias": state["ln_final.bias"],
            "texts.project.weight": state["text_projection"].t(),
        }
        for index in range(num_layers):
            ours, theirs = f"texts.encoder.layers.{index}", f"transformer.resblocks.{index}"
            for module, name in _LAYER.items():
                given |= {f"{ours}.{module}.{end}": state[f"{theirs}.{name}.{end}"] for end in ("weight", "bias")}
            for name in ("attn.in_proj_weight", "attn.in_proj_bias"):
                given[f"{ours}.{name}"] = state[f"{theirs}.{name}"]
    except KeyError as error:
        raise ModelError(
            f"{path} does not hold a whole CLIP: {error} is missing. It should have OpenAI's names, as open_clip's "
            "files of ViT-B-16 and ViT-L-14-336 have, for the encoders of images and of texts"
        ) from error
    return given


def fitting_tokenizer(vocabulary: str | Path | None, size: int) -> Tokenizer:
    """Return the tokenizer of a list of merges, or of known words; a ModelError when it has not `size` tokens."""
    tokenizer = create_tokenizer(vocabulary)
    if tokenizer.size != size:
        raise ModelError(
            f"{vocabulary or 'the list of known words'} makes {tokenizer.size:,} tokens, and the text encoder has "
            f"{size:,}: give its own list of merges (vocabulary)"
        )
    return tokenizer
