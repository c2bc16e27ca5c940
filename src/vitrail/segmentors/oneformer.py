"""OneFormer: Mask2Former whose queries are made from a sentence that names the task (Jain et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.errors import ModelError
from vitrail.layers.masked_query_decoder import MaskedQueryDecoder
from vitrail.layers.mlp import MLP
from vitrail.layers.position_encoding import sine_position_encoding
from vitrail.layers.query_decoder import QueryDecoderLayer
from vitrail.layers.text_encoder import TextEncoder
from vitrail.losses.contrastive import ContrastiveLoss
from vitrail.losses.mask_classification import QueryPrediction
from vitrail.losses.mask_points import PointMaskLoss
from vitrail.losses.pixels import classes_present, in_full_precision
from vitrail.segmentors.mask2former import DeformablePixelDecoder
from vitrail.segmentors.mask_classification import MaskClassificationHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps
from vitrail.segmentors.text_tokens import TextTokens

TASK_LENGTH = 77
# CLIP's tokens of "the task is semantic": the start, "the", "task", "is", "seman", "tic" and the end; zeros follow, up
# to TASK_LENGTH of them. It is what the byte pair encoding with CLIP's published merges makes of the sentence.
TASK_TOKENS = (49406, 518, 10549, 533, 29119, 1550, 49407)
_SENTENCE, _FILLER = "a photo with a {}", "a semantic photo"


class TaskQueries(nn.Module):
    """A transformer decoder that turns copies of the task token into queries that differ from image to image.

    As published, the values that the queries attend to are the positions of the pixels, and the keys the sum of these
    and the projected pixel embeddings.

    Parameters
    ----------
    channels : int
        Channels of the pixel embeddings and of the queries.
    num_layers, num_heads, feedforward_channels, dropout
        See `QueryDecoderLayer`.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_layers: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)
        self.layers = nn.ModuleList(
            QueryDecoderLayer(channels, num_heads, feedforward_channels, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(channels)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, pixels: Tensor, task: Tensor, query_position: Tensor) -> Tensor:
        """Return queries [B, Q, C] for pixel embeddings [B, C, H, W], a task token [C] and positions [Q, C]."""
        x = self.project(pixels)
        position = sine_position_encoding(x.shape[-2], x.shape[-1], x.shape[1], like=x)
        memory = position.expand_as(x).flatten(2).transpose(1, 2)
        memory_key = (x + position).flatten(2).transpose(1, 2)
        query_position = query_position.expand(x.shape[0], -1, -1)
        queries = task.expand_as(query_position)
        for layer in self.layers:
            queries = layer(queries, query_position, memory, memory_key)
        normed: Tensor = self.norm(queries)
        return normed


class TextQueries(nn.Module):
    """Text queries of an image: the encoded names of its classes, one sentence for each, and learned contexts.

    Parameters
    ----------
    channels : int
        Channels of the queries.
    num_queries, num_contexts : int
        Number of text queries, and of the learned ones among them, the last.
    num_layers, vocabulary_size, causal
        See `TextEncoder`.
    """

    def __init__(
        self,
        channels: int,
        num_queries: int,
        num_contexts: int,
        *,
        num_layers: int,
        vocabulary_size: int,
        causal: bool,
    ) -> None:
        super().__init__()
        self.num_texts = num_queries - num_contexts
        self.encoder = TextEncoder(channels, vocabulary_size, TASK_LENGTH, num_layers, causal=causal)
        self.project = MLP((channels, channels, channels))
        self.contexts = nn.Embedding(num_contexts, channels)

    def forward(self, sentences: Tensor, present: Tensor) -> Tensor:
        """Return text queries [B, Q, C].

        Parameters
        ----------
        sentences : Tensor
            int64 [K + 1, L], the tokens of the sentence about each class, and of the one that fills up.
        present : Tensor
            bool [B, K], True for the classes of each image.
        """
        encoded = self.project(self.encoder(sentences))  # each sentence once: images share them
        filler = present.shape[1]
        numbers = torch.arange(filler, device=present.device)
        texts = torch.where(present, numbers, filler).sort(dim=1).values[:, : self.num_texts]
        texts = F.pad(texts, (0, self.num_texts - texts.shape[1]), value=filler)
        return torch.cat([encoded[texts], self.contexts.weight.to(encoded.dtype).expand(len(texts), -1, -1)], dim=1)


@register_segmentor("oneformer", backbone="resnet50")
class OneFormerHead(MaskClassificationHead):
    """OneFormer (Jain, Li, Chiu, Hassani, Orlov and Shi, CVPR 2023, arXiv:2211.06220).

    Mask2Former whose queries do not start as learned vectors: a two-layer MLP maps the tokens of a sentence, "the task
    is semantic", to a task token; a transformer decoder makes all queries but the last from it and the finest map, and
    the last query is the task token itself. The published models were trained for panoptic and instance segmentation
    too; here the task is always the same.

    With `contrastive_weight`, a text encoder, which prediction does not need, turns the names of an image's classes
    into text queries, and a loss compares these with the queries before the first layer with masked attention. It needs
    several images in a batch, the names (`name_classes`, which training calls) and a list of CLIP's merges.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the three coarsest are encoded, the finer ones make the pixel embeddings.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pixel decoder and of the queries; a multiple of 32.
    encoder_layers, encoder_feedforward_channels : int
        Layers of the pixel decoder's encoder, and hidden channels of their MLPs.
    num_queries : int
        Number of queries.
    query_layers : int
        Layers of the decoder that makes the queries.
    num_layers, feedforward_channels : int
        Layers of the decoder with masked attention, and hidden channels of the MLPs of both decoders. The prediction
        before the first layer is supervised too, so that configurations that count it have one more.
    num_heads : int
        Attention heads of the encoder and of both decoders.
    dropout : float
        Dropout probability of the encoder and of the decoder that makes the queries.
    num_points, oversample, importance_ratio
        See `PointMaskLoss`.
    class_weight, mask_weight, dice_weight : float
        Weights of the three losses, and of the same terms in the matching of queries and classes.
    no_object_weight : float
        Weight of the unmatched queries in the classification loss.
    deep_supervision : bool
        Whether to apply these losses to the prediction before the first layer and after every layer, or after the last
        alone.
    contrastive_weight : float
        Weight of the loss that compares queries with texts, 0.5 as published; 0 builds no text encoder.
    initial_temperature : float
        See `ContrastiveLoss`.
    vocabulary : str, optional
        Path of CLIP's list of merges, see `TextTokens`; read when training begins.
    vocabulary_size, text_layers : int
        Tokens that there are, and layers of the text encoder.
    num_contexts : int
        How many of the text queries are learned vectors; fewer than `num_queries`.
    causal_text : bool
        Whether a token of a text attends to those before it and itself alone, as the authors' does; in transformers it
        attends to all of them.
    align_corners : bool
        How predicted masks are resized.

    Raises
    ------
    ModelError
        For a negative `contrastive_weight`, where no text queries are left, and for a `vocabulary` without use.
    """

    file_options = ("vocabulary",)
    training_options = ("initial_temperature", "causal_text")
    task_tokens: Tensor
    sentences: Tensor | None

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 256,
        encoder_layers: int = 6,
        encoder_feedforward_channels: int = 1024,
        num_queries: int = 150,
        query_layers: int = 2,
        num_layers: int = 9,
        feedforward_channels: int = 2048,
        num_heads: int = 8,
        dropout: float = 0.1,
        num_points: int = 12544,
        oversample: float = 3.0,
        importance_ratio: float = 0.75,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        deep_supervision: bool = True,
        contrastive_weight: float = 0.0,
        initial_temperature: float = 0.07,
        vocabulary: str | None = None,
        vocabulary_size: int = 49408,
        text_layers: int = 6,
        num_contexts: int = 16,
        causal_text: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, deep_supervision=deep_supervision, align_corners=align_corners)
        self.pixel_decoder = DeformablePixelDecoder(
            maps.channels,
            channels,
            channels,
            num_layers=encoder_layers,
            num_heads=num_heads,
            feedforward_channels=encoder_feedforward_channels,
            dropout=dropout,
        )
        padding = (0,) * (TASK_LENGTH - len(TASK_TOKENS))
        self.register_buffer("task_tokens", torch.tensor(TASK_TOKENS + padding), persistent=False)
        self.task_mlp = MLP((TASK_LENGTH, channels, channels))
        self.task_queries = TaskQueries(
            channels,
            num_layers=query_layers,
            num_heads=num_heads,
            feedforward_channels=feedforward_channels,
            dropout=dropout,
        )
        self.query_decoder = MaskedQueryDecoder(
            channels,
            channels,
            channels,
            num_queries,
            len(self.pixel_decoder.inputs),
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_channels=feedforward_channels,
            learned_queries=False,
        )
        self.classifier = nn.Linear(channels, num_classes + 1)
        self.loss = PointMaskLoss(
            num_points=num_points,
            oversample=oversample,
            importance_ratio=importance_ratio,
            class_weight=class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            no_object_weight=no_object_weight,
        )

        self.contrastive_weight = contrastive_weight
        self.vocabulary = vocabulary
        self.vocabulary_size = vocabulary_size
        self.texts: TextQueries | None = None
        self.register_buffer("sentences", None, persistent=False)
        if vocabulary is not None and not contrastive_weight:
            raise ModelError("vocabulary is for texts, and contrastive_weight is 0: set it to 0.5, or leave this out")
        if contrastive_weight:
            if contrastive_weight < 0 or not 0 <= num_contexts < num_queries:
                raise ModelError(
                    f"contrastive_weight is at least 0 and num_contexts less than num_queries, {num_queries}, not "
                    f"{contrastive_weight:g} and {num_contexts}"
                )
            self.texts = TextQueries(
                channels,
                num_queries,
                num_contexts,
                num_layers=text_layers,
                vocabulary_size=vocabulary_size,
                causal=causal_text,
            )
            self.contrast = ContrastiveLoss(initial_temperature)

    def name_classes(self, names: Sequence[str]) -> None:
        """Make the sentences about the classes, for the loss that compares queries with texts.

        Raises
        ------
        ModelError
            When `vocabulary` is missing, is no such file, or has another number of tokens than `vocabulary_size`.
        """
        if self.texts is None:
            return
        if self.vocabulary is None:
            raise ModelError(
                "OneFormer's contrastive_weight needs the tokens of CLIP: set model.options.vocabulary to the path of "
                "merges.txt of a CLIP tokenizer, such as that of openai/clip-vit-base-patch32 on the Hugging Face hub, "
                "or contrastive_weight to 0"
            )
        tokens = TextTokens(self.vocabulary)
        if tokens.size != self.vocabulary_size:
            raise ModelError(
                f"{self.vocabulary} makes {tokens.size:,} tokens, and the text encoder has {self.vocabulary_size:,}: "
                "change model.options.vocabulary or vocabulary_size"
            )
        self.sentences = tokens([_SENTENCE.format(name) for name in names] + [_FILLER], TASK_LENGTH).to(
            self.task_tokens.device
        )

    def queries(self, features: Sequence[Tensor]) -> list[QueryPrediction]:
        """Return the predictions before the first layer and after each (after the last alone unless training)."""
        return self._decode(features)[1]

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses of `MaskClassificationHead`, and `contrastive`.

        Raises
        ------
        ModelError
            When that needs sentences about the classes and `name_classes` was not called.
        """
        first, predictions = self._decode(features)
        losses = self.losses_of(predictions, targets)
        if self.texts is None:
            return losses
        if self.sentences is None:
            raise ModelError("OneFormer's contrastive_weight needs the names of the classes: call name_classes before")
        texts = self.texts(self.sentences, classes_present(targets, self.num_classes))
        return {**losses, "contrastive": self.contrastive_weight * self.contrast(first, texts)}

    def _decode(self, features: Sequence[Tensor]) -> tuple[Tensor, list[QueryPrediction]]:
        """Return the queries before the first layer with masked attention, and what `queries` returns."""
        pixels, maps = self.pixel_decoder(features)
        first = self._first_queries(pixels)
        states = self.query_decoder(maps, pixels, first)
        return first, [
            QueryPrediction(self.classifier(queries), torch.einsum("bqc,bchw->bqhw", embeddings, pixels))
            for queries, embeddings in (states if self.training else states[-1:])
        ]

    def _first_queries(self, pixels: Tensor) -> Tensor:
        """Return the queries [B, Q, C] before the first layer with masked attention, the task token last."""
        task = self._task_token().to(pixels.dtype)
        queries = self.task_queries(pixels, task, self.query_decoder.query_position.weight[:-1])
        return torch.cat([queries, task.expand(pixels.shape[0], 1, -1).to(queries.dtype)], dim=1)

    def _task_token(self) -> Tensor:
        """Return the task token [C]: the MLP of the tokens, as numbers, with the norm that all queries share."""
        # half precision rounds the numbers of tokens, and what the first layer makes of them may be beyond float16
        with torch.autocast(self.task_tokens.device.type, enabled=False):
            first, last, norm = (
                (in_full_precision(layer.weight), in_full_precision(layer.bias))
                for layer in (*self.task_mlp, self.query_decoder.norm)
            )
            x = F.linear(F.linear(self.task_tokens.to(first[0].dtype), *first).relu(), *last)
            return F.layer_norm(x, x.shape, norm[0], norm[1], self.query_decoder.norm.eps)
