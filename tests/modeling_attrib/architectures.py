"""Tiny random classifiers of every supported family, with non-trivial weights, and the batch that they read."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from transformers import (
    AlbertConfig,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    LlamaConfig,
    ModernBertConfig,
    MPNetConfig,
    PretrainedConfig,
    RobertaConfig,
    T5Config,
    XLMRobertaConfig,
)
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from modeling_attrib import AttribConfig, AttribForSequenceClassification


LABELS = 3
LAYERS = 2
SIZE = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
T5_SIZE = {"vocab_size": 120, "d_model": 32, "d_kv": 8, "num_layers": LAYERS, "num_heads": 4, "d_ff": 48}
RULES = ("lrp", "lrp_ah", "lrp_ah_ln", "attn_lrp", "damped_lrp")


def _deberta() -> PretrainedConfig:
    return DebertaV2Config(
        **SIZE,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        max_relative_positions=16,
        position_buckets=8,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
    )


# Encoders that put a LayerNorm behind every sum: with frozen rules their only constants are the biases.
POST_NORM: dict[str, Callable[[], PretrainedConfig]] = {
    "bert": lambda: BertConfig(**SIZE),
    "roberta": lambda: RobertaConfig(**SIZE),
    "xlm-roberta": lambda: XLMRobertaConfig(**SIZE),
    "camembert": lambda: CamembertConfig(**SIZE),
    "distilbert": lambda: DistilBertConfig(vocab_size=120, dim=32, n_layers=LAYERS, n_heads=4, hidden_dim=48),
    "electra": lambda: ElectraConfig(**SIZE, embedding_size=16),
    "albert": lambda: AlbertConfig(**SIZE, embedding_size=16),
    "mpnet": lambda: MPNetConfig(**SIZE),
    "deberta-v2": _deberta,
}
ACTIVATIONS: dict[str, Callable[[], PretrainedConfig]] = {
    f"bert-{name}": lambda name=name: BertConfig(**SIZE, hidden_act=name)
    for name in ("tanh", "silu", "gelu_new", "quick_gelu", "relu")
}
PRE_NORM: dict[str, Callable[[], PretrainedConfig]] = {
    "modernbert": lambda: ModernBertConfig(**SIZE, pad_token_id=0, global_attn_every_n_layers=2, local_attention=8),
    "t5": lambda: T5Config(**T5_SIZE),
    "t5-gated": lambda: T5Config(**T5_SIZE, feed_forward_proj="gated-gelu"),
    "llama": lambda: LlamaConfig(**SIZE, num_key_value_heads=2, pad_token_id=0),
}
# Families that nobody here has looked into, by the name of their configuration: they work, but those in REFUSED.
GROUPED = SIZE | {"num_key_value_heads": 2}
GPT = {"vocab_size": 120, "n_embd": 32, "n_layer": LAYERS, "n_head": 4}
XLM = {"vocab_size": 120, "emb_dim": 32, "n_layers": LAYERS, "n_heads": 4}
BLOOM = {"vocab_size": 120, "hidden_size": 32, "n_layer": LAYERS, "n_head": 4}
SIDES = ("layers", "attention_heads", "ffn_dim")
BART = {"vocab_size": 120, "d_model": 32} | {
    f"{side}_{part}": size for side in ("encoder", "decoder") for part, size in zip(SIDES, (LAYERS, 4, 48))
}
OTHERS: dict[str, dict[str, Any]] = {
    "Bart": BART,
    "Bloom": BLOOM,
    "ConvBert": SIZE | {"embedding_size": 32},
    "Ernie": SIZE,
    "GPT2": GPT,
    "GPTJ": GPT | {"rotary_dim": 4},
    "GPTNeoX": SIZE,
    "Gemma3Text": GROUPED | {"head_dim": 8},
    "Mistral": GROUPED,
    "MobileBert": SIZE | {"embedding_size": 32, "intra_bottleneck_size": 32},
    "Nystromformer": SIZE,
    "Olmo": SIZE,
    "Olmo2": SIZE,
    "Phi": SIZE,
    "Qwen3": GROUPED | {"head_dim": 8},
    "RemBert": SIZE | {"input_embedding_size": 16},
    "RoFormer": SIZE | {"embedding_size": 32},
    "RobertaPreLayerNorm": SIZE,
    "SqueezeBert": SIZE | {"embedding_size": 32},
    "UMT5": T5_SIZE,
    "XLM": XLM,
    "XLMRobertaXL": SIZE,
}
# Why no relevance is read in them; a family that is not here, and is refused all the same, fails its tests.
REFUSED = {
    "Bart": "an encoder-decoder whose encoder transformers does not offer by itself",
    "MobileBert": "its embeddings mix each word with its neighbours before the first layer",
    "XLM": "words reach the logits by another way than through the first layer's input",
}
ARCHITECTURES = POST_NORM | ACTIVATIONS | PRE_NORM
DECODERS = ("llama",)


def with_kernels(names: Any) -> list[tuple[str, str]]:
    """(architecture, attention kernel) for every kernel that this version of transformers has for it."""
    return [(name, kernel) for name in names for kernel in ("sdpa", "eager") if kernel == "eager" or _has_sdpa(name)]


def _has_sdpa(name: str) -> bool:
    return MODEL_MAPPING[type(ARCHITECTURES[name]())]._supports_sdpa


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Random weights, biases and norms: nothing stays at 0 or 1, where an error would not show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)
            centre = 1.0 if parameter.dim() == 1 and not name.endswith("bias") else 0.0
            parameter.copy_(centre + (0.25 if parameter.dim() > 1 else 0.2) * noise)


def build(
    name: str = "bert", kernel: str | None = None, dtype: torch.dtype = torch.float64, seed: int = 0, **config: Any
) -> AttribForSequenceClassification:
    """A random classifier of one architecture in evaluation mode; `kernel` is checked to be the one that runs."""
    config.setdefault("pooling", "last" if name in DECODERS else "mean")
    config.setdefault("num_labels", LABELS)
    config.setdefault("attribution_head", "labels")  # every method works, and no other one may notice
    if kernel:
        config["attn_implementation"] = kernel
    model = AttribForSequenceClassification(AttribConfig(backbone_config=ARCHITECTURES[name](), **config))
    model = model.to(dtype).eval()
    randomise(model, seed)
    if kernel:
        assert kernel_of(model) == kernel, f"{name} does not run {kernel} attention"
    return model


def zero_biases(model: torch.nn.Module) -> None:
    """Leave the model without constants: a frozen network is then linear in its embeddings."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # GPT-NeoX-Japanese has a dense_bias
                parameter.zero_()


def batch(lengths: tuple[int, ...] = (7, 11, 9), side: str = "right", seed: int = 1) -> dict[str, torch.Tensor]:
    """Ids and mask of texts of these lengths, padded on one side with the id 1."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    ids = torch.ones(len(lengths), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        place = slice(0, length) if side == "right" else slice(width - length, width)
        ids[row, place] = torch.randint(5, 119, (length,), generator=generator)
        mask[row, place] = 1
    return {"input_ids": ids, "attention_mask": mask}


class CallCounter(TorchFunctionMode):
    """Counts the torch functions that a pass calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[Any, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func] = self.calls.get(func, 0) + 1
        return func(*args, **(kwargs or {}))


def kernel_of(model: AttribForSequenceClassification) -> str:
    """The attention kernel that runs, read from the functions called: not from what a configuration says."""
    with torch.no_grad(), CallCounter() as counter:
        model.backbone(**batch((4,)))
    fused = counter.calls.get(F.scaled_dot_product_attention, 0)
    explicit = sum(counter.calls.get(f, 0) for f in (F.softmax, torch.softmax, torch.Tensor.softmax))
    assert (fused, explicit) in [(LAYERS, 0), (0, LAYERS)], (fused, explicit)
    return "sdpa" if fused else "eager"


def explicit(name: str, inputs: dict[str, torch.Tensor], **config: Any) -> tuple[Any, ...]:
    """Of the eager twin with the same weights, in one graph: A of each layer, h at the input of each layer, the logits;
    and how much the head reads of each token."""
    twin = build(name, "eager", **config)
    output = twin.backbone(**inputs, output_attentions=True, output_hidden_states=True)
    reading = reading_of(twin, inputs["attention_mask"])
    logits = twin.classifier((output.last_hidden_state * reading[..., None]).sum(dim=1))
    assert len(output.attentions) == LAYERS
    return output.attentions, output.hidden_states[:LAYERS], logits, reading


def reading_of(model: AttribForSequenceClassification, mask: torch.Tensor) -> torch.Tensor:
    """How much the head reads of each token of right-padded texts, (batch, tokens), from the definition of pooling."""
    if model.config.pooling == "mean":
        return mask.double() / mask.double().sum(dim=1, keepdim=True)
    ends = [0 if model.config.pooling == "cls" else int(row.sum()) - 1 for row in mask]
    return F.one_hot(torch.tensor(ends), mask.shape[1]).double()
