"""Every text architecture of the installed transformers, tiny and with random weights."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import torch
import transformers

DEPTH = 3
# no other size is this
VOCABULARY = 131

_MAPPINGS: dict[str, Any] = {
    "causal": transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
    "masked": transformers.MODEL_FOR_MASKED_LM_MAPPING,
    "seq2seq": transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
}
# by the type that a config names itself by, which may stand under two names in the library
_CONFIGS = {
    kind: {config.model_type: config for config in mapping} for kind, mapping in _MAPPINGS.items()
}
CAUSAL = sorted(_CONFIGS["causal"])
MASKED = sorted(_CONFIGS["masked"])
SEQ2SEQ = sorted(_CONFIGS["seq2seq"])

# whatever config has a number of such a name, at any depth, gets this one; None stays None
_SIZES = {
    DEPTH: """num_hidden_layers n_layer n_layers num_layers num_blocks encoder_layers
        num_encoder_layers num_self_attends_per_block depth""",
    1: """n_shared_experts topk_group first_k_dense_replace num_dense_layers attn_layer_offset
        num_kv_shared_layers num_mtp_layers num_nextn_predict_layers""",
    # a decoder is less deep than its encoder
    2: """decoder_layers num_decoder_layers num_key_value_heads swa_num_key_value_heads num_kv_heads
        linear_num_key_heads n_group n_groups mamba_n_groups num_experts_per_tok moe_topk moe_k
        zero_expert_num attn_layer_period mamba_expand expand""",
    4: """num_attention_heads encoder_attention_heads decoder_attention_heads attention_heads
        num_encoder_attention_heads num_decoder_attention_heads n_head n_heads num_heads
        swa_num_attention_heads linear_num_heads linear_num_value_heads n_mamba_heads index_n_heads
        num_experts n_routed_experts num_local_experts moe_num_experts rotary_dim num_filters
        index_topk sliding_window sliding_window_size attention_window window_size patch_size
        chunk_size mamba_chunk_size""",
    8: """head_dim d_kv d_head dim_head kv_channels v_head_dim swa_head_dim index_head_dim
        qk_nope_head_dim qk_rope_head_dim linear_head_dim linear_key_head_dim
        linear_value_head_dim hidden_size_per_layer_input downsample_hidden_size state_size
        ssm_state_size mamba_d_state mamba_d_head mamba_n_heads mamba_num_heads mamba_head_dim""",
    16: """q_lora_rank kv_lora_rank o_lora_rank moe_intermediate_size expert_ffn_hidden_size
        shared_expert_intermediate_size shared_experts_intermediate_size
        moe_shared_expert_intermediate_size router_hidden_size input_embedding_size
        entity_emb_size pronunciation_embed_dim shape_embed_dim num_latents output_channels
        ext_pw_out_channel depthwise_separable_out_channel nemo_conv_channels""",
    32: """hidden_size d_model dim n_embd emb_dim embedding_dim embedding_size hidden_dim d_latents
        hidden_size_global output_embedding_size audio_hidden_size adapter_input_size
        adapter_in_dim adapter_out_dim""",
    64: """intermediate_size shared_intermediate_size ffn_hidden_size feed_forward_size mlp_dim
        ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff d_inner dff dim_ff n_positions max_seq_len
        max_position_embeddings max_2d_position_embeddings max_encoder_position_embeddings
        max_decoder_position_embeddings max_source_positions block_size image_size""",
    VOCABULARY: """vocab_size src_vocab_size tgt_vocab_size decoder_vocab_size unpadded_vocab_size
        vocab_size_per_layer_input entity_vocab_size pronunciation_vocab_size shape_vocab_size""",
}
_SMALL = {name: size for size, names in _SIZES.items() for name in names.split()}
# not even None does for these
_NEEDED = {
    "head_dim",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "num_key_value_heads",
    "vocab_size",
}

# what that cannot do, by type, for the config or for a config inside it
_SPECIAL: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    # its cache asks the config for a depth that the config does not have
    "blt": {"use_cache": False, "encoder_hash_byte_group_vocab": 100},
    "cohere_compass_text": {
        "rope_parameters": {
            "full_attention": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 1, 1],
            }
        }
    },
    "dbrx": {
        "attn_config": {"rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 64},
    },
    "dots3_note_text": {
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 16,
        "swa_kv_lora_rank": 16,
        "swa_head_dim": 16,
        "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
    },
    "esm": {"pad_token_id": 1},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma4_text": {"global_head_dim": 16},
    "gemma4_unified_text": {"global_head_dim": 16},
    "gpt_neo": {"attention_types": [[["global", "local", "global"], 1]]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "mamba2": {"num_heads": 8},
    # passed over where there is no image
    "mllama_text_model": {"cross_attention_layers": [1]},
    "musicgen_decoder": {"num_codebooks": 1},
    "musicgen_melody_decoder": {"num_codebooks": 1},
    "neomme": {"head_dim": 16},
    "qwen4_exp_text": {
        "eos_token_id": 2,
        "ple_layer_ids": [1],
        "ngram_vocab_size_base": 50,
        "hc_lowrank": 8,
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 4,
    },
    "reformer": {
        "attn_layers": ["local", "lsh", "local"],
        # or it draws its hashes anew in each pass
        "hash_seed": 0,
        "attention_head_size": 8,
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 16],
    },
    "xlstm": {"hidden_size": 128, "embedding_dim": 128},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
}

# types that cannot be run here, and why
reason: dict[str, str] = {
    "gemma3n": "its vision tower needs timm, which is not installed.",
    "gemma4_assistant": "it reads the keys and values of another model, and no tokens.",
    "gemma4_unified_assistant": "it reads the keys and values of another model, and no tokens.",
    "voxtral_realtime": "it runs only where it is given sound beside the tokens.",
}


def _value(config: Any, name: str) -> Any:
    # not as an attribute: one that varies by layer raises
    return vars(config).get(config.attribute_map.get(name, name))


def _shrunk(config: type[Any]) -> Any:
    """A config with every size of `_SMALL`, and lists by layer cut to the depth."""
    full = config()
    special = _SPECIAL.get(config.model_type, {})
    depth = _value(full, "num_hidden_layers")
    heads = _value(full, "num_attention_heads")
    options: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        name, value = field.name, _value(full, field.name)
        if name in special or not field.init:
            continue
        if isinstance(value, transformers.PreTrainedConfig):
            options[name] = _shrunk(type(value))
        elif value is None and name in _NEEDED:
            options[name] = _SMALL[name]
        elif not isinstance(value, int) or isinstance(value, bool):
            if isinstance(value, list) and depth and len(value) == depth:
                # one layer of each sort
                sorts = list(dict.fromkeys(value)) if isinstance(value[0], str) else value
                options[name] = [_SMALL.get(name, sorts[i % len(sorts)]) for i in range(DEPTH)]
        elif name == "num_key_value_heads" and value == heads:
            options[name] = _SMALL["num_attention_heads"]
        elif name in _SMALL:
            options[name] = _SMALL[name]
        elif name.endswith(("token_id", "token_index")) and value >= VOCABULARY:
            options[name] = VOCABULARY - 1
    return config(**{**options, **special})


def _randomise(model: torch.nn.Module) -> None:
    for module in model.modules():
        norm = "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False):
            one = 1.0 if norm and name == "weight" else 0.0
            torch.nn.init.normal_(parameter, mean=one, std=0.1)


def tiny(kind: str, model_type: str) -> torch.nn.Module:
    """A model of a type, a few thousand weights large, in evaluation mode.

    Parameters
    ----------
    kind : {"causal", "masked", "seq2seq"}
        The last gives the encoder alone; the whole of a model whose encoder reads sound.
    model_type : str
        One of `CAUSAL`, `MASKED` or `SEQ2SEQ` that has no `reason`.

    Returns
    -------
    transformers.PreTrainedModel
        In float32; always the same weights, none of them zero by design.
    """
    config = _CONFIGS[kind][model_type]
    torch.manual_seed(0)
    small, built = _shrunk(config), _MAPPINGS[kind][config]
    build = built[0] if isinstance(built, tuple) else built
    if kind == "causal" and hasattr(small, "is_decoder"):
        small.is_decoder = True
    if not isinstance(small, build.config_class):
        # a model of a part of what the config tells of
        parts = [part for part in vars(small).values() if isinstance(part, build.config_class)]
        small = parts[0] if parts else small
    model = build(small)
    if kind == "seq2seq":
        encoder = model.get_encoder()
        if "input_ids" in inspect.signature(encoder.forward).parameters:
            model = encoder
    _randomise(model)
    return model.float().eval()


def inputs(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Two rows of nine tokens, none of them special."""
    ids = torch.randint(20, 100, (2, 9), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
