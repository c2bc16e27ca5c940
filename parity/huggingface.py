"""Models of transformers as references, and as models of vitrail."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parity.case import CLASSES, FULL_SIZE, Case
from parity.missing import require
from parity.reference import Losses, Reference
from parity.references import without_dropout
from parity.renaming import Rules, State, join_projections, rename
from vitrail import Auxiliary, create_model
from vitrail.checkpoints.sources.transformers.source import translate_config
from vitrail.segmentors import Segmentor
from vitrail.segmentors.oneformer import TASK_LENGTH, TASK_TOKENS

LEVELS = ["stage1", "stage2", "stage3", "stage4"]


def transformers() -> ModuleType:
    """Return the package."""
    return require("transformers", "transformers")


class Transformers(Reference):
    """A model of transformers."""

    toolbox: ClassVar[str] = "transformers"
    package: ClassVar[str] = "transformers"

    @abstractmethod
    def configuration(self) -> Any:
        """Return the configuration object."""

    @abstractmethod
    def create(self, configuration: Any) -> nn.Module:
        """Return the model of a configuration."""

    def build(self) -> nn.Module:
        """See `Reference`."""
        return without_dropout(self.create(self.configuration()))

    def settings(self) -> str:
        """Return the configuration as transformers writes it beside weights."""
        return self.configuration().to_json_string(use_diff=True)

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """See `Reference`; each model gives logits at one size only."""
        return model(images).logits

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Return the one loss that the model tells."""
        total = model(images, labels=targets).loss
        return Losses(total, {"loss": total.item()})


@dataclass(frozen=True)
class UperNet(Transformers):
    """UPerNet.

    Attributes
    ----------
    kind : str
        The configuration class of its encoder.
    shape : tuple of (str, value)
        The encoder's settings.
    """

    kind: str
    shape: tuple[tuple[str, Any], ...]

    def configuration(self) -> Any:
        """See `Transformers`."""
        encoder = getattr(transformers(), self.kind)(**dict(self.shape), out_features=LEVELS)
        return transformers().UperNetConfig(
            backbone_config=encoder, hidden_size=64, auxiliary_channels=32, num_labels=CLASSES, loss_ignore_index=255
        )

    def create(self, configuration: Any) -> nn.Module:
        """See `Transformers`."""
        return transformers().UperNetForSemanticSegmentation(configuration)


_UPERNET: Rules = (
    *((rf"^backbone\.hidden_states_norms\.stage{i + 1}\.", f"backbone.norms.{i}.") for i in range(4)),
    (r"^decode_head\.", "head."),
    (r"^auxiliary_head\.", "auxiliary.0."),
    (r"\.batch_norm\.", ".bn."),
    (r"\.psp_modules\.", ".pyramid.stages."),
    (r"^head\.bottleneck\.", "head.pyramid_fuse."),
    (r"\.lateral_convs\.", ".laterals."),
    (r"\.fpn_convs\.", ".smooth."),
    (r"\.fpn_bottleneck\.", ".fuse."),
)
_CONVNEXT: Rules = (
    (r"^backbone\.embeddings\.patch_embeddings\.", "backbone.encoder.stem.0."),
    (r"^backbone\.embeddings\.layernorm\.", "backbone.encoder.stem.1."),
    (r"\.downsampling_layer\.", ".downsample."),
    (r"^(backbone\.encoder\.stages\.\d)\.layers\.", r"\1.blocks."),
    (r"\.layer_scale_parameter$", ".gamma"),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.layernorm\.", ".norm."),
    (r"\.pwconv([12])\.", r".mlp.fc\1."),
)
_SWIN: Rules = (
    (r"^backbone\.swin\.layernorm\.", None),  # of a classifier, never applied
    (r"^backbone\.swin\.embeddings\.patch_embeddings\.projection\.", "backbone.encoder.patch_embed.proj."),
    (r"^backbone\.swin\.embeddings\.norm\.", "backbone.encoder.patch_embed.norm."),
    *((rf"^backbone\.swin\.encoder\.layers\.{i}\.downsample\.", f"backbone.later.{i + 1}.") for i in range(3)),
    (r"^backbone\.later\.(\d)\.", r"backbone.encoder.layers.\1.downsample."),
    (r"^backbone\.swin\.encoder\.", "backbone.encoder."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.relative_position_bias\.", ".attn."),
)


def _upernet(backbone: str, state: State) -> Segmentor:
    model = create_model("upernet", backbone, CLASSES, channels=64, auxiliary=Auxiliary(channels=(32,)))
    model.load_state_dict(state, strict=True)
    return model


def import_convnext(tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return UPerNet on a ConvNeXt."""
    return _upernet("convnext_tiny", rename(tensors, (*_CONVNEXT, *_UPERNET)))


def import_swin(tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return UPerNet on a Swin."""
    state = join_projections(rename(tensors, (*_SWIN, *_UPERNET)), ".attention.", ".attn.qkv.")
    return _upernet("swin_tiny_patch4_window7_224", state)


class Segformer(Transformers):
    """SegFormer-B0."""

    encoder = "segformer"

    def configuration(self) -> Any:
        """See `Transformers`."""
        return transformers().SegformerConfig(num_labels=CLASSES)

    def create(self, configuration: Any) -> nn.Module:
        """Return the model with the norms' epsilon of its authors, where transformers leaves torch's default."""
        model = transformers().SegformerForSemanticSegmentation(configuration)
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-6
        return model


_SEGFORMER: Rules = (
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.proj\.", r"backbone.stages.\1.embed.proj."),
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.layer_norm\.", r"backbone.stages.\1.embed.norm."),
    (r"^segformer\.stages\.(\d)\.layer_norm\.", r"backbone.stages.\1.norm."),
    (r"^segformer\.stages\.", "backbone.stages."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.sequence_reduction\.sequence_reduction\.", ".attn.shrink."),
    (r"\.attention\.sequence_reduction\.layer_norm\.", ".attn.norm."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.mlp\.dwconv\.dwconv\.", ".mlp.conv."),
    (r"^decode_head\.linear_projections\.(\d)\.proj\.", r"head.projections.\1."),
    (r"^decode_head\.linear_fuse\.", "head.fuse.conv."),
    (r"^decode_head\.batch_norm\.", "head.fuse.bn."),
    (r"^decode_head\.classifier\.", "head.classifier."),
)


def import_segformer(tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return SegFormer-B0: its projections are matrices, and join the coarsest map first where ours join the finest."""
    state = join_projections(rename(tensors, _SEGFORMER), ".attention.", ".attn.qkv.")
    state = {k: v[:, :, None, None] if ".projections." in k and v.dim() == 2 else v for k, v in state.items()}
    fuse = "head.fuse.conv.weight"
    state[fuse] = torch.cat(state[fuse].chunk(4, dim=1)[::-1], dim=1)
    model = create_model("segformer", "mit_b0", CLASSES, linear_projection=True)
    model.load_state_dict(state, strict=True)
    return model


@dataclass(frozen=True)
class MaskFormer(Transformers):
    """MaskFormer on a ResNet.

    Attributes
    ----------
    classes, channels, queries, layers, hidden : int
        K; the width of maps and queries; the number of queries and of decoder layers; the width of their MLPs.
    bottleneck : bool
        Whether the encoder is a ResNet-50, or else a ResNet-18.
    """

    classes: int
    channels: int
    queries: int
    layers: int
    hidden: int
    bottleneck: bool
    encoder = "model"

    def configuration(self) -> Any:
        """See `Transformers`."""
        from transformers.models.maskformer.configuration_maskformer import MaskFormerDetrConfig

        backbone = transformers().ResNetConfig(
            depths=[3, 4, 6, 3] if self.bottleneck else [2, 2, 2, 2],
            hidden_sizes=[256, 512, 1024, 2048] if self.bottleneck else [64, 128, 256, 512],
            layer_type="bottleneck" if self.bottleneck else "basic",
            embedding_size=64,
            out_features=LEVELS,
        )
        decoder = MaskFormerDetrConfig(
            num_queries=self.queries,
            decoder_layers=self.layers,
            decoder_ffn_dim=self.hidden,
            d_model=self.channels,
            dropout=0.0,
        )
        return transformers().MaskFormerConfig(
            backbone_config=backbone,
            decoder_config=decoder,
            fpn_feature_size=self.channels,
            mask_feature_size=self.channels,
            num_labels=self.classes,
        )

    def create(self, configuration: Any) -> nn.Module:
        """See `Transformers`."""
        return transformers().MaskFormerForInstanceSegmentation(configuration)

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """Return scores [B, K, h, w], as its image processor makes them, without the resize that it does last."""
        return _mean_of_queries(model(images))

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Return the losses of the masks of each image's classes."""
        labels, masks = _labelled_masks(targets, images.dtype)
        out = model(images, mask_labels=masks, class_labels=labels)
        terms = model.get_loss_dict(out.masks_queries_logits, out.class_queries_logits, masks, labels, None)
        return Losses(out.loss, {name: term.item() for name, term in terms.items()})


_RESNET: Rules = (
    (r"^criterion\.", None),
    (r"^model\.pixel_level_module\.encoder\.", "backbone.encoder."),
    (r"\.embedder\.embedder\.convolution\.", ".conv1."),
    (r"\.embedder\.embedder\.normalization\.", ".bn1."),
    *((rf"\.encoder\.stages\.{i}\.layers\.(\d+)\.", rf".layer{i + 1}.\1.") for i in range(4)),
    *((rf"\.layer\.{i}\.convolution\.", f".conv{i + 1}.") for i in range(3)),
    *((rf"\.layer\.{i}\.normalization\.", f".bn{i + 1}.") for i in range(3)),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
)
_MASKFORMER: Rules = (
    *_RESNET,
    (r"^model\.pixel_level_module\.decoder\.", "head.pixel_decoder."),
    (r"\.fpn\.stem\.", ".deepest."),
    (r"\.fpn\.layers\.(\d)\.proj\.", r".laterals.\1."),
    (r"\.fpn\.layers\.(\d)\.block\.", r".smooth.\1."),
    (r"\.mask_projection\.", ".project."),
    (r"^model\.transformer_module\.", "head.query_decoder."),
    (r"\.queries_embedder\.", ".queries."),
    (r"\.input_projection\.", ".project."),
    (r"\.decoder\.layers\.", ".layers."),
    (r"\.decoder\.layernorm\.", ".norm."),
    (r"\.self_attn_layer_norm\.", ".norm1."),
    (r"\.encoder_attn_layer_norm\.", ".norm2."),
    (r"\.final_layer_norm\.", ".norm3."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.mlp\.fc", ".fc"),
    (r"\.o_proj\.", ".out_proj."),
    (r"^class_predictor\.", "head.classifier."),
    (r"^mask_embedder\.(\d)\.0\.", r"head.mask_mlp.\1."),
)


def _maskformer(tensors: Mapping[str, Tensor], model: Segmentor) -> Segmentor:
    state = join_projections(rename(tensors, _MASKFORMER), ".", ".in_proj_")
    model.load_state_dict(state, strict=True)
    return model


def import_small_maskformer(tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return a narrow MaskFormer on a ResNet-18; its losses look at the last layer only."""
    options: dict[str, Any] = {"num_queries": 20, "num_layers": 3, "feedforward_channels": 64}
    options |= {"channels": 32, "mask_channels": 32, "query_channels": 32, "deep_supervision": False}
    return _maskformer(tensors, create_model("maskformer", "resnet18", CLASSES, **options))


def import_maskformer(tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return MaskFormer as published for ADE20K on a ResNet-50."""
    return _maskformer(tensors, create_model("maskformer", None, 150))


@dataclass(frozen=True)
class Mask2Former(Transformers):
    """Mask2Former on a ResNet-18."""

    encoder = "model"

    def configuration(self) -> Any:
        """See `Transformers`."""
        backbone = transformers().ResNetConfig(
            depths=[2, 2, 2, 2],
            hidden_sizes=[64, 128, 256, 512],
            layer_type="basic",
            embedding_size=64,
            out_features=LEVELS,
        )
        return transformers().Mask2FormerConfig(
            backbone_config=backbone,
            feature_size=64,
            mask_feature_size=32,
            hidden_dim=32,
            encoder_feedforward_dim=96,
            encoder_layers=2,
            decoder_layers=3,
            dim_feedforward=64,
            num_queries=20,
            train_num_points=128,
            num_labels=CLASSES,
        )

    def create(self, configuration: Any) -> nn.Module:
        """See `Transformers`."""
        return transformers().Mask2FormerForUniversalSegmentation(configuration)

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """Return scores [B, K, h, w], as its image processor makes them, without the resizes that it does."""
        return _mean_of_queries(model(images))

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Return the losses of the masks of each image's classes."""
        labels, masks = _labelled_masks(targets, images.dtype)
        out = model(images, mask_labels=masks, class_labels=labels, output_auxiliary_logits=True)
        terms = model.get_loss_dict(
            out.masks_queries_logits, out.class_queries_logits, masks, labels, out.auxiliary_logits
        )
        return Losses(out.loss, {name: term.item() for name, term in terms.items()})


def _mean_of_queries(out: Any, size: Sequence[int] | None = None) -> Tensor:
    """Return scores [B, K, h, w], as image processors make them, of masks of their own size or resized to `size`."""
    belief = out.class_queries_logits.softmax(-1)[..., :-1]
    masks = out.masks_queries_logits if size is None else F.interpolate(out.masks_queries_logits, size, mode="bilinear")
    return torch.einsum("bqc,bqhw->bchw", belief, masks.sigmoid())


def _labelled_masks(targets: Tensor, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Return the classes of each target and their masks."""
    labels = [target.unique()[:-1] for target in targets]  # 255 comes last
    masks = [(target == own[:, None, None]).to(dtype) for target, own in zip(targets, labels, strict=True)]
    return labels, masks


_MASK2FORMER: Rules = (
    *_RESNET,
    (r"^model\.pixel_level_module\.decoder\.", "head.pixel_decoder."),
    (r"\.input_projections\.", ".inputs."),
    (r"\.pixel_decoder\.level_embed$", ".pixel_decoder.encoder.level_embedding"),
    (r"\.self_attn\.sampling_offsets\.", ".attn.offsets."),
    (r"\.self_attn\.attention_weights\.", ".attn.weights."),
    (r"\.self_attn\.value_proj\.", ".attn.value."),
    (r"\.self_attn\.output_proj\.", ".attn.project."),
    (r"(\.pixel_decoder\.encoder\.layers\.\d+)\.self_attn_layer_norm\.", r"\1.norm1."),
    (r"(\.pixel_decoder\.encoder\.layers\.\d+)\.final_layer_norm\.", r"\1.norm2."),
    (r"\.adapter_1\.", ".fine.laterals.0."),
    (r"\.layer_1\.", ".fine.smooth.0."),
    (r"\.mask_projection\.", ".fine.project."),
    (r"^model\.transformer_module\.(decoder\.)?", "head.query_decoder."),
    (r"\.queries_embedder\.", ".query_position."),
    (r"\.queries_features\.", ".queries."),
    (r"\.query_decoder\.level_embed\.", ".query_decoder.level_embedding."),
    (r"\.input_projections\.", ".project."),
    (r"\.query_decoder\.inputs\.", ".query_decoder.project."),
    (r"\.query_decoder\.layernorm\.", ".query_decoder.norm."),
    (r"\.cross_attn_layer_norm\.", ".norm1."),
    (r"\.self_attn_layer_norm\.", ".norm2."),
    (r"\.final_layer_norm\.", ".norm3."),
    (r"\.mask_predictor\.mask_embedder\.(\d)\.0\.", r".mask_mlp.\1."),
    (r"^class_predictor\.", "head.classifier."),
)


def import_mask2former(tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return a narrow Mask2Former on a ResNet-18."""
    options: dict[str, Any] = {"channels": 64, "mask_channels": 32, "encoder_layers": 2, "query_channels": 32}
    options |= {"encoder_feedforward_channels": 96, "num_queries": 20, "num_layers": 2, "feedforward_channels": 64}
    state = join_projections(rename(tensors, _MASK2FORMER), ".self_attn.", ".self_attn.in_proj_")
    model = create_model("mask2former", "resnet18", CLASSES, num_points=128, **options)
    model.load_state_dict(state, strict=True)
    return model


@dataclass(frozen=True)
class EoMT(Transformers):
    """EoMT on a small ViT of DINOv2, or of DINOv3.

    Attributes
    ----------
    dinov3 : bool
        Whether it is DINOv3's.
    image_size : int
        Side of the images.
    classes : int
        K.
    head : mapping
        Settings of the head that are not the published ones.
    """

    dinov3: bool = False
    image_size: int = 64
    classes: int = CLASSES
    head: Mapping[str, int] = field(
        default_factory=lambda: {"num_queries": 20, "num_blocks": 2, "train_num_points": 128}
    )
    encoder = "embeddings"

    def configuration(self) -> Any:
        """See `Transformers`."""
        kind = "EomtDinov3Config" if self.dinov3 else "EomtConfig"
        return getattr(transformers(), kind)(**self.given)

    @property
    def given(self) -> dict[str, Any]:
        """What the configuration does not leave to its defaults."""
        shape = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "image_size": self.image_size}
        # the random change of positions in training is left out
        rest = {"intermediate_size": 1536, "pos_embed_rescale": None, "layer_norm_eps": 1e-5}
        return {**shape, **self.head, "num_labels": self.classes, **(rest if self.dinov3 else {})}

    def create(self, configuration: Any) -> nn.Module:
        """See `Transformers`."""
        kind = "EomtDinov3ForUniversalSegmentation" if self.dinov3 else "EomtForUniversalSegmentation"
        return getattr(transformers(), kind)(configuration)

    def settings(self) -> str:
        """Return the whole configuration."""
        return self.configuration().to_json_string(use_diff=False)

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """Return scores [B, K, h, w], as its image processor makes them, without the resizes that it does last."""
        return _mean_of_queries(model(images), images.shape[-2:] if at_image_size else None)

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Return the losses of the masks of each image's classes, for each prediction in turn."""
        labels, masks = _labelled_masks(targets, images.dtype)
        terms: dict[str, float] = {}
        own: Any = model.get_loss_dict

        def noting(**given: Any) -> dict[str, Tensor]:
            found: dict[str, Tensor] = own(**given)
            layer = len(terms) // len(found)
            terms.update({f"{name}_{layer}": value.item() for name, value in found.items()})
            return found

        model.get_loss_dict = noting
        total = model(images, mask_labels=masks, class_labels=labels).loss
        return Losses(total, terms)


def import_eomt(reference: EoMT, tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return EoMT, by the importer of folders; it needs no transformers, as a golden file is read without."""
    given = reference.given
    names = {str(index): f"LABEL_{index}" for index in range(given.pop("num_labels"))}
    kind = "eomt_dinov3" if reference.dinov3 else "eomt"
    model = translate_config({"model_type": kind, "id2label": names, **given}, "config.json")
    encoder = model.encoder
    ours = create_model("eomt", encoder.name, reference.classes, backbone_options=encoder.options, **model.options)
    ours.load_state_dict(model.renaming.to_ours(tensors, "the reference"), strict=True)
    return ours


@dataclass(frozen=True)
class OneFormer(Transformers):
    """OneFormer on a ResNet-18, asked for semantic segmentation.

    Attributes
    ----------
    texts : bool
        Whether it is trained with texts about the classes.
    classes : int
        K.
    head : mapping
        Settings of the head that are not the published ones.
    """

    texts: bool = False
    classes: int = CLASSES
    head: Mapping[str, int] = field(
        default_factory=lambda: {
            **{"conv_dim": 64, "mask_dim": 64, "hidden_dim": 64, "encoder_feedforward_dim": 96, "encoder_layers": 2},
            **{"query_dec_layers": 2, "decoder_layers": 3, "dim_feedforward": 64, "num_queries": 20},
            "train_num_points": 128,
        }
    )
    encoder = "model"

    def configuration(self) -> Any:
        """See `Transformers`."""
        given = dict(self.given)
        return transformers().OneFormerConfig(
            backbone_config=transformers().ResNetConfig(**given.pop("backbone_config")),
            num_labels=self.classes,
            **given,
        )

    @property
    def given(self) -> dict[str, Any]:
        """What the configuration does not leave to its defaults."""
        backbone = {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"}
        return {
            "backbone_config": {"model_type": "resnet", "embedding_size": 64, "out_features": LEVELS, **backbone},
            **self.head,
            **({"is_training": True, "text_encoder_width": 64, "text_encoder_num_layers": 2} if self.texts else {}),
            # dropout of the pixel decoder follows is_training, in evaluation too
            **({"text_encoder_vocab_size": _VOCABULARY, "text_encoder_n_ctx": 4, "dropout": 0.0} if self.texts else {}),
        }

    def create(self, configuration: Any) -> nn.Module:
        """See `Transformers`."""
        return transformers().OneFormerForUniversalSegmentation(configuration)

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """Return scores [B, K, h, w], as its image processor makes them, without the resize that it does last."""
        out = model(images, task_inputs(len(images)), **self.logits_inputs(len(images)))
        return _mean_of_queries(out, images.shape[-2:] if at_image_size else None)

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Return the losses of the masks of each image's classes."""
        labels, masks = _labelled_masks(targets, images.dtype)
        terms: dict[str, float] = {}
        own: Any = model.get_loss_dict

        def noting(**given: Any) -> dict[str, Tensor]:
            found: dict[str, Tensor] = own(**given)
            terms.update({name: value.item() for name, value in found.items()})
            return found

        model.get_loss_dict = noting
        texts = {"text_inputs": _texts(labels, self.given["num_queries"] - 4)} if self.texts else {}
        total = model(images, task_inputs(len(images)), mask_labels=masks, class_labels=labels, **texts).loss
        return Losses(total, terms)

    def logits_inputs(self, count: int) -> dict[str, Tensor]:
        """Return the texts that a model in training wants, whatever it is asked for."""
        return {"text_inputs": _texts([torch.arange(0)] * count, self.given["num_queries"] - 4)} if self.texts else {}


_VOCABULARY = 40


def _sentences() -> Tensor:
    """Return tokens [K + 1, L] of sentences of several lengths; the last token of the vocabulary ends them."""
    rows = torch.zeros(CLASSES + 1, TASK_LENGTH, dtype=torch.long)
    for index, row in enumerate(rows):
        row[: index + 4] = torch.tensor([_VOCABULARY - 2, *(range(index, 2 * index + 2)), _VOCABULARY - 1])
    return rows


def _texts(labels: Sequence[Tensor], count: int) -> Tensor:
    """Return the tokens [B, count, L] of the sentences about each image's classes, and those that fill up."""
    table = _sentences()
    rows = [[*own.tolist(), *[CLASSES] * (count - len(own))] for own in labels]
    return table[torch.tensor(rows)]


def task_inputs(count: int) -> Tensor:
    """Return the tokens of "the task is semantic", for each of `count` images, as the processor gives them."""
    return torch.tensor([[*TASK_TOKENS, *[0] * (TASK_LENGTH - len(TASK_TOKENS))]] * count)


def import_oneformer(reference: OneFormer, tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return OneFormer, by the importer of folders; it needs no transformers, as a golden file is read without."""
    model = translate_config({"model_type": "oneformer", **reference.given}, "config.json")
    ours = create_model("oneformer", model.encoder.name, reference.classes, **model.options)
    ours.load_state_dict(model.renaming.to_ours(tensors, "the reference"), strict=True)
    if reference.texts:
        ours.head.sentences = _sentences()
    return ours


_QUERIES = {"class": "loss_cross_entropy", "mask": "loss_mask", "dice": "loss_dice"}
_CONVNEXT_SHAPE = ("convnext_tiny", {"dims": [24, 48, 64, 96], "depths": [1, 1, 2, 1]})
_SWIN_SHAPE = (
    "swin_tiny_patch4_window7_224",
    {"embed_dim": 24, "depths": (2, 2, 2, 1), "num_heads": (1, 2, 4, 8)},
)
BOTH_LOSSES = {"seg+aux0_seg": "loss"}
HUGGING_FACE = [
    Case(
        "transformers/upernet_convnext",
        UperNet(
            "ConvNextConfig",
            (("hidden_sizes", [24, 48, 64, 96]), ("depths", [1, 1, 2, 1]), ("layer_scale_init_value", 1.0)),
        ),
        BOTH_LOSSES,
        at_image_size=True,
        narrow=_CONVNEXT_SHAPE,
        imports=import_convnext,
    ),
    Case(
        "transformers/upernet_swin",
        UperNet(
            "SwinConfig",
            (("embed_dim", 24), ("depths", [2, 2, 2, 1]), ("num_heads", [1, 2, 4, 8]), ("drop_path_rate", 0.0)),
        ),
        BOTH_LOSSES,
        # where a window covers the map transformers shifts none; that of the last stage has no second block here
        sizes=((224, 224), (224, 288), (225, 289)),
        trained=(225, 289),
        at_image_size=True,
        narrow=_SWIN_SHAPE,
        imports=import_swin,
    ),
    Case("transformers/segformer_mit-b0", Segformer(), imports=import_segformer),
    Case(
        "transformers/maskformer_resnet18",
        MaskFormer(CLASSES, channels=32, queries=20, layers=3, hidden=64, bottleneck=False),
        _QUERIES,
        keep=("criterion.",),
        imports=import_small_maskformer,
    ),
    Case(
        "transformers/mask2former_resnet18",
        Mask2Former(),
        {
            **_QUERIES,
            **{f"layer{i}_{ours}": f"{theirs}_{i}" for i in range(2) for ours, theirs in _QUERIES.items()},
        },
        keep=("criterion.",),
        same_points=True,
        imports=import_mask2former,
    ),
    *(
        Case(
            f"transformers/oneformer_{name}",
            OneFormer(texts),
            {
                **_QUERIES,
                **{f"layer{i}_{ours}": f"{theirs}_{i}" for i in range(2) for ours, theirs in _QUERIES.items()},
                **({"contrastive": "loss_contrastive"} if texts else {}),
            },
            # transformers compares queries with texts in single precision
            dtype=torch.float32 if texts else torch.float64,
            keep=("criterion.empty_weight",),
            same_points=True,
            imports=partial(import_oneformer, OneFormer(texts)),
        )
        for name, texts in (("resnet18", False), ("texts", True))
    ),
    *(
        Case(
            f"transformers/eomt_{name}",
            EoMT(dinov3),
            {
                **{f"{ours}": f"{theirs}_2" for ours, theirs in _QUERIES.items()},
                **{f"layer{i}_{ours}": f"{theirs}_{i}" for i in range(2) for ours, theirs in _QUERIES.items()},
            },
            sizes=((64, 64),),
            trained=(64, 64),
            dtype=torch.float32,
            keep=("criterion.",),
            fixed={"attn_mask_probs": [1.0, 1.0]},
            same_points=True,
            imports=partial(import_eomt, EoMT(dinov3)),
        )
        for name, dinov3 in (("dinov2", False), ("dinov3", True))
    ),
    Case(
        "transformers/maskformer_full-size",
        MaskFormer(150, channels=256, queries=100, layers=6, hidden=2048, bottleneck=True),
        sizes=FULL_SIZE,
        keep=("criterion.",),
        heavy=True,
        imports=import_maskformer,
    ),
]
