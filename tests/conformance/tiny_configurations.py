"""A tiny configuration of any model type: its default one, with every size that goes by a known name made small."""

import copy
from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig


VOCABULARY = 120
_SIZES: dict[int, str] = {
    1: """
        num_shared_experts n_shared_experts moe_num_shared_experts n_group n_groups topk_group num_expert_group
        mamba_n_groups mamba_ngroups first_k_dense_replace num_nextn_predict_layers attn_layer_period
        encoder_sparse_step num_dense_layers moe_layer_start_index num_mem_blocks bos_token_id
    """,
    2: """
        num_key_value_heads num_kv_heads swa_num_key_value_heads num_experts_per_tok num_experts_per_token moe_topk
        moe_k encoder_layers decoder_layers num_decoder_layers num_encoder_layers n_layer n_layers num_layers num_blocks
        eos_token_id sep_token_id decoder_start_token_id forced_eos_token_id cls_token_id hc_mult hc_count
        num_local_experts_per_tok index_topk number_of_conv_states
    """,
    0: "pad_token_id num_kv_shared_layers",
    3: "mask_token_id unk_token_id",
    4: """
        num_attention_heads encoder_attention_heads decoder_attention_heads num_encoder_attention_heads
        num_decoder_attention_heads n_head n_heads num_heads attention_heads swa_num_attention_heads num_query_groups
        num_experts n_routed_experts num_local_experts moe_num_experts zero_expert_num index_n_heads linear_num_heads
        linear_num_key_heads linear_num_value_heads mamba_n_heads mamba_num_heads rotary_dim sliding_window
        sliding_window_size attention_window attention_window_size local_attention swa_sliding_window
        attention_chunk_size window_size
    """,
    8: """
        head_dim d_head d_kv kv_channels v_head_dim qk_rope_head_dim qk_nope_head_dim dim_head index_head_dim
        linear_key_head_dim linear_value_head_dim linear_head_dim swa_head_dim attention_head_size kv_lora_rank
        q_lora_rank o_lora_rank d_rel mamba_d_state state_size ssm_state_size time_step_rank mamba_dt_rank laurel_rank
        hidden_size_per_layer_input conv_chunk_size chunk_size mamba_chunk_size block_size xpath_unit_hidden_size
        query_pre_attn_scalar adapter_rank moe_latent_size
    """,
    16: "qk_head_dim rel_extent mamba_d_head mamba_head_dim num_buckets hc_lowrank gated_norm_rank",
    32: """
        hidden_size d_model n_embd dim emb_dim embedding_dim embedding_size input_embedding_size word_embed_proj_dim
        pooler_hidden_size true_hidden_size intra_bottleneck_size lru_width kda_hidden_size
        router_hidden_size entity_emb_size prediction_head_size projection_dim pronunciation_embed_dim shape_embed_dim
        output_embedding_size expert_bottleneck
    """,
    48: """
        intermediate_size moe_intermediate_size encoder_ffn_dim decoder_ffn_dim ffn_dim d_ff d_inner hidden_dim dff
        dim_ff n_inner ffn_hidden_size expert_ffn_hidden_size shared_expert_intermediate_size shared_intermediate_size
        shared_experts_intermediate_size moe_shared_expert_intermediate_size dense_intermediate_size feed_forward_size
        intermediate_size_mlp moe_hidden_size mamba_d_ssm
    """,
    128: """
        max_position_embeddings n_positions n_ctx max_seq_len max_encoder_position_embeddings
        max_decoder_position_embeddings
    """,
    VOCABULARY: """
        vocab_size src_vocab_size tgt_vocab_size decoder_vocab_size vocab_size_per_layer_input entity_vocab_size
        pronunciation_vocab_size shape_vocab_size num_hash_buckets unpadded_vocab_size
    """,
}
SMALL = {name: size for size, names in _SIZES.items() for name in names.split()}
# What a rule by name cannot know, each to fit the sizes above.
_MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}}
_ALL_HEADS = {"num_key_value_heads": 4}
OVERRIDES: dict[str, dict[str, Any]] = {
    "axk1": _ALL_HEADS,
    "axk2": _ALL_HEADS,
    "bailing_hybrid": _ALL_HEADS,
    "big_bird": {"block_size": 4, "num_random_blocks": 1},
    "blt": {"encoder_hash_byte_group_vocab": VOCABULARY},
    "bamba": {"attn_layer_indices": [1], "mamba_d_head": 16},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _MROPE["rope_parameters"]}},
    "cosmos3_edge_text": _MROPE,
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": _ALL_HEADS | {"num_experts_per_tok": 2},
    "deepseek_v3": _ALL_HEADS,
    "deepseek_v32": _ALL_HEADS,
    "dots1": {"n_routed_experts": 4, "moe_intermediate_size": 48, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "dots3_note_text": _ALL_HEADS | {"per_layer_config": {}, "head_dim": 16},
    "esm": {"vocab_size": VOCABULARY, "pad_token_id": 1, "position_embedding_type": "rotary"},
    "esmc": _ALL_HEADS,
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_d_head": 16},
    "funnel": {"block_sizes": [1, 1], "block_repeats": None, "architectures": ["FunnelModel"]},
    "gemma3n_text": {"intermediate_size": 48},
    "glm4_moe_lite": _ALL_HEADS,
    "glm4v_moe_text": _MROPE | {"head_dim": 16},
    "glm4v_text": {"rope_parameters": _MROPE["rope_parameters"] | {"partial_rotary_factor": 0.5}, "head_dim": 16},
    "glm5_next_text": _ALL_HEADS | {"index_kpool": 2, "qk_rope_head_dim": 0},
    "glm_image_text": _MROPE,
    "glm_moe_dsa": _ALL_HEADS,
    "glm_ocr_text": _MROPE,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "mamba_d_head": 16},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "hunyuan_vl_text": {
        "head_dim": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 1, 1]},
    },
    "jamba": {"attn_layer_offset": 1, "attn_layer_period": 2},
    "kimi_linear": _ALL_HEADS,
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lilt": {"hidden_size": 48},
    "longcat_flash": _ALL_HEADS,
    "mamba2": {"num_heads": 8},
    "minicpm3": _ALL_HEADS,
    "ministral": {"head_dim": 8},
    "mistral4": _ALL_HEADS | {"head_dim": 16},
    "mistral_large4_text": _ALL_HEADS,
    "nemotron": {"num_key_value_heads": 2},
    "qwen2_5_vl_text": _MROPE,
    "qwen2_vl_text": _MROPE,
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 4,
    },
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {
        "axial_pos_shape": [8, 16],
        "axial_pos_embds_dim": [8, 24],
        "attn_layers": ["local", "lsh"],
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": 2,
    },
    "rwkv": {"attention_hidden_size": 32},
    "t5gemma": {"is_encoder_decoder": False},
    "xlstm": {"chunk_size": 16},
    "xmod": {"default_language": "en_XX"},
    "youtu": _ALL_HEADS,
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zamba2": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
}


def tiny_configuration(model_type: str, layers: int = 2) -> PretrainedConfig:
    """A configuration of this type of about 32 wide, with each kind of layer that the default one has.

    Args:
        layers: how many layers, at least; more where the default has more kinds of them.
    """
    factory = CONFIG_MAPPING[model_type]
    overrides = copy.deepcopy(OVERRIDES.get(model_type, {}))  # configurations write to what they are given
    return factory(**_shrunk(factory().to_dict(), layers) | overrides)


def _shrunk(default: dict[str, Any], layers: int) -> dict[str, Any]:
    depth = default.get("num_hidden_layers")
    kinds = {
        name: list(dict.fromkeys(value))
        for name, value in default.items()
        if isinstance(value, list) and len(value) == depth and isinstance(value[0], str)
    }
    layers = max([layers, *(len(names) for names in kinds.values() if layers > 1)])
    small = {name: SMALL[name] for name, value in default.items() if name in SMALL and type(value) in (int, type(None))}
    small = {name: size for name, size in small.items() if default[name] is not None or name == "pad_token_id"}
    small |= {name: _shrunk(value, layers) for name, value in default.items() if _is_configuration(value)}
    if depth is not None:
        small["num_hidden_layers"] = layers
    return small | {name: [names[i % len(names)] for i in range(layers)] for name, names in kinds.items()}


def _is_configuration(value: Any) -> bool:
    return isinstance(value, dict) and "chunk_size_feed_forward" in value
