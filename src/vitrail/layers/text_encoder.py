"""Transformer that encodes texts, as CLIP has it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_HEAD_CHANNELS = 64  # of an attention head


class TextLayer(nn.Module):
    """Self-attention and an MLP with a quick GELU, x · sigmoid(1.702 x) (pre-norm, residual).

    Parameters
    ----------
    channels : int
        Channels of the tokens.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = nn.MultiheadAttention(channels, max(1, channels // _HEAD_CHANNELS), batch_first=True)
        self.norm2 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor, blocked: Tensor | None) -> Tensor:
        """Return updated tokens [N, L, C]; `blocked` is bool [L, L], True where one does not attend to another."""
        y = self.norm1(x)
        x = x + self.attn(y, y, y, attn_mask=blocked, need_weights=False)[0]
        hidden = self.fc1(self.norm2(x))
        out: Tensor = x + self.fc2(hidden * (1.702 * hidden).sigmoid())
        return out


class TextEncoder(nn.Module):
    """Encoder of texts: a transformer, of whose result the token at the end of the text counts.

    Parameters
    ----------
    channels : int
        Channels of the tokens.
    vocabulary_size : int
        Number of tokens that there are. That of the end of a text is the last one.
    length : int
        L, the largest number of tokens of a text.
    num_layers : int
        Number of layers.
    causal : bool
        Whether a token attends to the tokens before it and itself alone.

    References
    ----------
    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
    arXiv:2103.00020, section 2.4.
    """

    def __init__(self, channels: int, vocabulary_size: int, length: int, num_layers: int, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.tokens = nn.Embedding(vocabulary_size, channels)
        self.positions = nn.Parameter(torch.empty(length, channels))
        self.layers = nn.ModuleList(TextLayer(channels) for _ in range(num_layers))
        self.norm = nn.LayerNorm(channels)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        for module in self.layers:
            assert isinstance(module, TextLayer)
            deep = channels**-0.5 * (2 * num_layers) ** -0.5  # of what is added to the residual sum
            nn.init.normal_(module.attn.in_proj_weight, std=channels**-0.5)
            nn.init.normal_(module.attn.out_proj.weight, std=deep)
            nn.init.normal_(module.fc1.weight, std=(2 * channels) ** -0.5)
            nn.init.normal_(module.fc2.weight, std=deep)

    def forward(self, texts: Tensor) -> Tensor:
        """Encode texts, int64 [N, L] or with fewer tokens, into vectors [N, C]."""
        length = texts.shape[1]
        blocked = None
        if self.causal:
            blocked = torch.ones(length, length, dtype=torch.bool, device=texts.device).triu(1)
        x = self.tokens(texts) + self.positions[:length]
        for layer in self.layers:
            x = layer(x, blocked)
        ends = texts.argmax(dim=1)
        normed: Tensor = self.norm(x[torch.arange(len(texts), device=texts.device), ends])
        return normed
