"""Where the parts that attribution rules act on are in a backbone: embeddings, layers, norms, activations."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.activations import ACT2CLS

from .text_windows import NO_LIMIT


_ACTIVATION_CLASSES: tuple[Any, ...] = tuple(
    {entry[0] if isinstance(entry, tuple) else entry for entry in ACT2CLS.values()}
    | {nn.GELU, nn.SiLU, nn.ReLU, nn.Tanh, nn.Mish, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.Sigmoid}
)


@dataclass(frozen=True)
class BackboneParts:
    """The parts of one backbone, each under its module name (as `named_modules` spells it).

    Attributes:
        name: the backbone's class.
        attention_kernel: what transformers calls its `attn_implementation`; None where it has no choice.
    """

    name: str
    attention_kernel: str | None
    embedding_norm: nn.Module | None
    layers: tuple[nn.Module, ...]
    norms: dict[str, nn.Module]
    activations: dict[str, nn.Module]

    def attention_out_of_sight(self, seen: int, layers: int) -> ValueError:
        """The error that says why a method that needs each layer's attention, A, does not see it.

        Args:
            seen: attention products that a forward pass showed.
            layers: how many it should have shown.
        """
        found = f"{self.name}: {seen} attention products were seen in {layers} layers"
        if self.attention_kernel not in (None, *VISIBLE_KERNELS):
            why = f"attn_implementation={self.attention_kernel!r} hides them; load the model with 'sdpa' or 'eager'."
            return ValueError(f"{found}: {why}")
        why = (
            "its layers mix tokens by something other than a softmax over (batch, heads, tokens, tokens)"
            if seen == 0
            else "its attention is not one softmax over all tokens in each layer, but approximate, local or in parts"
        )
        other = "use one that reads no attention ('gradient_x_input', 'saliency', 'integrated_gradients')"
        return ValueError(f"{found}: {why}. This method does not apply; {other}.")


VISIBLE_KERNELS = ("sdpa", "eager")  # torch's own function, and a softmax


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a LayerNorm or RMSNorm, by type or by the naming every model family keeps."""
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith(("LayerNorm", "RMSNorm"))


def find_parts(backbone: PreTrainedModel, original: PreTrainedModel | None = None) -> BackboneParts:
    """Locate the parts of `backbone`.

    Args:
        original: the classifier around it, of whose head the norms and activations are parts too.

    Raises:
        ValueError: naming the part, when the stack of layers or the word embeddings cannot be found.
    """
    modules = dict(backbone.named_modules())
    inside = set(modules.values())
    head = {} if original is None else {name: m for name, m in original.named_modules() if m not in inside}
    everywhere = modules | head
    stack_name = _find_layer_stack(backbone, modules)
    return BackboneParts(
        name=type(backbone).__name__,
        attention_kernel=attention_kernel(backbone),
        embedding_norm=_find_embedding_norm(backbone, modules, stack_name),
        layers=tuple(modules[stack_name]),
        norms={name: module for name, module in everywhere.items() if is_norm(module)},
        activations={name: module for name, module in everywhere.items() if isinstance(module, _ACTIVATION_CLASSES)},
    )


def attention_kernel(backbone: nn.Module) -> str | None:
    """The `attn_implementation` that runs, or None where the backbone has no choice."""
    return getattr(getattr(backbone, "config", None), "_attn_implementation", None)


def word_embeddings(backbone: PreTrainedModel) -> list[nn.Module]:
    """The table of words: the modules that it runs as, where several share it (T5)."""
    table = backbone.get_input_embeddings()
    weight = getattr(table, "weight", None)
    modules = backbone.modules() if weight is not None else ()
    sharing = [m for m in modules if type(m) is type(table) and getattr(m, "weight", None) is weight]
    return [table, *(module for module in sharing if module is not table)]


def is_causal(backbone: nn.Module) -> bool:
    """Whether the backbone is a decoder: its attention reads only earlier tokens."""
    return any(getattr(module, "is_causal", False) for module in backbone.modules())


def position_limit(config: PretrainedConfig, backbone: nn.Module) -> int | None:
    """How many tokens the position table has room for, as `config` says its size; None without one."""
    size = getattr(config.get_text_config(), "max_position_embeddings", None)
    if not size or size < 0:  # XLNet says -1 for "no limit"
        return None
    return size - _reserved_positions(backbone)


def token_limit(config: PretrainedConfig, backbone: nn.Module, tokenizer: PreTrainedTokenizerBase) -> int:
    """Longest text in tokens: the tokenizer's limit or the position table's, whichever is less; else `NO_LIMIT`."""
    limits = [tokenizer.model_max_length, position_limit(config, backbone) or NO_LIMIT]
    return min([limit for limit in limits if 0 < limit < NO_LIMIT], default=NO_LIMIT)


def padding_id(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """What fills short texts, behind an attention mask of 0: the configuration's padding, by which transformers' own
    decoders look for a text's last token, whatever the mask says; else the tokenizer's."""
    known = (getattr(config.get_text_config(), "pad_token_id", None), tokenizer.pad_token_id)
    return next((token for token in known if token is not None), 0)


def _reserved_positions(backbone: nn.Module) -> int:
    """Positions that RoBERTa-likes never give to a token: their numbering starts behind the padding index."""
    for module in backbone.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            return 0 if table.padding_idx is None else table.padding_idx + 1
    return 0


def _find_layer_stack(backbone: nn.Module, modules: dict[str, nn.Module]) -> str:
    """Name of the outermost and longest ModuleList of modules with parts of their own: the stack of encoder layers.

    A list of tables is none (MarkupLM has more of them, for a page's tags, than layers).
    """
    lists = {
        name: module
        for name, module in modules.items()
        if isinstance(module, nn.ModuleList) and any(next(layer.children(), None) is not None for layer in module)
    }
    outermost = [name for name in lists if not any(name.startswith(other + ".") for other in lists)]
    if not outermost:
        raise ValueError(
            f"{type(backbone).__name__}: the stack of layers (an nn.ModuleList) was not found, so no "
            "attribution rule can be applied to it."
        )
    return max(outermost, key=lambda name: len(lists[name]))


def _find_embedding_norm(backbone: PreTrainedModel, modules: dict[str, nn.Module], stack_name: str) -> nn.Module | None:
    """The norm that the summed embeddings pass before the first layer, or None (T5, Llama)."""
    try:
        word_embeddings = backbone.get_input_embeddings()
    except NotImplementedError:  # CANINE hashes characters: it has no table
        word_embeddings = None
    name = next((name for name, module in modules.items() if module is word_embeddings), None)
    if name is None:
        raise ValueError(f"{type(backbone).__name__}: the word embeddings were not found.")
    container = name.rpartition(".")[0]
    if not container or stack_name.startswith(container + "."):
        return None  # The table sits beside the layers: the norm there is the final one.
    norms = [module for child, module in modules[container].named_children() if is_norm(module)]
    return norms[0] if norms else None
