"""Strict reading of transformers' config.json: what every configuration says is passed over by name."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.sources.settings import Settings, UnsupportedError

# Keys of every configuration, of any generation: how text is generated, what is returned, how weights begin.
_OF_EVERY_MODEL = frozenset(
    """
    _attn_implementation_autoset _commit_hash _name_or_path add_cross_attention architectures bad_words_ids
    begin_suppress_tokens bos_token_id chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id
    diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing
    id2label initializer_range init_std init_xavier_std is_decoder is_encoder_decoder label2id length_penalty
    max_length min_length model_type no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences
    output_attentions output_hidden_states output_scores pad_token_id prefix problem_type pruned_heads
    remove_invalid_values repetition_penalty return_dict return_dict_in_generate sep_token_id stage_names
    suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder tie_word_embeddings
    tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p use_bfloat16
    """.split()  # noqa: SIM905 - a hundred lines otherwise
)
FOUR_STAGES = ["stage1", "stage2", "stage3", "stage4"]


def settings_of(values: Any, where: str) -> Settings:
    """Return a configuration, or one inside of it, without what says nothing about the function of the model."""
    settings = Settings(values, where)
    settings.pass_over(*_OF_EVERY_MODEL)
    return settings


def take_four_maps(settings: Settings) -> None:
    """Refuse an encoder that does not return the maps of its four stages."""
    features = settings.take("out_features", None)
    settings.pass_over("out_indices")
    if features is None or list(features) != FOUR_STAGES:
        raise UnsupportedError(f"{settings.where}.out_features is {features}, where vitrail reads {FOUR_STAGES}")
